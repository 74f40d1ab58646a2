/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHY_PRIV_H
#define WHY_PRIV_H

/* Refusing a peer's section: what differs, as it is at the source and here, and what to do. */

#include <stdarg.h>
#include <stdio.h>

#include "wherry_migrate.h"

static inline int refuse(struct wherry_why *ret_why, int rc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Say why, and return rc. */
static inline int
refuse(struct wherry_why *ret_why, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ret_why->text, sizeof(ret_why->text), fmt, ap);
	va_end(ap);
	return rc;
}

#endif /* WHY_PRIV_H */
