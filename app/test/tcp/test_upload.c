/* SPDX-License-Identifier: BSD-3-Clause */
/* examples/tcp-server: uploads as lists of pbufs, against a flat copy of the bytes. */

#include <limits.h>
#include <string.h>

#include <lwip/pbuf.h>

#include "heap.h"
#include "test.h"
#include "upload.h"

#define ROOM 64u /* receive buffers */
#define MAX_LEN 40000u

/* A pbuf over bytes of the test's, as over a receive buffer; counts its end. */
struct piece {
	struct pbuf_custom custom;
};

static unsigned int pieces;

static void
piece_free(struct pbuf *p)
{
	pieces--;
	free(p);
}

static struct pbuf *
piece(unsigned char *at, u16_t len)
{
	struct piece *piece = calloc(1, sizeof(*piece));

	pieces++;
	piece->custom.custom_free_function = piece_free;
	return pbuf_alloced_custom(PBUF_RAW, len, PBUF_REF, &piece->custom, at, len);
}

static void
init(struct state *state)
{
	memset(state, 0, sizeof(*state));
	TAILQ_INIT(&state->uploads);
	state->max_kept = ROOM;
}

/* A chain of random pieces, some empty, that starts at @p at. */
static struct pbuf *
chain(unsigned char *at, size_t len, size_t *ret_used)
{
	struct pbuf *head = piece(at, 0);
	unsigned int n = 1 + (unsigned int)(test_random() % 5);

	*ret_used = 0;
	while (n-- > 0) {
		size_t left = len - *ret_used;
		u16_t most = left < 1460 ? (u16_t)left : 1460;
		u16_t one = (u16_t)(test_random() % (most + 1u));
		pbuf_cat(head, piece(at + *ret_used, one));
		*ret_used += one;
	}
	return head;
}

static void
check_bytes(struct upload *u, const unsigned char *bytes)
{
	struct reply r = { 0 };

	upload_rewind(&r, u);
	for (uint64_t at = 0; at < u->len;) {
		const void *p;
		size_t n = upload_piece(&r, &p);
		CHECK(n > 0 && at + n <= u->len);
		n = 1 + test_random() % n;
		CHECK(memcmp(p, bytes + at, n) == 0);
		upload_advance(&r, n);
		at += n;
	}
}

/* Feed @p u from @p bytes, which go on behind its end; the rest must come back. */
static void
feed(struct state *state, struct upload *u, unsigned char *bytes)
{
	size_t fed = 0;

	while (u->have < u->len) {
		size_t used;
		bool failed = false;
		struct pbuf *rest = chain(bytes + fed, MAX_LEN - fed, &used);
		rest = upload_append(state, u, rest, &failed);
		fed += used;
		CHECK(!failed);
		CHECK_EQ(rest == NULL ? 0 : rest->tot_len, fed - u->have);
		if (rest != NULL && rest->tot_len > 0) {
			CHECK_EQ(pbuf_get_at(rest, 0), bytes[u->len]);
		}
		if (rest != NULL)
			pbuf_free(rest);
	}
}

TEST(tcp_upload_gives_back_its_bytes)
{
	unsigned char *bytes = malloc(MAX_LEN);
	struct state state;

	for (size_t i = 0; i < MAX_LEN; i++)
		bytes[i] = (unsigned char)test_random();
	init(&state);
	for (unsigned int round = 0; round < 200; round++) {
		uint64_t len = 1 + test_random() % (MAX_LEN - 20000);
		struct upload *u = upload_create(&state, "x", len);
		CHECK(u != NULL);
		feed(&state, u, bytes);
		check_bytes(u, bytes);
		upload_put(&state, u); /* the reader's */
		upload_put(&state, u);
		CHECK_EQ(pieces, 0);
		CHECK_EQ(heap_objects(), 0);
		CHECK_EQ(state.uploads_len, 0);
	}
	free(bytes);
}

TEST(tcp_upload_is_refused_when_there_is_no_room)
{
	struct state state;

	init(&state);
	struct upload *u = upload_create(&state, "a", ROOM * 1024 - 10);
	CHECK(u != NULL);
	CHECK(upload_create(&state, "b", 11) == NULL);
	CHECK(upload_create(&state, "b", UINT64_MAX) == NULL);
	struct upload *small = upload_create(&state, "b", 10);
	CHECK(small != NULL);
	upload_put(&state, small);
	upload_put(&state, u);
	CHECK_EQ(heap_objects(), 0);
}

static struct upload *
publish(struct state *state, unsigned char *bytes)
{
	struct upload *u = upload_create(state, "same", 1000);

	feed(state, u, bytes);
	upload_publish(state, u);
	CHECK(upload_find(state, "same") == u);
	return u;
}

TEST(tcp_upload_lives_until_its_last_reader)
{
	unsigned char bytes[MAX_LEN] = { 0 };
	struct state state;

	init(&state);
	struct upload *old = publish(&state, bytes); /* whose writer reads on */
	struct upload *new = publish(&state, bytes + 1000);
	CHECK_EQ(state.uploads_len, 2000);
	check_bytes(old, bytes);
	upload_put(&state, old);
	upload_put(&state, old);
	CHECK_EQ(state.uploads_len, 1000);
	upload_put(&state, new);
	CHECK_EQ(state.uploads_len, 1000);
	upload_unlist(&state, new);
	CHECK_EQ(state.uploads_len, 0);
	CHECK(upload_find(&state, "same") == NULL);
	CHECK_EQ(heap_objects(), 0);
}

TEST(tcp_upload_that_meets_a_full_arena_frees_what_came)
{
	unsigned char bytes[2000] = { 0 };
	struct state state;
	bool failed = false;
	unsigned int before = pieces, objects = heap_objects();

	init(&state);
	struct upload *u = upload_create(&state, "x", sizeof(bytes));
	struct pbuf *p = piece(bytes, 1000);
	pbuf_cat(p, piece(bytes + 1000, 1000));
	heap_fail_after(0);
	p = upload_append(&state, u, p, &failed);
	heap_fail_after(UINT_MAX);
	CHECK(failed && p == NULL);
	CHECK_EQ(pieces, before);
	upload_put(&state, u);
	CHECK_EQ(heap_objects(), objects);
}
