/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_DIRTY_H
#define WHERRY_DIRTY_H

#include <wherry_bitmap.h>
#include <wherry_iommu.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * The dirty tracker: every source of writes to a region, merged into one bitmap.
 *
 * A *watch* is a region of memory under the tracker's eye. Its sources are the
 * IOMMU dirty bits of the domains it is mapped in and write logs (device writes), and the
 * CPU's writes of this process; those of another are for wherry_writer.h. A harvest asks every source and keeps what it learned in
 * the watch's bitmap, as *pending* pages; take hands pending pages to the sender.
 * What a harvest took from a source is never lost: on failure it stays pending.
 *
 * Addresses: a page is named by its virtual address, in bitmaps too, and every
 *            domain maps a watched region at iova == virtual address.
 * Pages:     one bit stands for 4 KiB, whatever the memory's own page size.
 * New:       a watch starts with all its pages pending once.
 * Errors:    0 or -errno; a call that fails has changed nothing.
 * Threads:   all calls on one tracker may run concurrently, but destroy.
 * Source:    Linux Documentation/admin-guide/mm/{userfaultfd,pagemap}.rst.
 */

struct wherry_tracker;
struct wherry_watch;

/** How the CPU's writes are known. */
enum wherry_cpu_source {
	WHERRY_CPU_AUTO,     /**< the first of the following that this kernel has */
	WHERRY_CPU_WP_ASYNC, /**< userfaultfd WP_ASYNC and PAGEMAP_SCAN: Linux 6.7 */
	WHERRY_CPU_WP_SYNC,  /**< userfaultfd write-protect, a thread resolves faults: Linux 5.19 */
	WHERRY_CPU_HASH, /**< a hash per page, all pages read at each harvest; see wherry_watch_sent() */
	WHERRY_CPU_NONE, /**< not at all: somebody else knows */
};

/** How a tracker works. Zero is the default for each field. */
struct wherry_tracker_opts {
	enum wherry_cpu_source cpu; /**< source of CPU writes */
	unsigned int
		period_ms; /**< harvest by itself this often while started; 0: on request only */
};

/**
 * Make a tracker. Its threads, and that of start, run on the CPUs the caller may run on:
 * do not call from a core that polls.
 *
 * @retval -EOPNOTSUPP this kernel lacks the CPU source asked for; the log says why
 * @retval -EINVAL there is no such CPU source
 * @retval -ENOMEM no memory
 */
int wherry_tracker_create(const struct wherry_tracker_opts *opts, struct wherry_tracker **ret_tr)
	WHERRY_MUST_CHECK;
/** Stop, forget all watches and free. NULL is fine. */
void wherry_tracker_destroy(struct wherry_tracker *tr);
/** The CPU source in use, and in @p ret_reason, if not NULL, why no better one; never NULL. */
enum wherry_cpu_source wherry_tracker_cpu(const struct wherry_tracker *tr, const char **ret_reason);
/** "wp-async", "wp-sync", "hash", "none", "auto". */
const char *wherry_cpu_source_name(enum wherry_cpu_source source);

/**
 * Watch @p len bytes at @p vaddr, both multiples of 4 KiB and of the memory's page
 * size; @p mem_page is that page size. Works while started, too. The memory stays mapped
 * and is not discarded (madvise, hole punching) while it is watched.
 *
 * @retval -EINVAL it is empty, or no whole number of pages; the page is no power of two
 *         from 4 KiB to 1 GiB
 * @retval -EOVERFLOW it reaches the end of the 64-bit space
 * @retval -EEXIST part of it is watched already
 * @retval -ENOMEM no memory
 * @retval -EFAULT the memory cannot be tracked by the CPU source
 */
int wherry_watch_create(struct wherry_tracker *tr, const char *name, struct wherry_span span,
	uint64_t mem_page, struct wherry_watch **ret_w) WHERRY_MUST_CHECK;
/** Watch it no longer. NULL is fine. */
void wherry_watch_destroy(struct wherry_watch *w);
/** The span that create was given. */
struct wherry_span wherry_watch_span(const struct wherry_watch *w);
/** The name that create was given. */
const char *wherry_watch_name(const struct wherry_watch *w);
/** The size of the memory's own pages that create was given. */
uint64_t wherry_watch_page(const struct wherry_watch *w);

/**
 * Devices write the region through @p dom, which maps it at iova == virtual address
 * and outlives the watch. A domain whose caps say NONE or PERPETUAL makes every page
 * dirty at every harvest: unknown is never clean. While started, all pages of the
 * watch are pending once more.
 *
 * @retval -EEXIST it was added before
 * @retval -EBUSY tracking is on in it by somebody else, who would take our bits
 * @retval -ENOMEM no memory
 */
