/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who loses a write: every schedule of one device's write against one unmap, for
 * each mode, format, leaf size and way of setting D. A schedule is when the write
 * begins, how many steps it makes then, and when it makes the others.
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

/* Events count from 1; 0 is before the unmap is called. */
struct schedule {
	bool cached;            /* the device has read there: a clean translation is cached */
	unsigned int begins_at; /* event at which the write begins */
	unsigned int steps;     /* made there and then */
	unsigned int ends_at;   /* event for the others, if not forced by a wait before */
};

struct play {
	struct rig rig;
	struct schedule plan;
	unsigned int now; /* events so far */
	struct wherry_soft_write *write;
	bool began, refused;
};

static void
step(struct play *p, unsigned int n)
{
	while (n-- > 0)
		p->refused |= wherry_soft_write_step(p->write) == WHERRY_SOFT_REFUSED;
}

static void
begin_write(struct play *p)
{
	static const uint8_t byte = 77;

	CHECK_EQ(wherry_soft_write_begin(p->rig.dev[0], BASE + 5, &byte, 1, &p->write), 0);
	p->began = true;
	step(p, p->plan.steps);
}

static void
end_write(struct play *p)
{
	step(p, 5);
	wherry_soft_write_end(p->write);
	p->write = NULL;
}

/* A wait for a write that began before it has to see its end. */
static void
on_event(void *ctx, enum wherry_soft_event event)
{
	struct play *p = ctx;

	p->now++;
	if (p->write != NULL && (event == WHERRY_SOFT_WAITING || p->now >= p->plan.ends_at))
		end_write(p);
	if (!p->began && p->now >= p->plan.begins_at)
		begin_write(p);
}

/* Did the write land without being reported? */
static bool
loses(const char *spec, enum wherry_unmap_mode mode, struct schedule plan)
{
	struct play p = { .plan = plan };
	struct wherry_bitmap *bm;
	struct wherry_span span;
	uint8_t byte;
	bool lost;

	rig_open(&p.rig, spec);
	span = rig_map(&p.rig, BASE, 0, 512);
	bm = rig_bitmap(&p.rig, span);
	CHECK_EQ(wherry_domain_dirty_start(p.rig.dom), 0);
	if (plan.cached)
		CHECK_EQ(rig_read(&p.rig, 0, BASE, &byte, 1), 0);
	wherry_soft_on_event(p.rig.dev[0], on_event, &p);
	if (plan.begins_at == 0)
		begin_write(&p);
	CHECK_EQ(wherry_domain_unmap_dirty(p.rig.dom, span, mode, bm), 0);
	wherry_soft_on_event(p.rig.dev[0], NULL, NULL);
	byte = p.rig.mem[5];
	if (!p.began)
		begin_write(&p);
	if (p.write != NULL)
		end_write(&p);        /* begun after the last wait, or just now */
	CHECK_EQ(p.rig.mem[5], byte); /* nothing lands after the unmap */
	CHECK_EQ(byte, p.began && !p.refused ? 77 : 0);
	lost = byte == 77 && !wherry_bitmap_test(bm, BASE);
	wherry_bitmap_destroy(bm);
	rig_close(&p.rig);
	return lost;
}

static bool
any_schedule_loses(const char *spec, enum wherry_unmap_mode mode)
{
	struct schedule s;

	for (unsigned int i = 0; i < 2 * 5 * 4 * 5; i++) {
		s = (struct schedule){ i % 2, i / 2 % 5, i / 10 % 4, i / 40 };
		if (s.ends_at >= s.begins_at && loses(spec, mode, s))
			return true;
	}
	return false;
}

/* The table of doc/unmap_dirty. EXACT with stale is refused: not in it. */
static const struct {
	enum wherry_unmap_mode mode;
	bool loses[N_DBITS];
} outcomes[] = {
	{ WHERRY_UNMAP_SNAPSHOT, { true, true, true } },
	{ WHERRY_UNMAP_SEED, { false, true, true } },
	{ WHERRY_UNMAP_EXACT, { false, false, false } },
	{ WHERRY_UNMAP_ASSUME, { false, false, false } },
};

static void
check_outcomes(size_t table, enum dbit dbit)
{
	const char *spec = spec_of(table, dbit);

	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
		if (outcomes[i].mode == WHERRY_UNMAP_EXACT && dbit == STALE)
			continue;
		if (any_schedule_loses(spec, outcomes[i].mode) != outcomes[i].loses[dbit])
			FAIL("%s, mode %d: a write is %s", spec, (int)outcomes[i].mode,
				outcomes[i].loses[dbit] ? "never lost" : "lost");
	}
}

TEST(soft_schedules_lose_writes_where_the_table_says_so)
{
	for (size_t table = 0; table < N_TABLES; table++)
		for (enum dbit dbit = CHECKED; dbit < N_DBITS; dbit++)
			if (tables[table].has[dbit])
				check_outcomes(table, dbit);
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
			if (any_schedule_loses(spec, WHERRY_UNMAP_EXACT))
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

TEST(soft_dbit_that_a_format_excludes_is_refused)
{
	struct wherry_domain *dom = NULL;

	for (size_t table = 0; table < N_TABLES; table++) {
		for (enum dbit dbit = CHECKED; dbit < N_DBITS; dbit++) {
			CHECK_EQ(wherry_domain_create(spec_of(table, dbit), &dom),
				tables[table].has[dbit] ? 0 : -EINVAL);
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
