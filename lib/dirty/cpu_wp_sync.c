/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CPU writes by userfaultfd write protection with a thread that resolves the faults
 * (Linux 5.19). The first write to a protected page stops its thread; the handler
 * marks the page, takes the protection away and wakes the writer. A harvest takes the
 * marks and protects those pages again.
 *
 * Why one lock: "mark, unprotect" and "take the mark, protect" must not interleave.
 * If the handler marked, a harvest took and protected, and the handler unprotected
 * only then, later writes to that page would be seen by nobody.
 *
 * A fault that cannot be resolved would stop its thread forever: the span is then
 * unregistered and counts as dirty altogether from there on.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

#include "thread_priv.h"
#include "uffd_priv.h"

#define LOG_PREFIX "dirty/wp-sync"

#define MESSAGES 32                /* faults read at once */
#define PIECE (UINT64_C(16) << 20) /* protected under the lock at once, or one hugepage */

struct sync_area {
	struct cpu_area base;
	TAILQ_ENTRY(sync_area) next;
	struct wherry_bitmap *written; /* under lock; one bit per mem_page */
	bool broken;                   /* under lock: nothing is seen any more */
};

/* lock is a leaf: nothing is taken and nobody is called back under it */
struct sync_source {
	struct cpu_source base;
	int uffd;
	int stop_fd; /* eventfd: the handler ends */
	uint64_t features;
	pthread_t handler;
	struct wherry_mutex lock;
	TAILQ_HEAD(, sync_area) areas; /* under lock */
};

static struct sync_source *
source_of(const struct sync_area *area)
{
	return (struct sync_source *)area->base.src;
}

static struct sync_area *
find_locked(struct sync_source *src, uint64_t vaddr) WHERRY_REQUIRES(&src->lock)
{
	struct sync_area *area;

	TAILQ_FOREACH(area, &src->areas, next) {
		if (vaddr - area->base.span.iova < area->base.span.len)
			return area;
	}
	return NULL;
}

static void
give_up_locked(struct sync_source *src, struct sync_area *area) WHERRY_REQUIRES(&src->lock)
{
	area->broken = true;
	uffd_unregister(src->uffd, area->base.span);
}

static void
resolve_locked(struct sync_source *src, uint64_t vaddr) WHERRY_REQUIRES(&src->lock)
{
	struct sync_area *area = find_locked(src, vaddr);
	struct wherry_span page;
	int rc;

	if (area == NULL || area->broken)
		return; /* unregistered since, which woke the writer */
	page.iova = round_down(vaddr, area->base.mem_page);
	page.len = area->base.mem_page;
	wherry_bitmap_mark(area->written, page);
	rc = wherry_fault("dirty.resolve") ? -ENOMEM : uffd_protect(src->uffd, page, false);
	if (rc < 0)
		give_up_locked(src, area);
}

static void
resolve(struct sync_source *src, const struct uffd_msg *msg)
{
	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;
	wherry_mutex_lock(&src->lock);
	resolve_locked(src, msg->arg.pagefault.address);
	wherry_mutex_unlock(&src->lock);
}

static void *
handle_faults(void *arg)
{
	struct sync_source *src = arg;
	struct pollfd fds[2] = {
		{ .fd = src->uffd, .events = POLLIN },
		{ .fd = src->stop_fd, .events = POLLIN },
	};
	struct uffd_msg msgs[MESSAGES];

	while (poll(fds, 2, -1) < 0 || fds[1].revents == 0) {
		ssize_t n = read(src->uffd, msgs, sizeof(msgs)); /* never waits */

		for (ssize_t i = 0; i < n / (ssize_t)sizeof(msgs[0]); i++)
			resolve(src, &msgs[i]);
	}
	return NULL;
}

static int
open_fds(struct sync_source *src, struct reason *why)
{
	struct uffd_want want = {
		.need = UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_SHMEM,
		.like = FEATURE_WP_UNPOPULATED,
	};

	src->uffd = uffd_open(want, &src->features, why);
	if (src->uffd < 0)
		return src->uffd;
	src->stop_fd = wherry_fault("dirty.eventfd") ? -1 : eventfd(0, EFD_CLOEXEC);
	if (src->stop_fd < 0) {
		close(src->uffd);
		return -ENOMEM;
	}
	return 0;
}

static void
close_fds(struct sync_source *src)
{
	close(src->stop_fd);
	close(src->uffd);
}

static int
sync_open(struct cpu_source **ret_src, struct reason *why)
{
	struct sync_source *src = wherry_fault("dirty.source") ? NULL : calloc(1, sizeof(*src));
	int rc;

	if (src == NULL)
		return -ENOMEM;
	TAILQ_INIT(&src->areas);
	rc = open_fds(src, why);
	if (rc != 0)
		goto free_source;
	wherry_mutex_init(&src->lock);
	rc = thread_start(&src->handler, "wherry-faults", handle_faults, src);
	if (rc != 0)
		goto fini_lock;
	*ret_src = &src->base;
	return 0;
fini_lock:
	wherry_mutex_fini(&src->lock);
	close_fds(src);
free_source:
	free(src);
	return rc;
}

static void
sync_close(struct cpu_source *base)
{
	struct sync_source *src = (struct sync_source *)base;

	eventfd_write(src->stop_fd, 1);
	pthread_join(src->handler, NULL);
	wherry_mutex_fini(&src->lock);
	close_fds(src);
	free(src);
}

