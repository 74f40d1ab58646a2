/* SPDX-License-Identifier: BSD-3-Clause */
/* The device half's line to the network in another process's hands (wherry_line.h). */
#include <errno.h>

#include <sys/epoll.h>

#include "device_priv.h"

/* What the thread is to do, and what came of it. */
struct exchange {
	int fd, rc;
};

static void
do_hold(struct emu_device *device, const struct device_call *call)
{
	device->held = *(const bool *)call->arg;
}

void
emu_device_hold(struct emu_device *device, bool held)
{
	device_call(device, &(struct device_call){ .fn = do_hold, .arg = &held });
}

int
emu_device_lend(struct emu_device *device)
{
	const struct wire_ops *ops = device->wire->ops;

	return ops->lend != NULL ? ops->lend(device->wire) : -EOPNOTSUPP;
}

static void
do_take(struct emu_device *device, const struct device_call *call)
{
	struct exchange *x = (struct exchange *)(uintptr_t)call->arg;

	x->rc = device_watch(device, x->fd);
	if (x->rc != 0)
		return;
	x->rc = device->wire->ops->take(device->wire, x->fd);
	if (x->rc == 0)
		device->held = true;
	else
		(void)epoll_ctl(device->epoll, EPOLL_CTL_DEL, x->fd, NULL);
}

int
emu_device_take(struct emu_device *device, int fd)
{
	struct exchange x = { .fd = fd };

	if (device->wire->ops->take == NULL)
		return -EALREADY;
	device_call(device, &(struct device_call){ .fn = do_take, .arg = &x });
	return x.rc;
}

/* Another process has the file, too: that it is closed here would not end the watch. */
static void
do_drop(struct emu_device *device, const struct device_call *call)
{
	int fd = device->wire->fd;

	(void)call;
	if (fd >= 0)
		(void)epoll_ctl(device->epoll, EPOLL_CTL_DEL, fd, NULL);
	device->wire->ops->drop(device->wire);
	device->held = device->held && device->wire->fd >= 0;
	if (device->wire->fd >= 0)
		(void)device_watch(device, fd); /* it was its own, and there is room again */
}

void
emu_device_drop(struct emu_device *device)
{
	if (device->wire->ops->drop != NULL)
		device_call(device, &(struct device_call){ .fn = do_drop });
}
