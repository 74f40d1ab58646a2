/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vocabulary: a *plot* is 16 pages of memory with a place in the I/O address space, which
 * its unmapper takes away and gives back again and again. A writer has a line of 64 bytes
 * of its own in every page, so that no two write the same bytes. The last page of a plot
 * is written slowly and by nothing else, so that such a write often meets it clean.
 *
 * An unmapper takes away one plot while the one before it is still gone, and looks at that
 * again before it gives it back: nothing may have landed there meanwhile.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "storm.h"
#include "wherry_bitmap.h"
#include "wherry_soft.h"

#define PAGE UINT64_C(4096)
#define PLOT_PAGES 16u
#define PLOT_LEN (PLOT_PAGES * PAGE)
#define PLOTS_EACH 3u
#define BASE UINT64_C(0x40000000)
#define MAX_THREADS 32u /* of a kind */
#define LINE 64u

/* copy: what a receiver would hold. */
struct plot {
	struct wherry_span span;
	uint8_t *mem, copy[PLOT_LEN];
};

struct storm {
	const struct storm_plan *plan;
	struct wherry_domain *dom;
	struct wherry_device *dev[MAX_THREADS];
	unsigned int n_plots;
	struct plot *plots;
	uint8_t *mem;
	bool stop;                  /* atomic */
	int rc;                     /* atomic: why an unmapper gave up */
	struct storm_result result; /* atomic, added to */
};

struct thread {
	struct storm *storm;
	unsigned int number;
	uint64_t random;
	pthread_t id;
};

/* splitmix64 */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void
add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint64_t
counted(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static bool
is_over(struct storm *s)
{
	uint64_t landed = counted(&s->result.landed);

	if (__atomic_load_n(&s->stop, __ATOMIC_RELAXED))
		return true;
	return landed >= s->plan->writes &&
		(landed >= s->plan->until_lost || counted(&s->result.lost) > 0);
}

/* There are more threads that write than that unmap, and what races with nothing shows nothing. */
static bool
is_ahead(const struct storm *s)
{
	return s->plan->per_unmap != 0 &&
		counted(&s->result.landed) / s->plan->per_unmap > counted(&s->result.unmaps);
}

/*
 * A write that rests after its first step, as one that meets a busy bus: whoever unmaps
 * meets it between translation and D, or between D and data. It holds up unmapping, so
 * only few are made this way.
 */
static bool
write_slowly(struct wherry_device *dev, uint64_t iova, const void *data, size_t len)
{
	struct wherry_soft_write *write;
	enum wherry_soft_step step;
	bool landed = false;

	if (wherry_soft_write_begin(dev, iova, data, len, &write) != 0)
		return false;
	step = wherry_soft_write_step(write);
	sched_yield();
	for (; step != WHERRY_SOFT_OVER; step = wherry_soft_write_step(write))
		landed |= step == WHERRY_SOFT_LANDED;
	wherry_soft_write_end(write);
	return landed;
}

/* One write to some plot; did it land? */
static bool
write_once(struct thread *t, struct wherry_device *dev, uint64_t n, bool slowly)
{
	const struct storm *s = t->storm;
	uint64_t r = next_random(&t->random), data[4] = { n, n, n, n };
	const struct plot *plot = &s->plots[(r >> 32) % s->n_plots];
	uint64_t page = slowly ? PLOT_PAGES - 1 : r % (PLOT_PAGES - 1);
	uint64_t iova = plot->span.iova + page * PAGE + LINE * t->number;

	return slowly ? write_slowly(dev, iova, data, sizeof(data))
		      : wherry_soft_dma_write(dev, iova, data, sizeof(data)) == 0;
}

static void *
keep_writing(void *arg)
{
	struct thread *t = arg;
	struct storm *s = t->storm;
	const unsigned int burst = s->plan->burst;
	struct wherry_device *dev = s->dev[t->number % s->plan->devices];
	uint64_t n = 1;

	while (!is_over(s)) {
		uint64_t landed = 0;

		if (is_ahead(s)) {
			sched_yield();
			continue;
		}
		for (unsigned int i = 0; i < burst; i++)
			landed += write_once(t, dev, n++, i == 0);
		add(&s->result.landed, landed);
		add(&s->result.refused, burst - landed);
		sched_yield(); /* not in the middle of a write, which others would wait for */
	}
	return NULL;
}

/* Word by word, since devices may be writing there. */
static void
copy_page(struct plot *plot, unsigned int page)
{
	for (size_t at = page * PAGE; at < (page + 1) * PAGE; at += 8) {
		uint64_t word = __atomic_load_n(
			(const uint64_t *)(const void *)(plot->mem + at), __ATOMIC_ACQUIRE);

		memcpy(plot->copy + at, &word, 8);
	}
}

static void
copy_reported(struct plot *plot, struct wherry_bitmap *bm)
{
	for (unsigned int page = 0; page < PLOT_PAGES; page++)
		if (wherry_bitmap_test(bm, plot->span.iova + page * PAGE))
			copy_page(plot, page);
	wherry_bitmap_clear(bm);
}

static int
give_back(struct storm *s, struct plot *plot)
{
	struct wherry_span span = plot->span; /* the call writes to it, others read it */

	if (memcmp(plot->copy, plot->mem, PLOT_LEN) != 0)
		add(&s->result.late, 1);
	return wherry_domain_map(s->dom, plot->mem, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);
}

static int
take_away(struct storm *s, struct plot *plot, struct wherry_bitmap *bm, uint64_t harvests)
{
	uint64_t lost = 0;
	int rc = 0;

	for (; harvests > 0 && rc == 0; harvests--) {
		rc = wherry_domain_dirty_harvest(s->dom, plot->span, bm);
		copy_reported(plot, bm);
	}
	if (rc == 0)
		rc = wherry_domain_unmap_dirty(s->dom, plot->span, s->plan->mode, bm);
	if (rc != 0)
		return rc;
	copy_reported(plot, bm);
	for (unsigned int page = 0; page < PLOT_PAGES; page++)
		lost += memcmp(plot->copy + page * PAGE, plot->mem + page * PAGE, PAGE) != 0;
	memcpy(plot->copy, plot->mem, PLOT_LEN);
	add(&s->result.lost, lost);
	add(&s->result.unmaps, 1);
	return 0;
}

static int
unmap_in_turn(struct thread *t, struct plot *plots, struct wherry_bitmap *bm)
{
	struct storm *s = t->storm;
	struct plot *gone = NULL;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && !is_over(s); i++) {
		struct plot *plot = &plots[i % PLOTS_EACH];

		rc = take_away(s, plot, bm, next_random(&t->random) % 3);
		if (rc == 0 && gone != NULL)
			rc = give_back(s, gone);
		gone = plot;
		sched_yield(); /* so that a single CPU lets devices write */
	}
	return rc;
}

