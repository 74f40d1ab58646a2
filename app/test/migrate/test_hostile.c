/* SPDX-License-Identifier: BSD-3-Clause */
/* A source that speaks the protocol well and means no good: the destination gives up. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel_ends_priv.h"
#include "hello_priv.h"
#include "keys.h"
#include "pair.h"
#include "recover_priv.h"
#include "socket_priv.h"
#include "talk.h"
#include "test.h"

#define PAGES 64u

struct hostile {
	struct pair *pair;
	struct mig_channel *ch;
	unsigned int channels; /* announced */
	struct mig_tls *tls;   /* what the next connection is made with; NULL: plain */
	uint8_t rec[WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX];
};

static uint8_t *
payload(struct hostile *h)
{
	return h->rec + WHERRY_STREAM_HEADER;
}

static void
send_table(struct hostile *h, enum wherry_record_type type, const struct wherry_table *t)
{
	CHECK(!t->overflow);
	CHECK_EQ(mig_channel_send(h->ch, type, t->buf, t->len), 0);
}

static struct wherry_table
table(struct hostile *h)
{
	return (struct wherry_table){ .buf = payload(h), .cap = WHERRY_STREAM_PAYLOAD_MAX };
}

static void
put_section(struct wherry_table *t, const char *name)
{
	wherry_table_put_text(t, WHERRY_SECTION_NAME, name);
	wherry_table_put_u64(t, WHERRY_SECTION_VERSION, 1);
	wherry_table_put_bytes(t, WHERRY_SECTION_DATA, "x", 1);
}

/* As a source would say it; keyless: without the key of the digest. */
static void
send_hello(struct hostile *h, bool keyless)
{
	struct wherry_table t = table(h);
	struct mig_regions regions;
	struct mig_hello hello;
	size_t mark;

	CHECK_EQ(mig_regions_init(&regions, h->pair->tracker), 0);
	mig_hello_init(&hello, "hostile");
	hello.has_key = !keyless;
	hello.timeout_ms = 2000;
	hello.channels = h->channels;
	hello.has_session = true;
	memset(hello.session, 's', sizeof(hello.session));
	mig_hello_put(&t, &hello, &regions);
	mark = wherry_table_open(&t, WHERRY_HELLO_SECTION);
	put_section(&t, "port0");
	wherry_table_close(&t, mark);
	send_table(h, WHERRY_REC_HELLO, &t);
	mig_regions_fini(&regions);
}

static struct mig_channel *
connect_to(struct hostile *h)
{
	struct mig_channel *ch = NULL;
	struct mig_reason reason;
	struct mig_conn conn;
	struct mig_uri uri;
	const char *why;

	CHECK_EQ(mig_uri_parse(h->pair->dest_uri, &uri, &why), 0);
	CHECK_EQ(mig_conn_dial(&uri, h->tls, -1, 5000, &conn, &reason), 0);
	CHECK_EQ(mig_channel_create_on(&conn, -1, &ch), 0);
	return ch;
}

static struct hostile *
begin_over(const struct wherry_tls *tls, bool keyless, unsigned int channels, uint64_t pages)
{
	struct pair_opts opts = { .len = pages * PAIR_PAGE };
	struct hostile *h = calloc(1, sizeof(*h));

	CHECK(h != NULL);
	h->channels = channels;
	if (tls != NULL) {
		opts.tcp = true;
		opts.dest_tls = *tls;
		CHECK_EQ(mig_tls_create(tls, &h->tls), 0);
	}
	h->pair = pair_create(&opts);
	h->ch = connect_to(h);
	send_hello(h, keyless);
	if (!keyless)
		CHECK_EQ(mig_channel_expect(h->ch, WHERRY_REC_HELLO, NULL), 0);
	return h;
}

static struct hostile *
begin_with(bool keyless, unsigned int channels, uint64_t pages)
{
	return begin_over(NULL, keyless, channels, pages);
}

