/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base_priv.h"
#include "reason_priv.h"

int
mig_fail(struct mig_reason *reason, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason->text, sizeof(reason->text), fmt, ap);
	va_end(ap);
	wherry_utf8_tidy(reason->text);
	return rc;
}

int
mig_no_memory(struct mig_reason *reason)
{
	return mig_fail(reason, -ENOMEM, "out of memory");
}

uint64_t
mig_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}
