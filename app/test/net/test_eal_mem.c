/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/dpdk/eal_mem.c: EAL's memory is in the domain, all of it, now and later. */
#include <errno.h>
#include <string.h>

#include <sys/mman.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_malloc.h>
#include <rte_memory.h>

#include <wherry_soft.h>

#include "base_priv.h"
#include "net.h"

#define MIB (UINT64_C(1) << 20)

/* First of all tests: no other has started EAL yet. */
TEST(eal_domain_needs_a_started_eal)
{
	struct wherry_domain *dom = NULL;

	if (rte_eal_iova_mode() != RTE_IOVA_DC)
		SKIP("EAL runs already: run this test alone");
	CHECK_EQ(wherry_dpdk_domain_get(NULL, &dom), -EINVAL);
	CHECK(dom == NULL);
}

static struct wherry_domain *
get(void)
{
	struct wherry_domain *dom;

	net_need();
	CHECK_EQ(wherry_dpdk_domain_get(NULL, &dom), 0);
	return dom;
}

static struct wherry_dpdk_domain_stats
stats_now(void)
{
	struct wherry_dpdk_domain_stats stats;

	wherry_dpdk_domain_get_stats(&stats);
	return stats;
}

/* A device that looks whether memory can be reached. */
static struct wherry_device *
probe_open(struct wherry_domain *dom)
{
	struct wherry_device *probe;

	CHECK_EQ(wherry_device_open("soft:probe", &probe), 0);
	CHECK_EQ(wherry_device_attach(probe, dom, NULL), 0);
	return probe;
}

static bool
reaches(struct wherry_device *probe, const void *vaddr)
{
	char byte, mine = *(const char *)vaddr;

	return wherry_soft_dma_read(probe, (uintptr_t)vaddr, &byte, 1) == 0 && byte == mine;
}

TEST(eal_domain_is_one_per_process)
{
	struct wherry_domain *dom = get(), *again = NULL, *other = NULL;

	CHECK_EQ(wherry_dpdk_domain_get("soft", &again), 0);
	CHECK(again == dom);
	CHECK_EQ(wherry_dpdk_domain_get("soft:iotlb=16", &other), -EBUSY);
	CHECK(other == NULL);
	wherry_dpdk_domain_put(again);
	wherry_dpdk_domain_put(NULL);
	CHECK(stats_now().maps != 0);
	wherry_dpdk_domain_put(dom);
	CHECK_EQ(stats_now().maps, 0);
	CHECK_EQ(wherry_dpdk_domain_get("soft:iotlb=16", &other), 0);
	wherry_dpdk_domain_put(other);
}

struct walk {
	struct wherry_device *probe;
	unsigned int segments;
};

static int
check_segment(const struct rte_memseg_list *msl, const struct rte_memseg *ms, void *arg)
{
	struct walk *walk = arg;

	(void)msl;
	walk->segments++;
	return reaches(walk->probe, ms->addr) &&
			reaches(walk->probe, (char *)ms->addr + ms->len - 1)
		? 0
		: -1;
}

TEST(eal_memory_is_all_in_the_domain)
{
	struct wherry_domain *dom = get();
	struct walk walk = { .probe = probe_open(dom) };

	CHECK_EQ(rte_memseg_walk(check_segment, &walk), 0);
	CHECK(walk.segments != 0);
	CHECK_EQ(stats_now().by_address, 0);
	CHECK(!stats_now().degraded);
	CHECK(stats_now().maps <= walk.segments);
	wherry_device_close(walk.probe);
	wherry_dpdk_domain_put(dom);
}

/* What the device writes is there for the CPU: two mappings of one file, not two memories. */
TEST(eal_memory_written_by_a_device_is_what_the_cpu_sees)
{
	struct wherry_domain *dom = get();
	struct wherry_device *probe = probe_open(dom);
	char *p = rte_zmalloc(NULL, 8192, 4096);

	CHECK(p != NULL);
	CHECK_EQ(wherry_soft_dma_write(probe, (uintptr_t)p + 4090, "across the page", 15), 0);
	CHECK(memcmp(p + 4090, "across the page", 15) == 0);
	rte_free(p);
	wherry_device_close(probe);
	wherry_dpdk_domain_put(dom);
}