static struct hostile *
begin(bool keyless)
{
	return begin_with(keyless, 1, PAGES);
}

/* The destination has said why, to us and to its owner, and runs nothing. */
static void
check_has_given_up(struct hostile *h, const char *why)
{
	if (strstr(mig_channel_reason(h->ch), why) == NULL)
		FAIL("we hear \"%s\"", mig_channel_reason(h->ch));
	mig_channel_destroy(h->ch);
	h->ch = NULL;
	pair_reap(h->pair);
	CHECK_EQ(h->pair->shared->status.state, WHERRY_STATE_FAILED);
	CHECK_EQ(h->pair->shared->takeovers, 0);
	CHECK_EQ(h->pair->shared->discards, 1);
	if (strstr(h->pair->shared->status.reason, why) == NULL)
		FAIL("it says \"%s\"", h->pair->shared->status.reason);
	pair_destroy(h->pair);
	free(h);
}

static void
check_given_up(struct hostile *h, const char *why)
{
	CHECK(mig_channel_expect(h->ch, WHERRY_REC_RUNNING, NULL) < 0);
	check_has_given_up(h, why);
}

static void
send_run(struct hostile *h, enum wherry_record_type type, uint32_t region, struct wherry_run run)
{
	const struct wherry_batch batch = { .encoding = WHERRY_ENCODING_RAW };
	size_t len = wherry_runs_size(1);

	wherry_runs_put(payload(h), region, 1);
	wherry_runs_put_run(payload(h), 0, run);
	if (type == WHERRY_REC_PAGES) {
		wherry_batch_put(payload(h), 1, &batch);
		len = wherry_batch_size(1) + (size_t)run.count * WHERRY_STREAM_PAGE;
	}
	CHECK_EQ(mig_channel_send(h->ch, type, payload(h), len), 0);
}

static void
refuses_run(enum wherry_record_type type, uint32_t region, uint64_t first, uint64_t count,
	const char *why)
{
	struct hostile *h = begin(false);

	send_run(h, type, region, (struct wherry_run){ .first = first, .count = count });
	check_given_up(h, why);
}

TEST(migrate_destination_refuses_pages_outside_its_regions)
{
	static const enum wherry_record_type types[] = { WHERRY_REC_PAGES, WHERRY_REC_ZEROS,
		WHERRY_REC_SKIP, WHERRY_REC_WANT };

	for (int i = 0; i < 4; i++) {
		refuses_run(types[i], 0, PAGES, 1, "beyond the end");
		refuses_run(types[i], 0, PAGES - 1, 2, "beyond the end");
		refuses_run(types[i], PAIR_REGIONS, 0, 1, "not there");
	}
	refuses_run(WHERRY_REC_ZEROS, 0, UINT64_MAX / WHERRY_STREAM_PAGE - 1, 1, "beyond the end");
}

/* A question is answered; one that would be answered with more than a record holds is not. */
TEST(migrate_destination_answers_no_more_than_so_many_pages_at_once)
{
	const uint64_t most = MIG_WANT_PAGES_MAX;
	struct hostile *h = begin_with(false, 1, most + 1);
	struct wherry_record have;
	struct wherry_field hashes;

	send_run(h, WHERRY_REC_WANT, 0, (struct wherry_run){ .first = 1, .count = most });
	CHECK_EQ(mig_channel_expect(h->ch, WHERRY_REC_HAVE, &have), 0);
	CHECK(wherry_field_find(have.payload, have.len, WHERRY_HAVE_HASHES, &hashes));
	CHECK_EQ(hashes.len, most * MIG_HASH_LEN);
	CHECK(memcmp(hashes.bytes, hashes.bytes + MIG_HASH_LEN, MIG_HASH_LEN) == 0);
	send_run(h, WHERRY_REC_WANT, 0, (struct wherry_run){ .first = 0, .count = most + 1 });
	check_given_up(h, "too much at once");
}

