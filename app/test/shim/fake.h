/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FAKE_H
#define FAKE_H

/*
 * What the shim stands on, played by the test: hardware (instead of hardware.c), EAL's
 * mode and process type, and EAL's channel between processes, which here leads back into
 * this process. The program defines these functions, so the dynamic linker meets them
 * before DPDK's, as it meets the shim's.
 */

#include <rte_eal.h>

#include "shim_priv.h"

struct fake {
	enum shim_way way;         /* how the next device goes */
	unsigned int opened;       /* devices that are open */
	bool any;                  /* there is a device with a cdev */
	int info_rc;               /* of shim_hw_info() */
	struct wherry_domain *dom; /* a soft one, made at the first device */
	enum rte_iova_mode iova_mode;
	enum rte_proc_type_t process;
	bool primary_is_deaf; /* nobody answers a secondary */
	int answer_fd;        /* not 0: answered with a copy of it, without asking the primary */
	int answer_len;       /* 0: as the primary gave it; else cut to this */
	char line[512];       /* the last thing that was logged */
};
extern struct fake fake;

/* As at the start, and lines go to fake.line. */
void fake_reset(void);

#endif /* FAKE_H */
