/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "late_kept_priv.h"

struct kept_frame {
	STAILQ_ENTRY(kept_frame) next;
	struct wherry_late_frame frame; /* its bytes are behind it */
	unsigned char bytes[];
};

void
kept_init(struct kept *kept)
{
	STAILQ_INIT(kept);
}

void
kept_add(struct kept *kept, const struct wherry_late_frame *frame)
{
	struct kept_frame *k = wherry_fault("late.keep") ? NULL : malloc(sizeof(*k) + frame->len);

	if (k == NULL)
		return;
	memcpy(k->bytes, frame->bytes, frame->len);
	k->frame = *frame;
	k->frame.bytes = k->bytes;
	STAILQ_INSERT_TAIL(kept, k, next);
}

bool
kept_first(const struct kept *kept, struct wherry_late_frame *ret_frame)
{
	const struct kept_frame *k = STAILQ_FIRST(kept);

	if (k != NULL)
		*ret_frame = k->frame;
	return k != NULL;
}

void
kept_drop_first(struct kept *kept)
{
	struct kept_frame *k = STAILQ_FIRST(kept);

	STAILQ_REMOVE_HEAD(kept, next);
	free(k);
}

void
kept_clear(struct kept *kept)
{
	while (!STAILQ_EMPTY(kept))
		kept_drop_first(kept);
}
