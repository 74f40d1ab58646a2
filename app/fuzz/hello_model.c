/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake: what a peer says of itself first, against what is here. The peer's hello
 * is mostly like ours, but for what the input changes; it is then written, perhaps
 * damaged, and decoded as it would be from a socket. What must hold: nothing is taken for
 * equal that a naive comparison does not, a refusal says why in text that can be shown,
 * and whatever was read keeps to the limits its users rely on.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "hello_priv.h"
#include "models.h"

#define REGIONS 4u
#define CAP 16384u

static const char *const names[] = { "arena", "heap", "ar", "arena ", "h\xc3\xa4ll" };
#define NAMES (sizeof(names) / sizeof(names[0]))

/* Both sides, before anything is written. */
struct talk {
	struct mig_region list[2][REGIONS];
	struct mig_regions ours, theirs;
	struct mig_hello hello;
};

static struct mig_region
make_region(struct fuzz_input *in)
{
	return (struct mig_region){
		.name = names[fuzz_below(in, NAMES)],
		.span = { .iova = fuzz_below(in, 3) << 21, .len = (1 + fuzz_below(in, 3)) << 12 },
		.page = 4096,
	};
}

static void
make_regions(struct fuzz_input *in, struct talk *t)
{
	t->ours.list = t->list[0];
	t->theirs.list = t->list[1];
	for (uint64_t n = fuzz_below(in, REGIONS + 1); n > 0; n--)
		t->ours.list[t->ours.n++] = make_region(in);
	/* the same, from another one on */
	for (uint32_t i = 0, at = (uint32_t)fuzz_below(in, REGIONS); i < t->ours.n; i++)
		t->theirs.list[t->theirs.n++] = t->ours.list[(i + at) % t->ours.n];
	switch (fuzz_below(in, 8)) {
	case 0:
		t->theirs.n -= t->theirs.n > 0;
		break;
	case 1:
		if (t->theirs.n < REGIONS)
			t->theirs.list[t->theirs.n++] = make_region(in);
		break;
	case 2:
		t->theirs.list[0] = make_region(in);
		break;
	case 3:
		t->theirs.list[0].page = fuzz_take(in, 8);
		break;
	default:
		break;
	}
}

static void
make_hello(struct fuzz_input *in, struct mig_hello *h)
{
	*h = (struct mig_hello){
		.name = "peer",
		.version = "0",
		.has_key = fuzz_below(in, 4) != 0,
		.verify = fuzz_below(in, 2) != 0,
		.timeout_ms = (unsigned int)fuzz_take(in, 4),
		.channels = (unsigned int)fuzz_below(in, 2 * MIG_CHANNELS_MAX),
		.has_session = fuzz_below(in, 4) != 0,
		.pause_ms = (unsigned int)fuzz_take(in, 4),
		.handover = fuzz_below(in, 2) != 0,
		.owner = { .id = "owner", .epoch = fuzz_take(in, 8) },
	};
	for (size_t i = 1; i < 8; i++) /* of a length and bytes that differ */
		h->name[i] = (char)fuzz_take(in, 1);
	if (fuzz_below(in, 2) == 0)
		memcpy(h->arbiter, "lock:/run/x", 12);
}

/* The record as a decoder gives it, over a copy without a byte to spare; false: refused. */
static bool
decode(struct fuzz_input *in, const uint8_t *bytes, size_t len, struct wherry_decoder *dec,
	struct wherry_record *ret_rec)
{
	int rc = 0;

	for (size_t at = 0; (rc = wherry_decoder_next(dec, ret_rec)) == 0 && at < len;) {
		size_t cap;
		uint8_t *space = wherry_decoder_space(dec, &cap);

		cap = cap < len - at ? cap : len - at;
		memcpy(space, bytes + at, cap);
		wherry_decoder_fed(dec, cap);
		at += cap;
	}
	FUZZ_EXPECT(in, rc >= 0 || rc == -EPROTO);
	return rc == 1 && ret_rec->type == WHERRY_REC_HELLO;
}

static bool
is_same(const struct mig_region *a, const struct mig_region *b)
{
	return strcmp(a->name, b->name) == 0 && a->span.iova == b->span.iova &&
		a->span.len == b->span.len && a->page == b->page;
}

/* Is what was matched a pairing of equals, each of ours once? */
static void
check_map(struct fuzz_input *in, const struct talk *t, const struct mig_region **map, uint32_t n)
{
	unsigned int seen[REGIONS] = { 0 };

	FUZZ_EXPECT(in, n == t->ours.n && n == t->theirs.n);
	for (uint32_t i = 0; i < n && in->failed == NULL; i++) {
		FUZZ_EXPECT(in, is_same(map[i], &t->theirs.list[i]));
		FUZZ_EXPECT(in, ++seen[map[i] - t->ours.list] == 1);
	}
}

