/* SPDX-License-Identifier: BSD-3-Clause */
/* The domain contract: dirty bits that are not to be believed are found out, and not used. */
#include <errno.h>
#include <string.h>

#include "fake_kernel.h"
#include "rig.h"

#define BASE UINT64_C(0x40000000)

struct poked {
	struct rig rig;
	unsigned int pokes;
	int fails; /* poke fails so */
};

/* By the first device; it is enough to ask one. */
static int
poke(void *ctx, uint64_t iova)
{
	struct poked *p = ctx;

	p->pokes++;
	return p->fails != 0 ? p->fails : rig_poke(&p->rig, 0, iova, (uint8_t)p->pokes);
}

static void
open_poked(struct poked *p, const char *spec)
{
	memset(p, 0, sizeof(*p));
	rig_open(&p->rig, spec);
	if (p->rig.caps.dirty == WHERRY_DIRTY_NONE)
		rig_need_tracking(&p->rig);
	p->rig.ops = (struct wherry_device_ops){ .poke = poke, .ctx = p };
	rig_detach(&p->rig, 0);
	rig_attach(&p->rig, 0, p->rig.dom);
}

/* Once per device, and nothing of it is left. */
TEST_EACH(domain_dirty_start_tests_a_device_that_can_be_told_to_write, backends, spec)
{
	struct wherry_span span;
	struct poked p;

	open_poked(&p, spec);
	span = rig_map(&p.rig, BASE, 0, 4);
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), 0);
	CHECK_EQ(p.pokes, 2);
	CHECK_EQ(rig_harvest_count(&p.rig, span),
		p.rig.caps.dirty == WHERRY_DIRTY_TRACKED ? 0 : 4); /* or all, always */
	wherry_domain_dirty_stop(p.rig.dom);
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), 0);
	CHECK_EQ(p.pokes, 2);
	rig_close(&p.rig);
}

/* One that comes while tracking is on is tested then. */
TEST_EACH(domain_attach_tests_a_device_while_tracking, backends, spec)
{
	struct poked p;

	open_poked(&p, spec);
	rig_detach(&p.rig, 0);
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), 0);
	CHECK_EQ(p.pokes, 0);
	p.fails = -EIO; /* a real one cannot write before its driver has started it again */
	rig_attach(&p.rig, 0, p.rig.dom);
	CHECK_EQ(p.pokes, 1);
	rig_close(&p.rig);
}

/* A test that cannot be made says nothing: the bits are believed, and tested next time. */
TEST_EACH(domain_dirty_start_works_untested, backends, spec)
{
	struct poked p;

	open_poked(&p, spec);
	p.fails = -EIO;
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), 0);
	CHECK_EQ(p.pokes, 1);
	wherry_domain_dirty_stop(p.rig.dom);
	p.fails = 0;
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), 0);
	CHECK_EQ(p.pokes, 3);
	rig_close(&p.rig);
}

static void
check_unsound(const struct fake_kernel *how, const char *word)
{
	struct wherry_domain_caps caps;
	struct wherry_span span;
	struct poked p;

	open_poked(&p, "iommufd@fake");
	fake_kernel.no_rearm = how->no_rearm;
	fake_kernel.stuck = how->stuck;
	span = rig_map(&p.rig, BASE, 0, 4);
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), -EOPNOTSUPP);
	wherry_domain_get_caps(p.rig.dom, &caps);
	CHECK_EQ(caps.dirty, WHERRY_DIRTY_NONE);
	CHECK_EQ(caps.exact_by, WHERRY_UNMAP_BY_NOTHING);
	CHECK(strstr(caps.reason, word) != NULL);
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), -EOPNOTSUPP);
	CHECK_EQ(wherry_domain_unmap(p.rig.dom, span), 0);
	rig_close(&p.rig);
}

/* Linux on SMMUv3: a page becomes dirty once. */
TEST(domain_dirty_that_does_not_rearm_is_found_and_not_used)
{
	check_unsound(&(struct fake_kernel){ .no_rearm = true }, "twice");
}

TEST(domain_dirty_that_is_never_set_is_found_and_not_used)
{
	check_unsound(&(struct fake_kernel){ .stuck = true }, "no dirty bit was set");
}

/* Found while tracking is on, which then goes on as "everything". */
TEST(domain_dirty_found_unsound_while_on_makes_everything_dirty)
{
	struct wherry_domain_caps caps;
	struct wherry_span span;
	struct poked p;

	open_poked(&p, "iommufd@fake");
	rig_detach(&p.rig, 0);
	span = rig_map(&p.rig, BASE, 0, 4);
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), 0);
	CHECK_EQ(rig_harvest_count(&p.rig, span), 0);
	fake_kernel.no_rearm = true;
	rig_attach(&p.rig, 0, p.rig.dom);
	wherry_domain_get_caps(p.rig.dom, &caps);
	CHECK_EQ(caps.dirty, WHERRY_DIRTY_NONE);
	CHECK_EQ(rig_harvest_count(&p.rig, span), 4);
	CHECK_EQ(rig_harvest_count(&p.rig, span), 4);
	rig_close(&p.rig);
}
