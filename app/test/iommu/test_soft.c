/* SPDX-License-Identifier: BSD-3-Clause */
/* The soft backend from outside: options, what translations cost, faults, moving bytes. */
#include <errno.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rig.h"
#include "wherry_soft.h"

#define BASE UINT64_C(0x40000000)

TEST(soft_options_are_checked)
{
	static const char *const good[] = { "soft", "soft:", "soft:leaf=1g,iotlb=65536,units=8",
		"soft:format=vtdss,width=57,leaf=4k,iotlb=1,units=1", "soft:format=amdv1,leaf=256g",
		"soft:leaf=16g,format=arm64s1", "soft:format=arm64s1,width=39",
		"soft:format=amdv1,width=57", "soft:tables=16777216", NULL };
	static const char *const bad[] = { "soft:,", "soft:format", "soft:format=x",
		"soft:format=", "soft:width=40", "soft:width=-48", "soft:iotlb=0", "soft:iotlb=3",
		"soft:iotlb=131072", "soft:iotlb=64k", "soft:units=0", "soft:tables=0",
		"soft:tables=16777217", "soft:units=9", "soft:leaf=3m", "soft:leaf=8k",
		"soft:leaf=2", "soft:leaf=m", "soft:leaf=2mb", "soft:leaf=0k", "soft:leaf=2k",
		"soft:format=amdv1,leaf=512g", "soft:format=arm64s1,leaf=128k",
		"soft:format=arm64s1,width=57", "soft:colour=red", "soft:iotlb=64,",
		"soft: iotlb=64", NULL };
	struct wherry_domain *dom = NULL;

	for (size_t i = 0; good[i] != NULL; i++) {
		CHECK_EQ(wherry_domain_create(good[i], &dom), 0);
		wherry_domain_destroy(dom);
	}
	dom = NULL;
	for (size_t i = 0; bad[i] != NULL; i++)
		if (wherry_domain_create(bad[i], &dom) != -EINVAL)
			FAIL("%s was not refused", bad[i]);
	CHECK(dom == NULL);
}

static const char *const narrow[] = { "soft", "soft:width=39", NULL };

TEST_EACH(soft_device_of_few_bits_narrows_the_domain, narrow, spec)
{
	struct wherry_domain_caps before, after;
	struct wherry_device *dev = NULL;
	struct wherry_span high;
	struct rig r;

	rig_open(&r, spec);
	CHECK_EQ(wherry_device_open("soft:old,width=31", &dev), 0);
	CHECK(strcmp(wherry_device_name(dev), "soft:old,width=31") == 0);
	wherry_domain_get_caps(r.dom, &before);
	CHECK(wherry_span_last(before.usable[before.n_usable - 1]) > UINT64_C(1) << 32);
	high = rig_map(&r, UINT64_C(1) << 32, 0, 1);
	CHECK_EQ(wherry_device_attach(dev, r.dom, NULL), -EOVERFLOW);
	rig_map(&r, UINT64_C(1) << 31, 1, 1); /* still as wide as before */
	CHECK_EQ(wherry_domain_unmap(r.dom, high), 0);
	high.iova = UINT64_C(1) << 31;
	CHECK_EQ(wherry_domain_unmap(r.dom, high), 0);
	CHECK_EQ(wherry_device_attach(dev, r.dom, NULL), 0);
	wherry_domain_get_caps(r.dom, &after);
	CHECK_EQ(wherry_span_last(after.usable[after.n_usable - 1]), (UINT64_C(1) << 31) - 1);
	CHECK_EQ(wherry_domain_map(r.dom, r.mem, WHERRY_DMA_READ, &high), -EOVERFLOW);
	wherry_device_close(dev);
	rig_close(&r);
}

