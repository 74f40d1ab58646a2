/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DEVICE_PRIV_H
#define DEVICE_PRIV_H

/*
 * The inside of the device half. All of it belongs to the device's thread, but what is
 * marked; others reach it through device_call().
 */

#include <pthread.h>
#include <semaphore.h>

#include "base_priv.h"
#include "emu_device.h"
#include "emu_wire.h"

#define DEVICE_BATCH 32u /* descriptors or frames of one queue before the next has its turn */

/* Descriptors read ahead, as a card does, to need fewer translations. */
struct device_prefetch {
	struct emu_desc desc[DEVICE_BATCH];
	uint32_t first, n; /* indices first .. first + n - 1 are here */
};

struct device_rxq {
	bool enabled;
	bool delivered; /* since interrupts were last looked at */
	struct emu_ring ring;
	uint32_t head;
	struct device_prefetch ahead;
};

struct device_txq {
	bool enabled;
	struct emu_ring ring;
	uint32_t head;
	bool broken; /* the frame being gathered cannot be sent */
	bool fault;  /* ... because the IOMMU refused */
	uint32_t len;
	unsigned char frame[EMU_MAX_FRAME] __attribute__((aligned(16)));
};

struct emu_device {
	struct emu_regs regs;         /* shared with the driver, __atomic */
	struct emu_counters counters; /* readable by all, __atomic */
	struct wherry_device *iommu;
	struct wire *wire;
	struct emu_config config;
	struct device_rxq rx[EMU_MAX_QUEUES];
	struct device_txq tx[EMU_MAX_QUEUES];

	pthread_t thread;
	int epoll;    /* doorbell and wire */
	int doorbell; /* eventfd */
	bool quit;
	bool paused; /* no DMA: the domain asked */
	bool held;   /* nothing is taken from the wire: the driver asked */

	struct wherry_mutex calls; /* one call at a time */
	struct device_call *call;  /* __atomic; posted by who holds calls, taken by the thread */
	sem_t call_done;
};

/* One step done by the thread on behalf of another. */
struct device_call {
	void (*fn)(struct emu_device *device, const struct device_call *call);
	unsigned int id;
	const void *arg;
};

/* Carry out call->fn on the device's thread; on that thread itself, at once. */
void device_call(struct emu_device *device, const struct device_call *call);

/* Wait for it, too. */
int device_watch(struct emu_device *device, int fd);

/* The thread: device_loop.c */
void *device_thread(void *arg);

/* One turn of one queue; true if there was work. device_tx.c */
bool device_transmit(struct emu_device *device, unsigned int id);
/* A frame has come in: wire->input. device_rx.c */
void device_input(void *arg, const void *frame, size_t len);
/* Raise the interrupts that are wanted for what has been delivered. device_rx.c */
void device_interrupt(struct emu_device *device);
/* The queue of a frame; its hash in *ret_hash if true. device_rss.c */
bool device_hash(
	const struct emu_config *config, const void *frame, size_t len, uint32_t *ret_hash);

/* The rule for a frame, or NULL. device_flow.c */
const struct emu_flow *device_flow(const struct emu_config *config, const void *frame, size_t len);

static inline void
device_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED); /* one writer */
}

#endif /* DEVICE_PRIV_H */
