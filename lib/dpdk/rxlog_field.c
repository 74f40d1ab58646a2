/* SPDX-License-Identifier: BSD-3-Clause */
/* The descriptor log as the tracker asks it: fields made and dropped, bits taken, laps judged. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rxlog_priv.h"

#define LOG_PREFIX "dpdk/rxlog"

static struct rxlog_field *
find(const struct rxlog_table *table, struct wherry_span span)
{
	for (unsigned int i = 0; i < table->n; i++)
		if (table->field[i]->span.iova == span.iova &&
			table->field[i]->span.len == span.len)
			return table->field[i];
	return NULL;
}

static void
field_free(struct rxlog_field *f)
{
	if (f == NULL)
		return;
	wherry_bitmap_destroy(f->heard);
	wherry_bitmap_destroy(f->noted);
	free(f->words);
	free(f);
}

static struct rxlog_field *
field_make(enum wherry_rxlog_role role, struct wherry_span span)
{
	struct rxlog_field *f = wherry_fault("rxlog.field") ? NULL : calloc(1, sizeof(*f));
	int rc = 0;

	if (f == NULL)
		return NULL;
	f->span = span;
	f->n_words = (size_t)((span.len / RXLOG_PAGE + 63) / 64);
	f->words = wherry_fault("rxlog.words") ? NULL : calloc(f->n_words, sizeof(*f->words));
	if (role == WHERRY_RXLOG_CHECK) {
		rc = wherry_bitmap_create(span, RXLOG_PAGE, &f->noted);
		if (rc == 0)
			rc = wherry_bitmap_create(span, RXLOG_PAGE, &f->heard);
	}
	if (f->words == NULL || rc != 0) {
		field_free(f);
		return NULL;
	}
	return f;
}

static struct rxlog_table *
table_with_room(unsigned int n)
{
	return wherry_fault("rxlog.table")
		? NULL
		: malloc(sizeof(struct rxlog_table) + n * sizeof(struct rxlog_field *));
}

static int
add_field_locked(struct wherry_rxlog *log, struct wherry_span span) WHERRY_REQUIRES(&log->lock)
{
	struct rxlog_table *old = log->table, *table = table_with_room(old->n + 1);
	struct rxlog_field *f;

	if (table == NULL)
		return -ENOMEM;
	f = field_make(log->role, span);
	if (f == NULL) {
		free(table);
		return -ENOMEM;
	}
	memcpy(table->field, old->field, old->n * sizeof(old->field[0]));
	table->field[old->n] = f;
	table->n = old->n + 1;
	rxlog_replace_locked(log, table);
	return 0;
}

/* What is not written by a queue for as long as its ring is full was there before the lap. */
static void
begin_lap_locked(struct wherry_rxlog *log, struct rxlog_field *f) WHERRY_REQUIRES(&log->lock)
{
	for (unsigned int i = 0; i < log->n_queues; i++) {
		struct rxlog_queue *q = log->queues[i];
		uint64_t from = __atomic_load_n(&q->seen, __ATOMIC_RELAXED) + q->size;

		__atomic_store_n(&q->from, from, __ATOMIC_RELEASE); /* pairs with note_frame() */
	}
	rxlog_settle_locked(log); /* nobody notes by the old mark any more */
	for (size_t i = 0; i < f->n_words; i++)
		__atomic_store_n(&f->words[i], 0, __ATOMIC_RELAXED);
	wherry_bitmap_clear(f->noted);
	wherry_bitmap_clear(f->heard);
	f->harvests = 0;
	f->deaf = false;
}

static int
start_locked(struct wherry_rxlog *log, struct wherry_span span) WHERRY_REQUIRES(&log->lock)
{
	int rc = find(log->table, span) != NULL ? -EBUSY : add_field_locked(log, span);

	if (rc == 0 && log->role == WHERRY_RXLOG_CHECK)
		begin_lap_locked(log, find(log->table, span));
	return rc;
}

static int
on_start(void *ctx, struct wherry_span span)
{
	struct wherry_rxlog *log = ctx;
	int rc;

	wherry_mutex_lock(&log->lock);
	rc = start_locked(log, span);
	wherry_mutex_unlock(&log->lock);
	return rc;
}

