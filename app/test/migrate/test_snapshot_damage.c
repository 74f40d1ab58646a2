/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshot files that are cut short, damaged, of somebody else, or none at all. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz_random.h"
#include "models.h"
#include "snap.h"
#include "snapshot_head_priv.h"
#include "test.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

static void
make(struct snap *snap)
{
	struct pair_opts opts = { .len = SMALL };
	struct wherry_status st;

	snap_create(snap, &opts);
	snap_write(snap, NULL, &st);
	snap_check_written(snap, &st);
}

static off_t
length(const struct snap *snap)
{
	struct stat st;

	CHECK_EQ(stat(snap->path, &st), 0);
	return st.st_size;
}

/* Change bits of one byte. */
static void
flip(const struct snap *snap, off_t at, uint8_t bits)
{
	int fd = open(snap->path, O_RDWR);
	uint8_t byte;

	CHECK_EQ(pread(fd, &byte, 1, at), 1);
	byte ^= bits;
	CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* Lengths around what is where, and others. */
static off_t
shorter(int i, off_t len)
{
	if (i < 8)
		return len - 1 - i * i * i;
	if (i < 16)
		return (off_t)SNAP_HEAD - 1 + (i - 12) * 500;
	return i == 16 ? 0 : (off_t)(test_random() % (uint64_t)len);
}

TEST(snapshot_cut_short_at_any_length_is_refused)
{
	struct wherry_status st;
	struct snap snap;

	make(&snap);
	for (int i = 0; i < 40; i++) {
		CHECK_EQ(truncate(snap.path, shorter(i, length(&snap))), 0);
		snap_restore(&snap);
		snap_check_refused(&snap, -EPROTO, "cut short");
		snap_write(&snap, NULL, &st);
		snap_check_written(&snap, &st);
	}
	snap_destroy(&snap);
}

TEST(snapshot_with_a_changed_byte_anywhere_is_refused)
{
	struct snap snap;
	off_t len;

	make(&snap);
	len = length(&snap);
	for (int i = 0; i < 110; i++) {
		off_t record = 2 * (off_t)SNAP_ALIGN + (off_t)SNAP_ALIGN;
		off_t at = i < 64 ? i /* each byte of the head */
			: i < 70  ? 64 + (off_t)(test_random() % (SNAP_HEAD - 64))
			: i < 90  ? (off_t)SNAP_ALIGN + (off_t)(test_random() % SMALL)
				  : record + (off_t)(test_random() % (uint64_t)(len - record));
		uint8_t bits = (uint8_t)(1u << test_random() % 8);

		flip(&snap, at, bits);
		snap_restore(&snap);
		snap_check_refused(&snap, -EPROTO, "");
		flip(&snap, at, bits);
	}
	snap_restore(&snap); /* all mended */
	snap_check_restored(&snap, pair_hash(snap.pair));
	snap_destroy(&snap);
}

/* A byte where the gap between regions is belongs to nobody. */
TEST(snapshot_holds_each_page_at_its_place)
{
	uint8_t page[PAIR_PAGE];
	struct snap snap;
	int fd;

	make(&snap);
	fd = open(snap.path, O_RDONLY);
	for (int i = 0; i < PAIR_REGIONS; i++)
		for (size_t n = 0; n < snap.pair->len[i] / PAIR_PAGE; n++) {
			off_t at = (off_t)((1 + (uint64_t)i) * SNAP_ALIGN + n * PAIR_PAGE);

			CHECK_EQ(pread(fd, page, sizeof(page), at), sizeof(page));
			CHECK(memcmp(page, snap.pair->mem[i] + n * PAIR_PAGE, PAIR_PAGE) == 0);
		}
	close(fd);
	snap_destroy(&snap);
}

TEST(snapshot_of_another_application_is_refused_by_name)
{
	struct snap snap;

	make(&snap);
	snap.pair->opts.dest_region_name = "other";
	snap_restore(&snap);
	snap_check_refused(&snap, -EPROTO, "region \"arena\"");
	snap.pair->opts.dest_region_name = NULL;
	snap.pair->opts.dest_less = PAIR_PAGE;
	snap_restore(&snap);
	snap_check_refused(&snap, -EPROTO, "length");
	snap.pair->opts.dest_less = 0;
	snap.pair->opts.dest_section_version = 2;
	snap_restore(&snap);
	snap_check_refused(&snap, -EPROTO, "section \"port0\": version");
	snap.pair->opts.dest_section_version = 0;
	snap.pair->opts.dest_check_rc = -ENODEV;
	snap_restore(&snap);
	snap_check_refused(&snap, -ENODEV, "section \"port0\" cannot be loaded");
	snap.pair->opts.dest_check_rc = 0;
	snap.pair->opts.dest_verify_rc = -EPROTO;
	snap_restore(&snap);
	snap_check_refused(&snap, -EPROTO, "cannot take over");
	snap_destroy(&snap);
}

TEST(snapshot_head_is_taken_only_if_every_rule_holds)
{
	fuzz_random(snapshot_model_run, 2000, 400);
}

TEST(snapshot_that_is_no_snapshot_is_refused)
{
	struct pair_opts opts = { .len = SMALL };
	struct snap snap;
	int fd;

	snap_create(&snap, &opts);
	snap_restore(&snap);
	snap_check_refused(&snap, -ENOENT, "No such file");
	CHECK_EQ(mkfifo(snap.path, 0600), 0);
	snap_restore(&snap);
	snap_check_refused(&snap, -EINVAL, "it is no file");
	unlink(snap.path);
	fd = open(snap.path, O_RDWR | O_CREAT, 0600);
	CHECK_EQ(write(fd, "hello", 5), 5);
	snap_restore(&snap);
	snap_check_refused(&snap, -EPROTO, "no snapshot of Wherry");
	CHECK_EQ(ftruncate(fd, 100 << 20), 0);
	snap_restore(&snap);
	snap_check_refused(&snap, -EPROTO, "no snapshot of Wherry");
	close(fd);
	snap_destroy(&snap);
}
