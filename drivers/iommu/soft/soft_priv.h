/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SOFT_PRIV_H
#define SOFT_PRIV_H

/*
 * The software IOMMU. Vocabulary:
 *
 *  unit    one remapping unit with a page table of its own, as a machine has
 *          one per root complex; a domain spreads its devices over its units
 *  section a DMA call under way, from before its first translation until after
 *          its last byte; what unmap and harvest have to wait for
 *  drain   wait until all sections that began before are over
 */

#include <sys/queue.h>

#include "base_priv.h"
#include "iotlb_priv.h"
#include "pagetable_priv.h"
#include "wherry_iommu_driver.h"
#include "wherry_soft.h"

#define SOFT_MAX_UNITS 8u
#define SOFT_SHARDS 8u
#define SOFT_FAULTS 64u

/* How devices set D; walk.c. */
enum soft_dbit { SOFT_CHECKED, SOFT_LATE, SOFT_STALE };

/* What stands behind the colon of "soft:". */
struct soft_options {
	const struct soft_format *format;
	unsigned int width; /* bits of I/O address */
	uint64_t largest;   /* leaf, in bytes */
	uint64_t leaves;    /* leaf sizes in use; bit n: 2^n bytes */
	unsigned int iotlb; /* entries per device, a power of two */
	unsigned int units;
	unsigned int tables; /* of a unit, at most */
	enum soft_dbit dbit;
	bool by_content; /* an exact unmap is done so */
};

int soft_options_parse(const char *text, struct soft_options *ret_opts);

struct soft_unit {
	struct soft_pt pt;
	enum soft_dbit dbit;
	bool tracking;                    /* walkers set A and D; atomic, written under lock */
	LIST_HEAD(, soft_device) devices; /* under the domain's lock */
};

/* The backend's half of a domain. All hooks run under the core's lock. */
struct soft_domain {
	struct soft_options opts;
	struct wherry_span usable[2];
	size_t n_usable;
	unsigned int n_units; /* units that are set up */
	struct soft_unit units[SOFT_MAX_UNITS];
};

/*
 * Threads count themselves in one of several places, each on a cache line of its
 * own, so that two threads on one device do not pass a line back and forth.
 */
struct soft_shard {
	uint64_t active[2]; /* sections under way, by device.phase when they began */
	uint64_t hits, walks, faults;
} __attribute__((aligned(64)));

/* One of a bounded queue; turn says whose it is (see fault_queue.c). */
struct soft_fault_slot {
	uint64_t turn;
	struct wherry_soft_fault fault;
};

struct soft_fault_queue {
	struct soft_fault_slot slots[SOFT_FAULTS];
	uint64_t head, tail;
};

/* The backend's half of a device. unit and iotlb are set together; see device.c. */
struct soft_device {
	struct soft_shard shards[SOFT_SHARDS];
	unsigned int phase;       /* which of shard.active counts new sections */
	struct soft_unit *unit;   /* NULL: not attached; atomic */
	struct soft_iotlb *iotlb; /* valid while unit is set */
	unsigned int width;       /* bits of I/O address the device can drive */
	uint64_t invalidations, flushes;
	struct soft_fault_queue faults;
	wherry_soft_event_fn on_event; /* NULL: nobody asked */
	void *event_ctx;
	LIST_ENTRY(soft_device) link; /* under the domain's lock */
};

struct soft_section {
	struct soft_shard *shard;
	unsigned int phase;
};

struct soft_section soft_section_enter(struct soft_device *dev);
void soft_section_leave(struct soft_section section);
void soft_drain(struct soft_device *dev);
/*
 * Every device of the unit forgets what it knows about the span; no section that knew is
 * left. One page: page-selective; all of the space: domain-selective, a unit's devices being
 * in one domain; that on every unit: global.
 */
void soft_invalidate(struct soft_unit *unit, struct wherry_span span);

/* Tell whoever asked that this moment has come. */
void soft_event(const struct soft_device *dev, enum wherry_soft_event event);

/* Where a walk has ended; entry is as it was read. */
struct soft_leaf {
	uint64_t *slot, entry;
	unsigned int level;
};

/* What came of setting A and D. AGAIN: the entry changed, walk again. LOST: it stands nowhere. */
enum soft_mark { SOFT_MARK_DONE, SOFT_MARK_AGAIN, SOFT_MARK_LOST };

/*
 * Walk the table as the device does, setting A and D. NULL, or why not. On
 * success *ret_page is the 4K page in soft_iotlb's form.
 */
const char *soft_walk(struct soft_unit *unit, struct soft_device *dev, uint64_t iova, bool write,
	uint64_t *ret_page);
/* Its two halves. ret_page is written unless the answer is AGAIN. */
const char *soft_walk_find(const struct soft_unit *unit, const struct soft_device *dev,
	uint64_t iova, bool write, struct soft_leaf *ret_leaf);
enum soft_mark soft_walk_mark(const struct soft_unit *unit, uint64_t iova, bool write,
	struct soft_leaf *leaf, uint64_t *ret_page);
/* dbit=late: the data has landed. DONE or LOST. */
enum soft_mark soft_walk_mark_late(const struct soft_unit *unit, uint64_t iova, uint64_t *ret_page);

/* What a write needs of a cached page. */
static inline uint64_t
soft_write_needs(const struct soft_unit *unit)
{
	return unit->dbit == SOFT_LATE ? IOTLB_WRITE : IOTLB_WRITE | IOTLB_DIRTY;
}

/* Record a fault; -EFAULT. */
int soft_refuse(struct soft_device *dev, struct soft_shard *shard, struct wherry_soft_fault fault);
/* Data from the device to memory. */
void soft_store(uint8_t *memory, const uint8_t *from, size_t len);

void soft_fault_queue_init(struct soft_fault_queue *q);
void soft_fault_queue_put(struct soft_fault_queue *q, const struct wherry_soft_fault *fault);
bool soft_fault_queue_take(struct soft_fault_queue *q, struct wherry_soft_fault *ret_fault);

/* The device half's hooks of the driver; device.c. */
int soft_device_open(const char *name, void **ret_dev);
void soft_device_close(void *dev);
int soft_device_attach(void *be, void *dev);
void soft_device_detach(void *be, void *dev);

extern const struct wherry_iommu_driver wherry_iommu_soft;

#endif /* SOFT_PRIV_H */
