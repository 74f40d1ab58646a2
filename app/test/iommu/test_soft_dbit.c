/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who loses a write: every schedule of one device's write against one unmap or harvest, for
 * each mode, format, leaf size and way of setting D. A schedule is when the write
 * begins, and when it makes each of its steps.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rig.h"
#include "wherry_soft.h"

#define BASE UINT64_C(0x40000000)

enum dbit { CHECKED, LATE, STALE, N_DBITS };
static const char *const dbit_names[N_DBITS] = { "checked", "late", "stale" };

static const struct {
	const char *format, *leaf;
	bool has[N_DBITS];
} tables[] = {
	{ "vtdss", "4k", { true, true, true } },
	{ "vtdss", "2m", { true, true, true } },
	{ "amdv1", "4k", { true, true, true } },
	{ "amdv1", "64k", { true, true, true } },
	{ "amdv1", "2m", { true, true, true } },
	{ "arm64s1", "4k", { true, false, true } },
	{ "arm64s1", "64k", { true, false, true } },
	{ "arm64s1", "2m", { true, false, true } },
};
#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

static const char *
spec_of(size_t table, enum dbit dbit)
{
	static char spec[64];

	snprintf(spec, sizeof(spec), "soft:format=%s,leaf=%s,dbit=%s", tables[table].format,
		tables[table].leaf, dbit_names[dbit]);
	return spec;
}

/*
 * A write comes to four moments: it begins, and makes three steps (what more it takes, because the entry
 * has changed, goes with the last). Each is at an event of the call: 0 is before it, AFTER when it has
 * returned, later ones never before earlier ones.
 */
#define MOMENTS 4u
#define AFTER 6u /* calls have up to five events */

/* What the device knows of the page: nothing, or a translation in its IOTLB, clean or with D. */
enum primed { UNKNOWN, READ, WRITTEN, N_PRIMED };

struct schedule {
	enum primed primed;
	unsigned int at[MOMENTS];
};

struct play {
	struct rig rig;
	struct schedule plan;
	unsigned int now;     /* events so far */
	unsigned int moments; /* of the plan, that have been */
	struct wherry_soft_write *write;
	bool refused;
};

#define WRITES (BASE + 3 * 4096 + 5) /* of a leaf that has several entries, not in the first */
#define BYTE(play) ((play)->rig.mem[WRITES - BASE])

static enum wherry_soft_step
step(struct play *p)
{
	enum wherry_soft_step made = wherry_soft_write_step(p->write);

	p->refused |= made == WHERRY_SOFT_REFUSED;
	return made;
}

static void
finish(struct play *p)
{
	while (step(p) != WHERRY_SOFT_OVER)
		;
	wherry_soft_write_end(p->write);
	p->write = NULL;
	p->moments = MOMENTS;
}

/* To where the plan wants it by now. */
static void
go_on(struct play *p)
{
	static const uint8_t byte = 77;

	for (; p->moments < MOMENTS && p->plan.at[p->moments] <= p->now; p->moments++) {
		if (p->moments == 0)
			CHECK_EQ(
				wherry_soft_write_begin(p->rig.dev[0], WRITES, &byte, 1, &p->write),
				0);
		else
			(void)step(p);
	}
	if (p->moments == MOMENTS && p->write != NULL)
		finish(p);
}

/* A wait for a write that began before it has to see its end. */
static void
on_event(void *ctx, enum wherry_soft_event event)
{
	struct play *p = ctx;

	p->now++;
	CHECK(p->now < AFTER);
	if (p->write != NULL && event == WHERRY_SOFT_WAITING)
		finish(p);
	go_on(p);
}

/* A harvest is followed by an unmap that finds no DMA in flight. */
enum call { SNAPSHOT, SEED, EXACT, ASSUME, HARVEST, N_CALLS };

