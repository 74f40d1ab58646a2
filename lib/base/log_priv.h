/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LOG_PRIV_H
#define LOG_PRIV_H

/*
 * Log lines of the libraries. A file opens with
 *
 *	#define LOG_PREFIX "iommu/soft"
 *
 * and says LOG_ERR("cannot %s: %s", ...): one line per decision, no newline.
 * errno survives, and nothing is formatted for a level nobody listens to.
 */

#include "wherry_base.h"

/* visible: libwherry-dpdk, the other half of this product, logs through it too */
__attribute__((visibility("default"), format(printf, 3, 4))) void wherry_log(
	enum wherry_log_level level, const char *area, const char *fmt, ...);

#define LOG_ERR(...) wherry_log(WHERRY_LOG_ERR, LOG_PREFIX, __VA_ARGS__)
#define LOG_WARN(...) wherry_log(WHERRY_LOG_WARN, LOG_PREFIX, __VA_ARGS__)
#define LOG_INFO(...) wherry_log(WHERRY_LOG_INFO, LOG_PREFIX, __VA_ARGS__)
#define LOG_DEBUG(...) wherry_log(WHERRY_LOG_DEBUG, LOG_PREFIX, __VA_ARGS__)

#endif /* LOG_PRIV_H */
