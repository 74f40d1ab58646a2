/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A character device can be bound once, so a secondary process gets the primary's
 * descriptor, through EAL's own channel between processes (rte_mp). Memory is the
 * primary's business: all of EAL's lies in the domain already, at the same addresses.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "shim_priv.h"

#define LOG_PREFIX "vfio-shim"
#define MESSAGE "wherry_vfio"
#define PATIENCE_S 5

/* On this machine only, between processes that share a runtime folder: no byte order. */
struct ask {
	char address[SHIM_ADDRESS];
};
struct answer {
	int found; /* 1: the descriptor comes along */
};

/* Runs on EAL's thread. An address without an end is nobody's. */
static int
on_ask(const struct rte_mp_msg *msg, const void *peer)
{
	struct rte_mp_msg reply = { .len_param = sizeof(struct answer) };
	struct answer answer = { .found = 0 };
	struct ask ask;
	int fd = -1;

	if (msg->len_param == (int)sizeof(ask)) {
		memcpy(&ask, msg->param, sizeof(ask));
		if (memchr(ask.address, '\0', sizeof(ask.address)) != NULL)
			fd = shim_fd_of(ask.address);
	}
	if (fd >= 0) {
		answer.found = 1;
		reply.num_fds = 1;
		reply.fds[0] = fd;
	}
	snprintf(reply.name, sizeof(reply.name), "%s", MESSAGE);
	memcpy(reply.param, &answer, sizeof(answer));
	return rte_mp_reply(&reply, peer);
}

void
shim_serve_secondaries(void)
{
	if (rte_mp_action_register(MESSAGE, on_ask) != 0 && rte_errno != EEXIST &&
		rte_errno != ENOTSUP)
		LOG_WARN(
			"secondary processes cannot have our devices: %s", rte_strerror(rte_errno));
}

static enum shim_way
read_answer(const struct rte_mp_msg *msg, int *ret_fd, char why[SHIM_WHY])
{
	struct answer answer;

	if (msg->len_param != (int)sizeof(answer)) {
		snprintf(why, SHIM_WHY, "the primary process answers nonsense");
		return SHIM_REFUSED;
	}
	memcpy(&answer, msg->param, sizeof(answer));
	if (answer.found != 1 || msg->num_fds != 1) {
		snprintf(why, SHIM_WHY, "the primary process drives it so");
		return SHIM_THEIRS;
	}
	*ret_fd = msg->fds[0];
	snprintf(why, SHIM_WHY, "the primary's descriptor");
	return SHIM_OURS;
}

enum shim_way
shim_ask_primary(const char *address, int *ret_fd, char why[SHIM_WHY])
{
	const struct timespec patience = { .tv_sec = PATIENCE_S };
	struct rte_mp_msg msg = { .len_param = sizeof(struct ask) };
	struct rte_mp_reply reply = { .nb_received = 0 };
	struct ask ask = { .address = "" };
	enum shim_way way = SHIM_THEIRS;

	snprintf(ask.address, sizeof(ask.address), "%s", address);
	snprintf(msg.name, sizeof(msg.name), "%s", MESSAGE);
	memcpy(msg.param, &ask, sizeof(ask));
	if (rte_mp_request_sync(&msg, &reply, &patience) == 0 && reply.nb_received == 1)
		way = read_answer(&reply.msgs[0], ret_fd, why);
	else
		snprintf(why, SHIM_WHY, "the primary process has no shim");
	free(reply.msgs);
	return way;
}
