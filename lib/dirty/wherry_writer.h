/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_WRITER_H
#define WHERRY_WRITER_H

#include <wherry_dirty.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * Another process that writes memory of a watch, as a DPDK secondary does.
 *
 * Write protection lies in page tables, and each process has its own: a tracker does not see what
 * another process writes to memory that both have mapped. So that one makes its writes known: it opens
 * two descriptors, has them cover the memory at its address, which is the same in both, and hands
 * them over (SCM_RIGHTS, rte_mp). The tracker's process protects the other's pages through them
 * when it starts, and asks the kernel for the other's writes at each harvest; the other does nothing
 * for it, and runs at full speed while the tracker is off.
 *
 *	it:  wherry_writer_open(&fds); wherry_writer_cover(&fds, span); send fds; wait for an answer
 *	we:  wherry_watch_add_writer(w, &fds, &writer); answer
 *	it:  writes, from now on
 *
 * No write is lost if it ends, is killed, or takes the mapping away: what it wrote last is then
 * unknown, and all of the watch is pending once. It has to be stopped, as this process's own
 * threads, before a final harvest: lib/dpdk does it for secondaries (wherry_secondary.h).
 *
 * Threads: as wherry_dirty.h.
 * Source:  Linux Documentation/admin-guide/mm/pagemap.rst; userfaultfd(2), which may be used by another process.
 */

/** How the writes of one process can be seen. */
struct wherry_writer_fds {
	int uffd;    /**< userfaultfd(2), which knows that process's memory */
	int pagemap; /**< its /proc/self/pagemap */
};

struct wherry_writer;

/** Of this process. -EOPNOTSUPP: its kernel cannot (Linux 6.7 can), logged. */
int wherry_writer_open(struct wherry_writer_fds *ret_fds) WHERRY_MUST_CHECK;
/**
 * Its writes to @p span, whole pages of the memory there, can be seen. The memory stays mapped and
 * is not discarded.
 *
 * @retval -EFAULT there is no such memory, or it is covered already (logged)
 * @retval -ENOMEM no memory
 */
int wherry_writer_cover(const struct wherry_writer_fds *fds, struct wherry_span span)
	WHERRY_MUST_CHECK;
/** Close both. Writes are seen for as long as somebody else has them. */
void wherry_writer_close(struct wherry_writer_fds *fds);

/**
 * In the tracker's process: count what that process writes among the writes to @p w, see
 * wherry_watch_stats.log_pages. The descriptors stay the caller's. While started, all pages are
 * pending once more. Take it away before the watch is destroyed.
 *
 * @retval -EPROTO they are no such descriptors, or do not cover the watch
 * @retval -ENOMEM no memory, or no more descriptors
 */
int wherry_watch_add_writer(struct wherry_watch *w, const struct wherry_writer_fds *fds,
	struct wherry_writer **ret_writer) WHERRY_MUST_CHECK;
/**
 * Do not ask it any more: it does not write now, or all it writes is lost. While started, all
 * pages are pending once more. NULL is fine.
 */
void wherry_watch_remove_writer(struct wherry_watch *w, struct wherry_writer *writer);

/**
 * Is the process @p pid, as this one's /proc numbers it, who opened @p fds, and are its writes to
 * all of @p span seen? Not so when it has ended, or has begun another program since.
 */
bool wherry_writer_covers(const struct wherry_writer_fds *fds, int pid, struct wherry_span span);
/** Has it nothing of @p span mapped any more, as when it has ended? Then it cannot write there. */
bool wherry_writer_gone(const struct wherry_writer_fds *fds, struct wherry_span span);

WHERRY_END_DECLS

#endif /* WHERRY_WRITER_H */
