/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OTHER_H
#define OTHER_H

/*
 * A process that writes the memory of a ground and makes its writes known, as a secondary does. It
 * obeys one order at a time. It ends when its test does.
 */

#include <sys/types.h>
#include <wherry_writer.h>

#include "ground.h"

struct other {
	pid_t pid;
	int sock;
	struct wherry_writer_fds fds; /* that it has sent */
};

enum other_order {
	OTHER_POKE = 'p',  /* write a page, whose number follows */
	OTHER_RUN = 'r',   /* write any pages as fast as it can */
	OTHER_STOP = 's',  /* ... no longer */
	OTHER_UNMAP = 'u', /* take the mapping away */
	OTHER_CUT = 'c',   /* half of it */
	OTHER_EXEC = 'x',  /* begin another program */
};

/* SKIPs where the kernel lacks it. */
void other_open(struct other *o, struct ground *g);
/* Done when it returns. */
void other_order(struct other *o, enum other_order order, uint8_t page);
void other_kill(struct other *o); /* and go on */
void other_close(struct other *o);

#endif /* OTHER_H */
