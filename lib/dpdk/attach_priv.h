/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTACH_PRIV_H
#define ATTACH_PRIV_H

/*
 * What a secondary process (secondary.c) and an application in its primary (app_attach.c,
 * secondaries.c) say to each other.
 *
 * By EAL's own channel (rte_mp), until it is attached:
 *	ATTACH_REGION  the i-th region of the application: its place, and its memfd; -ENOENT: there are no more
 *	ATTACH_JOIN    three descriptors: userfaultfd and pagemap (wherry_writer.h), a socket
 *
 * By the socket, from then on: orders, whose first is answered; its end is the end of either.
 *	ORDER_PARK     park the cores: an answer says whether they are, and when the last one came
 *	ORDER_RESUME   let them run
 *	ORDER_THROTTLE so many percent of their time (number) cores do nothing; 0: none
 *	ORDER_QUIT     another process owns the memory now: they leave
 *
 * On one machine, between processes of one runtime folder: no byte order.
 */

#include <stdint.h>

#define ATTACH_MESSAGE "wherry_attach"
#define ATTACH_NAME 64u
#define ATTACH_FDS 3

enum attach_what { ATTACH_REGION, ATTACH_JOIN };

struct attach_ask {
	uint32_t what;
	uint32_t index; /* of the region */
	char app[ATTACH_NAME];
};

struct attach_answer {
	int32_t rc; /* 0 or -errno */
	int32_t node;
	uint64_t vaddr, len, page;
	uint64_t root; /* of its arena, or 0 */
	char name[ATTACH_NAME];
};

enum attach_what_now { ORDER_PARK, ORDER_RESUME, ORDER_THROTTLE, ORDER_QUIT };

struct attach_order {
	uint32_t what;
	uint32_t number; /* an answer to an earlier one comes too late */
};

struct attach_parked {
	int32_t rc;
	uint32_t number;  /* the order's */
	uint64_t last_ns; /* CLOCK_MONOTONIC */
};

#endif /* ATTACH_PRIV_H */