TEST(migrate_destination_refuses_what_has_no_place)
{
	struct hostile *h = begin(false);

	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_COMMIT), 0);
	check_given_up(h, "(commit)");
	h = begin(false);
	send_hello(h, false);
	check_given_up(h, "(hello)");
}

TEST(migrate_destination_refuses_a_digest_that_is_not_that_of_its_pages)
{
	for (unsigned int lie = 1; lie <= 3; lie++) {
		struct hostile *h = begin(false);
		struct wherry_table t = table(h);

		for (unsigned int id = 1; id <= 4; id++)
			wherry_table_put_u64(&t, id, id == lie);
		send_table(h, WHERRY_REC_DIGEST, &t);
		check_given_up(h, "digest");
	}
}

TEST(migrate_destination_wants_each_section_and_no_other)
{
	struct hostile *h = begin(false);
	struct wherry_table t = table(h);

	for (unsigned int id = 1; id <= 4; id++)
		wherry_table_put_u64(&t, id, 0);
	send_table(h, WHERRY_REC_DIGEST, &t);
	check_given_up(h, "section \"port0\"");
	h = begin(false);
	t = table(h);
	put_section(&t, "other");
	send_table(h, WHERRY_REC_SECTION, &t);
	check_given_up(h, "section \"other\"");
}

TEST(migrate_destination_wants_a_key)
{
	check_given_up(begin(true), "no key");
}

/* A verification nobody announced would only hold the destination up. */
TEST(migrate_destination_refuses_a_verification_nobody_announced)
{
	struct hostile *h = begin(false);

	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_VERIFY), 0);
	check_given_up(h, "announced");
}

/* The checksum of a record does not cover the bytes of its pages: their hashes do. */
TEST(migrate_destination_refuses_a_batch_that_is_not_what_it_says)
{
	refuses_run(WHERRY_REC_PAGES, 0, 3, 2, "not those that were sent");
}

static void
send_packed(struct hostile *h, size_t body)
{
	const struct wherry_batch batch = { .encoding = WHERRY_ENCODING_ZSTD };

	wherry_runs_put(payload(h), 0, 1);
	wherry_runs_put_run(payload(h), 0, (struct wherry_run){ .first = 0, .count = 2 });
	wherry_batch_put(payload(h), 1, &batch);
	CHECK_EQ(mig_channel_send(h->ch, WHERRY_REC_PAGES, payload(h), wherry_batch_size(1) + body),
		0);
}

TEST(migrate_destination_refuses_a_batch_that_cannot_be_unpacked)
{
	struct hostile *h = begin(false);

	send_packed(h, 777);
	check_given_up(h, "cannot be unpacked");
}

/* One more connection, which says this session and channel. */
static struct mig_channel *
join(struct hostile *h, char session, uint64_t channel)
{
	struct mig_channel *ch = connect_to(h);
	struct wherry_table t = table(h);
	uint8_t word[MIG_SESSION_LEN];

	memset(word, session, sizeof(word));
	wherry_table_put_bytes(&t, WHERRY_JOIN_SESSION, word, sizeof(word));
	wherry_table_put_u64(&t, WHERRY_JOIN_CHANNEL, channel);
	CHECK_EQ(mig_channel_send(ch, WHERRY_REC_JOIN, t.buf, t.len), 0);
	return ch;
}

TEST(migrate_destination_lets_nobody_join_without_the_word)
{
	struct hostile *h = begin_with(false, 3, PAGES);
	struct mig_channel *bad[] = { join(h, 'x', 1), join(h, 's', 0), join(h, 's', 3) };
	struct mig_channel *good[] = { join(h, 's', 2), join(h, 's', 1) };

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(mig_channel_expect(bad[i], WHERRY_REC_GOT, NULL), -ECONNRESET);
		mig_channel_destroy(bad[i]);
	}
	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_COMMIT), 0);
	check_given_up(h, "(commit)");
	for (int i = 0; i < 2; i++)
		mig_channel_destroy(good[i]);
}

