/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LEND_PRIV_H
#define LEND_PRIV_H

/*
 * The description that goes with a domain: a sealed memfd with a head, and behind it n_mappings
 * of struct lent_mapping, ascending. Both processes are on one machine: no byte order.
 */

#include <fcntl.h>

#include "iommu_priv.h"

#define LENT_MAGIC "wherrydm"
#define LENT_VERSION 1u
#define LENT_MAPPINGS 65536u
/* Nobody changes it or makes it shorter while it is read. */
#define LENT_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct lent_head {
	char magic[8];
	uint32_t version;
	uint32_t n_mappings;
	char backend[16]; /* ends within */
	struct wherry_lent_half half;
};

#endif /* LEND_PRIV_H */