TEST(eal_static_memory_is_joined)
{
	struct wherry_domain *dom;

	net_need();
	if (rte_eal_has_hugepages())
		SKIP("memory comes and goes here: run without WHERRY_TEST_EAL");
	dom = get();
	CHECK_EQ(stats_now().maps, 1);
	wherry_dpdk_domain_put(dom);
}

TEST(eal_domain_get_that_fails_changes_nothing)
{
	net_need();
	FOR_EACH_FAULT(nth) {
		struct wherry_domain *dom = NULL;
		int rc = wherry_dpdk_domain_get(NULL, &dom);

		wherry_fault_disarm();
		CHECK(rc == 0 || rc == -ENOMEM);
		CHECK((rc == 0) == (dom != NULL));
		CHECK((rc == 0) == (wherry_fault_fired() == NULL)); /* no step may fail unnoticed */
		if (rc != 0) {
			CHECK_EQ(wherry_dpdk_domain_get("soft:iotlb=16", &dom), 0);
			CHECK(!stats_now().degraded);
		}
		wherry_dpdk_domain_put(dom);
		CHECK_EQ(stats_now().maps, 0);
	}
}

static void
need_dynamic_memory(void)
{
	net_need();
	if (!rte_eal_has_hugepages())
		SKIP("memory is static here: WHERRY_TEST_EAL=\"--in-memory -m 64\", with 128 free 2M hugepages");
}

TEST(eal_memory_comes_and_goes)
{
	struct wherry_device *probe;
	struct wherry_domain *dom;
	char *p;

	need_dynamic_memory();
	dom = get();
	probe = probe_open(dom);
	for (unsigned int i = 0; i < 3; i++) {
		const struct wherry_dpdk_domain_stats before = stats_now();

		p = rte_malloc(NULL, 64 * MIB, 0);
		CHECK(p != NULL);
		CHECK(stats_now().maps >= before.maps + 31);
		CHECK(reaches(probe, p) && reaches(probe, p + 64 * MIB - 1));
		rte_free(p);
		CHECK(stats_now().unmaps > before.unmaps);
		CHECK_EQ(wherry_soft_dma_write(probe, (uintptr_t)p + 32 * MIB, "x", 1), -EFAULT);
	}
	CHECK(!stats_now().degraded);
	wherry_device_close(probe);
	wherry_dpdk_domain_put(dom);
}

TEST(eal_memory_that_cannot_be_mapped_later_is_counted)
{
	struct wherry_domain *dom;
	char *p;

	need_dynamic_memory();
	dom = get();
	wherry_fault_arm(1);
	p = rte_malloc(NULL, 64 * MIB, 0);
	wherry_fault_disarm();
	CHECK(p != NULL);
	CHECK_EQ(stats_now().failed, 1);
	CHECK(stats_now().degraded);
	rte_free(p); /* with a hole in it */
	wherry_dpdk_domain_put(dom);
	dom = get(); /* nothing is left behind */
	CHECK(!stats_now().degraded);
	wherry_dpdk_domain_put(dom);
}

TEST(eal_memory_goes_under_traffic)
{
	struct port port;

	need_dynamic_memory();
	port = net_open(&(struct port_opts){ .ring = 256 });
	for (unsigned int i = 0; i < 20; i++) {
		char *p = rte_malloc(NULL, 32 * MIB, 0);

		CHECK(p != NULL);
		for (unsigned int j = 0; j < 50; j++) {
			net_send(&port, 0, net_frame(&port.mac, 128, (unsigned char)j));
			if (j == 25)
				rte_free(p);
		}
		for (unsigned int j = 0; j < 50; j++) {
			struct rte_mbuf *m = net_receive(&port, 0);

			CHECK(net_is_frame(m, 128, (unsigned char)j));
			rte_pktmbuf_free(m);
		}
	}
	CHECK_EQ(net_xstat(&port, "iommu_faults"), 0);
	net_close(&port);
}

