/* SPDX-License-Identifier: BSD-3-Clause */
/* The device half's life, and what its driver may ask of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <rte_lcore.h>

#include "device_priv.h"
#include "emu_log.h"

void
emu_device_ring(struct emu_device *device)
{
	const uint64_t one = 1;

	__atomic_fetch_add(&device->counters.doorbells, 1, __ATOMIC_RELAXED);
	/* a full counter wakes the sleeper as well */
	(void)!write(device->doorbell, &one, sizeof(one));
}

void
device_call(struct emu_device *device, const struct device_call *call)
{
	if (pthread_equal(pthread_self(), device->thread)) {
		call->fn(device, call);
		return;
	}
	wherry_mutex_lock(&device->calls);
	__atomic_store_n(&device->call, (struct device_call *)(uintptr_t)call, __ATOMIC_RELEASE);
	emu_device_ring(device);
	while (sem_wait(&device->call_done) != 0)
		; /* a signal */
	wherry_mutex_unlock(&device->calls);
}

int
device_watch(struct emu_device *device, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data = { .fd = fd } };

	if (fd < 0)
		return 0;
	return epoll_ctl(device->epoll, EPOLL_CTL_ADD, fd, &event) != 0 ? -errno : 0;
}

static int
open_doorbell(struct emu_device *device)
{
	int rc;

	device->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (device->epoll < 0)
		return -errno;
	device->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rc = device->doorbell < 0 ? -errno : device_watch(device, device->doorbell);
	if (rc == 0)
		rc = device_watch(device, device->wire->fd);
	if (rc == 0)
		return 0;
	if (device->doorbell >= 0)
		close(device->doorbell);
	close(device->epoll);
	return rc;
}

static void
do_pause(struct emu_device *device, const struct device_call *call)
{
	device->paused = *(const bool *)call->arg;
}

static int
stop_dma(void *ctx)
{
	device_call(ctx, &(struct device_call){ .fn = do_pause, .arg = &(bool){ true } });
	return 0;
}

static void
resume_dma(void *ctx)
{
	device_call(ctx, &(struct device_call){ .fn = do_pause, .arg = &(bool){ false } });
}

/* Under the name "soft:PORT". */
static int
plug_into_iommu(struct emu_device *device, const char *name, struct wherry_domain *dom)
{
	const struct wherry_device_ops ops = {
		.stop = stop_dma, .resume = resume_dma, .ctx = device
	};
	char soft[128];
	int rc;

	snprintf(soft, sizeof(soft), "soft:%s", name);
	rc = wherry_device_open(soft, &device->iommu);
	if (rc != 0)
		return rc;
	rc = wherry_device_attach(device->iommu, dom, &ops);
	if (rc != 0)
		wherry_device_close(device->iommu);
	return rc;
}

static int
start_thread(struct emu_device *device)
{
	int rc;

	wherry_mutex_init(&device->calls);
	sem_init(&device->call_done, 0, 0);
	/* EAL keeps it off the cores that poll */
	rc = rte_ctrl_thread_create(&device->thread, "wherry-emu", NULL, device_thread, device);
	if (rc == 0)
		return 0;
	sem_destroy(&device->call_done);
	wherry_mutex_fini(&device->calls);
	return -abs(rc);
}

int
emu_device_create(const char *name, const char *wire, struct wherry_domain *dom,
	struct emu_device **ret_device)
{
	struct emu_device *device = NULL;
	int rc = posix_memalign((void **)&device, 64, sizeof(*device));

	if (rc != 0)
		return -rc;
	memset(device, 0, sizeof(*device));
	rc = emu_wire_open(wire, &device->wire);
	if (rc != 0)
		goto free_device;
	device->wire->input = device_input;
	device->wire->ctx = device;
	rc = open_doorbell(device);
	if (rc != 0)
		goto close_wire;
	rc = plug_into_iommu(device, name, dom);
	if (rc != 0)
		goto close_doorbell;
	rc = start_thread(device);
	if (rc != 0)
		goto unplug;
	*ret_device = device;
	return 0;
unplug:
	wherry_device_close(device->iommu);
close_doorbell:
	close(device->doorbell);
	close(device->epoll);
close_wire:
	device->wire->ops->close(device->wire);
free_device:
	free(device);
	return rc;
}

static void
do_quit(struct emu_device *device, const struct device_call *call)
{
	(void)call;
	device->quit = true;
}

void
emu_device_destroy(struct emu_device *device)
{
	if (device == NULL)
		return;
	device_call(device, &(struct device_call){ .fn = do_quit });
	pthread_join(device->thread, NULL);
	sem_destroy(&device->call_done);
	wherry_mutex_fini(&device->calls);
	wherry_device_close(device->iommu);
	close(device->doorbell);
	close(device->epoll);
	device->wire->ops->close(device->wire);
	free(device);
}

struct emu_regs *
emu_device_regs(struct emu_device *device)
{
	return &device->regs;
}

const struct emu_counters *
emu_device_counters(const struct emu_device *device)
{
	return &device->counters;
}

struct wherry_device *
emu_device_iommu(struct emu_device *device)
{
	return device->iommu;
}

bool
emu_device_link_up(struct emu_device *device)
{
	return device->wire->ops->link_up(device->wire);
}

static void
do_configure(struct emu_device *device, const struct device_call *call)
{
	device->config = *(const struct emu_config *)call->arg;
}

void
emu_device_configure(struct emu_device *device, const struct emu_config *config)
{
	device_call(device, &(struct device_call){ .fn = do_configure, .arg = config });
}

static void
do_start_rx(struct emu_device *device, const struct device_call *call)
{
	device->rx[call->id] =
		(struct device_rxq){ .enabled = true, .ring = *(const struct emu_ring *)call->arg };
}

void
emu_device_start_rx(struct emu_device *device, unsigned int id, const struct emu_ring *ring)
{
	device_call(device, &(struct device_call){ .fn = do_start_rx, .id = id, .arg = ring });
}

static void
do_stop_rx(struct emu_device *device, const struct device_call *call)
{
	device->rx[call->id].enabled = false;
}

void
emu_device_stop_rx(struct emu_device *device, unsigned int id)
{
	device_call(device, &(struct device_call){ .fn = do_stop_rx, .id = id });
}

static void
do_start_tx(struct emu_device *device, const struct device_call *call)
{
	struct device_txq *q = &device->tx[call->id];

	q->ring = *(const struct emu_ring *)call->arg;
	q->head = 0;
	q->len = 0;
	q->broken = q->fault = false;
	q->enabled = true;
}

void
emu_device_start_tx(struct emu_device *device, unsigned int id, const struct emu_ring *ring)
{
	device_call(device, &(struct device_call){ .fn = do_start_tx, .id = id, .arg = ring });
}

/* What was posted goes out. */
static void
do_stop_tx(struct emu_device *device, const struct device_call *call)
{
	while (!device->paused && device->tx[call->id].enabled && device_transmit(device, call->id))
		;
	device->tx[call->id].enabled = false;
}

void
emu_device_stop_tx(struct emu_device *device, unsigned int id)
{
	device_call(device, &(struct device_call){ .fn = do_stop_tx, .id = id });
}
