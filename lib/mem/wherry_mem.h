/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_MEM_H
#define WHERRY_MEM_H

#include <wherry_base.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * Memory that devices reach and that can move to another process.
 *
 * A *region* is a memfd (4 KiB pages, or 2 MiB / 1 GiB of hugetlbfs) mapped at a
 * virtual address, on a NUMA node, filled with zeroes and populated. An *arena*
 * is a region at a fixed address with an allocator inside: allocator state, free
 * lists and the root pointer all lie in the region, so its bytes are all there
 * is to move. Every pointer inside stays valid at the same address elsewhere.
 *
 * Threads: create and destroy of one object by one thread; allocation is safe from
 *          any thread, and takes the arena's own lock.
 * Source:  memfd_create(2), mmap(2) MAP_FIXED_NOREPLACE, numa(3).
 */

struct wherry_region;
struct wherry_arena;

/** Any NUMA node. */
#define WHERRY_NODE_ANY (-1)

/**
 * What kind of memory to make. Fields left 0 mean the default, but len and node are
 * said: node 0 is the first node. Start from WHERRY_REGION_OPTS_INIT to leave node out.
 */
struct wherry_region_opts {
	const char *name; /**< for people: logs, /proc/PID/maps; NULL: "wherry" */
	void *vaddr;      /**< where, a multiple of the page; NULL: anywhere */
	size_t len;       /**< bytes; rounded up to whole pages of the size asked for */
	size_t page;      /**< 4096, 2 MiB, 1 GiB; 0: 4096 */
	int node;         /**< NUMA node to prefer, or WHERRY_NODE_ANY */
	bool page_strict; /**< fail with -ENOSPC rather than fall back to 4 KiB pages */
};

/** All defaults, on any node. */
#define WHERRY_REGION_OPTS_INIT                          \
	{                                                \
		NULL, NULL, 0, 0, WHERRY_NODE_ANY, false \
	}

/** What a region turned out to be. */
struct wherry_region_info {
	const char *name;   /**< as given */
	void *vaddr;        /**< first byte */
	size_t len;         /**< bytes */
	size_t page;        /**< page size in use, in bytes */
	int fd;             /**< the memfd; stays the region's */
	int node;           /**< NUMA node, or WHERRY_NODE_ANY */
	const char *reason; /**< why not the page size asked for, for people; NULL if it is */
};

/**
 * Make a region, zeroed and populated. Hugepages that are not to be had are
 * replaced by 4 KiB pages, with the reason logged and in the info.
 *
 * @retval -EINVAL length 0, unknown page size, address not a multiple of the page, no such node
 * @retval -EEXIST something else is mapped at that address
 * @retval -ENOMEM no memory
 * @retval -ENOSPC page_strict, and the hugepages are not there
 */
int wherry_region_create(const struct wherry_region_opts *opts, struct wherry_region **ret_region)
	WHERRY_MUST_CHECK;
/** Unmap and free it; nothing is mapped for devices any more. NULL is fine. */
void wherry_region_destroy(struct wherry_region *region);
/** Fill @p ret_info; its pointers live as long as the region. */
void wherry_region_get_info(
	const struct wherry_region *region, struct wherry_region_info *ret_info);
/** Is it known what process @p pid writes through its mapping @p at (its own addresses)? */
typedef bool (*wherry_known_writer_fn)(void *ctx, int pid, struct wherry_span at);
/**
 * Another process that can write @p region, as a DPDK secondary that was given its memfd, or a
 * child of fork(): its process id; 0: none. What it writes no tracker of this process sees, unless
 * @p known says so of each of its mappings; NULL: of none. Only
 * processes that this one may look into are seen (proc(5)): its own user's, or root sees all.
 * Numbers are those of /proc, which may be of an outer pid namespace. Reads the mappings of
 * every process: some milliseconds.
 *
 * @retval -ENOENT no /proc, or one of a pid namespace that this process is not in
 * @retval -EACCES /proc cannot be read; others as opendir(3)
 */
int wherry_region_find_writer(const struct wherry_region *region, wherry_known_writer_fn known,
	void *ctx) WHERRY_MUST_CHECK;
/**
 * Another process that has the file at @p path mapped for writing, as this one has: its process id. 0: there
 * is none, or no such file, or this process has it not mapped so. What is seen, and errors, as above.
 */
int wherry_file_find_sharer(const char *path) WHERRY_MUST_CHECK;

/**
 * Map another process's region, as @p info has it there, at the same address here, for reading and writing. @p fd
 * is the region's from here; on failure it is the caller's. Destroying it unmaps it here only.
 *
 * @retval -EPROTO it is no such memory
 * @retval -EEXIST something else is mapped at that address
 * @retval -ENOMEM no memory
 */
