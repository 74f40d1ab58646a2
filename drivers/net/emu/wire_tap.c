/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A wire into the kernel: a TAP interface, made if it is not there and switched on.
 * Everything else about it (bridge, address, MTU) is the administrator's.
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
	int control;          /* a socket, to ask about the interface */
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
tap_open(const char *arg, struct wire **ret_wire)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	const char *what = "open /dev/net/tun";
	int rc;

	if (tap == NULL)
		return -ENOMEM;
	tap->wire.ops = &wire_tap_ops;
	rc = rte_strscpy(tap->request.ifr_name, arg, sizeof(tap->request.ifr_name)) < 0 ? -EINVAL
											: 0;
	if (rc != 0)
		goto free_tap;
	rc = tap->wire.fd = wherry_sys->open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (rc < 0)
		goto free_tap;
	what = "make a socket for";
	tap->control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	rc = tap->control < 0 ? -errno : 0;
	if (rc != 0)
		goto close_tun;
	what = "attach to";
	rc = tap_attach(tap);
	if (rc != 0)
		goto close_control;
	what = "switch on";
	rc = tap_switch_on(tap);
	if (rc != 0)
		goto close_control;
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

	close(tap->control);
	close(wire->fd);
	free(tap);
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

	if (wherry_sys->ioctl(tap->control, SIOCGIFFLAGS, &request) != 0)
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
};
