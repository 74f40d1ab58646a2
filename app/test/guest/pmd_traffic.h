/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PMD_TRAFFIC_H
#define PMD_TRAFFIC_H

/*
 * Frames that go round between two ports on one cable, each different from all before.
 *
 * Port 0 sends them and looks at what comes back; port 1 sends each back from where it was
 * received. So a device writes a page, reads it, and writes it again later, with other bytes:
 * what dirty bits have to cope with. The data of what is received is written by devices alone.
 */

#include <stdbool.h>
#include <stdint.h>

struct traffic {
	bool quit;             /* __atomic: come to an end */
	bool pause, is_paused; /* __atomic */
	uint64_t sent;         /* by port 0 */
	uint64_t back;         /* received there again, as it was sent */
	uint64_t damaged;
};

/* Configure and start ports 0 and 1, wait for their links. 0 or -errno. */
int traffic_open(void);
/* Stop them: no DMA after return. */
int traffic_close(void);
/* What drives port 0. */
const char *traffic_driver(void);
/* On a core of its own until quit; arg is a struct traffic. */
int traffic_run(void *arg);
/* After return nobody writes: the core waits, and no frame is on its way. While it runs. */
void traffic_pause(struct traffic *t);
void traffic_resume(struct traffic *t);

#endif /* PMD_TRAFFIC_H */
