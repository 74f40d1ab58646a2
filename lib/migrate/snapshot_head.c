/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "base_priv.h"
#include "snapshot_head_priv.h"
#include "wherry_stream.h"

/* Little-endian, in this order; the rest of the page is zeroes. */
struct disk_head {
	uint8_t magic[8];
	uint32_t format, page;
	uint64_t record_at, record_len;
	uint64_t pages_low, pages_high;
	uint64_t sum[2];
};

#define SUMMED offsetof(struct disk_head, sum)

static const uint8_t magic[8] = { 'W', 'H', 'R', 'Y', 'S', 'N', 'A', 'P' };

static struct disk_head
to_disk(const struct mig_snap_head *head)
{
	struct disk_head d = {
		.format = htole32(SNAP_FORMAT),
		.page = htole32(WHERRY_STREAM_PAGE),
		.record_at = htole64(head->record_at),
		.record_len = htole64(head->record_len),
		.pages_low = htole64(head->pages_low),
		.pages_high = htole64(head->pages_high),
		.sum = { htole64(head->sum[0]), htole64(head->sum[1]) },
	};

	memcpy(d.magic, magic, sizeof(magic));
	return d;
}

void
mig_snap_sum(const struct mig_snap_head *head, const void *record, uint64_t ret_sum[2])
{
	struct disk_head d = to_disk(head);
	XXH128_hash_t h = XXH3_128bits(&d, SUMMED);

	h = XXH3_128bits_withSeed(record, head->record_len, h.low64 ^ h.high64);
	ret_sum[0] = h.low64;
	ret_sum[1] = h.high64;
}

void
mig_snap_head_put(uint8_t page[SNAP_HEAD], const struct mig_snap_head *head)
{
	struct disk_head d = to_disk(head);

	memset(page, 0, SNAP_HEAD);
	memcpy(page, &d, sizeof(d));
}

static int
check_kind(const struct disk_head *d, struct mig_reason *reason)
{
	if (memcmp(d->magic, magic, sizeof(magic)) != 0)
		return mig_fail(reason, -EPROTO, "it is no snapshot of Wherry");
	if (le32toh(d->format) != SNAP_FORMAT)
		return mig_fail(reason, -EPROTO,
			"its format is %u, this version of Wherry reads %u: use the version that wrote it",
			le32toh(d->format), SNAP_FORMAT);
	if (le32toh(d->page) != WHERRY_STREAM_PAGE)
		return mig_fail(reason, -EPROTO, "its head is damaged");
	return 0;
}

static bool
rest_is_zero(const uint8_t *page)
{
	for (size_t i = sizeof(struct disk_head); i < SNAP_HEAD; i++)
		if (page[i] != 0)
			return false;
	return true;
}

/* Nothing here can overflow: the length of the records is bounded before it is added. */
static int
check_lengths(const struct mig_snap_head *head, uint64_t file_len, struct mig_reason *reason)
{
	uint64_t behind;

	if (head->record_len == 0 || head->record_len > SNAP_RECORD_MAX ||
		head->record_at < SNAP_ALIGN || head->record_at % SNAP_ALIGN != 0 ||
		head->record_at > INT64_MAX - SNAP_RECORD_MAX)
		return mig_fail(reason, -EPROTO, "its head is damaged");
	behind = head->record_at + head->record_len;
	if (behind != file_len)
		return mig_fail(reason, -EPROTO,
			"it has %llu bytes where %llu were written: it was cut short, or added to",
			(unsigned long long)file_len, (unsigned long long)behind);
	return 0;
}

int
mig_snap_head_get(const uint8_t page[SNAP_HEAD], uint64_t file_len, struct mig_snap_head *ret_head,
	struct mig_reason *reason)
{
	struct mig_snap_head head;
	struct disk_head d;
	int rc;

	memcpy(&d, page, sizeof(d));
	rc = check_kind(&d, reason);
	if (rc != 0)
		return rc;
	if (!rest_is_zero(page))
		return mig_fail(reason, -EPROTO, "its head is damaged");
	head = (struct mig_snap_head){
		.record_at = le64toh(d.record_at),
		.record_len = le64toh(d.record_len),
		.pages_low = le64toh(d.pages_low),
		.pages_high = le64toh(d.pages_high),
		.sum = { le64toh(d.sum[0]), le64toh(d.sum[1]) },
	};
	rc = check_lengths(&head, file_len, reason);
	if (rc == 0)
		*ret_head = head;
	return rc;
}

uint64_t
mig_snap_behind(uint64_t at, uint64_t len)
{
	if (at > INT64_MAX / 2 || len > INT64_MAX / 2)
		return 0;
	return round_up(at + len, SNAP_ALIGN);
}