static int
make_call(struct play *p, enum call call, struct wherry_span span, struct wherry_bitmap *bm)
{
	static const enum wherry_unmap_mode modes[] = { [SNAPSHOT] = WHERRY_UNMAP_SNAPSHOT,
		[SEED] = WHERRY_UNMAP_SEED,
		[EXACT] = WHERRY_UNMAP_EXACT,
		[ASSUME] = WHERRY_UNMAP_ASSUME };

	return call == HARVEST ? wherry_domain_dirty_harvest(p->rig.dom, span, bm)
			       : wherry_domain_unmap_dirty(p->rig.dom, span, modes[call], bm);
}

/* Mapped, tracked, and the page's translation cached or not; returns what the byte is. */
static uint8_t
prime(struct play *p)
{
	uint8_t byte = 0;

	BYTE(p) = 0;
	CHECK_EQ(wherry_domain_dirty_start(p->rig.dom), 0);
	if (p->plan.primed == READ)
		CHECK_EQ(rig_read(&p->rig, 0, WRITES, &byte, 1), 0);
	else if (p->plan.primed == WRITTEN)
		CHECK_EQ(rig_poke(&p->rig, 0, WRITES, byte = 11), 0);
	p->now = p->moments = 0;
	p->refused = false;
	return byte;
}

/* As a migration copies: what was reported, when the call has returned. */
static void
copy_reported(struct play *p, struct wherry_bitmap *bm, uint8_t *copy)
{
	if (wherry_bitmap_test(bm, WRITES))
		*copy = BYTE(p);
	wherry_bitmap_clear(bm);
}

/* Is the copy another than the memory in the end? */
static bool
loses(struct play *p, enum call call, struct schedule plan)
{
	struct wherry_bitmap *bm;
	struct wherry_span span;
	uint8_t before, at_return, copy = 0;

	span = rig_map(&p->rig, BASE, 0, 512);
	bm = rig_bitmap(&p->rig, span);
	p->plan = plan;
	before = prime(p);
	go_on(p);
	wherry_soft_on_event(p->rig.dev[0], on_event, p);
	CHECK_EQ(make_call(p, call, span, bm), 0);
	wherry_soft_on_event(p->rig.dev[0], NULL, NULL);
	copy_reported(p, bm, &copy);
	at_return = BYTE(p);
	p->now = AFTER;
	go_on(p);
	CHECK_EQ(BYTE(p), p->refused ? before : 77);
	if (call == HARVEST)
		CHECK_EQ(make_call(p, SNAPSHOT, span, bm), 0);
	else
		CHECK_EQ(BYTE(p), at_return); /* nothing lands after the unmap */
	copy_reported(p, bm, &copy);
	wherry_domain_dirty_stop(p->rig.dom);
	wherry_bitmap_destroy(bm);
	return copy != BYTE(p);
}

static unsigned long played;

/* All there are, or up to the first that loses. */
static bool
any_schedule_loses(const char *spec, enum call call)
{
	struct play p = { .now = 0 };
	bool lost = false;

	rig_open(&p.rig, spec);
	for (unsigned int i = 0; !lost && i < N_PRIMED * 7 * 7 * 7 * 7; i++) {
		struct schedule s = { (enum primed)(i / 2401),
			{ i / 343 % 7, i / 49 % 7, i / 7 % 7, i % 7 } };

		if (s.at[0] > s.at[1] || s.at[1] > s.at[2] || s.at[2] > s.at[3])
			continue;
		lost = loses(&p, call, s);
		played++;
	}
	rig_close(&p.rig);
	return lost;
}

/* The table of doc/unmap_dirty; devtools/check-outcomes compares. EXACT with stale is refused. */
static const struct {
	enum call call;
	bool loses[N_DBITS];
} outcomes[] = {
	{ SNAPSHOT, { true, true, true } },
	{ SEED, { false, true, true } },
	{ EXACT, { false, false, false } },
	{ ASSUME, { false, false, false } },
	{ HARVEST, { false, false, false } },
};

