/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FAKE_KERNEL_PRIV_H
#define FAKE_KERNEL_PRIV_H

/*
 * What the parts of the scripted kernel share: its files, what is mapped, page tables and devices, and
 * the DMA of these.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_priv.h"
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
extern struct table fake_tables[MAX_TABLES];

/* ---- files: fake_files.c ---- */

void fake_files_open(struct wherry_sys_calls *calls);
/* None may be left. */
void fake_files_close(void);
/* Which file a descriptor is of, -1: none of ours. */
int fake_file_of(int fd);

/* ---- what is mapped: fake_ioas.c; fd is the number of an iommufd ---- */

int fake_ioas_ioctl(int fd, unsigned long request, void *arg);
/* NULL: this iommufd has none of that number. */
struct space *fake_space_of(int fd, uint32_t id);
int fake_space_destroy(struct space *s);
/* Of that iommufd, 0: of all. */
void fake_spaces_forget(int fd);
bool fake_has_spaces(int fd);
/* The map that holds the address, or NULL. */
struct map *fake_map_at(struct space *s, uint64_t iova);

/* ---- tables and devices: fake_kernel.c ---- */

/* The device of that file, or NULL. */
struct device *fake_device_of(int file);
/* An iommufd takes all it holds with it, once its devices have gone. */
void fake_iommufd_close(int file);

/* ---- DMA: fake_dma.c ---- */

/* All leaves of the map are dirty. */
void fake_map_is_dirty(struct table *t, const struct map *m);

#endif /* FAKE_KERNEL_PRIV_H */