int wherry_watch_add_domain(struct wherry_watch *w, struct wherry_domain *dom) WHERRY_MUST_CHECK;
/**
 * Devices reach the region through @p dom no longer: senders are paused, its mappings are
 * taken away by WHERRY_UNMAP_EXACT, what devices wrote is pending, and the domain is not
 * asked any more; the watch goes on with its other sources. A domain that cannot do it exactly
 * makes all pages pending.
 *
 * @retval -ENOENT the domain was not added, the region is not mapped in it, or a mapping
 *         goes beyond it
 * @retval -EBUSY, -ETIMEDOUT as wherry_tracker_pause()
 * @retval -ENOMEM no memory
 */
int wherry_watch_remove_domain(struct wherry_watch *w, struct wherry_domain *dom,
	unsigned int timeout_ms) WHERRY_MUST_CHECK;
/** Somebody else who knows what devices wrote: a device's own log, a driver's descriptors. */
struct wherry_write_log {
	const char *name; /**< for people */
	/** Note writes to @p span from now on; those before are forgotten. -errno: it cannot. */
	int (*start)(void *ctx, struct wherry_span span);
	/** Note them no longer. */
	void (*stop)(void *ctx, struct wherry_span span);
	/**
	 * Mark what was written in @p span since start or the last harvest, and forget it. After
	 * a failure the whole span counts as dirty.
	 */
	int (*harvest)(void *ctx, struct wherry_span span, struct wherry_bitmap *into);
	/**
	 * May be NULL. What the watch's domains reported, in a harvest that asked them after this
	 * log; NULL: they could not tell.
	 */
	void (*heard)(void *ctx, struct wherry_span span, const struct wherry_bitmap *reported);
	void *ctx; /**< handed to each */
};
/**
 * Ask @p log, too: where no domain can tell, in place of one, for memory that devices write
 * in no way that it does not know. Its calls come one at a time; they may not call the
 * tracker. @p log is copied. While started, all pages of the watch are pending once more.
 *
 * @retval -EEXIST it was added before
 * @retval -ENOMEM no memory
 *
 * Others as its start.
 */
int wherry_watch_add_log(struct wherry_watch *w, const struct wherry_write_log *log)
	WHERRY_MUST_CHECK;
/**
 * Ask it no longer. While started it is stopped, and all pages of the watch are pending once
 * more. Harmless when it was not added.
 */
void wherry_watch_remove_log(struct wherry_watch *w, const struct wherry_write_log *log);
/**
 * Count @p span dirty at every harvest: memory written where no source can see it,
 * as through another mapping of the same file. -EINVAL: not in the watch.
 */
int wherry_watch_always(struct wherry_watch *w, struct wherry_span span) WHERRY_MUST_CHECK;

/**
 * Other memory has been mapped where the watch is, as in a handover. Writes are noted
 * from the next start on, as ever. -EBUSY: the tracker is on; -EFAULT: such memory cannot be
 * tracked; -ENOMEM: no memory.
 */
int wherry_watch_renew(struct wherry_watch *w) WHERRY_MUST_CHECK;

/**
 * Says which pages are worthless now: marks in @p worthless, clean on entry, pages of
 * the watch in which every byte is of no use to a receiver. Unknown means of use.
 * @p final: writers and devices are stopped, so the answer is exact.
 */
typedef void (*wherry_filter_fn)(void *ctx, bool final, struct wherry_bitmap *worthless);
/** Ask @p fn at each take; NULL: nothing is worthless. @p fn must not take from the watch. */
void wherry_watch_set_filter(struct wherry_watch *w, wherry_filter_fn fn, void *ctx);
/** Ask it now: mark what is worthless in @p worthless, which is clean; without a filter nothing. */
void wherry_watch_worthless(struct wherry_watch *w, bool final, struct wherry_bitmap *worthless);

/**
 * Begin: every page of every watch is pending, and from this call on no write is
 * missed. Tracking goes on in all domains.
 *
 * @retval -EALREADY it was started
 * @retval -EBUSY tracking is on in a domain by somebody else, who would take our bits
 * @retval -EFAULT memory of a watch is no longer there, or a write log does not start (logged)
 * @retval -ENOMEM no memory
 */
int wherry_tracker_start(struct wherry_tracker *tr) WHERRY_MUST_CHECK;
/** End tracking, forget what is pending, switch tracking off in all domains. */
void wherry_tracker_stop(struct wherry_tracker *tr);
/**
 * Ask every source of every watch now. If one fails the others are asked all the same,
 * and the first error is returned. Waits while a span is paused, up to five seconds.
 *
 * @retval -EINVAL not started
 * @retval -ETIMEDOUT a span stays paused; nobody was asked
 */
