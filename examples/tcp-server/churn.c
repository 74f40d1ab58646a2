/* SPDX-License-Identifier: BSD-3-Clause */
/* The churn table: rewriting at a rate, in small steps, and verifying it. */

#include "churn.h"

#include <errno.h>
#include <xxhash.h>

#include "state.h"

#define ENTRY_SIZE 4096u
#define ENTRY_WORDS (ENTRY_SIZE / 8 - 4)
#define STEP_NS UINT64_C(5000000) /* rewriting comes in portions of this much time */
#define STEP_ENTRIES 128u         /* and never takes longer than these */
#define CHECK_ENTRIES 64u

struct churn_entry {
	uint64_t index;
	uint64_t version;
	uint64_t words[ENTRY_WORDS];
	uint64_t seed;
	uint64_t checksum; /* of all before it */
};
_Static_assert(sizeof(struct churn_entry) == ENTRY_SIZE, "entries are a page long");

static uint64_t
seed_of(uint64_t index, uint64_t version)
{
	const uint64_t key[2] = { index, version };

	return XXH3_64bits(key, sizeof(key)) | 1;
}

static uint64_t
checksum_of(const struct churn_entry *e)
{
	return XXH3_64bits(e, offsetof(struct churn_entry, checksum));
}

static void
rewrite(struct churn *c, size_t i)
{
	struct churn_entry *e = &c->table[i];

	e->index = i;
	e->version = ++c->versions[i];
	e->seed = seed_of(i, e->version);
	for (size_t w = 0; w < ENTRY_WORDS; w++)
		e->words[w] = e->seed * (w + 1);
	e->checksum = checksum_of(e);
}

static bool
is_sound(const struct churn *c, size_t i)
{
	const struct churn_entry *e = &c->table[i];

	if (e->index != i || e->version != c->versions[i] || e->seed != seed_of(i, e->version) ||
		e->checksum != checksum_of(e))
		return false;
	for (size_t w = 0; w < ENTRY_WORDS; w++) {
		if (e->words[w] != e->seed * (w + 1))
			return false;
	}
	return true;
}

int
churn_create(struct state *state, size_t len, uint64_t rate)
{
	struct churn *c = &state->churn;

	*c = (struct churn){ .rate = rate, .n = len / ENTRY_SIZE };
	if (c->n == 0)
		return 0;
	c->block = state_alloc(state, (c->n + 2) * ENTRY_SIZE);
	c->versions = state_alloc(state, c->n * sizeof(*c->versions));
	if (c->block == NULL || c->versions == NULL) {
		state_free(state, c->block);
		state_free(state, c->versions);
		*c = (struct churn){ 0 };
		return -ENOMEM;
	}
	uintptr_t page = ((uintptr_t)c->block + ENTRY_SIZE - 1) & ~(uintptr_t)(ENTRY_SIZE - 1);
	c->table = (void *)(page + ENTRY_SIZE / 2);
	for (size_t i = 0; i < c->n; i++)
		rewrite(c, i);
	return 0;
}

uint64_t
churn_step(struct churn *c, uint64_t now_ns)
{
	if (c->n == 0 || c->rate == 0)
		return UINT64_MAX;
	if (c->at_ns == 0)
		c->at_ns = now_ns;
	if (now_ns < c->at_ns + STEP_NS)
		return c->at_ns + STEP_NS;
	uint64_t entry_ns = UINT64_C(1000000000) * ENTRY_SIZE / c->rate;
	uint64_t due = entry_ns == 0 ? STEP_ENTRIES : (now_ns - c->at_ns) / entry_ns;
	uint64_t n = due < STEP_ENTRIES ? due : STEP_ENTRIES;
	for (uint64_t i = 0; i < n; i++) {
		rewrite(c, c->next);
		c->next = (c->next + 1) % c->n;
	}
	c->rewrites += n;
	/* what a full step could not do is not made up for: the rate is an upper bound */
	c->at_ns = due > n ? now_ns : c->at_ns + n * entry_ns;
	return c->at_ns + (entry_ns > STEP_NS ? entry_ns : STEP_NS);
}

bool
churn_check(const struct churn *c, struct churn_run *run)
{
	for (unsigned int i = 0; i < CHECK_ENTRIES && run->next < c->n; i++, run->next++) {
		if (!is_sound(c, run->next))
			run->mismatches++;
	}
	return run->next == c->n;
}
