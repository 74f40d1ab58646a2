/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rounds. Each begins with what the last harvest reported: all watches are taken, and
 * only then is the first page copied. A round ends with the destination's word that all
 * is in its place, so that nothing of it is left for the blackout; then memory is
 * harvested again and the forecast made.
 */
#define LOG_PREFIX "migrate/source"

#include <errno.h>
#include <string.h>

#include "converge_priv.h"
#include "heat_priv.h"
#include "source_priv.h"
#include "torn_priv.h"

#define REHEARSALS_MAX 3u

int
mig_source_channel_failed(struct mig_source *s, int rc)
{
	s->lost = mig_channel_is_lost(s->ch, rc);
	return mig_fail(&s->reason, rc, "%s", mig_channel_reason(s->ch));
}

struct totals {
	uint64_t iommu, cpu, pending, filtered;
	double rate; /* pages per second */
};

static struct totals
ask_watches(const struct mig_source *s)
{
	struct totals t = { .iommu = 0 };

	for (uint32_t i = 0; i < s->regions.n; i++) {
		struct wherry_watch_stats stats;

		wherry_watch_get_stats(s->regions.list[i].watch, &stats);
		t.iommu += stats.iommu_pages;
		t.cpu += stats.cpu_pages;
		t.pending += stats.pending_pages;
		t.filtered += stats.filtered_pages;
		t.rate += stats.iommu_rate + stats.cpu_rate;
	}
	return t;
}

/* Harvest, and begin the next round with what it says. */
static int
harvest(struct mig_source *s, bool final)
{
	uint64_t begin = mig_now();
	int rc = wherry_fault("source.harvest") ? -EIO : wherry_tracker_harvest(s->agent->tracker);
	struct totals t;

	if (rc != 0)
		return mig_fail(
			&s->reason, rc, "dirty pages could not be asked for: %s", strerror(-rc));
	s->harvest_ns = mig_now() - begin;
	t = ask_watches(s);
	s->round = (struct wherry_round){
		.n = s->round.n + 1,
		.final = final,
		.iommu_dirty_pages = t.iommu - s->iommu_seen,
		.cpu_dirty_pages = t.cpu - s->cpu_seen,
	};
	s->iommu_seen = t.iommu;
	s->cpu_seen = t.cpu;
	return 0;
}

/* Everything is taken before anything is copied. */
static int
take_all(struct mig_source *s)
{
	s->round_pages = 0;
	for (uint32_t i = 0; i < s->regions.n; i++) {
		int rc = wherry_fault("source.take")
			? -ENOMEM
			: wherry_watch_take(s->regions.list[i].watch, s->round.final, s->taken[i]);

		if (rc != 0)
			return mig_fail(&s->reason, rc, "dirty pages could not be taken: %s",
				strerror(-rc));
		s->round_pages += wherry_bitmap_count(s->taken[i]);
	}
	return 0;
}

/* If another connection broke, the peer may say on the first one why. */
static int
lane_failed(struct mig_source *s, int rc)
{
	int first = mig_sender_failed(s->sender, &s->reason), words;

	rc = first != 0 ? first : rc; /* the others were only told to stop */
	words = rc == -ECONNRESET && s->ch != NULL ? mig_channel_last_words(s->ch) : 0;
	s->lost = s->ch != NULL && mig_channel_is_lost(s->ch, rc);
	return words != 0 ? mig_source_channel_failed(s, words) : rc;
}

/* May pages be sent from where they stand? Hashes of what is tracked by them are of a copy. */
static bool
is_live(const struct mig_source *s)
{
	const char *why;

	return !s->round.final && s->ch != NULL && s->tls == NULL && !s->params.compress &&
		s->params.max_bandwidth == 0 &&
		wherry_tracker_cpu(s->agent->tracker, &why) != WHERRY_CPU_HASH;
}

