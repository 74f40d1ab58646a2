/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The faults of a device: a bounded queue for any number of threads, without a
 * lock because DMA must not meet one. When it is full the newest are dropped, as
 * fault-recording registers do. (D. Vyukov's bounded queue.)
 *
 * turn of slot i, counted in positions of the queue: position p may be filled
 * when turn is p, and taken when turn is p + 1; taking sets it to p + SOFT_FAULTS.
 * The release of turn pairs with its acquire: who has the turn has the fault.
 */
#include "soft_priv.h"

void
soft_fault_queue_init(struct soft_fault_queue *q)
{
	for (unsigned int i = 0; i < SOFT_FAULTS; i++)
		q->slots[i].turn = i;
}

/* The slot at *end whose turn is *end + ahead, with *end moved on; NULL: not there. */
static struct soft_fault_slot *
claim(struct soft_fault_queue *q, uint64_t *end, uint64_t ahead, uint64_t *ret_position)
{
	uint64_t p = __atomic_load_n(end, __ATOMIC_RELAXED);

	for (;;) {
		struct soft_fault_slot *slot = &q->slots[p % SOFT_FAULTS];
		uint64_t turn = __atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE);

		if ((int64_t)(turn - (p + ahead)) < 0)
			return NULL;
		if (turn != p + ahead) {
			p = __atomic_load_n(end, __ATOMIC_RELAXED);
			continue;
		}
		if (__atomic_compare_exchange_n(
			    end, &p, p + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
			*ret_position = p;
			return slot;
		}
	}
}

void
soft_fault_queue_put(struct soft_fault_queue *q, const struct wherry_soft_fault *fault)
{
	uint64_t p;
	struct soft_fault_slot *slot = claim(q, &q->tail, 0, &p);

	if (slot == NULL)
		return;
	slot->fault = *fault;
	__atomic_store_n(&slot->turn, p + 1, __ATOMIC_RELEASE);
}

bool
soft_fault_queue_take(struct soft_fault_queue *q, struct wherry_soft_fault *ret_fault)
{
	uint64_t p;
	struct soft_fault_slot *slot = claim(q, &q->head, 1, &p);

	if (slot == NULL)
		return false;
	*ret_fault = slot->fault;
	__atomic_store_n(&slot->turn, p + SOFT_FAULTS, __ATOMIC_RELEASE);
	return true;
}
