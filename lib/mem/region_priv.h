/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef REGION_PRIV_H
#define REGION_PRIV_H

#include "mem_priv.h"

/* What is mapped is info.fd, shared. own_fd: another's memory is borrowed, and this was ours. */
struct wherry_region {
	struct wherry_region_info info;
	char name[64];
	char reason[256]; /* empty: the page size is the one asked for */
	int own_fd;       /* -1: nothing is borrowed */
	void *stage;      /* NULL, or what is borrowed, to be written when it is owned */
};

/*
 * Map info->fd at an address, or anywhere. -EEXIST: something is there; kernels before 4.17
 * take MAP_FIXED_NOREPLACE for a mere wish.
 */
int region_map_file(const struct wherry_region_info *info, void *at, void **ret_vaddr);
/* Forget the second view of what is borrowed. */
void region_drop_stage(struct wherry_region *region);

#endif /* REGION_PRIV_H */
