/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef REPORT_H
#define REPORT_H

/*
 * wherry report: a migration's events as one picture. report.c is the command and reads
 * them, report_draw.c knows what is drawn where, svg.c how.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* What the events of one migration come to. Rounds are "round" events, in order. */
struct report {
	json_t *rounds;       /* array */
	json_t *end;          /* "end", or NULL: the log stops before */
	double switchover_ms; /* from begin until the application was stopped */
	double total_ms;      /* the axis */
};

/* false: it could not all be written. */
bool report_draw(const struct report *r, FILE *to);

/* ---- svg.c: shapes, in pixels from the upper left ---- */

struct box {
	double x, y, w, h;
};

void svg_open(FILE *to, double w, double h);
void svg_close(FILE *to);
void svg_rect(FILE *to, struct box at, const char *colour, const char *tip);
void svg_line(FILE *to, double x1, double y1, double x2, double y2, const char *colour);
/* anchor: start, middle or end. */
void svg_text(FILE *to, double x, double y, const char *anchor, const char *text);

#endif /* REPORT_H */
