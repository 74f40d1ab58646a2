/* SPDX-License-Identifier: BSD-3-Clause */
#define LOG_PREFIX "migrate"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base_priv.h"
#include "stop_priv.h"

static int
add(int epoll_fd, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };

	return fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -ENOMEM;
}

int
mig_stop_init(struct mig_stop *stop, int cancel_fd)
{
	stop->timer = -1;
	stop->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	stop->fd = wherry_fault("stop.epoll") ? -1 : epoll_create1(EPOLL_CLOEXEC);
	if (stop->fd < 0 || stop->event < 0 || add(stop->fd, cancel_fd) != 0 ||
		add(stop->fd, stop->event) != 0) {
		mig_stop_fini(stop);
		return -ENOMEM;
	}
	return 0;
}

void
mig_stop_fini(struct mig_stop *stop)
{
	if (stop->fd >= 0)
		close(stop->fd);
	if (stop->event >= 0)
		close(stop->event);
	if (stop->timer >= 0)
		close(stop->timer);
	*stop = MIG_STOP_NONE;
}

int
mig_stop_at(struct mig_stop *stop, uint64_t ns)
{
	struct itimerspec at = { .it_value = { .tv_sec = (time_t)(ns / 1000000000),
					 .tv_nsec = (long)(ns % 1000000000) } };

	if (ns == UINT64_MAX)
		return 0;
	stop->timer =
		wherry_fault("stop.timer") ? -1 : timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (stop->timer < 0 || timerfd_settime(stop->timer, TFD_TIMER_ABSTIME, &at, NULL) != 0)
		return -ENOMEM;
	return add(stop->fd, stop->timer);
}

void
mig_stop_raise(const struct mig_stop *stop)
{
	uint64_t one = 1;

	if (write(stop->event, &one, sizeof(one)) < 0)
		LOG_DEBUG("it was raised before");
}
