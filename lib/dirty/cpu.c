/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which way the CPU's writes are known: chosen at run time, never by the headers of
 * the build machine. A source that claims to work is tried out on a page of its own
 * before it is believed.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu_priv.h"

#define LOG_PREFIX "dirty/cpu"

static const struct cpu_ops *const by_preference[] = { &cpu_wp_async, &cpu_wp_sync, &cpu_hash };

#define N_SOURCES (sizeof(by_preference) / sizeof(by_preference[0]))

void
reason_set(struct reason *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
}

const char *
wherry_cpu_source_name(enum wherry_cpu_source source)
{
	static const char *const names[] = {
		[WHERRY_CPU_AUTO] = "auto",
		[WHERRY_CPU_WP_ASYNC] = "wp-async",
		[WHERRY_CPU_WP_SYNC] = "wp-sync",
		[WHERRY_CPU_HASH] = "hash",
		[WHERRY_CPU_NONE] = "none",
	};

	return (size_t)source < sizeof(names) / sizeof(names[0]) ? names[source] : "unknown";
}

/* Of two pages the second is written: exactly that one has to be reported, once. */
static bool
sees_a_write(struct cpu_area *area, struct wherry_bitmap *bm)
{
	char *pages = (char *)(uintptr_t)area->span.iova; /* nobody else knows them */

	if (area->src->ops->start(area) != 0)
		return false;
	__atomic_store_n(pages + PAGE_SIZE_4K, 1, __ATOMIC_RELAXED);
	if (area->src->ops->harvest(area, bm) != 0 || wherry_bitmap_count(bm) != 1 ||
		!wherry_bitmap_test(bm, area->span.iova + PAGE_SIZE_4K))
		return false;
	wherry_bitmap_clear(bm);
	return area->src->ops->harvest(area, bm) == 0 && wherry_bitmap_count(bm) == 0;
}

static int
try_on(struct cpu_source *src, void *pages, size_t len)
{
	struct wherry_span span = { .iova = (uint64_t)(uintptr_t)pages, .len = len };
	struct wherry_bitmap *bm;
	struct cpu_area *area;
	int rc;

	rc = wherry_bitmap_create(span, PAGE_SIZE_4K, &bm);
	if (rc != 0)
		return rc;
	rc = src->ops->attach(src, span, PAGE_SIZE_4K, &area);
	if (rc == 0) {
		rc = sees_a_write(area, bm) ? 0 : -EOPNOTSUPP;
		src->ops->detach(area);
	}
	wherry_bitmap_destroy(bm);
	return rc;
}

static int
self_test(struct cpu_source *src)
{
	size_t len = 2 * PAGE_SIZE_4K;
	void *pages;
	int rc = wherry_sys->mmap(
		NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &pages);

	if (rc != 0)
		return rc;
	rc = try_on(src, pages, len);
	wherry_sys->munmap(pages, len);
	return rc;
}

static int
open_one(const struct cpu_ops *ops, struct cpu_source **ret_src, struct reason *why)
{
	struct cpu_source *src;
	int rc = ops->open(&src, why);

	if (rc != 0)
		return rc;
	src->ops = ops;
	rc = ops->faults ? self_test(src) : 0;
	if (rc != 0) {
		ops->close(src);
		reason_set(why, "this kernel offers it, but a write was not reported as it should");
		return rc == -ENOMEM ? rc : -EOPNOTSUPP;
	}
	*ret_src = src;
	return 0;
}

/* Down the list; what fails is remembered in why, joined by "; ". */
static int
open_best(struct cpu_source **ret_src, struct reason *why)
{
	size_t used = 0;
	int rc = -EOPNOTSUPP;

	reason_set(why, "there is no better one");
	for (size_t i = 0; i < N_SOURCES && rc == -EOPNOTSUPP; i++) {
		struct reason one = { "" };
		int n;

		rc = open_one(by_preference[i], ret_src, &one);
		if (rc != -EOPNOTSUPP)
			break;
		n = snprintf(why->text + used, sizeof(why->text) - used, "%s%s: %s",
			used > 0 ? "; " : "", wherry_cpu_source_name(by_preference[i]->kind),
			one.text);
		used += (size_t)n < sizeof(why->text) - used ? (size_t)n : 0;
	}
	return rc;
}

static int
open_wanted(enum wherry_cpu_source wanted, struct cpu_source **ret_src, struct reason *why)
{
	const struct cpu_ops *ops = &cpu_none;
	int rc;

	for (size_t i = 0; i < N_SOURCES; i++)
		if (by_preference[i]->kind == wanted)
			ops = by_preference[i];
	if (ops->kind != wanted)
		return -EINVAL;
	rc = open_one(ops, ret_src, why);
	if (rc == 0)
		reason_set(why, "it was asked for");
	return rc;
}

int
cpu_open(enum wherry_cpu_source wanted, struct cpu_source **ret_src, struct reason *why)
{
	int rc = wanted == WHERRY_CPU_AUTO ? open_best(ret_src, why)
					   : open_wanted(wanted, ret_src, why);

	if (rc == -EOPNOTSUPP)
		LOG_ERR("no %s: %s", wherry_cpu_source_name(wanted), why->text);
	else if (rc == 0 && wanted == WHERRY_CPU_AUTO)
		LOG_INFO("CPU writes by %s: %s", wherry_cpu_source_name((*ret_src)->ops->kind),
			why->text);
	return rc;
}
