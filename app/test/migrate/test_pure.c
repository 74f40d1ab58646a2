/* SPDX-License-Identifier: BSD-3-Clause */
/* The pure parts of lib/migrate: states, convergence, digest, URIs. */
#include <errno.h>
#include <string.h>

#include "converge_priv.h"
#include "digest_priv.h"
#include "heat_priv.h"
#include "states_priv.h"
#include "test.h"
#include "uri_priv.h"
#include "wherry_bitmap.h"
#include "wherry_stream.h"

#define HEAT_BASE UINT64_C(0x7f0000000000)

/* Can a process that stands at from and knows this, and learns no more, come to stand at to? */
static bool
leads_to(enum wherry_state begin, enum wherry_state end, enum mig_when knows)
{
	bool reached[N_STATES] = { false };

	reached[begin] = true;
	for (int round = 0; round < (int)N_STATES; round++)
		for (unsigned int from = 0; from < N_STATES; from++)
			for (unsigned int to = 0; reached[from] && to < N_STATES; to++)
				if (mig_state_may(
					    (enum wherry_state)from, (enum wherry_state)to, knows))
					reached[to] = true;
	return reached[end];
}

TEST(migrate_source_that_sent_commit_serves_again_only_if_it_knows_that_it_owns)
{
	const enum wherry_state from = WHERRY_STATE_SWITCHOVER;

	CHECK(!leads_to(from, WHERRY_STATE_SERVING, MIG_ALWAYS));
	CHECK(!leads_to(from, WHERRY_STATE_SERVING, MIG_GIVEN));
	CHECK(leads_to(from, WHERRY_STATE_SERVING, MIG_OWNED));
	CHECK(!leads_to(from, WHERRY_STATE_RELEASED, MIG_ALWAYS));
	CHECK(leads_to(from, WHERRY_STATE_RELEASED, MIG_GIVEN));
	CHECK_EQ(mig_state_on_failure(from, MIG_ALWAYS), WHERRY_STATE_UNKNOWN);
	CHECK_EQ(mig_state_on_failure(from, MIG_OWNED), WHERRY_STATE_SERVING);
	CHECK_EQ(mig_state_on_failure(WHERRY_STATE_UNKNOWN, MIG_OWNED), WHERRY_STATE_SERVING);
}

TEST(migrate_destination_serves_after_verified_only)
{
	CHECK(!leads_to(WHERRY_STATE_LISTEN, WHERRY_STATE_SERVING, MIG_ALWAYS));
	for (unsigned int from = WHERRY_STATE_LISTEN; from < WHERRY_STATE_UNKNOWN; from++)
		CHECK_EQ(mig_state_may((enum wherry_state)from, WHERRY_STATE_SERVING, MIG_OWNED),
			from == WHERRY_STATE_VERIFIED);
}

TEST(migrate_failure_leads_where_the_table_allows)
{
	for (unsigned int from = 0; from < N_STATES; from++) {
		enum wherry_state to = mig_state_on_failure((enum wherry_state)from, MIG_ALWAYS);

		CHECK(to == from || mig_state_may((enum wherry_state)from, to, MIG_ALWAYS));
		if (mig_state_can_cancel((enum wherry_state)from))
			CHECK(to == WHERRY_STATE_SERVING || to == WHERRY_STATE_FAILED);
	}
}

TEST(migrate_state_names_are_different_and_end_at_the_last)
{
	for (unsigned int a = 0; a < N_STATES; a++)
		for (unsigned int b = 0; b < a; b++)
			CHECK(strcmp(wherry_state_name((enum wherry_state)a),
				      wherry_state_name((enum wherry_state)b)) != 0);
	CHECK(strcmp(wherry_state_name(WHERRY_STATE_SERVING), "serving") == 0);
	CHECK(strcmp(wherry_state_name((enum wherry_state)N_STATES), "?") == 0);
	CHECK(!mig_state_may((enum wherry_state)N_STATES, WHERRY_STATE_SERVING, MIG_OWNED));
	CHECK(!mig_state_may(WHERRY_STATE_SERVING, (enum wherry_state)N_STATES, MIG_OWNED));
	CHECK(!mig_state_can_cancel((enum wherry_state)N_STATES));
}

static double
forecast(double pending, double bandwidth, double fixed)
{
	struct mig_measure m = {
		.pending_bytes = pending, .bandwidth = bandwidth, .fixed_ms = fixed
	};

	return mig_forecast_ms(&m);
}

static bool
near(double got, double want)
{
	return got > want * 0.999 && got < want * 1.001;
}

