/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PAIR_PRIV_H
#define PAIR_PRIV_H

/* What the two sides of a pair share. */

#include "pair.h"

extern const char *const pair_region_names[PAIR_REGIONS];
void pair_sleep_us(unsigned int us);
/* CLOCK_MONOTONIC. */
uint64_t pair_now_ns(void);
/* A tracker and a watch per region; the first is named as said, or as usual, and shorter by less. */
int pair_make_watches(struct pair *pair, const char *first_name, size_t less);
void pair_drop_watches(struct pair *pair);
/* The destination, from fork to exit. */
void pair_child_main(struct pair *pair);

/* The source's agent, and its writer; -errno. */
int pair_source_start(struct pair *pair);
void pair_source_stop(struct pair *pair);
/* A source in a process of its own, from fork to exit. */
void pair_apart_main(struct pair *pair);
/* _exit forgets what was counted. */
void pair_save_coverage(void);

/* Memory that is a file: of region i, -1: none; and mapped in the place of what is there. */
int pair_make_file(struct pair *pair, int i);
void pair_map_file(struct pair *pair, int i, int fd, int prot);

#endif /* PAIR_PRIV_H */
