/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SELFTEST_H
#define SELFTEST_H

/*
 * wherry selftest in parts; each adds to the report and says on the terminal how it went.
 */

#include <jansson.h>

/*
 * selftest_checks.c: real DMA against what the backends promise, by a program of its own, the
 * same that runs in the test machines. How many failed; -1: they could not be run.
 */
int selftest_checks(const char *address, json_t *report);

/*
 * selftest_measure.c: what mapping, tracking and unmapping cost on the backend that the device
 * would use. 0, or -errno and said why.
 */
int selftest_measure(const char *address, const char *backend, json_t *report);

/* One line of the form "  name   value unit" and the same in the report. */
void selftest_number(json_t *report, const char *name, double value, const char *unit);

#endif /* SELFTEST_H */
