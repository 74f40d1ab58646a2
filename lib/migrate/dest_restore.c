/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A destination that reads a snapshot instead of listening. The file is taken for
 * hostile: its length, head, record, regions, sections and the arbiter's word are looked
 * at before the first page, its digest before anything is owned. Memory is bounded by one
 * record; pages are read straight to where they belong.
 */
#define LOG_PREFIX "migrate/restore"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dest_priv.h"
#include "lane_priv.h"
#include "owner_priv.h"
#include "sections_priv.h"
#include "snapshot_head_priv.h"
#include "socket_priv.h"

#define PAGE WHERRY_STREAM_PAGE
#define PIECE ((uint64_t)1 << 20) /* bytes read at once */

struct restore {
	struct mig_dest *d;
	const char *path;
	int fd;
	struct mig_snap_head head;
	uint8_t *record; /* head.record_len bytes */
	struct wherry_decoder *decoder;
	struct wherry_record hello; /* in the decoder */
	struct wherry_owner known;  /* at the arbiter */
	struct mig_digest digest;
	uint64_t done; /* bytes of all regions */
};

static int
refuse(struct restore *r, int rc, const char *why)
{
	return mig_fail(&r->d->reason, rc, "snapshot %.100s: %s", r->path, why);
}

static int
read_all(struct restore *r, void *to, uint64_t len, uint64_t at)
{
	uint8_t *p = to;

	while (len > 0) {
		ssize_t n = wherry_fault("restore.read")
			? -EIO
			: wherry_sys->pread(r->fd, p, len, (off_t)at);

		if (n == -EINTR)
			continue;
		if (n == 0)
			return refuse(r, -EPROTO, "it was cut short");
		if (n < 0)
			return refuse(r, (int)n, strerror((int)-n));
		p += n;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int
open_file(struct restore *r, uint64_t *ret_len)
{
	struct stat st = { .st_size = 0 };
	int rc = 0;

	r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (r->fd < 0 || fstat(r->fd, &st) != 0)
		rc = -errno;
	if (rc != 0)
		return refuse(r, rc, strerror(-rc));
	if (!S_ISREG(st.st_mode))
		return refuse(r, -EINVAL, "it is no file");
	if (st.st_size < (off_t)SNAP_HEAD)
		return refuse(r, -EPROTO, "it was cut short, or is no snapshot of Wherry");
	*ret_len = (uint64_t)st.st_size;
	return 0;
}

static int
read_head(struct restore *r)
{
	uint8_t page[SNAP_HEAD];
	struct mig_reason why;
	uint64_t len = 0, sum[2];
	int rc = open_file(r, &len);

	if (rc == 0)
		rc = read_all(r, page, sizeof(page), 0);
	if (rc != 0)
		return rc;
	rc = mig_snap_head_get(page, len, &r->head, &why);
	if (rc != 0)
		return refuse(r, rc, why.text);
	r->record = wherry_fault("restore.record") ? NULL : malloc(r->head.record_len);
	if (r->record == NULL)
		return mig_no_memory(&r->d->reason);
	rc = read_all(r, r->record, r->head.record_len, r->head.record_at);
	if (rc != 0)
		return rc;
	mig_snap_sum(&r->head, r->record, sum);
	if (sum[0] != r->head.sum[0] || sum[1] != r->head.sum[1])
		return refuse(r, -EPROTO, "its head or its record is damaged");
	return 0;
}

/* The sum says that it was written so; whether it makes sense is the decoder's business. */
static int
decode(struct restore *r)
{
	uint64_t at = 0;
	int rc = 0;

	if (wherry_decoder_create(&r->decoder) != 0)
		return mig_no_memory(&r->d->reason);
	while (rc == 0 && at < r->head.record_len) {
		size_t cap, n;
		uint8_t *to = wherry_decoder_space(r->decoder, &cap);

		n = r->head.record_len - at < cap ? (size_t)(r->head.record_len - at) : cap;
		memcpy(to, r->record + at, n);
		wherry_decoder_fed(r->decoder, n);
		at += n;
		rc = wherry_decoder_next(r->decoder, &r->hello);
	}
	if (rc != 1 || at != r->head.record_len || r->hello.type != WHERRY_REC_HELLO)
		return refuse(r, -EPROTO, "its record is not one that a snapshot has");
	return 0;
}

/* The regions are ours; do they lie where the head says that they end? */
static int
check_layout(struct restore *r)
{
	uint64_t at = SNAP_ALIGN;

	for (uint32_t i = 0; at != 0 && i < r->d->n_map; i++)
		at = mig_snap_behind(at, r->d->map[i]->span.len);
	return at == r->head.record_at ? 0 : refuse(r, -EPROTO, "its head is damaged");
}

static int
compare(struct restore *r)
{
	struct mig_dest *d = r->d;
	int rc = mig_hello_compare(&r->hello, &d->regions, &d->peer, d->map, &d->n_map, &d->reason);

	if (rc == 0 && !d->peer.has_key)
		rc = refuse(r, -EPROTO, "it has no key for the digest");
	if (rc == 0)
		rc = mig_owner_may_restore(d->agent, &d->peer, &r->known, &d->reason);
	if (rc == 0)
		rc = mig_sections_compare(d->agent, &r->hello, &d->reason);
	if (rc == 0)
		rc = mig_sections_check(d->agent, &r->hello, &d->reason);
	return rc == 0 ? check_layout(r) : rc;
}

static int
report(struct restore *r, uint64_t len)
{
	struct mig_dest *d = r->d;

	r->done += len;
	mig_agent_set_progress(d->agent, r->done / PAGE, d->regions.bytes / PAGE, r->done);
	if (mig_wait(-1, 0, d->stop.fd, 0) == -ECANCELED)
		return mig_fail(&d->reason, -ECANCELED, "cancelled");
	return 0;
}

/* Memory that was never written is not touched: it stays cheap. */
static int
place_hole(struct restore *r, uint32_t i, uint64_t from, uint64_t to)
{
	uint8_t *base = (uint8_t *)(uintptr_t)r->d->map[i]->span.iova;

	for (uint64_t at = from; at < to; at += PAGE) {
		if (!mig_page_is_zero(base + at))
			memset(base + at, 0, PAGE);
		mig_digest_add_zero(&r->digest, i, at / PAGE);
	}
	return report(r, to - from);
}

static int
place_data(struct restore *r, uint32_t i, uint64_t file_at, uint64_t from, uint64_t to)
{
	uint8_t *base = (uint8_t *)(uintptr_t)r->d->map[i]->span.iova;
	int rc = 0;

	while (rc == 0 && from < to) {
		uint64_t len = to - from < PIECE ? to - from : PIECE;

		rc = read_all(r, base + from, len, file_at + from);
		for (uint64_t at = from; rc == 0 && at < from + len; at += PAGE)
			mig_digest_add(&r->digest, i, at / PAGE, base + at);
		if (rc == 0)
			rc = report(r, len);
		from += len;
	}
	return rc;
}

/* The next data at or behind at, or the end; a file system that knows no holes has data only. */
static uint64_t
seek(const struct restore *r, uint64_t at, int whence, uint64_t end, uint64_t unknown)
{
	off_t found = lseek(r->fd, (off_t)at, whence);

	if (found < 0)
		return errno == ENXIO ? end : unknown;
	return (uint64_t)found < end ? (uint64_t)found : end;
}

static int
read_region(struct restore *r, uint32_t i, uint64_t file_at)
{
	uint64_t len = r->d->map[i]->span.len, end = file_at + len, at = file_at;
	int rc = 0;

	while (rc == 0 && at < end) {
		uint64_t data = seek(r, at, SEEK_DATA, end, at), hole;

		data = round_down(data, PAGE) > at ? round_down(data, PAGE) : at;
		if (data == end) {
			rc = place_hole(r, i, at - file_at, len);
			break;
		}
		hole = round_up(seek(r, data, SEEK_HOLE, end, end), PAGE);
		if (hole <= data) /* a hole in the middle of a page is none */
			hole = data + PAGE;
		rc = place_hole(r, i, at - file_at, data - file_at);
		if (rc == 0)
			rc = place_data(r, i, file_at, data - file_at, hole - file_at);
		at = hole;
	}
	return rc;
}

static int
read_pages(struct restore *r)
{
	uint64_t at = SNAP_ALIGN;
	int rc = 0;

	mig_digest_init(&r->digest, r->d->peer.key);
	for (uint32_t i = 0; rc == 0 && i < r->d->n_map; i++) {
		rc = read_region(r, i, at);
		at = mig_snap_behind(at, r->d->map[i]->span.len);
	}
	if (rc == 0 &&
		(wherry_fault("restore.digest") || r->digest.low != r->head.pages_low ||
			r->digest.high != r->head.pages_high))
		rc = refuse(r, -EPROTO, "its pages are damaged");
	return rc;
}

/* A section in the hello is what a section record is. */
static int
load_sections(struct restore *r)
{
	struct mig_dest *d = r->d;
	struct wherry_field f;
	size_t cursor = 0;
	int rc = 0;

	while (rc == 0 && wherry_field_next(r->hello.payload, r->hello.len, &cursor, &f) == 1) {
		struct wherry_record section = {
			.type = WHERRY_REC_SECTION, .payload = f.bytes, .len = f.len
		};

		if (f.id == WHERRY_HELLO_SECTION)
			rc = mig_section_load(d->agent, &section, &d->sections_seen, &d->reason);
	}
	return rc == 0 ? mig_sections_complete(d->agent, d->sections_seen, &d->reason) : rc;
}

/* With an arbiter, its word is what makes a restore; without one, the operator's. */
static int
become_owner(struct restore *r)
{
	struct mig_dest *d = r->d;
	struct wherry_owner now;
	int rc;

	if (d->agent->arbiter == NULL)
		return 0;
	rc = mig_owner_settle(d->agent, &r->known, &now, 0);
	if (rc != 0)
		return mig_fail(&d->reason, rc, "ended before the arbiter had said who owns");
	if (!mig_owner_is(d->agent, &now))
		return mig_fail(&d->reason, -EPERM,
			"the arbiter says that %.150s owns the state: another was faster", now.id);
	return 0;
}

static int
run(struct restore *r)
{
	struct mig_dest *d = r->d;
	int rc = mig_dest_prepare(d);

	if (rc == 0)
		rc = read_head(r);
	if (rc == 0)
		rc = decode(r);
	if (rc == 0)
		rc = compare(r);
	if (rc == 0)
		rc = mig_dest_move(d, WHERRY_STATE_PREPARED);
	if (rc == 0)
		rc = mig_dest_move(d, WHERRY_STATE_RECEIVING);
	if (rc == 0)
		rc = read_pages(r);
	if (rc == 0)
		rc = load_sections(r);
	if (rc == 0)
		rc = mig_dest_get_ready(d);
	if (rc == 0)
		rc = become_owner(r);
	return rc == 0 ? mig_dest_take_over(d) : rc;
}

int
mig_dest_restore(struct mig_dest *d, const char *path)
{
	struct restore r = { .d = d, .path = path, .fd = -1 };
	int rc = run(&r);

	wherry_decoder_destroy(r.decoder);
	free(r.record);
	if (r.fd >= 0)
		close(r.fd);
	return rc;
}