TEST(migrate_forecast_is_pending_over_bandwidth_plus_fixed_cost)
{
	CHECK(near(forecast(100e6, 1e9, 7), 107));
	CHECK(near(forecast(0, 1e9, 7), 7));
	CHECK(near(forecast(0, 0, 7), 7));
	CHECK(forecast(1, 0, 7) > 1e6); /* nothing is known: not soon */
}

TEST(migrate_forecast_has_every_cost_that_was_measured)
{
	const struct mig_costs none = { .harvest = 0 };
	const struct mig_costs all = { .quiesce = 100000,
		.takeover = 200000,
		.harvest = 30000,
		.rtt = 50000,
		.arbiter = 7000 };

	CHECK(near(mig_lead_ms(&none), MIG_UNKNOWN_MS));
	CHECK(near(mig_fixed_ms(&none), 2 * MIG_UNKNOWN_MS));
	CHECK(near(mig_lead_ms(&all), 0.13));
	CHECK(near(mig_fixed_ms(&all), 0.437)); /* a limit of 1 ms can be met */
}

/* After round n, if so much of a forecast is for sending, and was after the round before. */
static enum mig_verdict
converge(double send_ms, double fixed_ms, double before_ms, unsigned int n)
{
	const struct mig_goal goal = { .limit_ms = 50, .max_rounds = 30 };
	struct mig_measure m = {
		.pending_bytes = send_ms * 1e6, .bandwidth = 1e9, .fixed_ms = fixed_ms
	};

	return mig_converge(&m, before_ms, n, &goal);
}

TEST(migrate_converges_at_the_limit_and_gives_up_after_the_last_round)
{
	CHECK_EQ(converge(0, 50, 0, 1), MIG_STOP_NOW);
	CHECK_EQ(converge(45.1, 5, 0, 29), MIG_GO_ON);
	CHECK_EQ(converge(45.1, 5, 0, 30), MIG_GIVE_UP);
	CHECK_EQ(converge(44, 5, 0, 30), MIG_STOP_NOW);
}

TEST(migrate_below_the_limit_goes_on_while_each_round_halves_what_is_left)
{
	CHECK_EQ(converge(40, 4, 0, 1), MIG_GO_ON); /* the first sent all there was */
	CHECK_EQ(converge(20, 4, 40, 2), MIG_GO_ON);
	CHECK_EQ(converge(20.1, 4, 40, 2), MIG_STOP_NOW);
	CHECK_EQ(converge(1.1, 4, 40, 2), MIG_GO_ON);
	CHECK_EQ(converge(1, 4, 40, 2), MIG_STOP_NOW); /* a quarter of the rest */
	CHECK_EQ(converge(20, 4, 40, 14), MIG_GO_ON);
	CHECK_EQ(converge(20, 4, 40, 15), MIG_STOP_NOW); /* room for a load that rises */
}

TEST(migrate_bandwidth_of_a_small_round_counts_for_little)
{
	CHECK(near(mig_bandwidth(0, 4096, 4096), 1e9)); /* the first is all there is */
	CHECK(near(mig_bandwidth(1e9, 64 << 20, 64 << 20), 1e9));
	CHECK(near(mig_bandwidth(5e8, 64 << 20, 64 << 20), 1e9));
	CHECK(mig_bandwidth(1e9, 4096, 4096 * 100) > 0.99e9);
	CHECK(near(mig_bandwidth(1e9, 0, 100), 1e9));
	CHECK(near(mig_bandwidth(1e9, 100, 0), 1e9));
	CHECK(near(mig_same_share(0.5, 2048, 2048), 1));
	CHECK(near(mig_same_share(1, 0, 512), 0.5));
	CHECK(near(mig_same_share(0.25, 0, 0), 0.25));
}

static uint8_t page[2][WHERRY_STREAM_PAGE];

static struct mig_digest
digest(uint8_t key)
{
	uint8_t keys[MIG_KEY_LEN];
	struct mig_digest d;

	memset(keys, key, sizeof(keys));
	for (size_t i = 0; i < sizeof(keys); i++)
		keys[i] = (uint8_t)(keys[i] * 31 + i * 7);
	mig_digest_init(&d, keys);
	return d;
}

static bool
equal(const struct mig_digest *a, const struct mig_digest *b)
{
	return a->low == b->low && a->high == b->high && a->pages == b->pages;
}