static void *
keep_unmapping(void *arg)
{
	struct thread *t = arg;
	struct storm *s = t->storm;
	struct plot *plots = &s->plots[t->number * PLOTS_EACH];
	struct wherry_span all = { plots[0].span.iova, PLOTS_EACH * PLOT_LEN };
	struct wherry_bitmap *bm;
	int rc = wherry_bitmap_create(all, PAGE, &bm);

	if (rc == 0) {
		rc = unmap_in_turn(t, plots, bm);
		wherry_bitmap_destroy(bm);
	}
	if (rc != 0)
		__atomic_store_n(&s->rc, rc, __ATOMIC_RELAXED);
	__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
	return NULL;
}

/* Between reading D and clearing the entries: any thread may lose its CPU there. */
static void
rest_a_moment(void *ctx, enum wherry_soft_event event)
{
	(void)ctx;
	if (event == WHERRY_SOFT_UNMAPPING)
		sched_yield();
}

static int
open_devices(struct storm *s)
{
	int rc = 0;

	for (unsigned int i = 0; i < s->plan->devices && rc == 0; i++) {
		rc = wherry_device_open("soft:storm", &s->dev[i]);
		if (rc == 0)
			rc = wherry_device_attach(s->dev[i], s->dom, NULL);
		if (rc == 0)
			wherry_soft_on_event(s->dev[i], rest_a_moment, NULL);
	}
	return rc;
}

static int
map_plots(struct storm *s)
{
	const size_t len = s->n_plots * PLOT_LEN;
	int rc = 0;

	s->plots = calloc(s->n_plots, sizeof(*s->plots));
	s->mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s->plots == NULL || s->mem == MAP_FAILED)
		return -ENOMEM;
	for (unsigned int i = 0; i < s->n_plots && rc == 0; i++) {
		struct plot *plot = &s->plots[i];

		plot->span = (struct wherry_span){ BASE + i * PLOT_LEN, PLOT_LEN };
		plot->mem = s->mem + i * PLOT_LEN;
		rc = wherry_domain_map(
			s->dom, plot->mem, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &plot->span);
	}
	return rc;
}

static void
tear_down(struct storm *s)
{
	for (unsigned int i = 0; i < s->plan->devices; i++)
		wherry_device_close(s->dev[i]);
	wherry_domain_destroy(s->dom);
	if (s->mem != NULL && s->mem != MAP_FAILED)
		munmap(s->mem, s->n_plots * PLOT_LEN);
	free(s->plots);
}

/* Starts n threads; those that started are joined by the caller. */
static unsigned int
start(struct storm *s, struct thread *threads, unsigned int n, void *(*fn)(void *arg))
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		threads[i] = (struct thread){ .storm = s, .number = i, .random = i * 77 + n };
		if (pthread_create(&threads[i].id, NULL, fn, &threads[i]) != 0)
			break;
	}
	return i;
}

static int
run_threads(struct storm *s)
{
	unsigned int want = s->plan->devices * s->plan->writers_each, unmappers, writers = 0;
	struct thread threads[2][MAX_THREADS];

	unmappers = start(s, threads[0], s->plan->unmappers, keep_unmapping);
	if (unmappers == s->plan->unmappers)
		writers = start(s, threads[1], want, keep_writing);
	if (writers < want)
		__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < unmappers; i++)
		pthread_join(threads[0][i].id, NULL);
	for (unsigned int i = 0; i < writers; i++)
		pthread_join(threads[1][i].id, NULL);
	return writers < want ? -EAGAIN : s->rc;
}

int
storm_run(const struct storm_plan *plan, struct storm_result *ret_result)
{
	struct storm s = { .plan = plan, .n_plots = plan->unmappers * PLOTS_EACH };
	int rc;

	if (plan->unmappers > MAX_THREADS || plan->devices * plan->writers_each > MAX_THREADS)
		return -EINVAL;
	rc = wherry_domain_create(plan->spec, &s.dom);
	if (rc != 0)
		return rc;
	rc = open_devices(&s);
	if (rc == 0)
		rc = map_plots(&s);
	if (rc == 0)
		rc = wherry_domain_dirty_start(s.dom);
	if (rc == 0)
		rc = run_threads(&s);
	tear_down(&s);
	*ret_result = s.result;
	return rc;
}