static void
check_outcomes(size_t table, enum dbit dbit)
{
	const char *spec = spec_of(table, dbit);

	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
		if (outcomes[i].call == EXACT && dbit == STALE)
			continue;
		if (any_schedule_loses(spec, outcomes[i].call) != outcomes[i].loses[dbit])
			FAIL("%s, call %d: a write is %s", spec, (int)outcomes[i].call,
				outcomes[i].loses[dbit] ? "never lost" : "lost");
	}
}

TEST(soft_schedules_lose_writes_where_the_table_says_so)
{
	for (size_t table = 0; table < N_TABLES; table++)
		for (enum dbit dbit = CHECKED; dbit < N_DBITS; dbit++)
			if (tables[table].has[dbit])
				check_outcomes(table, dbit);
	printf("# %lu schedules\n", played);
}

/*
 * By content: exact where D is set before the data lands, and even where a walker is
 * stale, as what a stale entry lets through shows in the bytes. Refused with late.
 */
TEST(soft_schedules_lose_no_write_to_a_check_by_content)
{
	static char spec[80];

	for (size_t table = 0; table < N_TABLES; table++) {
		for (enum dbit dbit = CHECKED; dbit < N_DBITS; dbit++) {
			if (!tables[table].has[dbit] || dbit == LATE)
				continue;
			snprintf(spec, sizeof(spec), "%s,exact=content", spec_of(table, dbit));
			if (any_schedule_loses(spec, EXACT))
				FAIL("%s loses a write", spec);
		}
	}
}

TEST(soft_check_by_content_is_refused_where_d_is_late)
{
	struct wherry_bitmap *bm;
	struct wherry_span span;
	struct rig r;

	rig_open(&r, "soft:dbit=late,exact=content");
	CHECK_EQ(r.caps.exact_by, WHERRY_UNMAP_BY_NOTHING);
	CHECK(strstr(r.caps.reason, "late") != NULL);
	span = rig_map(&r, BASE, 0, 4);
	bm = rig_bitmap(&r, span);
	CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
	CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_EXACT, bm), -EOPNOTSUPP);
	CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
	wherry_bitmap_destroy(bm);
	rig_close(&r);
}

static void
hear(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	(void)level;
	(void)area;
	snprintf(ctx, 256, "%s", line);
}

/* And says by which section of which specification. */
TEST(soft_dbit_that_a_format_excludes_is_refused)
{
	struct wherry_domain *dom = NULL;

	for (size_t table = 0; table < N_TABLES; table++) {
		for (enum dbit dbit = CHECKED; dbit < N_DBITS; dbit++) {
			char heard[256] = "";
			bool has = tables[table].has[dbit];

			wherry_log_set(hear, heard, WHERRY_LOG_ERR);
			CHECK_EQ(wherry_domain_create(spec_of(table, dbit), &dom),
				has ? 0 : -EINVAL);
			wherry_log_set(NULL, NULL, WHERRY_LOG_ERR);
			CHECK_EQ(strstr(heard, "IHI 0070, 3.13.3") != NULL, !has);
			CHECK_EQ(strstr(heard, "dbit=late") != NULL, !has);
			wherry_domain_destroy(dom);
			dom = NULL;
		}
	}
}

/* With its reason, and nothing unmapped. */
TEST(soft_exact_unmap_is_refused_where_a_walker_is_stale)
{
	for (size_t table = 0; table < N_TABLES; table++) {
		struct wherry_bitmap *bm;
		struct wherry_span span;
		struct rig r;

		rig_open(&r, spec_of(table, STALE));
		CHECK_EQ(r.caps.exact_by, WHERRY_UNMAP_BY_NOTHING);
		CHECK(strstr(r.caps.reason, "stale") != NULL);
		span = rig_map(&r, BASE, 0, 4);
		bm = rig_bitmap(&r, span);
		CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
		CHECK_EQ(wherry_domain_unmap_dirty(r.dom, span, WHERRY_UNMAP_EXACT, bm),
			-EOPNOTSUPP);
		CHECK_EQ(wherry_bitmap_count(bm), 0);
		CHECK_EQ(rig_poke(&r, 0, BASE, 1), 0);
		wherry_bitmap_destroy(bm);
		rig_close(&r);
	}
}