TEST(soft_devices_with_unknown_options_are_not_there)
{
	struct wherry_device *dev = NULL;

	CHECK_EQ(wherry_device_open("soft:a,wide=32", &dev), -ENODEV);
	CHECK_EQ(wherry_device_open("soft:a,width=12", &dev), -ENODEV);
	CHECK_EQ(wherry_device_open("soft:a,width=65", &dev), -ENODEV);
	CHECK_EQ(wherry_device_open("soft:a,width=32x", &dev), -ENODEV);
	CHECK(dev == NULL);
}

/* How many walks n DMA calls cost. */
static uint64_t
walks(struct rig *r)
{
	struct wherry_soft_stats stats;

	wherry_soft_get_stats(r->dev[0], &stats);
	return stats.walks;
}

/* The three rules of the IOTLB and D, in the order of section 3 of the design. */
TEST(soft_iotlb_remembers_whether_dirty_was_set)
{
	struct wherry_span span;
	struct rig r;
	uint64_t n;
	uint8_t byte;

	rig_open(&r, "soft");
	span = rig_map(&r, BASE, 0, 4);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	n = walks(&r);
	CHECK_EQ(rig_read(&r, 0, BASE, &byte, 1), 0);
	CHECK_EQ(rig_read(&r, 0, BASE, &byte, 1), 0);
	CHECK_EQ(walks(&r), n + 1);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0); /* cached clean: walks for D */
	CHECK_EQ(rig_poke(&r, 0, BASE, 2), 0);
	CHECK_EQ(walks(&r), n + 2);
	CHECK_EQ(rig_harvest_count(&r, span), 1);
	CHECK_EQ(rig_poke(&r, 0, BASE, 3), 0); /* cleared and invalidated: walks again */
	CHECK_EQ(walks(&r), n + 3);
	CHECK_EQ(rig_harvest_count(&r, span), 1);
	rig_close(&r);
}

TEST(soft_iotlb_holds_what_was_asked_for)
{
	struct rig r;
	uint64_t n;

	rig_open(&r, "soft:iotlb=8");
	rig_map(&r, BASE, 0, 16);
	for (unsigned int i = 0; i < 16; i++)
		CHECK_EQ(rig_poke(&r, 0, BASE + i % 8 * r.page, 1), 0);
	n = walks(&r);
	CHECK_EQ(n, 8);
	rig_close(&r);
	rig_open(&r, "soft:iotlb=1");
	rig_map(&r, BASE, 0, 16);
	for (unsigned int i = 0; i < 16; i++)
		CHECK_EQ(rig_poke(&r, 0, BASE + i % 2 * r.page, 1), 0);
	CHECK_EQ(walks(&r), 16);
	rig_close(&r);
}

/* Sets of four: of pages whose numbers end alike four stay, and a fifth takes the place of one of them. */
TEST(soft_iotlb_is_set_associative)
{
	struct rig r;
	uint64_t n;

	rig_open(&r, "soft:iotlb=16");
	rig_map(&r, BASE, 0, 128);
	CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 1), 0);
	for (unsigned int i = 0; i < 8; i++)
		CHECK_EQ(rig_poke(&r, 0, BASE + i % 4 * 16 * r.page, 1), 0);
	CHECK_EQ(walks(&r), 5);
	for (unsigned int i = 0; i < 10; i++)
		CHECK_EQ(rig_poke(&r, 0, BASE + i % 5 * 16 * r.page, 1), 0);
	n = walks(&r);
	CHECK(n > 6);
	CHECK_EQ(rig_poke(&r, 0, BASE + r.page, 1), 0); /* in another set */
	CHECK_EQ(walks(&r), n);
	rig_close(&r);
}