/* The stranger is listened to when the other comes. */
TEST(migrate_destination_is_not_held_up_by_a_stranger_who_talks)
{
	struct hostile *h = begin_with(false, 2, PAGES);
	struct talker stranger = { .ch = connect_to(h), .also = WHERRY_REC_PULSE };
	struct mig_channel *good;
	pthread_t thread;

	CHECK_EQ(mig_channel_send_empty(stranger.ch, WHERRY_REC_PULSE), 0);
	talk_await_read(stranger.ch);
	CHECK_EQ(pthread_create(&thread, NULL, talk_on, &stranger), 0);
	good = join(h, 's', 1);
	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_COMMIT), 0);
	check_given_up(h, "(commit)");
	pthread_join(thread, NULL);
	mig_channel_destroy(stranger.ch);
	mig_channel_destroy(good);
}

/* Its reason, and not that connections are missing. */
TEST(migrate_destination_hears_a_source_that_gives_up_before_its_other_channels_come)
{
	struct hostile *h = begin_with(false, 2, PAGES);
	struct wherry_table t = table(h);

	wherry_table_put_u64(&t, WHERRY_ABORT_CODE, EPROTO);
	wherry_table_put_text(&t, WHERRY_ABORT_REASON, "it looks different from here");
	send_table(h, WHERRY_REC_ABORT, &t);
	check_given_up(h, "it looks different from here");
}

/* That it was cancelled is its own affair. */
TEST(migrate_destination_is_not_cancelled_by_a_stranger_among_its_connections)
{
	struct hostile *h = begin_with(false, 2, PAGES);
	struct mig_channel *stranger = connect_to(h), *good;

	talk_say(stranger, WHERRY_REC_ABORT);
	CHECK_EQ(mig_channel_expect(stranger, WHERRY_REC_GOT, NULL), -ECONNRESET);
	mig_channel_destroy(stranger);
	good = join(h, 's', 1);
	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_COMMIT), 0);
	check_given_up(h, "(commit)");
	mig_channel_destroy(good);
}

/* It stops the wait for the others, which is nobody's cancel: a held destination would end for it. */
TEST(migrate_destination_that_loses_one_of_its_connections_does_not_call_it_a_cancel)
{
	struct hostile *h = begin_with(false, 3, PAGES);

	mig_channel_destroy(join(h, 's', 1));
	check_given_up(h, "closed the connection");
}

/* It knows the word, and its certificate is of the same authority: that is not enough. */
TEST(migrate_destination_lets_nobody_join_who_is_not_the_first_peer)
{
	struct keys *keys = keys_make();
	struct wherry_tls first, second;
	struct mig_channel *bad, *good;
	struct mig_tls *tls;
	struct hostile *h;

	keys_sign(keys, "first", NULL);
	keys_sign(keys, "second", NULL);
	first = keys_of(keys, "first");
	second = keys_of(keys, "second");
	h = begin_over(&first, false, 2, PAGES);
	tls = h->tls;
	CHECK_EQ(mig_tls_create(&second, &h->tls), 0);
	bad = join(h, 's', 1);
	CHECK_EQ(mig_channel_expect(bad, WHERRY_REC_GOT, NULL), -ECONNRESET);
	mig_channel_destroy(bad);
	mig_tls_destroy(h->tls);
	h->tls = tls;
	good = join(h, 's', 1);
	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_COMMIT), 0);
	check_given_up(h, "(commit)");
	mig_channel_destroy(good);
	mig_tls_destroy(tls);
	keys_drop(keys);
}

TEST(migrate_destination_refuses_what_has_no_place_on_a_further_channel)
{
	struct hostile *h = begin_with(false, 2, PAGES);
	struct mig_channel *ch = join(h, 's', 1);

	CHECK_EQ(mig_channel_send_empty(ch, WHERRY_REC_COMMIT), 0);
	check_given_up(h, "further connection");
	mig_channel_destroy(ch);
}

