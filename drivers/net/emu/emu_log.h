/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EMU_LOG_H
#define EMU_LOG_H

/* The driver's own log type: --log-level=pmd.net.wherry:debug */

#include <rte_log.h>

extern int emu_logtype;

#define EMU_LOG(level, fmt, ...) \
	rte_log(RTE_LOG_##level, (uint32_t)emu_logtype, "net_wherry: " fmt "\n", ##__VA_ARGS__)

#endif /* EMU_LOG_H */
