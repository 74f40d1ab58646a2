/* SPDX-License-Identifier: BSD-3-Clause */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cut.h"
#include "test.h"

void
cut_connections(const struct pair *pair)
{
	unsigned int port = (unsigned int)strtoul(strrchr(pair->dest_uri, ':') + 1, NULL, 10);
	struct sockaddr_in in = { .sin_port = 0 };

	for (int fd = 3; fd < 1024; fd++) {
		socklen_t len = sizeof(in);

		if (getpeername(fd, (struct sockaddr *)&in, &len) == 0 && len == sizeof(in) &&
			in.sin_family == AF_INET && ntohs(in.sin_port) == port)
			shutdown(fd, SHUT_RDWR);
	}
}

void
cut_await_paused(struct pair *pair, unsigned int pauses, struct wherry_status *ret_status)
{
	for (int i = 0; i < 20000; i++) {
		pair_wait(pair, WHERRY_STATE_PAUSED, ret_status);
		if (ret_status->state != WHERRY_STATE_PAUSED)
			FAIL("%s: %s", wherry_state_name(ret_status->state), ret_status->reason);
		if (ret_status->pauses >= pauses)
			return;
		usleep(1000);
	}
	FAIL("it was paused %u times, not %u", ret_status->pauses, pauses);
}

void
cut_begin(struct pair *pair, const struct wherry_migrate_params *params)
{
	struct wherry_status st;

	CHECK_EQ(pair_begin(pair, params), 0);
	pair_wait(pair, WHERRY_STATE_PRECOPY, &st);
	usleep(100000); /* of a round that takes a second and more */
	cut_connections(pair);
	cut_await_paused(pair, 1, &st);
}