static void
send_round(struct hostile *h, uint64_t n, uint64_t channels)
{
	struct wherry_table t = table(h);

	wherry_table_put_u64(&t, WHERRY_ROUND_N, n);
	wherry_table_put_u64(&t, WHERRY_ROUND_CHANNELS, channels);
	send_table(h, WHERRY_REC_ROUND, &t);
}

/* The round's pages on another channel may still be on their way. */
TEST(migrate_destination_answers_a_round_when_all_its_channels_are_through)
{
	struct hostile *h = begin_with(false, 2, PAGES);
	struct mig_channel *ch = join(h, 's', 1);
	struct wherry_table t = table(h);

	send_round(h, 1, 2);
	mig_channel_set_timeout(h->ch, 300);
	CHECK_EQ(mig_channel_expect(h->ch, WHERRY_REC_GOT, NULL), -ETIMEDOUT);
	mig_channel_set_timeout(h->ch, 10000);
	wherry_table_put_u64(&t, WHERRY_FLUSH_N, 1);
	CHECK_EQ(mig_channel_send(ch, WHERRY_REC_FLUSH, t.buf, t.len), 0);
	CHECK_EQ(mig_channel_expect(h->ch, WHERRY_REC_GOT, NULL), 0);
	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_COMMIT), 0);
	check_given_up(h, "(commit)");
	mig_channel_destroy(ch);
}

/* A page now and then, for longer than the source waits for a word; then that it was all. */
static void *
dawdle(void *arg)
{
	struct hostile *lane = arg;
	struct wherry_table t = table(lane);

	for (unsigned int i = 0; i < 20; i++) {
		send_run(lane, WHERRY_REC_ZEROS, 0, (struct wherry_run){ .first = i, .count = 1 });
		usleep(100000);
	}
	wherry_table_put_u64(&t, WHERRY_FLUSH_N, 1);
	CHECK_EQ(mig_channel_send(lane->ch, WHERRY_REC_FLUSH, t.buf, t.len), 0);
	return NULL;
}

TEST(migrate_destination_says_that_its_other_channels_are_at_work)
{
	struct hostile *h = begin_with(false, 2, PAGES);
	static struct hostile lane;
	pthread_t thread;

	lane.ch = join(h, 's', 1);
	send_round(h, 1, 2);
	mig_channel_set_timeout(h->ch, 1200);
	CHECK_EQ(pthread_create(&thread, NULL, dawdle, &lane), 0);
	if (mig_channel_expect(h->ch, WHERRY_REC_GOT, NULL) != 0)
		FAIL("%s", mig_channel_reason(h->ch));
	pthread_join(thread, NULL);
	mig_channel_set_timeout(h->ch, 10000);
	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_COMMIT), 0);
	check_given_up(h, "(commit)");
	mig_channel_destroy(lane.ch);
}

TEST(migrate_destination_knows_which_channels_there_are)
{
	static const uint64_t lies[] = { 2, MIG_CHANNELS_MAX + 1, UINT64_MAX };

	for (int i = 0; i < 3; i++) {
		struct hostile *h = begin(false);

		send_round(h, 1, lies[i]);
		check_given_up(h, "not there");
	}
}

/* ---- the end of it ---- */

/* Of no page: memory is to stay as the destination's was before. */
static void
send_proof(struct hostile *h)
{
	struct wherry_table t = table(h);

	put_section(&t, "port0");
	send_table(h, WHERRY_REC_SECTION, &t);
	t = table(h);
	for (unsigned int id = 1; id <= 4; id++)
		wherry_table_put_u64(&t, id, 0);
	send_table(h, WHERRY_REC_DIGEST, &t);
}