int wherry_region_attach(const struct wherry_region_info *info, int fd,
	struct wherry_region **ret_region) WHERRY_MUST_CHECK;

/**
 * Map the memory of another process's region, of the same length and page size, in the place
 * of this one's, to be read only: a write is a fault until it is owned. @p fd is the region's
 * from here; on failure it is the caller's, and the region is as it was.
 *
 * @retval -EPROTO it is not such memory
 * @retval -EALREADY something is borrowed
 * @retval -ENOMEM no memory
 */
int wherry_region_borrow(struct wherry_region *region, int fd) WHERRY_MUST_CHECK;
/** What is borrowed is this process's: it may be written. -EINVAL: nothing is; -ENOMEM. */
int wherry_region_own(struct wherry_region *region) WHERRY_MUST_CHECK;
/** What is borrowed stays another's: the region has its own memory again, zeroed. Harmless otherwise. */
void wherry_region_give_back(struct wherry_region *region);
/**
 * The memory is another process's now: what this process reads and writes here from now on are
 * copies. Nobody writes meanwhile. -ENOMEM: no memory, it is shared still.
 */
int wherry_region_let_go(struct wherry_region *region) WHERRY_MUST_CHECK;

/**
 * Put a fresh, empty arena into @p region, which was made at the address it has to
 * have everywhere. The region stays the caller's and outlives the arena. Whatever
 * the region held before is lost.
 *
 * @retval -EINVAL the region is smaller than 64 KiB
 * @retval -ENOMEM no memory
 */
int wherry_arena_create(struct wherry_region *region, struct wherry_arena **ret_arena)
	WHERRY_MUST_CHECK;
/**
 * Open the arena whose bytes lie in @p region, as after a migration: checks magic,
 * version, address, length and every structure of the allocator.
 *
 * @retval -EPROTO there is no sound arena of this version and address in it
 * @retval -ENOMEM no memory
 */
int wherry_arena_open(struct wherry_region *region, struct wherry_arena **ret_arena)
	WHERRY_MUST_CHECK;
/** Let go of it; its bytes stay in the region. NULL is fine. */
void wherry_arena_close(struct wherry_arena *arena);

/**
 * @p len bytes, of unknown content, aligned to 16, or to @p len itself up to 4 KiB if
 * that is a power of two; NULL: full. For 0 bytes too, an address of its own.
 */
void *wherry_arena_alloc(struct wherry_arena *arena, size_t len);
/** Bytes aligned to the power of two @p align; NULL: full, or no such alignment. */
void *wherry_arena_alloc_aligned(struct wherry_arena *arena, size_t align, size_t len);
/** As realloc(3), where length 0 frees; NULL otherwise leaves @p p as it was. */
void *wherry_arena_realloc(struct wherry_arena *arena, void *p, size_t len);
/** Give back what alloc returned. NULL is fine; anything else is caught by an assertion. */
void wherry_arena_free(struct wherry_arena *arena, void *p);
/** Bytes usable at @p p. */
size_t wherry_arena_usable(const struct wherry_arena *arena, const void *p);
/** Does @p p point into the arena's region? */
bool wherry_arena_contains(const struct wherry_arena *arena, const void *p);
/** Remember the object from which all others are found, for whoever opens the arena. */
void wherry_arena_set_root(struct wherry_arena *arena, void *root);
/** What set_root was given, or NULL. */
void *wherry_arena_root(const struct wherry_arena *arena);

/** How full an arena is, in bytes. */
struct wherry_arena_stats {
	size_t total;    /**< what can be allocated at most */
	size_t used;     /**< handed out, rounded up to what it occupies */
	size_t metadata; /**< the allocator's own */
	size_t objects;  /**< allocations alive */
};

/** Count what is allocated. */
void wherry_arena_get_stats(struct wherry_arena *arena, struct wherry_arena_stats *ret_stats);
/**
 * Walk the spans of whole free pages (virtual addresses, ascending): their content
 * is worthless. Start with @p *cursor 0; false at the end. The arena must be quiet.
 */
bool wherry_arena_next_free(
	struct wherry_arena *arena, uint64_t *cursor, struct wherry_span *ret_span);

/** One NUMA node of the machine. */
struct wherry_node {
	int id;               /**< node number */
	uint64_t total;       /**< bytes of memory */
	uint64_t free;        /**< bytes free */
	unsigned int free_2m; /**< free 2 MiB hugepages */
	unsigned int free_1g; /**< free 1 GiB hugepages */
};

/** Fill up to @p n nodes; returns how many there are. Without NUMA there is one, node 0. */
size_t wherry_nodes(struct wherry_node *ret_nodes, size_t n);

WHERRY_END_DECLS

#endif /* WHERRY_MEM_H */
