/* SPDX-License-Identifier: BSD-3-Clause */
/* A domain beside the bare ioctls: memory, turns, and medians. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <wherry_bitmap.h>

#include "beside.h"

#define IOVA GIB
#define HARVEST_IOVA (16 * GIB)
#define MOST_ROUNDS 500u

enum { BARE, OURS, SIDES };

/* Nanoseconds of each call. */
struct calls {
	unsigned int n;
	uint64_t ns[MOST_ROUNDS];
};

struct beside {
	const struct beside_case *c;
	struct bare bare;
	struct wherry_domain *dom;
	struct wherry_device *dev;
	struct wherry_bitmap *found;
	char *memory;
	size_t len; /* bytes of it */
	uint64_t *bits;
	uint64_t written; /* pages that the bare side has found */
	struct calls calls[SIDES];
};

int
bare_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

/* The n-th word of WHERRY_TEST_DEVICES. */
static bool
device_name(unsigned int n, char name[32])
{
	const char *at = getenv("WHERRY_TEST_DEVICES");
	int len = 0;

	if (at == NULL)
		return false;
	for (unsigned int i = 0; i <= n; i++, at += len)
		if (sscanf(at, " %31s%n", name, &len) != 1)
			return false;
	return true;
}

void
beside_teardown(void *ctx)
{
	struct beside *s = ctx;

	wherry_device_close(s->dev);
	wherry_domain_destroy(s->dom);
	wherry_bitmap_destroy(s->found);
	if (s->bare.device >= 0)
		close(s->bare.device);
	if (s->bare.group >= 0)
		close(s->bare.group);
	if (s->bare.fd >= 0)
		close(s->bare.fd);
	bench_memory_free(s->memory, s->len);
	free(s->bits);
	free(s);
}

static int
open_domain(struct beside *s, const char *name)
{
	int rc = wherry_domain_create(s->c->ops->spec, &s->dom);

	if (rc == 0)
		rc = wherry_device_open(name, &s->dev);
	if (rc == 0)
		rc = wherry_device_attach(s->dev, s->dom, NULL);
	if (rc == 0)
		rc = wherry_domain_dirty_start(s->dom);
	return rc;
}

/* What a harvest is about is mapped on both sides all the time. */
static int
get_memory(struct beside *s)
{
	struct wherry_span span = { HARVEST_IOVA, s->c->harvested };
	int rc;

	s->len = s->c->bytes > 64 * MIB ? s->c->bytes : 64 * MIB;
	if (span.len == 0)
		span.len = s->len;
	s->memory = bench_memory(s->len, 2 * MIB);
	s->bits = calloc(s->len / PAGE / 64, sizeof(*s->bits));
	if (s->memory == NULL || s->bits == NULL)
		return -ENOMEM;
	memset(s->memory, 1, s->len);
	rc = wherry_bitmap_create(span, PAGE, &s->found);
	if (rc == 0)
		rc = s->c->ops->map(&s->bare, s->memory, span);
	if (rc == 0)
		rc = wherry_domain_map(
			s->dom, s->memory, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);
	return rc;
}

static int
set_up(struct beside *s)
{
	char ours[32], bare[32];
	int rc;

	if (!device_name(0, ours) || !device_name(1, bare))
		return bench_cannot(
			-ENODEV, "needs two NICs: devtools/vm/run vtd-ad --nic e1000e-pair -- ...");
	rc = s->c->ops->open(&s->bare, bare);
	if (rc == 0)
		rc = open_domain(s, ours);
	if (rc == 0)
		rc = get_memory(s);
	return rc == 0 ? 0
		       : bench_cannot(rc, "no %s here that notes writes: %s", s->c->ops->spec,
				 strerror(-rc));
}

int
beside_setup(const struct beside_case *c, void **ret_ctx)
{
	struct beside *s;
	int rc;

	if (c->bytes >= GIB && !bench_long)
		return bench_cannot(-EOPNOTSUPP, "takes minutes: --long -n 1");
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return bench_cannot(-ENOMEM, "no memory");
	s->c = c;
	s->bare.fd = s->bare.group = s->bare.device = -1;
	rc = set_up(s);
	if (rc == 0)
		*ret_ctx = s;
	else
		beside_teardown(s);
	return rc;
}

static void
note(struct beside *s, int side, uint64_t since)
{
	struct calls *calls = &s->calls[side];

	calls->ns[calls->n++] = bench_now_ns() - since;
}

static int
map(struct beside *s, int side, struct wherry_span span)
{
	return side == BARE
		? s->c->ops->map(&s->bare, s->memory, span)
		: wherry_domain_map(s->dom, s->memory, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);
}

static int
unmap(struct beside *s, int side, struct wherry_span span)
{
	return side == BARE ? s->c->ops->unmap(&s->bare, span) : wherry_domain_unmap(s->dom, span);
}

static int
bare_harvest(struct beside *s, struct wherry_span span)
{
	size_t words = span.len / PAGE / 64;
	int rc;

	memset(s->bits, 0, words * sizeof(*s->bits));
	rc = s->c->ops->get(&s->bare, span, s->bits);
	for (size_t i = 0; i < words; i++)
		if (s->bits[i] != 0)
			s->written += (unsigned int)__builtin_popcountll(s->bits[i]);
	return rc;
}

/* One call of one side, timed, and its counterpart. */
static int
one_call(struct beside *s, int side)
{
	struct wherry_span span = { IOVA, s->c->bytes };
	uint64_t start = bench_now_ns();
	int rc;

	if (s->c->call == BESIDE_HARVEST) {
		span.iova = HARVEST_IOVA;
		rc = side == BARE ? bare_harvest(s, span)
				  : wherry_domain_dirty_harvest(s->dom, span, s->found);
		note(s, side, start);
		return rc;
	}
	rc = map(s, side, span);
	if (s->c->call == BESIDE_MAP)
		note(s, side, start);
	if (rc != 0)
		return rc;
	start = bench_now_ns();
	rc = unmap(s, side, span);
	if (s->c->call == BESIDE_UNMAP)
		note(s, side, start);
	return rc;
}

static int
compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The median call: one that was interrupted says nothing about either side. */
static double
median_us(struct calls *calls)
{
	unsigned int middle = calls->n / 2;

	qsort(calls->ns, calls->n, sizeof(calls->ns[0]), compare_ns);
	return (double)calls->ns[middle] / 1000;
}

/* Who is first changes from round to round, as the second finds caches warm. */
int
beside_run(void *ctx, struct bench_result *result)
{
	struct beside *s = ctx;
	int rc = 0;

	memset(s->calls, 0, sizeof(s->calls));
	for (unsigned int i = 0; i < 2 * s->c->n && rc == 0; i++)
		rc = one_call(s, (i / 2 + i) % 2 == 0 ? BARE : OURS);
	if (rc != 0)
		return bench_cannot(rc, "a call failed: %s", strerror(-rc));
	bench_record(result, "ioctl", "us", median_us(&s->calls[BARE]));
	bench_record(result, "wherry", "us", median_us(&s->calls[OURS]));
	return 0;
}
