/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "base_priv.h"
#include "pack_priv.h"

#define LEVEL 1         /* the network is the other half of the race */
#define UNTRIED_MAX 31u /* batches in a row, at most */

struct mig_pack {
	ZSTD_CCtx *z;
	unsigned int untried; /* after the next failure */
	unsigned int skip;    /* batches yet to go untried */
};

struct mig_unpack {
	ZSTD_DCtx *z;
};

int
mig_pack_create(struct mig_pack **ret_p)
{
	struct mig_pack *p = wherry_fault("pack.alloc") ? NULL : calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	p->z = ZSTD_createCCtx();
	if (p->z == NULL) {
		free(p);
		return -ENOMEM;
	}
	*ret_p = p;
	return 0;
}

void
mig_pack_destroy(struct mig_pack *p)
{
	if (p == NULL)
		return;
	ZSTD_freeCCtx(p->z);
	free(p);
}

size_t
mig_pack(struct mig_pack *p, void *to, const void *from, size_t len)
{
	size_t n;

	if (p->skip > 0) {
		p->skip--;
		return 0;
	}
	n = ZSTD_compressCCtx(p->z, to, len - len / 8, from, len, LEVEL);
	if (!ZSTD_isError(n)) {
		p->untried = 0;
		return n;
	}
	p->untried = p->untried * 2 + 1 < UNTRIED_MAX ? p->untried * 2 + 1 : UNTRIED_MAX;
	p->skip = p->untried;
	return 0;
}

int
mig_unpack_create(struct mig_unpack **ret_u)
{
	struct mig_unpack *u = wherry_fault("unpack.alloc") ? NULL : calloc(1, sizeof(*u));

	if (u == NULL)
		return -ENOMEM;
	u->z = ZSTD_createDCtx();
	if (u->z == NULL) {
		free(u);
		return -ENOMEM;
	}
	*ret_u = u;
	return 0;
}

void
mig_unpack_destroy(struct mig_unpack *u)
{
	if (u == NULL)
		return;
	ZSTD_freeDCtx(u->z);
	free(u);
}

int
mig_unpack(struct mig_unpack *u, void *to, size_t want, const void *from, size_t len)
{
	size_t n = ZSTD_decompressDCtx(u->z, to, want, from, len);

	return ZSTD_isError(n) || n != want ? -EPROTO : 0;
}
