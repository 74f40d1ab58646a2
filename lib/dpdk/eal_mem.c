/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * EAL's memory follows into the domain of this process.
 *
 * Two kinds of EAL: *dynamic*, where pages come and go with events, and *static*
 * (--no-huge, --legacy-mem), where EAL refuses event callbacks and the walk at the
 * start is the whole truth. Dynamic memory gets one mapping per memseg, because a FREE
 * covers any part of earlier ALLOCs and a mapping goes away as a whole; static memory
 * is joined into runs, since it can be ten thousands of 4K pages and never goes away.
 *
 * Where a memseg has a file behind it, the domain maps the file: devices then reach the
 * memory in a way of their own (another mapping), not through EAL's addresses.
 *
 * Locks: `lock` serializes get and put. Events run under EAL's memory lock, which get
 * takes inside `lock`; so an event takes nothing of ours and only adds to counters.
 * It must not call rte_malloc either. (DPDK programmer's guide, "Memory hotplug")
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_eal_memconfig.h>
#include <rte_errno.h>
#include <rte_memory.h>

#include "base_priv.h"
#include "wherry_dpdk.h"

#define LOG_PREFIX "dpdk/mem"
#define EVENT_NAME "wherry"

static struct eal_mem {
	struct wherry_mutex lock;
	unsigned int refs; /* under lock */
	char *spec;        /* under lock */
	struct wherry_domain
		*dom; /* set before the callback is registered, until after it is gone */
	struct wherry_dpdk_domain_stats stats; /* __atomic */
} eal_mem = { .lock = { PTHREAD_MUTEX_INITIALIZER } };

/* Memory that becomes one mapping; fd < 0: known by its address only. */
struct run {
	char *vaddr;
	uint64_t len;
	int fd;
	uint64_t offset;
};

/* A walk over what is there, joining neighbours if EAL is static. */
struct walk {
	bool is_static;
	struct run run; /* len 0: none */
	int rc;
};

static void
count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void
explain(const struct run *run, int rc)
{
	const char *remedy = "";

	if (rc == -EOVERFLOW)
		remedy = "; the domain cannot address it: try --base-virtaddr=0x100000000";
	else if (rc == -ENOMEM)
		remedy = "; raise RLIMIT_MEMLOCK (ulimit -l)";
	LOG_ERR("cannot map %llu bytes of EAL memory at %p: %s%s", (unsigned long long)run->len,
		(void *)run->vaddr, strerror(-rc), remedy);
}

static int
map_run(const struct run *run)
{
	const unsigned int prot = WHERRY_DMA_READ | WHERRY_DMA_WRITE;
	struct wherry_span span = { .iova = (uintptr_t)run->vaddr, .len = run->len };
	bool has_file = run->fd >= 0;
	int rc;

	if (wherry_fault("dpdk.map"))
		rc = -ENOMEM;
	else if (has_file)
		rc = wherry_domain_map_file(eal_mem.dom, run->fd, run->offset, prot, &span);
	else
		rc = wherry_domain_map(eal_mem.dom, run->vaddr, prot, &span);
	if (rc != 0) {
		explain(run, rc);
		count(&eal_mem.stats.failed);
		return rc;
	}
	count(&eal_mem.stats.maps);
	if (!has_file)
		count(&eal_mem.stats.by_address);
	return 0;
}

/* Registered by the application: it maps and unmaps that itself, with rte_dev_dma_map(). */
static bool
is_the_applications(const struct rte_memseg_list *msl)
{
	return msl->external && !msl->heap;
}

/* The tracker names a page by its virtual address, so there has to be one address only. */
static int
check_address(const struct rte_memseg *ms)
{
	if (ms->iova == ms->addr_64)
		return 0;
	LOG_ERR("memory at %p has the I/O address %#llx: give external memory to EAL at iova == virtual address",
		ms->addr, (unsigned long long)ms->iova);
	count(&eal_mem.stats.failed);
	return -EINVAL;
}

static struct run
run_of(const struct rte_memseg_list *msl, const struct rte_memseg *ms)
{
	struct run run = { .vaddr = ms->addr, .len = ms->len, .fd = -1 };
	size_t offset = 0;

	if (msl->external) /* EAL has no file for it */
		return run;
	run.fd = rte_memseg_get_fd_thread_unsafe(ms);
	if (run.fd >= 0 && rte_memseg_get_fd_offset_thread_unsafe(ms, &offset) != 0)
		run.fd = -1;
	run.offset = offset;
	return run;
}

static bool
follows(const struct run *run, const struct run *next)
{
	return next->vaddr == run->vaddr + run->len && next->fd == run->fd &&
		(run->fd < 0 || next->offset == run->offset + run->len);
}

static int
walk_flush(struct walk *walk)
{
	int rc = walk->run.len == 0 ? 0 : map_run(&walk->run);

	walk->run.len = 0;
	return rc;
}

static int
walk_one(const struct rte_memseg_list *msl, const struct rte_memseg *ms, void *arg)
{
	struct walk *walk = arg;
	struct run next;

	if (is_the_applications(msl) || ms->iova == RTE_BAD_IOVA)
		return 0;
	walk->rc = check_address(ms);
	if (walk->rc != 0)
		return -1;
	next = run_of(msl, ms);
	if (walk->is_static && walk->run.len != 0 && follows(&walk->run, &next)) {
		walk->run.len += next.len;
		return 0;
	}
	walk->rc = walk_flush(walk);
	walk->run = next;
	return walk->rc == 0 ? 0 : -1;
}

/*
 * Under EAL's write lock, the pages there already. There are no events for memory that
 * is the application's, and a heap's external memory is not marked as such yet.
 */
static void
mem_came(char *vaddr, size_t len)
{
	const struct rte_memseg_list *msl = rte_mem_virt2memseg_list(vaddr);
	const struct rte_memseg *ms;
	struct run run;

	if (msl == NULL)
		return;
	for (size_t done = 0; done < len; done += run.len) {
		ms = rte_mem_virt2memseg(vaddr + done, msl);
		if (ms == NULL || ms->len == 0)
			return;
		run = run_of(msl, ms);
		if (ms->iova != RTE_BAD_IOVA && check_address(ms) == 0)
			(void)map_run(&run); /* logged and counted: nobody to tell here */
	}
}

/* Under EAL's write lock, the pages still there. -ENOENT: they never could be mapped. */
static void
mem_goes(char *vaddr, size_t len)
{
	struct wherry_span span = { .iova = (uintptr_t)vaddr, .len = len };
	int rc = wherry_domain_unmap(eal_mem.dom, span);

	if (rc == 0)
		count(&eal_mem.stats.unmaps);
	else if (rc != -ENOENT)
		LOG_ERR("cannot unmap EAL memory at %p: %s", (void *)vaddr, strerror(-rc));
}

static void
on_event(enum rte_mem_event event, const void *addr, size_t len, void *arg)
{
	char *vaddr = (char *)(uintptr_t)addr;

	(void)arg;
	if (event == RTE_MEM_EVENT_ALLOC)
		mem_came(vaddr, len);
	else
		mem_goes(vaddr, len);
}

/* The lock closes the gap between what the walk sees and the first event. */
static int
follow(void)
{
	struct walk walk = { .rc = 0 };
	int rc = 0;

	rte_mcfg_mem_read_lock();
	if (rte_mem_event_callback_register(EVENT_NAME, on_event, NULL) != 0) {
		walk.is_static = rte_errno == ENOTSUP;
		rc = walk.is_static ? 0 : -rte_errno;
	}
	if (rc == 0 && rte_memseg_walk_thread_unsafe(walk_one, &walk) != 0)
		rc = walk.rc != 0 ? walk.rc : -EFAULT;
	if (rc == 0)
		rc = walk_flush(&walk);
	rte_mcfg_mem_read_unlock();
	if (rc != 0)
		(void)rte_mem_event_callback_unregister(EVENT_NAME, NULL);
	else
		LOG_INFO("EAL memory is in the domain: %s, %llu mappings",
			walk.is_static ? "static" : "follows allocations",
			(unsigned long long)eal_mem.stats.maps);
	return rc;
}

static int
check_iova_mode(void)
{
	switch (rte_eal_iova_mode()) {
	case RTE_IOVA_VA:
		return 0;
	case RTE_IOVA_PA:
		LOG_ERR("EAL uses physical I/O addresses, which mean nothing in a domain: start it with --iova-mode=va");
		return -EINVAL;
	case RTE_IOVA_DC:
	default:
		LOG_ERR("no EAL memory yet: call rte_eal_init() first");
		return -EINVAL;
	}
}

static int
create_locked(const char *spec) WHERRY_REQUIRES(&eal_mem.lock)
{
	int rc = check_iova_mode();

	if (rc != 0)
		return rc;
	memset(&eal_mem.stats, 0, sizeof(eal_mem.stats));
	eal_mem.spec = wherry_fault("dpdk.spec") ? NULL : strdup(spec != NULL ? spec : "soft");
	if (eal_mem.spec == NULL)
		return -ENOMEM;
	rc = wherry_domain_create(eal_mem.spec, &eal_mem.dom);
	if (rc != 0)
		goto free_spec;
	rc = follow();
	if (rc != 0)
		goto destroy_domain;
	return 0;
destroy_domain:
	wherry_domain_destroy(eal_mem.dom);
	eal_mem.dom = NULL;
free_spec:
	free(eal_mem.spec);
	eal_mem.spec = NULL;
	return rc;
}

int
wherry_dpdk_domain_get(const char *spec, struct wherry_domain **ret_dom)
{
	int rc = 0;

	wherry_mutex_lock(&eal_mem.lock);
	if (eal_mem.refs == 0)
		rc = create_locked(spec);
	else if (spec != NULL && strcmp(spec, eal_mem.spec) != 0)
		rc = -EBUSY;
	if (rc == 0) {
		eal_mem.refs++;
		*ret_dom = eal_mem.dom;
	}
	wherry_mutex_unlock(&eal_mem.lock);
	return rc;
}

void
wherry_dpdk_domain_put(struct wherry_domain *dom)
{
	if (dom == NULL)
		return;
	wherry_mutex_lock(&eal_mem.lock);
	if (--eal_mem.refs == 0) {
		(void)rte_mem_event_callback_unregister(EVENT_NAME, NULL);
		wherry_domain_destroy(eal_mem.dom);
		eal_mem.dom = NULL;
		free(eal_mem.spec);
		eal_mem.spec = NULL;
		memset(&eal_mem.stats, 0, sizeof(eal_mem.stats));
	}
	wherry_mutex_unlock(&eal_mem.lock);
}

void
wherry_dpdk_domain_get_stats(struct wherry_dpdk_domain_stats *ret_stats)
{
	const struct wherry_dpdk_domain_stats *s = &eal_mem.stats;

	ret_stats->maps = __atomic_load_n(&s->maps, __ATOMIC_RELAXED);
	ret_stats->unmaps = __atomic_load_n(&s->unmaps, __ATOMIC_RELAXED);
	ret_stats->failed = __atomic_load_n(&s->failed, __ATOMIC_RELAXED);
	ret_stats->by_address = __atomic_load_n(&s->by_address, __ATOMIC_RELAXED);
	ret_stats->degraded = ret_stats->failed != 0;
}