static int
send_all_regions(struct mig_source *s)
{
	int rc;

	mig_sender_set_live(s->sender, is_live(s));
	rc = mig_sender_round(s->sender, s->round.n, s->taken, s->round_pages);

	if (rc != 0)
		return lane_failed(s, rc);
	for (uint32_t i = 0; i < s->regions.n; i++)
		wherry_bitmap_clear(s->taken[i]);
	return 0;
}

static int
heal_page(struct mig_source *s, const uint8_t *entry, uint64_t *count)
{
	const struct mig_region *r;
	uint64_t page, hash[2];
	uint32_t i;

	mig_torn_get(entry, &i, &page, hash);
	if (i >= s->regions.n || page >= s->regions.list[i].span.len / WHERRY_STREAM_PAGE)
		return mig_fail(&s->reason, -EPROTO, "the peer has pages that were not sent");
	r = &s->regions.list[i];
	if (!mig_sender_torn(s->sender, i, page, hash))
		return 0;
	(*count)++;
	wherry_bitmap_mark(s->taken[i],
		(struct wherry_span){ .iova = r->span.iova + page * WHERRY_STREAM_PAGE,
			.len = WHERRY_STREAM_PAGE });
	return 0;
}

/* Pages that came otherwise than they were hashed are dirty, whoever wrote them. */
static int
heal(struct mig_source *s, const struct wherry_record *got)
{
	struct wherry_field torn;
	uint64_t n = 0;
	int rc = 0;

	if (!wherry_field_find(got->payload, got->len, WHERRY_GOT_TORN, &torn))
		return 0;
	for (size_t at = 0; rc == 0 && at + MIG_TORN_ENTRY <= torn.len; at += MIG_TORN_ENTRY)
		rc = heal_page(s, torn.bytes + at, &n);
	for (uint32_t i = 0; i < s->regions.n; i++) {
		wherry_watch_give_back(s->regions.list[i].watch, s->taken[i]);
		wherry_bitmap_clear(s->taken[i]);
	}
	LOG_DEBUG("%llu pages were written while they were sent", (unsigned long long)n);
	return rc;
}

/* The destination's word on the round, in one record or more. */
static int
await_got(struct mig_source *s)
{
	struct wherry_record got = { .len = 0 };
	int rc;

	do {
		rc = mig_channel_expect(s->ch, WHERRY_REC_GOT, &got);
		if (rc != 0)
			return mig_source_channel_failed(s, rc);
		if (wherry_field_u64(got.payload, got.len, WHERRY_GOT_N, 0) != s->round.n)
			return mig_fail(
				&s->reason, -EPROTO, "the peer has another round than was sent");
		rc = heal(s, &got);
	} while (rc == 0 && wherry_field_u64(got.payload, got.len, WHERRY_GOT_MORE, 0) != 0);
	return rc;
}

/* Tell the destination, and wait until it has caught up unless this is the last. */
static int
close_round(struct mig_source *s)
{
	uint8_t rec[WHERRY_STREAM_HEADER + 256];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 256 };
	struct mig_sent sent;
	uint64_t begin;
	int rc;

	mig_sender_get_sent(s->sender, &sent);
	s->busy_ns = sent.busy_ns;
	if (s->ch == NULL) /* a file needs no telling */
		return 0;
	wherry_table_put_u64(&t, WHERRY_ROUND_N, s->round.n);
	wherry_table_put_u64(&t, WHERRY_ROUND_FINAL, s->round.final);
	wherry_table_put_u64(&t, WHERRY_ROUND_IOMMU_PAGES, s->round.iommu_dirty_pages);
	wherry_table_put_u64(&t, WHERRY_ROUND_CPU_PAGES, s->round.cpu_dirty_pages);
	wherry_table_put_u64(&t, WHERRY_ROUND_PAGES, sent.counts.pages);
	wherry_table_put_u64(&t, WHERRY_ROUND_ZERO_PAGES, sent.counts.zero_pages);
	wherry_table_put_u64(&t, WHERRY_ROUND_SAME_PAGES, sent.counts.same_pages);
	wherry_table_put_u64(&t, WHERRY_ROUND_CHANNELS, sent.lanes);
	rc = mig_channel_send(s->ch, WHERRY_REC_ROUND, t.buf, t.len);
	if (rc != 0 || s->round.final)
		return rc == 0 ? 0 : mig_source_channel_failed(s, rc);
	begin = mig_now();
	rc = await_got(s);
	if (rc != 0)
		return rc;
	s->busy_ns += mig_now() - begin;
	if (s->rtt_ns == 0 || mig_now() - begin < s->rtt_ns)
		s->rtt_ns = mig_now() - begin;
	return 0;
}

