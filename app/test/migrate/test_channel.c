/* SPDX-License-Identifier: BSD-3-Clause */
/* A channel over a socket pair: limits, silence, cancellation, last words. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel_priv.h"
#include "talk.h"
#include "test.h"

struct link {
	struct mig_channel *a, *b;
	int cancel_fd, raw; /* raw: b's socket, if there is no b */
};

static struct link
connect_channels(bool raw)
{
	struct link link = { .cancel_fd = eventfd(0, EFD_NONBLOCK) };
	int fd[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	CHECK_EQ(mig_channel_create(fd[0], link.cancel_fd, &link.a), 0);
	link.raw = fd[1];
	if (!raw)
		CHECK_EQ(mig_channel_create(fd[1], -1, &link.b), 0);
	return link;
}

static void
disconnect(struct link *link)
{
	mig_channel_destroy(link->a);
	mig_channel_destroy(link->b);
	if (link->b == NULL)
		close(link->raw);
	close(link->cancel_fd);
}

static uint8_t buf[WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX];
static uint8_t *const payload = buf + WHERRY_STREAM_HEADER;

/* A record of pages, as large as it gets. */
static size_t
fill_pages(void)
{
	const struct wherry_batch batch = { .encoding = WHERRY_ENCODING_RAW };

	wherry_runs_put(payload, 0, 1);
	wherry_runs_put_run(
		payload, 0, (struct wherry_run){ .first = 0, .count = WHERRY_STREAM_PAGES_MAX });
	wherry_batch_put(payload, 1, &batch);
	return wherry_batch_size(1) + (size_t)WHERRY_STREAM_PAGES_MAX * WHERRY_STREAM_PAGE;
}

static int
send_got(struct mig_channel *ch, uint64_t n)
{
	struct wherry_table t = { .buf = payload, .cap = 64 };

	wherry_table_put_u64(&t, WHERRY_GOT_N, n);
	return mig_channel_send(ch, WHERRY_REC_GOT, payload, t.len);
}

TEST(migrate_channel_delivers_records_and_keeps_pulses_to_itself)
{
	struct link link = connect_channels(false);
	struct wherry_record rec;

	CHECK_EQ(mig_channel_send_empty(link.a, WHERRY_REC_PULSE), 0);
	CHECK_EQ(send_got(link.a, 5), 0);
	CHECK_EQ(mig_channel_receive(link.b, &rec), 0);
	CHECK_EQ(rec.type, WHERRY_REC_GOT);
	CHECK_EQ(mig_channel_sent(link.a), 2 * WHERRY_STREAM_HEADER + 16);
	CHECK_EQ(send_got(link.a, 6), 0);
	CHECK_EQ(mig_channel_expect(link.b, WHERRY_REC_READY, NULL), -EPROTO);
	CHECK(strstr(mig_channel_reason(link.b), "got") != NULL);
	disconnect(&link);
}

TEST(migrate_channel_gives_up_on_a_silent_peer)
{
	struct link link = connect_channels(true);
	struct wherry_record rec;
	uint64_t begin = mig_now();
	size_t len = fill_pages();
	int rc = 0;

	mig_channel_set_timeout(link.a, 100);
	CHECK_EQ(mig_channel_receive(link.a, &rec), -ETIMEDOUT);
	CHECK(mig_now() - begin >= 99000000);
	for (int i = 0; i < 100 && rc == 0; i++) /* it does not read either */
		rc = mig_channel_send(link.a, WHERRY_REC_PAGES, payload, len);
	CHECK_EQ(rc, -ETIMEDOUT);
	CHECK(strstr(mig_channel_reason(link.a), "silent") != NULL);
	disconnect(&link);
}

TEST(migrate_channel_ends_at_once_when_cancelled_unless_told_not_to)
{
	struct link link = connect_channels(true);
	struct wherry_record rec;
	uint64_t one = 1, begin = mig_now();

	CHECK_EQ(write(link.cancel_fd, &one, sizeof(one)), sizeof(one));
	CHECK_EQ(mig_channel_receive(link.a, &rec), -ECANCELED);
	CHECK(mig_channel_is_cancelled(link.a, -ECANCELED));
	CHECK_EQ(mig_channel_send_empty(link.a, WHERRY_REC_PULSE), -ECANCELED);
	CHECK(mig_now() - begin < 1000000000);
	mig_channel_ignore_cancel(link.a);
	CHECK_EQ(mig_channel_send_empty(link.a, WHERRY_REC_PULSE), 0);
	disconnect(&link);
}

TEST(migrate_channel_says_when_the_peer_is_gone)
{
	struct link link = connect_channels(true);
	struct wherry_record rec;

	CHECK_EQ(send(link.raw, "WHRY", 4, 0), 4);
	shutdown(link.raw, SHUT_RDWR);
	CHECK_EQ(mig_channel_receive(link.a, &rec), -ECONNRESET);
	CHECK(strstr(mig_channel_reason(link.a), "within record 0") != NULL);
	disconnect(&link);
	link = connect_channels(true);
	shutdown(link.raw, SHUT_RDWR);
	CHECK_EQ(mig_channel_send_empty(link.a, WHERRY_REC_COMMIT), -ECONNRESET);
	disconnect(&link);
}

/* It ends what it was connected for, and nothing else. */
TEST(migrate_channel_knows_a_cancelled_peer_from_being_cancelled)
{
	struct link link = connect_channels(false);
	struct wherry_record rec;

	talk_say(link.b, WHERRY_REC_ABORT);
	CHECK_EQ(mig_channel_receive(link.a, &rec), -ECANCELED);
	CHECK(!mig_channel_is_cancelled(link.a, -ECANCELED));
	disconnect(&link);
}

static void *
give_up_later(void *arg)
{
	struct link *link = arg;

	usleep(30000);
	mig_channel_abort(link->b, -ENOSPC, "no room left");
	return NULL;
}

/* The peer reads nothing and then gives up: whoever sends hears why. */
TEST(migrate_channel_hears_an_abort_while_it_sends)
{
	struct link link = connect_channels(false);
	size_t len = fill_pages();
	pthread_t thread;
	int rc = 0;

	CHECK_EQ(pthread_create(&thread, NULL, give_up_later, &link), 0);
	for (int i = 0; i < 100 && rc == 0; i++)
		rc = mig_channel_send(link.a, WHERRY_REC_PAGES, payload, len);
	CHECK_EQ(rc, -ENOSPC);
	CHECK(strstr(mig_channel_reason(link.a), "no room left") != NULL);
	mig_channel_destroy(link.a); /* lets the other's abort end */
	pthread_join(thread, NULL);
	link.a = NULL;
	disconnect(&link);
}

/* Nobody can cancel that any more: it must not be up to the peer how long it takes. */
TEST(migrate_channel_listens_to_last_words_for_a_second_only)
{
	struct link link = connect_channels(false);
	struct talker talker = { .ch = link.b, .also = WHERRY_REC_VERIFY };
	uint64_t begin = mig_now();
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, talk_on, &talker), 0);
	CHECK_EQ(mig_channel_last_words(link.a), 0);
	CHECK(mig_now() - begin < UINT64_C(10000000000));
	mig_channel_destroy(link.a);
	link.a = NULL;
	pthread_join(thread, NULL);
	disconnect(&link);
}

