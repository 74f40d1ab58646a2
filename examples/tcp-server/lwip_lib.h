/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LWIP_LIB_H
#define LWIP_LIB_H

/*
 * The shared library liblwip as it lies in this process: its variables and
 * its heap. The library is not changed on disk; two things are changed in
 * memory:
 *
 * - its references to malloc, calloc and free point into the arena. Only the
 *   library's: the rest of the process keeps its heap.
 * - its .data and .bss are replaced by pages of a memfd that moves along.
 */

#include <stdint.h>

#include <wherry_mem.h>

struct lwip_lib {
	uintptr_t base;      /* where it was loaded */
	const void *dynamic; /* its ElfW(Dyn)[] */
	uintptr_t data;      /* first byte of .data, a page boundary */
	size_t data_len;     /* whole pages, .bss included */
};

/*
 * Find it. -ENOENT: not loaded. -EOPNOTSUPP: not laid out as needed (RELRO ends on
 * a page), or the program was not built with -fPIC and holds copies
 * of its variables; the reason is printed.
 */
int lwip_lib_find(struct lwip_lib *ret_lib);
/* Where lwIP allocates from now on; NULL: nowhere, every allocation fails. */
void lwip_lib_set_heap(struct wherry_arena *arena);
/* Point its references to malloc and friends at that heap. */
int lwip_lib_redirect(const struct lwip_lib *lib);
/*
 * Replace its variables by the first data_len bytes of @p fd, which get their
 * present content if @p fill. Before any lwIP call.
 */
int lwip_lib_map_data(const struct lwip_lib *lib, int fd, void *vaddr, bool fill);
/* The variables have come from another process: those that hold addresses of this library are set again. */
void lwip_lib_relocate(const struct lwip_lib *lib);

#endif /* LWIP_LIB_H */
