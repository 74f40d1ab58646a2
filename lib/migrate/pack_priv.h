/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PACK_PRIV_H
#define PACK_PRIV_H

/*
 * Batches made shorter with zstd. Each batch stands alone. One that hardly shrinks goes
 * as it is, and after it some others go untried, more each time: data that does not
 * compress costs next to nothing. Used by one thread.
 */

#include <stddef.h>

struct mig_pack;
struct mig_unpack;

/* -ENOMEM. Destroy takes NULL. */
int mig_pack_create(struct mig_pack **ret_p);
void mig_pack_destroy(struct mig_pack *p);
/* Compress len bytes into less than len at to; how many, 0: not worth it. */
size_t mig_pack(struct mig_pack *p, void *to, const void *from, size_t len);

int mig_unpack_create(struct mig_unpack **ret_u);
void mig_unpack_destroy(struct mig_unpack *u);
/* Unpack to exactly want bytes at to. -EPROTO: they are no such thing. */
int mig_unpack(struct mig_unpack *u, void *to, size_t want, const void *from, size_t len);

#endif /* PACK_PRIV_H */
