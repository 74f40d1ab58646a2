/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef METRICS_H
#define METRICS_H

/*
 * wherry exporter: exporter.c is the command and speaks HTTP, metrics.c asks applications
 * and writes what they answer in Prometheus' text format 0.0.4.
 */

#include <stddef.h>

/* Of all applications with a socket in the folder, to be freed; NULL: no memory. Any thread. */
char *metrics_text(const char *folder, size_t *ret_len);

#endif /* METRICS_H */
