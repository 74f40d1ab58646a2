/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A wire into the kernel: a TAP interface, made if it is not there and switched on.
 * Everything else about it (bridge, address, MTU) is the administrator's. "-" is none yet: what
 * another process had comes as a file, with the frames that wait in it (doc/handover.rst).
 * (Linux Documentation/networking/tuntap.rst)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h> /* SIOC... */
#include <sys/socket.h>

#include <rte_common.h>
#include <rte_string_fns.h>

#include "base_priv.h"
#include "emu_log.h"
#include "emu_regs.h"
#include "emu_wire.h"

struct tap {
	struct wire wire;
	int control;          /* a socket, to ask about the interface; -1: there is none */
	bool taken;           /* from another process */
	struct ifreq request; /* its name, and room for an answer */
	char frame[EMU_MAX_FRAME] __attribute__((aligned(16)));
};

static struct tap *
tap_of(struct wire *wire)
{
	return container_of(wire, struct tap, wire);
}

static int
tap_switch_on(struct tap *tap)
{
	struct ifreq request = tap->request;
	int rc = wherry_sys->ioctl(tap->control, SIOCGIFFLAGS, &request);

	if (rc != 0 || (request.ifr_flags & IFF_UP) != 0)
		return rc;
	request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
	return wherry_sys->ioctl(tap->control, SIOCSIFFLAGS, &request);
}

static int
tap_attach(struct tap *tap)
{
	struct ifreq request = tap->request;

	request.ifr_flags = IFF_TAP | IFF_NO_PI;
	return wherry_sys->ioctl(tap->wire.fd, TUNSETIFF, &request);
}

static int
open_control(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int
tap_open(const char *arg, struct wire **ret_wire)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	const char *what = "open /dev/net/tun";
	int rc;

	if (tap == NULL)
		return -ENOMEM;
	tap->wire.ops = &wire_tap_ops;
	tap->wire.fd = tap->control = -1;
	if (strcmp(arg, "-") == 0)
		goto done;
	rc = rte_strscpy(tap->request.ifr_name, arg, sizeof(tap->request.ifr_name)) < 0 ? -EINVAL
											: 0;
	if (rc != 0)
		goto free_tap;
	rc = tap->wire.fd = wherry_sys->open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (rc < 0)
		goto free_tap;
	what = "make a socket for";
	rc = tap->control = open_control();
	if (rc < 0)
		goto close_tun;
	what = "attach to";
	rc = tap_attach(tap);
	if (rc != 0)
		goto close_control;
	what = "switch on";
	rc = tap_switch_on(tap);
	if (rc != 0)
		goto close_control;
done:
	*ret_wire = &tap->wire;
	return 0;
close_control:
	close(tap->control);
close_tun:
	close(tap->wire.fd);
free_tap:
	EMU_LOG(ERR, "wire=tap=%s: cannot %s: %s%s", arg, what, strerror(-rc),
		rc == -EPERM || rc == -EACCES ? " (needs root or CAP_NET_ADMIN)" : "");
	free(tap);
	return rc;
}

static void
tap_close(struct wire *wire)
{
	struct tap *tap = tap_of(wire);

	if (wire->fd >= 0) {
		close(tap->control);
		close(wire->fd);
	}
	free(tap);
}

static int
tap_lend(struct wire *wire)
{
	return wire->fd >= 0 ? wire->fd : -ENODEV;
}

/* Whole frames with nothing in front, as tap_attach() asks for. */
static int
tap_take(struct wire *wire, int fd)
{
	const short shape = IFF_TAP | IFF_NO_PI;
	struct tap *tap = tap_of(wire);
	struct ifreq request = { .ifr_flags = 0 };
	int rc;

	if (wire->fd >= 0)
		return -EALREADY;
	rc = wherry_sys->ioctl(fd, TUNGETIFF, &request);
	if (rc != 0)
		return rc;
	if ((request.ifr_flags & (shape | IFF_VNET_HDR)) != shape)
		return -EPROTO;
	rc = tap->control = open_control();
	if (rc < 0)
		return rc;
	tap->request = request;
	tap->taken = true;
	wire->fd = fd;
	return 0;
}

static void
tap_drop(struct wire *wire)
{
	struct tap *tap = tap_of(wire);

	if (!tap->taken)
		return;
	close(tap->control);
	close(wire->fd);
	tap->taken = false;
	wire->fd = tap->control = -1;
}

static int
tap_send(struct wire *wire, const void *frame, size_t len)
{
	return write(wire->fd, frame, len) < 0 ? -errno : 0;
}

static unsigned int
tap_receive(struct wire *wire, unsigned int budget)
{
	struct tap *tap = tap_of(wire);
	unsigned int n;

	for (n = 0; n < budget; n++) {
		ssize_t len = read(wire->fd, tap->frame, sizeof(tap->frame));

		if (len <= 0)
			break;
		wire->input(wire->ctx, tap->frame, (size_t)len);
	}
	return n;
}

static bool
tap_link_up(struct wire *wire)
{
	struct tap *tap = tap_of(wire);
	struct ifreq request = tap->request;

	if (tap->control < 0 || wherry_sys->ioctl(tap->control, SIOCGIFFLAGS, &request) != 0)
		return false;
	return (request.ifr_flags & IFF_RUNNING) != 0;
}

const struct wire_ops wire_tap_ops = {
	.name = "tap",
	.has_arg = true,
	.open = tap_open,
	.close = tap_close,
	.send = tap_send,
	.receive = tap_receive,
	.link_up = tap_link_up,
	.lend = tap_lend,
	.take = tap_take,
	.drop = tap_drop,
};