static void *
drain(void *arg)
{
	struct link *link = arg;
	struct wherry_record rec;
	static char last[128];
	static uint8_t sink[WHERRY_STREAM_PAYLOAD_MAX];

	while (mig_channel_receive(link->b, &rec) == 0) {
		struct iovec iov = { .iov_base = sink, .iov_len = rec.body };

		if (mig_channel_read_body(link->b, &iov, 1) != 0)
			break;
	}
	snprintf(last, sizeof(last), "%s", mig_channel_reason(link->b));
	return last;
}

static double
channel_share_of_the_limit(void)
{
	struct link link = connect_channels(false);
	size_t len = fill_pages();
	uint64_t begin = mig_now(), limit = 8 << 20;
	double seconds, ratio;
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, drain, &link), 0);
	mig_channel_set_bandwidth(link.a, limit);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(mig_channel_send(link.a, WHERRY_REC_PAGES, payload, len), 0);
	seconds = (double)(mig_now() - begin) / 1e9;
	ratio = (double)mig_channel_sent(link.a) / seconds / (double)limit;
	mig_channel_destroy(link.a);
	link.a = NULL;
	pthread_join(thread, NULL);
	disconnect(&link);
	return ratio;
}

/* Never more; a busy machine may make it less, but not each time. */
TEST(migrate_channel_keeps_to_the_limit)
{
	double share = 0;

	for (unsigned int i = 0; i < 5 && share < 0.5; i++)
		share = channel_share_of_the_limit();
	if (share > 1.15 || share < 0.5)
		FAIL("%.2f of the limit", share);
}

static void *
cancel_later(void *arg)
{
	struct link *link = arg;
	uint64_t one = 1;

	usleep(100000);
	return write(link->cancel_fd, &one, sizeof(one)) == sizeof(one) ? NULL : arg;
}

/* Cancelled in the middle of a record: the peer still gets the reason, not garbage. */
TEST(migrate_channel_abort_ends_the_record_that_is_half_sent)
{
	struct link link = connect_channels(false);
	size_t len = fill_pages();
	pthread_t reader, canceller;
	void *last;

	CHECK_EQ(pthread_create(&reader, NULL, drain, &link), 0);
	CHECK_EQ(pthread_create(&canceller, NULL, cancel_later, &link), 0);
	mig_channel_set_bandwidth(link.a, 1 << 20);
	CHECK_EQ(mig_channel_send(link.a, WHERRY_REC_PAGES, payload, len), -ECANCELED);
	CHECK(mig_channel_sent(link.a) < len / 2);
	mig_channel_abort(link.a, -ECANCELED, "enough of it");
	pthread_join(canceller, NULL);
	pthread_join(reader, &last);
	CHECK(strstr(last, "enough of it") != NULL);
	disconnect(&link);
}

/* What the peer took of the rest at the first try is not sent a second time. */
TEST(migrate_channel_abort_that_got_stuck_goes_on_where_it_was)
{
	struct link link = connect_channels(false);
	size_t len = fill_pages();
	uint64_t before;
	pthread_t reader, canceller;
	void *last;

	CHECK_EQ(pthread_create(&canceller, NULL, cancel_later, &link), 0);
	mig_channel_set_bandwidth(link.a, 1 << 19);
	CHECK_EQ(mig_channel_send(link.a, WHERRY_REC_PAGES, payload, len), -ECANCELED);
	pthread_join(canceller, NULL);
	before = mig_channel_sent(link.a);
	mig_channel_set_timeout(link.a, 200);
	mig_channel_abort(link.a, -ECANCELED, "nobody reads it");
	CHECK(mig_channel_sent(link.a) > before && mig_channel_sent(link.a) < len);
	mig_channel_set_timeout(link.a, 10000);
	CHECK_EQ(pthread_create(&reader, NULL, drain, &link), 0);
	mig_channel_abort(link.a, -ECANCELED, "enough of it");
	pthread_join(reader, &last);
	if (strstr(last, "enough of it") == NULL)
		FAIL("the peer hears \"%s\"", (const char *)last);
	CHECK(mig_channel_sent(link.a) > len);
	disconnect(&link);
}