/* An invalidation is for what was changed: other pages stay cached. */
TEST(soft_invalidation_is_selective)
{
	struct wherry_span other;
	struct wherry_soft_stats stats;
	struct rig r;
	uint64_t n;

	rig_open(&r, "soft");
	rig_map(&r, BASE, 0, 4);
	other = rig_map(&r, BASE + 4 * r.page, 4, 4);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	CHECK_EQ(rig_poke(&r, 0, other.iova, 1), 0);
	n = walks(&r);
	CHECK_EQ(wherry_domain_unmap(r.dom, other), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	CHECK_EQ(walks(&r), n);
	wherry_soft_get_stats(r.dev[0], &stats);
	CHECK_EQ(stats.invalidations, 1);
	rig_close(&r);
}

/* A harvest that finds nothing does not disturb the device. */
TEST(soft_harvest_of_clean_pages_invalidates_nothing)
{
	struct wherry_soft_stats before, after;
	struct wherry_span span;
	struct rig r;

	rig_open(&r, "soft");
	span = rig_map(&r, BASE, 0, 64);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	wherry_soft_get_stats(r.dev[0], &before);
	CHECK_EQ(rig_harvest_count(&r, span), 0);
	wherry_soft_get_stats(r.dev[0], &after);
	CHECK_EQ(after.invalidations, before.invalidations);
	for (unsigned int i = 0; i < 64; i += 2)
		CHECK_EQ(rig_poke(&r, 0, BASE + i * r.page, 1), 0);
	CHECK_EQ(rig_harvest_count(&r, span), 32);
	wherry_soft_get_stats(r.dev[0], &after);
	CHECK_EQ(after.invalidations, before.invalidations + 1); /* one for the batch */
	rig_close(&r);
}

TEST(soft_faults_are_kept_oldest_first)
{
	struct wherry_soft_fault fault;
	struct wherry_soft_stats stats;
	struct rig r;
	uint8_t byte;

	rig_open(&r, "soft");
	CHECK(!wherry_soft_fault_take(r.dev[0], &fault));
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 70; i++)
			CHECK_EQ(rig_read(&r, 0, BASE + i * r.page + 3, &byte, 1), -EFAULT);
		for (unsigned int i = 0; i < 64; i++) {
			CHECK(wherry_soft_fault_take(r.dev[0], &fault));
			CHECK_EQ(fault.iova, BASE + i * r.page + 3);
			CHECK(!fault.write && strcmp(fault.reason, "not mapped") == 0);
		}
		CHECK(!wherry_soft_fault_take(r.dev[0], &fault));
	}
	wherry_soft_get_stats(r.dev[0], &stats);
	CHECK_EQ(stats.faults, 3 * 70);
	wherry_device_detach(r.dev[0]);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), -EFAULT);
	CHECK(wherry_soft_fault_take(r.dev[0], &fault));
	CHECK(fault.write && strcmp(fault.reason, "the device is not attached") == 0);
	rig_close(&r);
}

TEST(soft_write_that_faults_has_written_the_pages_before)
{
	static uint8_t ones[3 * 4096];
	struct wherry_soft_fault fault;
	struct rig r;

	memset(ones, 1, sizeof(ones));
	rig_open(&r, "soft");
	rig_map(&r, BASE, 0, 2);
	CHECK_EQ(rig_write(&r, 0, BASE + 10, ones, sizeof(ones)), -EFAULT);
	CHECK_EQ(r.mem[9], 0);
	CHECK(memcmp(r.mem + 10, ones, 2 * 4096 - 10) == 0);
	CHECK_EQ(r.mem[2 * 4096], 0);
	CHECK(wherry_soft_fault_take(r.dev[0], &fault));
	CHECK_EQ(fault.iova, BASE + 2 * 4096);
	CHECK_EQ(rig_write(&r, 0, BASE, ones, 0), 0);
	CHECK_EQ(rig_write(&r, 0, UINT64_MAX - 1, ones, 8), -EFAULT); /* no way round the top */
	rig_close(&r);
}

