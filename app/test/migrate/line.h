/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LINE_H
#define LINE_H

/*
 * Two network namespaces of a test's own with a line between them, and the kernel's netem at both
 * ends of it: what is sent is late, lost, overtaken, doubled or changed, packet by packet, and TCP has
 * to make do. The test's thread is in the near one from line_create to line_destroy, and so is what
 * it starts; nothing has a name, so all of it ends with the process at the latest.
 *
 * netem is sch_netem of Linux. Where there is none the test is skipped: devtools/vm has kernels with
 * it, and app/test/whole/wan.py does the like without.
 */

#include <stdint.h>

#define LINE_NEAR_IP "10.79.0.1"
#define LINE_FAR_IP "10.79.0.2"

enum line_end { LINE_NEAR, LINE_FAR };

struct line {
	int home, ends[2]; /* namespaces */
};

/* faults are tc's words for them, as in tc-netem(8). */
void line_create(struct line *line, const char *faults);
/* Other ones from now on. */
void line_change(const struct line *line, const char *faults);
/* Packets that netem has lost on purpose, of both ends. */
uint64_t line_lost(const struct line *line);
/* What the kernel has counted there, by its names: "Tcp", "RetransSegs". */
uint64_t line_count(
	const struct line *line, enum line_end end, const char *group, const char *name);
/* The shortest of some trips to the far end and back. */
unsigned int line_trip_us(const struct line *line);
void line_destroy(struct line *line);

#endif /* LINE_H */
