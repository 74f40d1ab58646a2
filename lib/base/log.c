/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hands finished lines to the callback of whoever owns the process. The three
 * settings change only before threads start, so plain loads do.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "log_priv.h"

static wherry_log_fn sink;
static void *sink_ctx;
static enum wherry_log_level sink_level;

void
wherry_log_set(wherry_log_fn fn, void *ctx, enum wherry_log_level level)
{
	sink = fn;
	sink_ctx = ctx;
	sink_level = level;
}

void
wherry_log(enum wherry_log_level level, const char *area, const char *fmt, ...)
{
	int saved = errno;
	char line[512];
	va_list ap;

	if (sink == NULL || level > sink_level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	sink(sink_ctx, level, area, line);
	errno = saved;
}

const char *
wherry_version(void)
{
	return WHERRY_VERSION;
}
