/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CACHE_H
#define CACHE_H

/* The content cache: files read into the arena by the first owner, never changed. */

#include <stddef.h>

struct file;
struct state;

/* Load the regular files of @p dir; 0, or -errno with the reason printed. */
int cache_load(struct state *state, const char *dir);
/* Add a file "fill" of @p len pseudo-random bytes. -ENOMEM: the arena is full. */
int cache_fill(struct state *state, size_t len);
/* The file of that name, or NULL. */
struct file *cache_find(struct state *state, const char *name);

#endif /* CACHE_H */