/* Take, send, close: the round that harvest has begun. */
static int
run_round(struct mig_source *s)
{
	uint64_t begin = mig_now(), bytes = mig_source_bytes(s);
	struct mig_sent sent;
	int rc = take_all(s);

	if (rc == 0 && !s->round.final) /* not at the cost of the blackout */
		mig_agent_set_heat(s->agent, mig_heat_draw(&s->regions, s->taken));
	if (rc == 0)
		rc = send_all_regions(s);
	if (rc == 0)
		rc = close_round(s);
	if (rc != 0)
		return rc;
	mig_sender_get_sent(s->sender, &sent);
	s->round.pages = sent.counts.pages;
	s->round.zero_pages = sent.counts.zero_pages;
	s->round.same_pages = sent.counts.same_pages;
	s->round.bytes = mig_source_bytes(s) - bytes;
	s->round.ns = mig_now() - begin;
	s->bandwidth = mig_bandwidth(s->bandwidth, s->round.bytes, s->busy_ns);
	if (s->round.n > 1) /* in the first nothing is known */
		s->same_share =
			mig_same_share(s->same_share, sent.counts.same_pages, sent.counts.pages);
	if (sent.same_ns > 0)
		s->same_ns = sent.same_ns;
	s->round.bandwidth = (double)s->round.bytes / (double)s->round.ns * 1e9;
	return 0;
}

/* What would be left to send if the application were stopped now, and what it costs. */
static struct mig_measure
measure(const struct mig_source *s)
{
	const struct mig_costs costs = {
		.quiesce = s->quiesce_ns,
		.takeover = s->peer.takeover_ns,
		.harvest = s->harvest_ns,
		.rtt = s->rtt_ns,
		.arbiter = s->arbiter_ns,
	};
	double lead_s = mig_lead_ms(&costs) / 1e3;
	struct totals t = ask_watches(s);
	struct mig_measure m = { .bandwidth = s->bandwidth, .fixed_ms = mig_fixed_ms(&costs) };
	double pages = 0;

	for (uint32_t i = 0; i < s->regions.n; i++)
		pages += wherry_watch_forecast(s->regions.list[i].watch, lead_s);
	pages -= (double)t.filtered;
	if (pages < 0)
		pages = 0;
	m.pending_bytes = pages * (1 - s->same_share) * WHERRY_STREAM_PAGE;
	m.fixed_ms += pages * s->same_share * s->same_ns / 1e6;
	return m;
}

static int
not_converged(struct mig_source *s, double forecast_ms)
{
	return mig_fail(&s->reason, -ETIMEDOUT,
		"not converged after %u rounds: forecast %.0f ms, limit %u ms; %.1f MB/s get dirty, %.1f MB/s can be sent: raise --downtime-limit or --max-bandwidth, or lower the load",
		s->params.max_rounds, forecast_ms, s->params.downtime_limit_ms,
		ask_watches(s).rate * WHERRY_STREAM_PAGE / 1e6, s->bandwidth / 1e6);
}

void
mig_source_throttle(struct mig_source *s, unsigned int percent)
{
	const struct wherry_agent_ops *ops = &s->agent->ops;

	if (ops->throttle == NULL || percent == s->throttle)
		return;
	LOG_INFO("intake throttled by %u %%", percent);
	s->throttle = percent;
	ops->throttle(ops->ctx, percent);
	mig_agent_set_throttle(s->agent, percent);
}