TEST(migrate_digest_forgets_order_but_not_place_bytes_or_key)
{
	struct mig_digest a = digest(1), b = digest(1);

	memset(page[0], 7, sizeof(page[0]));
	memset(page[1], 8, sizeof(page[1]));
	mig_digest_add(&a, 0, 1, page[0]);
	mig_digest_add(&a, 0, 2, page[1]);
	mig_digest_add(&b, 0, 2, page[1]);
	mig_digest_add(&b, 0, 1, page[0]);
	CHECK(equal(&a, &b));
	b = digest(1);
	mig_digest_add(&b, 0, 2, page[0]); /* changed places */
	mig_digest_add(&b, 0, 1, page[1]);
	CHECK(!equal(&a, &b));
	b = digest(1);
	mig_digest_add(&b, 1, 1, page[0]); /* another region */
	mig_digest_add(&b, 0, 2, page[1]);
	CHECK(!equal(&a, &b));
	b = digest(1);
	page[1][4095] ^= 1;
	mig_digest_add(&b, 0, 1, page[0]);
	mig_digest_add(&b, 0, 2, page[1]);
	CHECK(!equal(&a, &b));
	b = digest(2);
	page[1][4095] ^= 1;
	mig_digest_add(&b, 0, 1, page[0]);
	mig_digest_add(&b, 0, 2, page[1]);
	CHECK(!equal(&a, &b));
}

TEST(migrate_digest_of_a_zero_page_is_that_of_its_bytes)
{
	struct mig_digest a = digest(3), b = digest(3);

	memset(page[0], 0, sizeof(page[0]));
	mig_digest_add(&a, 2, 9, page[0]);
	mig_digest_add_zero(&b, 2, 9);
	CHECK(equal(&a, &b));
	CHECK(a.low != 0 || a.high != 0);
}

TEST(migrate_digest_counts_every_sending_and_carries)
{
	struct mig_digest a = digest(3);
	uint64_t low, high;

	mig_digest_add(&a, 0, 0, page[0]);
	low = a.low;
	high = a.high;
	a.low = UINT64_MAX;
	a.high = 0;
	mig_digest_add(&a, 0, 0, page[0]);
	CHECK(a.low == low - 1);
	CHECK(a.high == high + (low != 0));
	CHECK_EQ(a.pages, 2);
}

static void
check_uri(const char *text, const char *host, const char *port, const char *path)
{
	struct mig_uri uri;
	const char *why = NULL;
	int rc = mig_uri_parse(text, &uri, &why);

	if (host == NULL && path == NULL) {
		if (rc != -EINVAL || why == NULL)
			FAIL("\"%s\" is taken", text);
		return;
	}
	if (rc != 0)
		FAIL("\"%s\": %s", text, why);
	CHECK_EQ(uri.is_unix, path != NULL);
	CHECK(strcmp(uri.host, host != NULL ? host : "") == 0);
	CHECK(strcmp(uri.port, port != NULL ? port : "") == 0);
	CHECK(strcmp(uri.path, path != NULL ? path : "") == 0);
}

TEST(migrate_uri_is_tcp_host_port_or_unix_path)
{
	char path[300] = "unix:";

	check_uri("tcp:localhost:4444", "localhost", "4444", NULL);
	check_uri("tcp:[::1]:65535", "::1", "65535", NULL);
	check_uri("tcp::4444", "", "4444", NULL);
	check_uri("unix:/run/x.sock", NULL, NULL, "/run/x.sock");
	check_uri("", NULL, NULL, NULL);
	check_uri("file:", NULL, NULL, NULL);
	check_uri("file:/folder/", NULL, NULL, NULL);
	check_uri("tcp:host", NULL, NULL, NULL);
	check_uri("tcp:host:", NULL, NULL, NULL);
	check_uri("tcp:host:65536", NULL, NULL, NULL);
	check_uri("tcp:host:99999999999", NULL, NULL, NULL);
	check_uri("tcp:host:12x", NULL, NULL, NULL);
	check_uri("tcp:::1:4444", NULL, NULL, NULL);
	check_uri("tcp:[::1]", NULL, NULL, NULL);
	check_uri("tcp:[::1:4444", NULL, NULL, NULL);
	check_uri("unix:", NULL, NULL, NULL);
	memset(path + 5, 'x', 107);
	check_uri(path, NULL, NULL, path + 5);
	path[5 + 107] = 'x';
	check_uri(path, NULL, NULL, NULL);
}

TEST(migrate_uri_of_a_snapshot_is_file_path)
{
	struct mig_uri uri;
	const char *why;

	CHECK_EQ(mig_uri_parse("file:/var/lib/web:1", &uri, &why), 0);
	CHECK(uri.is_file && !uri.is_unix);
	CHECK(strcmp(uri.file, "/var/lib/web:1") == 0);
}