/* Steps of a write, with an IOTLB that knows nothing, a clean page, a dirty one. */
TEST(soft_write_steps_come_in_the_order_of_dbit)
{
	static const struct {
		enum dbit dbit;
		enum wherry_soft_step first[4], again[3];
	} orders[] = {
		{ CHECKED,
			{ WHERRY_SOFT_WALK, WHERRY_SOFT_DIRTIED, WHERRY_SOFT_LANDED,
				WHERRY_SOFT_OVER },
			{ WHERRY_SOFT_HIT, WHERRY_SOFT_LANDED, WHERRY_SOFT_OVER } },
		{ LATE,
			{ WHERRY_SOFT_WALK, WHERRY_SOFT_LANDED, WHERRY_SOFT_DIRTIED,
				WHERRY_SOFT_OVER },
			{ WHERRY_SOFT_HIT, WHERRY_SOFT_LANDED, WHERRY_SOFT_OVER } },
	};

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		struct wherry_soft_write *w = NULL;
		struct wherry_span span;
		struct rig r;

		rig_open(&r, spec_of(0, orders[i].dbit));
		span = rig_map(&r, BASE, 0, 4);
		CHECK_EQ(wherry_domain_dirty_start(r.dom), 0);
		CHECK_EQ(wherry_soft_write_begin(r.dev[0], BASE, "ab", 2, &w), 0);
		for (unsigned int n = 0; n < 4; n++)
			CHECK_EQ(wherry_soft_write_step(w), orders[i].first[n]);
		wherry_soft_write_end(w);
		CHECK_EQ(memcmp(r.mem, "ab", 2), 0);
		CHECK_EQ(wherry_soft_write_begin(r.dev[0], BASE + 1, "c", 1, &w), 0);
		for (unsigned int n = 0; n < 3; n++)
			CHECK_EQ(wherry_soft_write_step(w), orders[i].again[n]);
		wherry_soft_write_end(w);
		CHECK_EQ(rig_harvest_count(&r, span), 1);
		rig_close(&r);
	}
}

TEST(soft_stepped_write_is_refused_as_others_are)
{
	struct wherry_soft_write *w = NULL;
	struct wherry_soft_fault fault;
	struct rig r;

	rig_open(&r, "soft");
	CHECK_EQ(wherry_soft_write_begin(r.dev[0], BASE, "a", 0, &w), -EINVAL);
	CHECK_EQ(wherry_soft_write_begin(r.dev[0], BASE + 4095, "ab", 2, &w), -EINVAL);
	wherry_fault_arm(1);
	CHECK_EQ(wherry_soft_write_begin(r.dev[0], BASE, "a", 1, &w), -ENOMEM);
	wherry_fault_disarm();
	CHECK(w == NULL);
	wherry_soft_write_end(w);
	CHECK_EQ(wherry_soft_write_begin(r.dev[0], BASE + 9, "a", 1, &w), 0);
	CHECK_EQ(wherry_soft_write_step(w), WHERRY_SOFT_REFUSED);
	CHECK_EQ(wherry_soft_write_step(w), WHERRY_SOFT_OVER);
	wherry_soft_write_end(w);
	CHECK(wherry_soft_fault_take(r.dev[0], &fault));
	CHECK(fault.write && fault.iova == BASE + 9 && strcmp(fault.reason, "not mapped") == 0);
	wherry_device_detach(r.dev[0]);
	CHECK_EQ(wherry_soft_write_begin(r.dev[0], BASE, "a", 1, &w), 0);
	CHECK_EQ(wherry_soft_write_step(w), WHERRY_SOFT_REFUSED);
	wherry_soft_write_end(w);
	rig_close(&r);
}
