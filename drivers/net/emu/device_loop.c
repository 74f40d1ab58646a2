/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device half's thread: serve the queues and the wire in turn; when there is
 * nothing to do look around for a moment (a polling core answers within microseconds),
 * then say so in regs.sleeping and sleep until the doorbell or the wire has something.
 */
#include <unistd.h>

#include <poll.h>
#include <sys/epoll.h>

#include <rte_cycles.h>
#include <rte_pause.h>

#include "device_priv.h"

#define LOOK_AROUND_US 20

static void
serve_call(struct emu_device *device)
{
	struct device_call *call;

	if (__atomic_load_n(&device->call, __ATOMIC_RELAXED) == NULL)
		return;
	call = __atomic_exchange_n(&device->call, NULL, __ATOMIC_ACQUIRE);
	call->fn(device, call);
	sem_post(&device->call_done);
}

static bool
work(struct emu_device *device)
{
	bool busy = false;

	for (unsigned int id = 0; id < EMU_MAX_QUEUES; id++)
		if (device->tx[id].enabled)
			busy |= device_transmit(device, id);
	if (device->wire->fd >= 0 && !device->held)
		busy |= device->wire->ops->receive(device->wire, DEVICE_BATCH) != 0;
	device_interrupt(device);
	return busy;
}

/* Is there anything to do that needs no look at the wire? */
static bool
is_called(const struct emu_device *device)
{
	if (__atomic_load_n(&device->call, __ATOMIC_SEQ_CST) != NULL)
		return true;
	for (unsigned int id = 0; id < EMU_MAX_QUEUES && !device->paused; id++) {
		const struct device_txq *q = &device->tx[id];

		if (q->enabled &&
			__atomic_load_n(&device->regs.tx[id].tail, __ATOMIC_SEQ_CST) != q->head)
			return true;
	}
	return false;
}

static bool
look_around(const struct emu_device *device)
{
	const uint64_t until = rte_get_tsc_cycles() + LOOK_AROUND_US * rte_get_tsc_hz() / 1000000;

	while (rte_get_tsc_cycles() < until) {
		if (is_called(device))
			return true;
		rte_pause();
	}
	return false;
}

static void
sleep_until_called(struct emu_device *device)
{
	/* the wire may have frames we must not take: wait for the doorbell alone */
	struct pollfd fd = { .fd = device->paused || device->held ? device->doorbell
								  : device->epoll,
		.events = POLLIN };
	uint64_t rings;

	__atomic_store_n(
		&device->regs.sleeping, 1, __ATOMIC_SEQ_CST); /* pairs with ring_doorbell */
	if (!is_called(device)) {
		device_count(&device->counters.sleeps, 1);
		(void)poll(&fd, 1, -1);
	}
	__atomic_store_n(&device->regs.sleeping, 0, __ATOMIC_RELAXED);
	(void)!read(device->doorbell, &rings, sizeof(rings));
}

void *
device_thread(void *arg)
{
	struct emu_device *device = arg;

	while (!device->quit) {
		serve_call(device);
		if (!device->paused && work(device))
			continue;
		if (!device->quit && !look_around(device))
			sleep_until_called(device);
	}
	return NULL;
}