static void
check_limits(struct fuzz_input *in, const struct mig_hello *h)
{
	FUZZ_EXPECT(in, memchr(h->name, 0, sizeof(h->name)) != NULL);
	FUZZ_EXPECT(in, memchr(h->version, 0, sizeof(h->version)) != NULL);
	FUZZ_EXPECT(in, memchr(h->boot_id, 0, sizeof(h->boot_id)) != NULL);
	FUZZ_EXPECT(in, memchr(h->arbiter, 0, sizeof(h->arbiter)) != NULL);
	FUZZ_EXPECT(in, memchr(h->owner.id, 0, sizeof(h->owner.id)) != NULL);
	FUZZ_EXPECT(in, h->channels >= 1 && h->channels <= MIG_CHANNELS_MAX);
	FUZZ_EXPECT(in, h->timeout_ms <= 3600000 && h->pause_ms <= 86400000);
	FUZZ_EXPECT(in, h->has_session || (h->channels == 1 && h->pause_ms == 0));
}

/* Every one of theirs among ours, as often: names may come twice, with different spans. */
static bool
are_equal(const struct talk *t)
{
	for (uint32_t i = 0; i < t->ours.n; i++)
		for (uint32_t k = i + 1; k < t->ours.n; k++)
			if (strcmp(t->ours.list[i].name, t->ours.list[k].name) == 0)
				return false; /* which is which depends on the order: not asked here */
	for (uint32_t i = 0; i < t->ours.n; i++) {
		unsigned int n = 0;

		for (uint32_t k = 0; k < t->theirs.n; k++)
			n += is_same(&t->ours.list[i], &t->theirs.list[k]);
		if (n != 1)
			return false;
	}
	return t->ours.n == t->theirs.n;
}

/* What the peer sent is what was made: refused exactly if something differs. */
static void
check_verdict(struct fuzz_input *in, const struct talk *t, int rc, bool damaged)
{
	bool fits =
		are_equal(t) && (!t->hello.has_session || t->hello.channels <= MIG_CHANNELS_MAX);

	if (!damaged && fits)
		FUZZ_EXPECT(in, rc == 0);
}

static void
compare(struct fuzz_input *in, const struct talk *t, const struct wherry_record *rec, bool damaged)
{
	const struct mig_region *map[MIG_REGIONS_MAX];
	struct mig_reason why = { "" };
	struct mig_hello peer;
	uint32_t n = 0;
	int rc = mig_hello_compare(rec, &t->ours, &peer, map, &n, &why);

	FUZZ_EXPECT(in, rc == 0 || rc == -EPROTO);
	FUZZ_EXPECT(in, rc == 0 || (why.text[0] != '\0' && fuzz_is_utf8(why.text)));
	if (rc == 0 && !damaged)
		check_map(in, t, map, n);
	if (rc == 0)
		check_limits(in, &peer);
	check_verdict(in, t, rc, damaged);
}

/* Behind the header, before it is sealed: nothing but the payload's form can tell. */
static bool
damage(struct fuzz_input *in, struct wherry_table *t)
{
	uint64_t times = fuzz_below(in, 16);

	if (times > 3)
		return false;
	for (; times > 0; times--)
		t->buf[fuzz_below(in, t->len)] = (uint8_t)fuzz_take(in, 1);
	if (fuzz_below(in, 4) == 0)
		t->len -= fuzz_below(in, t->len);
	return true;
}

const char *
hello_model_run(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { .next = data, .end = data + len };
	static uint8_t rec[WHERRY_STREAM_HEADER + CAP];

	while (fuzz_more(&in)) {
		struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = CAP };
		struct wherry_decoder *dec = NULL;
		struct wherry_record got;
		struct talk talk = { 0 };
		bool damaged;

		make_regions(&in, &talk);
		make_hello(&in, &talk.hello);
		mig_hello_put(&t, &talk.hello, &talk.theirs);
		FUZZ_EXPECT(&in, !t.overflow && wherry_decoder_create(&dec) == 0);
		if (in.failed != NULL)
			break;
		damaged = damage(&in, &t);
		if (decode(&in, rec, wherry_record_seal(rec, WHERRY_REC_HELLO, 0, t.len), dec,
			    &got))
			compare(&in, &talk, &got, damaged);
		else
			FUZZ_EXPECT(&in, damaged);
		wherry_decoder_destroy(dec);
	}
	return in.failed;
}