int wherry_tracker_harvest(struct wherry_tracker *tr) WHERRY_MUST_CHECK;

/**
 * From return to wherry_tracker_resume() nobody copies bytes of @p span or scans it: harvests
 * and copies under way are waited for, those that come later wait. For who needs memory
 * left alone, as an exact unmap by content does (doc/unmap_dirty). Other spans may be paused at
 * the same time; copies of other memory go on. Who pauses neither harvests nor copies, nor
 * holds what a sender may wait for.
 *
 * @retval -EINVAL the span is empty or leaves the 64-bit space
 * @retval -EBUSY part of it is paused by somebody else, or 64 spans are
 * @retval -ETIMEDOUT a harvest or a copy has not ended within @p timeout_ms: it is not paused
 */
int wherry_tracker_pause(struct wherry_tracker *tr, struct wherry_span span,
	unsigned int timeout_ms) WHERRY_MUST_CHECK;
/** Go on. @p span is one that was paused; any other does nothing. Any thread. */
void wherry_tracker_resume(struct wherry_tracker *tr, struct wherry_span span);

/**
 * Move pending pages into @p into, which covers the watch with 4 KiB pages. Pages the
 * filter calls worthless stay pending, unless @p final: then they are dropped. A
 * page may be copied after this call has returned, see wherry_watch_copy_begin().
 * -EINVAL: not started, or @p into does not cover the watch.
 */
int wherry_watch_take(struct wherry_watch *w, bool final, struct wherry_bitmap *into)
	WHERRY_MUST_CHECK;
/**
 * Around the copying of taken pages, and of nothing that may block: waits while part of
 * @p span is paused, and a pause waits for the end. Each begin that succeeds has its end, with
 * the same span.
 *
 * @retval -EINVAL the span is not in the watch
 * @retval -ETIMEDOUT it stays paused for five seconds: nothing may be copied
 */
int wherry_watch_copy_begin(struct wherry_watch *w, struct wherry_span span) WHERRY_MUST_CHECK;
/** The copy is made. */
void wherry_watch_copy_end(struct wherry_watch *w, struct wherry_span span);
/** Make pages pending again, as when sending them failed. */
void wherry_watch_give_back(struct wherry_watch *w, const struct wherry_bitmap *pages);
/**
 * Tell what was sent of taken pages: @p copy holds the bytes of the whole pages @p span,
 * as the receiver will have them; call it in the order in which they are sent. Only
 * WHERRY_CPU_HASH needs it, to compare later contents with; a page taken and not
 * told is pending again at the next harvest. -EINVAL: not whole pages of the watch.
 */
int wherry_watch_sent(struct wherry_watch *w, struct wherry_span span, const void *copy);

/** What one harvest of a watch learned. Counts are pages of 4 KiB. */
struct wherry_watch_stats {
	uint64_t harvests;       /**< since start */
	uint64_t iommu_pages;    /**< reported by IOMMU dirty bits, since start */
	uint64_t log_pages;      /**< reported by write logs, since start */
	uint64_t cpu_pages;      /**< reported by the CPU source, since start */
	uint64_t always_pages;   /**< counted without looking, since start */
	uint64_t iommu_ns;       /**< time spent asking domains, since start */
	uint64_t cpu_ns;         /**< time spent asking the CPU source, since start */
	uint64_t pending_pages;  /**< known dirty and not taken */
	uint64_t filtered_pages; /**< pending because the last take found them worthless */
	double iommu_rate;       /**< pages per second dirtied by devices, recent */
	double cpu_rate;         /**< pages per second dirtied by the CPU, recent */
	uint64_t footprint;      /**< bytes the tracker uses for this watch */
};

/** Fill @p ret_stats. */
void wherry_watch_get_stats(const struct wherry_watch *w, struct wherry_watch_stats *ret_stats);
/** How many pages would be pending @p seconds from now, if writing goes on as it does. */
double wherry_watch_forecast(const struct wherry_watch *w, double seconds);

/**
 * Call @p fn for each watch, in the order of creation, until it returns not 0; returns
 * that. @p fn may destroy the watch it is given; nobody else may destroy one meanwhile.
 */
int wherry_tracker_each(
	struct wherry_tracker *tr, int (*fn)(void *ctx, struct wherry_watch *w), void *ctx);

WHERRY_END_DECLS

#endif /* WHERRY_DIRTY_H */