static struct wherry_forecast
play(double dirty, double bandwidth, double limit_ms)
{
	/* 1 GiB, of which a quarter is never written */
	const struct wherry_forecast_region regions[] = { { .pages = 65536 },
		{ .pages = 196608, .dirty_pages_per_s = dirty } };
	const struct wherry_forecast_terms terms = {
		.bandwidth = bandwidth, .downtime_limit_ms = limit_ms, .max_rounds = 30
	};
	struct wherry_forecast f;

	CHECK_EQ(wherry_forecast_reckon(regions, 2, &terms, &f), 0);
	return f;
}

TEST(migrate_forecast_of_state_nobody_writes_is_one_round)
{
	struct wherry_forecast f = play(0, (double)(1 << 30), 50);

	CHECK(f.converges);
	CHECK_EQ(f.rounds, 1);
	CHECK(near(f.seconds, 1));
	CHECK(f.blackout_ms < 50);
}

/* 100 MB/s against 1 GiB/s: a tenth is left after each round. */
TEST(migrate_forecast_converges_if_more_can_be_sent_than_is_written)
{
	struct wherry_forecast f = play(25000, (double)(1 << 30), 10);

	CHECK(f.converges);
	CHECK(f.rounds >= 3 && f.rounds <= 6);
	CHECK(f.seconds > 1 && f.seconds < 1.3);
	CHECK(f.blackout_ms > 5 && f.blackout_ms <= 6.25);
}

TEST(migrate_forecast_names_the_region_that_prevents_it)
{
	struct wherry_forecast f = play(100000, 100e6, 50);

	CHECK(!f.converges);
	CHECK_EQ(f.rounds, 30);
	CHECK_EQ(f.worst, 1);
	CHECK(f.blackout_ms > 1000);
	f = play(1e9, 100e6, 50); /* all of it, all the time */
	CHECK(!f.converges);
	CHECK(f.blackout_ms < 196608 * 4096 / 100e6 * 1e3 + 6);
}

TEST(migrate_forecast_wants_a_bandwidth_and_a_round)
{
	struct wherry_forecast_terms terms = { .max_rounds = 1 };
	struct wherry_forecast f;

	CHECK_EQ(wherry_forecast_reckon(NULL, 0, &terms, &f), -EINVAL);
	terms = (struct wherry_forecast_terms){ .bandwidth = 1 };
	CHECK_EQ(wherry_forecast_reckon(NULL, 0, &terms, &f), -EINVAL);
	terms.max_rounds = 1;
	terms.downtime_limit_ms = 50;
	CHECK_EQ(wherry_forecast_reckon(NULL, 0, &terms, &f), 0);
	CHECK(f.converges);
}

/* The digits of so many pages, of which these are dirty. */
static const char *
heat_of(uint64_t pages, struct wherry_span dirty)
{
	static char digits[MIG_HEAT_PARTS + 1];
	struct wherry_bitmap *bm = NULL;

	CHECK_EQ(wherry_bitmap_create((struct wherry_span){ HEAT_BASE, pages * 4096 }, 4096, &bm),
		0);
	if (dirty.len > 0)
		wherry_bitmap_mark(bm,
			(struct wherry_span){ HEAT_BASE + dirty.iova * 4096, dirty.len * 4096 });
	mig_heat_digits(bm, digits);
	wherry_bitmap_destroy(bm);
	return digits;
}

TEST(migrate_heat_has_a_digit_for_each_part)
{
	uint64_t all = 1 << 20;

	CHECK(strcmp(heat_of(3, (struct wherry_span){ 1, 1 }), "090") == 0);
	CHECK(strcmp(heat_of(1, (struct wherry_span){ 0, 0 }), "0") == 0);
	/* 130 pages: 43 parts of three and one of one */
	CHECK(strncmp(heat_of(130, (struct wherry_span){ 1, 4 }), "6600", 4) == 0);
	CHECK_EQ(strlen(heat_of(130, (struct wherry_span){ 126, 4 })), 44);
	CHECK(strcmp(heat_of(130, (struct wherry_span){ 126, 4 }) + 40, "0099") == 0);
	CHECK_EQ(strspn(heat_of(all, (struct wherry_span){ 0, all }), "9"), MIG_HEAT_PARTS);
	CHECK_EQ(heat_of(all, (struct wherry_span){ 77, 1 })[0], '1');
}