/* Going on: is it getting better by itself? */
static void
slow_down(struct mig_source *s, double before_ms)
{
	if (s->params.auto_converge)
		mig_source_throttle(s, mig_throttle(s->throttle, before_ms, s->forecast_ms));
}

/* A moment's stop is not for every round. */
static void
rehearse(struct mig_source *s)
{
	const struct wherry_agent_ops *ops = &s->agent->ops;
	uint64_t ns;

	if (ops->rehearse == NULL || s->rehearsals == REHEARSALS_MAX)
		return;
	ns = ops->rehearse(ops->ctx);
	s->quiesce_ns = ns != 0 ? ns : s->quiesce_ns;
	s->rehearsals++;
}

/* It may have met a busy moment: what alone would break the limit is looked at again. */
static void
rehearse_again(struct mig_source *s)
{
	if (s->quiesce_ns > s->params.downtime_limit_ms * UINT64_C(1000000))
		rehearse(s);
}

/* Forecast, tell, decide. before_ms: what the round before left to send; then what this one did. */
static int
judge(struct mig_source *s, struct wherry_round *done, double *before_ms,
	enum mig_verdict *ret_verdict)
{
	const struct mig_goal goal = { .limit_ms = s->params.downtime_limit_ms,
		.max_rounds = s->params.max_rounds };
	struct mig_measure m = measure(s);
	double last_ms = s->forecast_ms;

	done->forecast_ms = s->forecast_ms = mig_forecast_ms(&m);
	mig_agent_set_round(s->agent, done);
	LOG_DEBUG("round %u: %llu pages, %llu of them zeroes, forecast %.1f ms, %.1f to send",
		done->n, (unsigned long long)done->pages, (unsigned long long)done->zero_pages,
		done->forecast_ms, mig_send_ms(&m));
	*ret_verdict = mig_converge(&m, *before_ms, done->n, &goal);
	*before_ms = mig_send_ms(&m);
	if (*ret_verdict == MIG_GIVE_UP)
		return not_converged(s, done->forecast_ms);
	if (s->forecast_ms > goal.limit_ms)
		slow_down(s, last_ms);
	return 0;
}

int
mig_source_precopy(struct mig_source *s)
{
	enum mig_verdict verdict = MIG_GO_ON;
	double before_ms = 0;
	int rc;

	s->lost = false;
	if (s->rehearsals == 0)
		rehearse(s);
	rc = harvest(s, false);
	while (rc == 0 && verdict == MIG_GO_ON) {
		struct wherry_round done;

		rc = run_round(s);
		done = s->round;
		done.throttle_percent = s->throttle;
		if (rc == 0)
			rehearse_again(s);
		if (rc == 0)
			rc = harvest(s, false);
		if (rc == 0)
			rc = judge(s, &done, &before_ms, &verdict);
	}
	return rc;
}

/* The round that precopy's last harvest began has not been sent: its counts belong to this one. */
int
mig_source_final_round(struct mig_source *s)
{
	struct wherry_round before = s->round;
	struct totals t;
	int rc = harvest(s, true);

	if (rc != 0)
		return rc;
	s->round.n = before.n;
	s->round.iommu_dirty_pages += before.iommu_dirty_pages;
	s->round.cpu_dirty_pages += before.cpu_dirty_pages;
	t = ask_watches(s);
	rc = run_round(s);
	if (rc != 0)
		return rc;
	mig_agent_set_round(s->agent, &s->round);
	mig_agent_set_filtered(
		s->agent, t.pending > s->round_pages ? t.pending - s->round_pages : 0);
	return 0;
}

int
mig_source_empty_round(struct mig_source *s, bool final)
{
	int rc;

	s->round = (struct wherry_round){ .n = s->round.n + 1, .final = final };
	s->round_pages = 0;
	rc = send_all_regions(s);
	if (rc == 0)
		rc = close_round(s);
	if (rc == 0)
		mig_agent_set_round(s->agent, &s->round);
	return rc;
}