/* Memory of the application's own, at addresses it knows. */
static void *
own_memory(uint64_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* Add memory to a heap of its own, each page at iova == vaddr + shift. */
static void
heap_add(void *p, uint64_t len, uint64_t shift)
{
	rte_iova_t iova[16];

	for (unsigned int i = 0; i < len / 4096; i++)
		iova[i] = (uintptr_t)p + i * 4096 + shift;
	CHECK_EQ(rte_malloc_heap_create("own"), 0);
	CHECK_EQ(rte_malloc_heap_memory_add("own", p, len, iova, (unsigned int)(len / 4096), 4096),
		0);
}

static void
heap_remove(void *p, uint64_t len)
{
	CHECK_EQ(rte_malloc_heap_memory_remove("own", p, len), 0);
	CHECK_EQ(rte_malloc_heap_destroy("own"), 0);
	munmap(p, len);
}

TEST(eal_memory_of_an_own_heap_is_mapped_by_address)
{
	char *p = (net_need(), own_memory(65536));
	struct wherry_device *probe;
	struct wherry_domain *dom;

	heap_add(p, 65536, 0);
	dom = get();
	probe = probe_open(dom);
	CHECK(reaches(probe, p) && reaches(probe, p + 65535));
	CHECK(stats_now().by_address != 0);
	wherry_device_close(probe);
	wherry_dpdk_domain_put(dom);
	heap_remove(p, 65536);
}

TEST(eal_memory_of_a_heap_added_later_follows)
{
	struct wherry_device *probe;
	struct wherry_domain *dom;
	char *p;

	need_dynamic_memory();
	p = own_memory(65536);
	dom = get();
	probe = probe_open(dom);
	heap_add(p, 65536, 0);
	CHECK(reaches(probe, p) && reaches(probe, p + 65535));
	CHECK_EQ(rte_malloc_heap_memory_remove("own", p, 65536), 0);
	CHECK_EQ(wherry_soft_dma_write(probe, (uintptr_t)p, "x", 1), -EFAULT);
	CHECK_EQ(rte_malloc_heap_destroy("own"), 0);
	munmap(p, 65536);
	wherry_device_close(probe);
	wherry_dpdk_domain_put(dom);
}

TEST(eal_memory_at_other_io_addresses_is_refused)
{
	char *p = (net_need(), own_memory(65536));
	struct wherry_domain *dom = NULL;

	heap_add(p, 65536, 1 << 30);
	CHECK_EQ(wherry_dpdk_domain_get(NULL, &dom), -EINVAL);
	CHECK(dom == NULL);
	heap_remove(p, 65536);
	wherry_dpdk_domain_put(get());
}

/* rte_extmem_register: the application maps it for its ports, once for each. */
TEST(eal_memory_registered_by_the_application_is_its_to_map)
{
	char *p = (net_need(), own_memory(65536));
	struct port a = net_open(&(struct port_opts){ .queues = 0 });
	struct port b = net_open(&(struct port_opts){ .queues = 0 });
	struct rte_eth_dev_info one, two;
	struct wherry_domain *dom = get();
	struct wherry_device *probe = probe_open(dom);

	CHECK_EQ(rte_eth_dev_info_get(a.id, &one), 0);
	CHECK_EQ(rte_eth_dev_info_get(b.id, &two), 0);
	CHECK_EQ(rte_extmem_register(p, 65536, NULL, 0, 4096), 0);
	CHECK(!reaches(probe, p));
	CHECK_EQ(rte_dev_dma_map(one.device, p, (uintptr_t)p, 65536), 0);
	CHECK_EQ(rte_dev_dma_map(two.device, p, (uintptr_t)p, 65536), 0);
	CHECK(reaches(probe, p) && reaches(probe, p + 65535));
	CHECK_EQ(rte_dev_dma_unmap(one.device, p, (uintptr_t)p, 65536), 0);
	CHECK_EQ(rte_dev_dma_unmap(two.device, p, (uintptr_t)p, 65536), 0);
	CHECK(!reaches(probe, p));
	CHECK_EQ(rte_extmem_unregister(p, 65536), 0);
	wherry_device_close(probe);
	wherry_dpdk_domain_put(dom);
	net_close(&b);
	net_close(&a);
	munmap(p, 65536);
}