TEST(soft_dma_moves_every_byte_at_any_alignment)
{
	uint8_t from[96], back[96];
	struct rig r;

	rig_open(&r, "soft");
	rig_map(&r, BASE, 1, 2);
	for (unsigned int at = 0; at < 16; at++) {
		for (unsigned int len = 1; len <= 70; len++) {
			uint8_t *memory = r.mem + 2 * r.page - 40 + at;
			uint64_t iova = BASE + r.page - 40 + at;

			memset(r.mem + r.page, 0xee, 2 * r.page);
			for (unsigned int i = 0; i < len; i++)
				from[i] = (uint8_t)test_random();
			CHECK_EQ(rig_write(&r, 0, iova, from, len), 0);
			CHECK(memcmp(memory, from, len) == 0);
			CHECK(memory[-1] == 0xee && memory[len] == 0xee);
			memset(back, 0xdd, sizeof(back));
			CHECK_EQ(rig_read(&r, 0, iova, back + 1, len), 0);
			CHECK(memcmp(back + 1, from, len) == 0);
			CHECK(back[0] == 0xdd && back[len + 1] == 0xdd);
		}
	}
	rig_close(&r);
}

/* The application's own mapping may even be inaccessible: DMA does not use it. */
TEST(soft_file_is_reached_through_a_mapping_of_its_own)
{
	struct wherry_span span = { BASE, UINT64_C(1) << 16 };
	struct rig r;

	rig_open(&r, "soft");
	CHECK_EQ(wherry_domain_map_file(
			 r.dom, r.fd, 4096, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span),
		0);
	CHECK_EQ(mprotect(r.mem, RIG_MEM, PROT_NONE), 0);
	CHECK_EQ(rig_poke(&r, 0, BASE, 42), 0);
	CHECK_EQ(mprotect(r.mem, RIG_MEM, PROT_READ), 0);
	CHECK_EQ(r.mem[4096], 42);
	rig_close(&r);
}

/* hugetlbfs maps whole pages only; a mapping may still begin inside one. */
TEST(soft_file_of_hugepages_is_reached_at_any_offset)
{
	struct wherry_span span = { BASE, 2 * 4096 };
	const size_t huge = (size_t)2 << 20;
	uint8_t *mem = MAP_FAILED, byte = 17;
	struct rig r;
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

	if (fd >= 0 && ftruncate(fd, (off_t)huge) == 0)
		mem = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED) {
		if (fd >= 0)
			close(fd);
		SKIP("no free 2M hugepage: echo 4 > /proc/sys/vm/nr_hugepages");
	}
	rig_open(&r, "soft");
	CHECK_EQ(wherry_domain_map_file(r.dom, fd, 3 * 4096, WHERRY_DMA_WRITE, &span), 0);
	CHECK_EQ(rig_write(&r, 0, BASE + 4096, &byte, 1), 0);
	CHECK_EQ(mem[4 * 4096], 17);
	CHECK_EQ(wherry_domain_unmap(r.dom, span), 0);
	rig_close(&r);
	munmap(mem, huge);
	close(fd);
}

#define FLAGS 2000u

static void *
write_in_order(void *arg)
{
	struct rig *r = arg;

	for (uint64_t i = 1; i <= FLAGS; i++) {
		uint64_t data[8] = { i, i, i, i, i, i, i, i };

		if (rig_write(r, 0, BASE + 8, data, sizeof(data)) != 0 ||
			rig_write(r, 0, BASE + r->page, &i, sizeof(i)) != 0)
			return r;
	}
	return NULL;
}

/* Who sees the flag sees the data written before it, or newer. */
TEST(soft_writes_become_visible_in_order)
{
	void *failed = NULL;
	uint64_t flag = 0;
	pthread_t writer;
	struct rig r;

	rig_open(&r, "soft");
	rig_map(&r, BASE, 0, 2);
	CHECK_EQ(pthread_create(&writer, NULL, write_in_order, &r), 0);
	while (flag < FLAGS) {
		flag = __atomic_load_n((uint64_t *)(void *)(r.mem + r.page), __ATOMIC_ACQUIRE);
		for (unsigned int i = 1; i <= 8; i++) {
			uint64_t *word = (uint64_t *)(void *)r.mem + i;

			CHECK(__atomic_load_n(word, __ATOMIC_ACQUIRE) >= flag);
		}
	}
	CHECK_EQ(pthread_join(writer, &failed), 0);
	CHECK(failed == NULL);
	rig_close(&r);
}
