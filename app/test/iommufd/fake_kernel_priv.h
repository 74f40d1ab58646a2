/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FAKE_KERNEL_PRIV_H
#define FAKE_KERNEL_PRIV_H

/* What the two halves of the scripted kernel share: its ioctls, and the DMA of its devices. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake_kernel.h"

#define PAGE UINT64_C(4096)
#define LEAF_MOST (UINT64_C(2) << 20)
#define MAX_SPACES 8u
#define MAX_TABLES 16u
#define MAX_MAPS 256u
#define MAX_LEAVES 4096u
#define FIRST_TABLE 100u
#define FIRST_DEVICE 200u

struct map {
	uint64_t iova, len;
	uint8_t *mem;
	unsigned int flags; /* 0: free */
	bool file;          /* mem is a mapping of ours */
};

struct space {  /* an IOAS */
	int fd; /* of which iommufd; 0: free */
	bool small;
	struct map maps[MAX_MAPS];
};

struct leaf {
	uint64_t iova, len;
};

struct table { /* a HWPT */
	int fd;
	struct space *space;
	bool dirty, on, other_kind;
	size_t n_dirty, n_once;
	struct leaf is_dirty[MAX_LEAVES]; /* D is set */
	struct leaf once[MAX_LEAVES];     /* it was, at some time */
};

struct device {
	int fd, iommufd; /* 0: not open, not bound */
	struct table *table;
};
extern struct device fake_devices[FAKE_DEVICES];

/* The map that holds the address, or NULL. */
struct map *fake_map_at(struct space *s, uint64_t iova);
/* All leaves of the map are dirty. */
void fake_map_is_dirty(struct table *t, const struct map *m);

#endif /* FAKE_KERNEL_PRIV_H */