/* In place: a burst that looks meanwhile meets the last field twice, which does no harm. */
static void
drop_locked(struct wherry_rxlog *log, struct rxlog_field *f) WHERRY_REQUIRES(&log->lock)
{
	struct rxlog_table *table = log->table;
	unsigned int i = 0, last = table->n - 1;

	while (table->field[i] != f)
		i++;
	__atomic_store_n(&table->field[i], table->field[last], __ATOMIC_RELAXED);
	__atomic_store_n(&table->n, last, __ATOMIC_SEQ_CST);
	rxlog_settle_locked(log);
	field_free(f);
}

static void
on_stop(void *ctx, struct wherry_span span)
{
	struct wherry_rxlog *log = ctx;
	struct rxlog_field *f;

	wherry_mutex_lock(&log->lock);
	f = find(log->table, span);
	if (f != NULL)
		drop_locked(log, f);
	wherry_mutex_unlock(&log->lock);
}

static void
take_words(struct rxlog_field *f, struct wherry_bitmap *into)
{
	for (size_t i = 0; i < f->n_words; i++) {
		uint64_t word = __atomic_exchange_n(&f->words[i], 0, __ATOMIC_ACQUIRE);

		if (word != 0)
			wherry_bitmap_or_words(into,
				(struct wherry_span){ .iova = f->span.iova + i * 64 * RXLOG_PAGE,
					.len = RTE_MIN(64 * RXLOG_PAGE,
						f->span.len - i * 64 * RXLOG_PAGE) },
				RXLOG_PAGE, &word);
	}
}

static int
on_harvest(void *ctx, struct wherry_span span, struct wherry_bitmap *into)
{
	struct wherry_rxlog *log = ctx;
	struct rxlog_field *f;

	wherry_mutex_lock(&log->lock);
	f = find(log->table, span);
	if (f != NULL)
		take_words(f, log->role == WHERRY_RXLOG_SOURCE ? into : f->noted);
	wherry_mutex_unlock(&log->lock);
	return f != NULL ? 0 : -EINVAL;
}

static void
judge_locked(struct wherry_rxlog *log, struct rxlog_field *f) WHERRY_REQUIRES(&log->lock)
{
	uint64_t missing;

	log->stats.checked_pages += wherry_bitmap_count(f->noted);
	wherry_bitmap_subtract(f->noted, f->heard);
	missing = wherry_bitmap_count(f->noted);
	log->stats.missing_pages += missing;
	if (missing != 0)
		LOG_ERR("%llu pages with received data were not reported dirty: the IOMMU's bits cannot be trusted",
			(unsigned long long)missing);
}

static void
hear_locked(struct wherry_rxlog *log, struct rxlog_field *f, const struct wherry_bitmap *reported)
	WHERRY_REQUIRES(&log->lock)
{
	if (reported != NULL)
		wherry_bitmap_or(f->heard, reported);
	else
		f->deaf = true;
	if (++f->harvests < RXLOG_LAP || (!f->deaf && wherry_bitmap_count(f->noted) == 0))
		return; /* a lap in which little came in goes on */
	if (!f->deaf)
		judge_locked(log, f);
	begin_lap_locked(log, f);
}

static void
on_heard(void *ctx, struct wherry_span span, const struct wherry_bitmap *reported)
{
	struct wherry_rxlog *log = ctx;
	struct rxlog_field *f;

	if (log->role != WHERRY_RXLOG_CHECK)
		return;
	wherry_mutex_lock(&log->lock);
	f = find(log->table, span);
	if (f != NULL)
		hear_locked(log, f, reported);
	wherry_mutex_unlock(&log->lock);
}

void
rxlog_fields_free(struct wherry_rxlog *log)
{
	for (unsigned int i = 0; i < log->table->n; i++)
		field_free(log->table->field[i]);
	free(log->table);
}

const struct wherry_write_log rxlog_ops = {
	.name = "descriptor log",
	.start = on_start,
	.stop = on_stop,
	.harvest = on_harvest,
	.heard = on_heard,
};
