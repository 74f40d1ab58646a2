/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The head of a snapshot file, right or almost right, against the rules of doc/snapshot.rst
 * said again. A head that is taken must be written as it was read, lie in its file, and
 * need no more memory than one record.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "models.h"
#include "snapshot_head_priv.h"

#define MIB ((unsigned __int128)1 << 20)

static uint64_t
number(const uint8_t *page, size_t at, size_t len)
{
	uint64_t n = 0;

	for (size_t i = 0; i < len; i++)
		n |= (uint64_t)page[at + i] << 8 * i;
	return n;
}

static bool
is_right(const uint8_t *page, uint64_t file_len)
{
	unsigned __int128 at = number(page, 16, 8), len = number(page, 24, 8);
	bool rest = true;

	for (size_t i = 64; i < SNAP_HEAD; i++)
		rest = rest && page[i] == 0;
	return memcmp(page, "WHRYSNAP", 8) == 0 && number(page, 8, 4) == 1 &&
		number(page, 12, 4) == 4096 && rest && len >= 1 && len <= 2 * MIB &&
		at >= 2 * MIB && at % (2 * MIB) == 0 && at + len == file_len &&
		at <= INT64_MAX - 2 * MIB;
}

static struct mig_snap_head
make_head(struct fuzz_input *in)
{
	return (struct mig_snap_head){
		.record_at = fuzz_below(in, 8) == 0 ? fuzz_take(in, 8)
						    : (1 + fuzz_below(in, 4)) * SNAP_ALIGN,
		.record_len = fuzz_below(in, 8) == 0 ? fuzz_take(in, 8) : 1 + fuzz_take(in, 2),
		.pages_low = fuzz_take(in, 1),
		.pages_high = fuzz_take(in, 1),
		.sum = { fuzz_take(in, 1), fuzz_take(in, 1) },
	};
}

const char *
snapshot_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	uint8_t page[SNAP_HEAD], again[SNAP_HEAD];

	while (fuzz_more(&in)) {
		struct mig_snap_head head = make_head(&in), got;
		uint64_t file_len = head.record_at + head.record_len;
		struct mig_reason why;
		int rc;

		mig_snap_head_put(page, &head);
		for (uint64_t n = fuzz_below(&in, 3); n > 0; n--)
			page[fuzz_below(&in, 4) == 0 ? fuzz_below(&in, SNAP_HEAD)
						     : fuzz_below(&in, 64)] =
				(uint8_t)fuzz_take(&in, 1);
		if (fuzz_below(&in, 8) == 0)
			file_len = fuzz_take(&in, 8);
		rc = mig_snap_head_get(page, file_len, &got, &why);
		FUZZ_EXPECT(&in, rc == 0 || (rc == -EPROTO && why.text[0] != '\0'));
		FUZZ_EXPECT(&in, (rc == 0) == is_right(page, file_len));
		if (rc == 0)
			mig_snap_head_put(again, &got);
		FUZZ_EXPECT(&in, rc != 0 || memcmp(page, again, sizeof(page)) == 0);
	}
	return in.failed;
}
