/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In a DPDK process Wherry speaks through EAL's log: type "wherry", so that
 * --log-level=wherry:debug shows every decision. Set when the library is loaded;
 * an application that wants the lines itself calls wherry_log_set() later.
 */
#include <rte_common.h>
#include <rte_log.h>

#include "wherry_base.h"

static int logtype;

static void
to_eal(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	static const uint32_t levels[] = {
		[WHERRY_LOG_ERR] = RTE_LOG_ERR,
		[WHERRY_LOG_WARN] = RTE_LOG_WARNING,
		[WHERRY_LOG_INFO] = RTE_LOG_INFO,
		[WHERRY_LOG_DEBUG] = RTE_LOG_DEBUG,
	};

	(void)ctx;
	rte_log(levels[level], (uint32_t)logtype, "%s: %s\n", area, line);
}

RTE_INIT(log_to_eal)
{
	logtype = rte_log_register_type_and_pick_level("wherry", RTE_LOG_INFO);
	if (logtype >= 0)
		wherry_log_set(to_eal, NULL, WHERRY_LOG_DEBUG);
}