/* Before Linux 6.4 an anonymous page that is not there yet cannot be protected. */
static int
populate(const struct sync_source *src, struct wherry_span span)
{
	if ((src->features & FEATURE_WP_UNPOPULATED) != 0)
		return 0;
	if (madvise((void *)(uintptr_t)span.iova, span.len, MADV_POPULATE_READ) == 0)
		return 0;
	return errno == ENOMEM ? -ENOMEM : -EFAULT;
}

static void
list_area(struct sync_source *src, struct sync_area *area)
{
	wherry_mutex_lock(&src->lock);
	TAILQ_INSERT_TAIL(&src->areas, area, next);
	wherry_mutex_unlock(&src->lock);
}

static int
sync_attach(struct cpu_source *base, struct wherry_span span, uint64_t mem_page,
	struct cpu_area **ret_area)
{
	struct sync_source *src = (struct sync_source *)base;
	struct sync_area *area = wherry_fault("dirty.area") ? NULL : calloc(1, sizeof(*area));
	int rc;

	if (area == NULL)
		return -ENOMEM;
	area->base = (struct cpu_area){ .src = base, .span = span, .mem_page = mem_page };
	rc = wherry_bitmap_create(span, mem_page, &area->written);
	if (rc != 0)
		goto free_area;
	rc = populate(src, span);
	if (rc == 0)
		rc = uffd_register(src->uffd, span);
	if (rc != 0)
		goto destroy_bitmap;
	list_area(src, area);
	*ret_area = &area->base;
	return 0;
destroy_bitmap:
	wherry_bitmap_destroy(area->written);
free_area:
	free(area);
	return rc;
}

static int
sync_renew(struct cpu_area *area)
{
	return uffd_register(((struct sync_source *)area->src)->uffd, area->span);
}

static void
sync_detach(struct cpu_area *base)
{
	struct sync_area *area = (struct sync_area *)base;
	struct sync_source *src = source_of(area);

	wherry_mutex_lock(&src->lock);
	TAILQ_REMOVE(&src->areas, area, next);
	uffd_unregister(src->uffd, area->base.span);
	wherry_mutex_unlock(&src->lock);
	wherry_bitmap_destroy(area->written);
	free(area);
}

static int
sync_start(struct cpu_area *base)
{
	struct sync_area *area = (struct sync_area *)base;
	struct sync_source *src = source_of(area);
	int rc;

	wherry_mutex_lock(&src->lock);
	wherry_bitmap_clear(area->written);
	rc = area->broken ? -EFAULT : uffd_protect(src->uffd, area->base.span, true);
	wherry_mutex_unlock(&src->lock);
	return rc;
}

static void
sync_stop(struct cpu_area *base)
{
	struct sync_area *area = (struct sync_area *)base;
	struct sync_source *src = source_of(area);

	wherry_mutex_lock(&src->lock);
	if (!area->broken && uffd_protect(src->uffd, area->base.span, false) < 0)
		give_up_locked(src, area); /* else its writers would wait forever */
	wherry_mutex_unlock(&src->lock);
}

/* The first piece at or after *cursor, marks taken and protected again. */
static int
harvest_piece_locked(struct sync_source *src, struct sync_area *area, uint64_t *cursor,
	struct wherry_bitmap *into, bool *ret_more) WHERRY_REQUIRES(&src->lock)
{
	uint64_t most = area->base.mem_page > PIECE ? area->base.mem_page : PIECE;
	struct wherry_span run;
	int rc;

	*ret_more = wherry_bitmap_next_run(area->written, cursor, &run);
	if (!*ret_more)
		return 0;
	if (run.len > most)
		run.len = most;
	*cursor = run.iova + run.len;
	wherry_bitmap_mark(into, run);
	rc = uffd_protect(src->uffd, run, true);
	if (rc == 0)
		wherry_bitmap_unmark(area->written, run);
	return rc; /* failed: partly unprotected perhaps, so the marks stay for next time */
}

static int
sync_harvest(struct cpu_area *base, struct wherry_bitmap *into)
{
	struct sync_area *area = (struct sync_area *)base;
	struct sync_source *src = source_of(area);
	uint64_t cursor = area->base.span.iova;
	bool more = true, broken = false;
	int rc, first = 0;

	while (more && !broken) {
		wherry_mutex_lock(&src->lock);
		rc = harvest_piece_locked(src, area, &cursor, into, &more);
		broken = area->broken;
		wherry_mutex_unlock(&src->lock);
		if (rc != 0 && first == 0)
			first = rc;
	}
	if (!broken)
		return first;
	wherry_bitmap_mark(into, area->base.span);
	LOG_WARN("a write fault at 0x%llx could not be resolved: all of the span counts as dirty",
		(unsigned long long)area->base.span.iova);
	return 0;
}

static size_t
sync_footprint(const struct cpu_area *base)
{
	const struct sync_area *area = (const struct sync_area *)base;

	return sizeof(*area) + wherry_bitmap_footprint(area->written);
}

const struct cpu_ops cpu_wp_sync = {
	.kind = WHERRY_CPU_WP_SYNC,
	.faults = true,
	.open = sync_open,
	.close = sync_close,
	.attach = sync_attach,
	.detach = sync_detach,
	.renew = sync_renew,
	.start = sync_start,
	.stop = sync_stop,
	.harvest = sync_harvest,
	.footprint = sync_footprint,
};
