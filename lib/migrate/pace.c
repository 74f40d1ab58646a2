/* SPDX-License-Identifier: BSD-3-Clause */
#include "pace_priv.h"
#include "reason_priv.h"

#define PACE_NS UINT64_C(20000000)
#define PIECE_MIN 512

void
mig_pace_set(struct mig_pace *p, uint64_t bandwidth)
{
	__atomic_store_n(&p->bandwidth, bandwidth, __ATOMIC_RELAXED);
}

unsigned int
mig_pace_wait_ms(const struct mig_pace *p)
{
	uint64_t due = __atomic_load_n(&p->due, __ATOMIC_RELAXED), now;

	if (__atomic_load_n(&p->bandwidth, __ATOMIC_RELAXED) == 0)
		return 0;
	now = mig_now();
	return due <= now ? 0 : (unsigned int)((due - now + 999999) / 1000000);
}

size_t
mig_pace_piece(const struct mig_pace *p, size_t len)
{
	uint64_t bandwidth = __atomic_load_n(&p->bandwidth, __ATOMIC_RELAXED), piece;

	if (bandwidth == 0)
		return len;
	piece = bandwidth / (UINT64_C(1000000000) / PACE_NS);
	if (piece < PIECE_MIN)
		piece = PIECE_MIN;
	return len < piece ? len : (size_t)piece;
}

void
mig_pace_sent(struct mig_pace *p, size_t n, uint64_t now)
{
	uint64_t bandwidth = __atomic_load_n(&p->bandwidth, __ATOMIC_RELAXED), due, next;

	if (bandwidth == 0)
		return;
	due = __atomic_load_n(&p->due, __ATOMIC_RELAXED);
	do {
		/* what was not used up to a moment ago is not saved up for later */
		next = due + PACE_NS < now ? now - PACE_NS : due;
		next += (uint64_t)((double)n / (double)bandwidth * 1e9);
	} while (!__atomic_compare_exchange_n(
		&p->due, &due, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}
