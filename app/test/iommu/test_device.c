/* SPDX-License-Identifier: BSD-3-Clause */
/* The domain contract: creation by name, caps, devices coming and going. */
#include <errno.h>
#include <string.h>

#include "fuzz_random.h"
#include "models.h"
#include "rig.h"

#define BASE UINT64_C(0x40000000)

TEST(domain_create_refuses_names_it_does_not_know)
{
	struct wherry_domain *dom = NULL;
	struct wherry_device *dev = NULL;

	CHECK_EQ(wherry_domain_create("", &dom), -ENODEV);
	CHECK_EQ(wherry_domain_create("sof", &dom), -ENODEV);
	CHECK_EQ(wherry_domain_create("softer:iotlb=64", &dom), -ENODEV);
	CHECK_EQ(wherry_device_open("ffff:ff:1f.7", &dev), -ENODEV);
	CHECK_EQ(wherry_device_open("softer:a", &dev), -ENODEV);
	CHECK(dom == NULL && dev == NULL);
	wherry_domain_destroy(NULL);
	wherry_device_close(NULL);
}

static void
hear_backends(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	unsigned int *named = ctx;

	(void)level;
	(void)area;
	*named |= (strstr(line, "iommufd") != NULL ? 1u : 0) |
		(strstr(line, "type1") != NULL ? 2u : 0);
}

/* What is missing is said for each, and soft is never taken for hardware. */
TEST(domain_auto_is_hardware_or_says_what_is_missing)
{
	struct wherry_domain *dom = NULL;
	unsigned int named = 0;
	int rc;

	wherry_log_set(hear_backends, &named, WHERRY_LOG_INFO);
	rc = wherry_domain_create("auto", &dom);
	wherry_log_set(NULL, NULL, WHERRY_LOG_ERR);
	if (rc == 0) {
		CHECK(strcmp(wherry_domain_backend(dom), "soft") != 0);
		wherry_domain_destroy(dom);
		return;
	}
	CHECK_EQ(rc, -ENODEV);
	CHECK_EQ(named, 3);
}

TEST_EACH(domain_caps_describe_what_can_be_done, backends, spec)
{
	uint64_t end = 0;
	struct rig r;

	rig_open(&r, spec);
	CHECK(r.page >= 1 && r.caps.granule >= r.page && is_pow2(r.caps.granule));
	CHECK(r.caps.n_usable >= 1);
	for (size_t i = 0; i < r.caps.n_usable; i++) {
		CHECK(r.caps.usable[i].len > 0 && r.caps.usable[i].iova >= end);
		end = wherry_span_last(r.caps.usable[i]);
	}
	CHECK(r.caps.reason != NULL && *r.caps.reason != '\0');
	CHECK(strncmp(spec, wherry_domain_backend(r.dom), strlen(wherry_domain_backend(r.dom))) ==
		0);
	rig_close(&r);
}

TEST_EACH(domain_destroy_unmaps_what_is_left, backends, spec)
{
	struct rig r;

	rig_open(&r, spec);
	rig_map(&r, BASE, 0, 8);
	rig_map(&r, WHERRY_IOVA_ANY, 8, 8);
	if (r.caps.dirty != WHERRY_DIRTY_NONE)
		CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	rig_close(&r); /* the leak checker is the judge */
}

TEST_EACH(domain_device_is_in_one_domain_at_a_time, backends, spec)
{
	struct wherry_domain *other;
	struct rig r;

	rig_open(&r, spec);
	CHECK_EQ(rig_domain(spec, &other), 0);
	CHECK_EQ(wherry_device_attach(r.dev[0], other, NULL), -EBUSY);
	CHECK_EQ(wherry_device_attach(r.dev[0], r.dom, NULL), -EBUSY);
	rig_map(&r, BASE, 0, 1);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	rig_detach(&r, 0);
	wherry_device_detach(r.dev[0]); /* harmless */
	CHECK_EQ(rig_poke(&r, 0, BASE, 2), -EFAULT);
	rig_attach(&r, 0, other);
	CHECK_EQ(rig_poke(&r, 0, BASE, 3), -EFAULT); /* mapped in the first, cached there too */
	CHECK_EQ(r.mem[0], 1);
	rig_detach(&r, 0);
	rig_attach(&r, 0, r.dom);
	CHECK_EQ(rig_poke(&r, 0, BASE, 4), 0);
	wherry_domain_destroy(other);
	rig_close(&r);
}

/* What a harvest of one domain reports, first page of span first, one bit each. */
static uint64_t
harvest_word(const struct rig *r, struct wherry_domain *dom, struct wherry_span span)
{
	struct wherry_bitmap *bm = rig_bitmap(r, span);
	uint64_t word = 0;

	CHECK_EQ(wherry_domain_dirty_harvest(dom, span, bm), 0);
	for (uint64_t at = 0; at < span.len; at += r->page)
		word |= (uint64_t)wherry_bitmap_test(bm, span.iova + at) << (at / r->page);
	wherry_bitmap_destroy(bm);
	return word;
}

/* The same memory in two domains, with a device in each: writes are known by domain. */
TEST_EACH(domain_knows_the_writes_of_its_own_devices, backends, spec)
{
	struct wherry_domain *other;
	struct wherry_span span;
	struct rig r;

	rig_open(&r, spec);
	rig_need_tracking(&r);
	CHECK_EQ(rig_domain(spec, &other), 0);
	rig_detach(&r, 1);
	rig_attach(&r, 1, other);
	span = rig_map(&r, BASE, 0, 8);
	CHECK_EQ(wherry_domain_map(other, r.mem, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span), 0);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	CHECK_EQ(wherry_domain_dirty_start(other), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 1), 0);
	CHECK_EQ(rig_poke(&r, 1, BASE + 2 * r.page, 2), 0);
	CHECK(r.mem[r.page] == 1 && r.mem[2 * r.page] == 2);
	CHECK_EQ(harvest_word(&r, r.dom, span), 0x2);
	CHECK_EQ(harvest_word(&r, other, span), 0x4);
	CHECK_EQ(wherry_domain_unmap(r.dom, span), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE, 3), -EFAULT);
	CHECK_EQ(rig_poke(&r, 1, BASE, 4), 0);
	CHECK_EQ(harvest_word(&r, other, span), 0x1);
	rig_detach(&r, 1);
	wherry_domain_destroy(other);
	rig_close(&r);
}

TEST_EACH(domain_device_keeps_its_name, backends, spec)
{
	struct rig r;

	rig_open(&r, spec);
	CHECK(strcmp(wherry_device_name(r.dev[0]), wherry_device_name(r.dev[1])) != 0);
	rig_close(&r);
}

/* Any operations in any order, against a naive second implementation (app/fuzz). */
TEST(domain_agrees_with_a_naive_model)
{
	fuzz_random(domain_model_run, 150, 1500);
}
