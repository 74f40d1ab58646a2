/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_SECONDARY_H
#define WHERRY_SECONDARY_H

#include <wherry_mem.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * A DPDK secondary process that works on the memory of an application in its primary, and
 * moves with it: what it writes is tracked, its cores park with the application's.
 *
 *	wherry_secondary_attach("name", 1, &sec);         after rte_eal_init
 *	state = wherry_secondary_root(sec, "arena");
 *	while (wherry_secondary_poll(sec)) { rx, work on state, tx }   in each polling core
 *	wherry_secondary_detach(sec);                     and end
 *
 * All regions and arenas of the application are mapped, at their addresses, for reading and writing. Only
 * cores that poll write them, and only between two polls. Allocating in an arena is for the primary.
 * Memory of EAL is not among it: an application that moves that, too, is refused while it has secondaries.
 *
 * When the application has moved, poll returns false, and the process ends: its primary's ports
 * are stopped, and the memory may be another process's (unix:). By then the mappings are private: what is
 * written here all the same goes to copies. The destination has its own secondaries, which attach when it runs.
 *
 * Threads: attach, detach, root and region from one thread; poll from any core.
 * Source:  DPDK programmer's guide: multi-process support.
 */

struct wherry_secondary;

/**
 * Attach to the application @p app of the primary process; @p pollers cores poll, exactly. They may
 * poll when this returns. Not for an application that migrates at the moment or waits to be one.
 *
 * @retval -ENOENT the primary has no such application
 * @retval -EBUSY it migrates, or waits for a peer's state: try later
 * @retval -EOPNOTSUPP this kernel cannot show writes to another process: Linux 6.7 or newer; EAL has no
 *         shared memory (--no-shconf, --in-memory)
 * @retval -EEXIST something else is mapped at the address of a region: start both with another --base-virtaddr
 * @retval -ETIMEDOUT the primary does not answer
 * @retval -ENOMEM no memory
 * @retval -EINVAL this is no secondary process, or the name is too long
 */
int wherry_secondary_attach(
	const char *app, unsigned int pollers, struct wherry_secondary **ret_sec) WHERRY_MUST_CHECK;
/** Let go of all of it. No core polls any more. NULL is fine. */
void wherry_secondary_detach(struct wherry_secondary *sec);
/** The root object of the arena of that name, as it was when attached; NULL: none. */
void *wherry_secondary_root(struct wherry_secondary *sec, const char *name);
/** The region of that name; -ENOENT: there is none. */
int wherry_secondary_region(struct wherry_secondary *sec, const char *name,
	struct wherry_region_info *ret_info) WHERRY_MUST_CHECK;
/**
 * Once per burst loop, as wherry_app_poll(): a core that is to be parked waits here. False: leave the
 * loop, and write nothing any more: another process owns the memory now, or the primary has ended.
 */
bool wherry_secondary_poll(struct wherry_secondary *sec);
/** Make every poll return false. Safe in a signal handler. */
void wherry_secondary_quit(struct wherry_secondary *sec);

WHERRY_END_DECLS

#endif /* WHERRY_SECONDARY_H */