/* Frames may still come, so it is there until we go; what it holds then is what was proved. */
static void
check_taken_over_unchanged(struct hostile *h)
{
	CHECK_EQ(mig_channel_send_empty(h->ch, WHERRY_REC_COMMIT), 0);
	CHECK_EQ(mig_channel_expect(h->ch, WHERRY_REC_RUNNING, NULL), 0);
	mig_channel_destroy(h->ch);
	pair_reap(h->pair);
	CHECK_EQ(h->pair->shared->takeovers, 1);
	memset(h->pair->mem[0], 0x55, h->pair->len[0]);
	memset(h->pair->mem[1], 0, h->pair->len[1]);
	CHECK(h->pair->shared->hash == pair_hash(h->pair));
	pair_destroy(h->pair);
	free(h);
}

TEST(migrate_destination_places_nothing_once_all_was_proved)
{
	struct hostile *h = begin_with(false, 2, PAGES);
	static struct hostile lane;

	lane.ch = join(h, 's', 1);
	send_proof(h);
	CHECK_EQ(mig_channel_expect(h->ch, WHERRY_REC_READY, NULL), 0);
	send_run(&lane, WHERRY_REC_ZEROS, 0, (struct wherry_run){ .first = 3, .count = 9 });
	talk_await_read(lane.ch);
	check_taken_over_unchanged(h);
	mig_channel_destroy(lane.ch);
}

/* It stands still in the middle of them: that its bytes were read says that they are being placed. */
TEST(migrate_destination_proves_nothing_while_pages_come)
{
	const struct wherry_batch batch = { .encoding = WHERRY_ENCODING_RAW };
	const size_t head = wherry_batch_size(1), body = 2 * WHERRY_STREAM_PAGE;
	struct hostile *h = begin_with(false, 2, PAGES);
	static struct hostile lane;
	size_t half;

	lane.ch = join(h, 's', 1);
	wherry_runs_put(payload(&lane), 0, 1);
	wherry_runs_put_run(payload(&lane), 0, (struct wherry_run){ .first = 3, .count = 2 });
	wherry_batch_put(payload(&lane), 1, &batch);
	half = wherry_record_seal(lane.rec, WHERRY_REC_PAGES, 1, head + body) - body / 2;
	CHECK_EQ(send(lane.ch->conn.fd, lane.rec, half, MSG_NOSIGNAL), (ssize_t)half);
	talk_await_read(lane.ch);
	send_proof(h);
	check_given_up(h, "channel 1 brings pages");
	mig_channel_destroy(lane.ch);
}

/* Nobody can cancel that any more: it must not be up to the source how long it takes. */
TEST(migrate_destination_that_is_ready_waits_for_commit_and_not_for_signs_of_life)
{
	struct hostile *h = begin(false);

	send_proof(h);
	CHECK_EQ(mig_channel_expect(h->ch, WHERRY_REC_READY, NULL), 0);
	talk_on(&(struct talker){ .ch = h->ch, .also = WHERRY_REC_PULSE });
	check_has_given_up(h, "did not come within 2000 ms");
}

/* COMMIT on a connection that takes nothing back: it says so when it has tried, and where it stands then. */
TEST(migrate_destination_serves_before_it_says_that_it_runs)
{
	struct hostile *h = begin(false);
	uint8_t rec[WHERRY_STREAM_HEADER];

	send_proof(h);
	CHECK_EQ(mig_channel_expect(h->ch, WHERRY_REC_READY, NULL), 0);
	CHECK_EQ(shutdown(h->ch->conn.fd, SHUT_RD), 0);
	wherry_record_seal(rec, WHERRY_REC_COMMIT, h->ch->number, 0);
	CHECK_EQ(send(h->ch->conn.fd, rec, sizeof(rec), MSG_NOSIGNAL), (ssize_t)sizeof(rec));
	pair_reap(h->pair);
	CHECK_EQ(h->pair->shared->takeovers, 1);
	if (strcmp(h->pair->shared->untold, "serving") != 0)
		FAIL("it was \"%s\"", h->pair->shared->untold);
	CHECK(!h->pair->shared->let_go); /* who ends at once would leave its source in the dark */
	mig_channel_destroy(h->ch);
	pair_destroy(h->pair);
	free(h);
}
