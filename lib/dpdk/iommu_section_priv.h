/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef IOMMU_SECTION_PRIV_H
#define IOMMU_SECTION_PRIV_H

/*
 * The section that describes a process's I/O address space to the other: how device writes
 * are known (2 bytes, enum wherry_dirty), the granule (8), how many usable ranges (2), each
 * 8 bytes of address and 8 of length. Little-endian, from a peer: all of it is checked.
 */

#include "wherry_iommu.h"
#include "wherry_migrate.h"

#define IOMMU_SECTION "wherry.iommu"
#define IOMMU_SECTION_VERSION 1u

/* Bytes written, or -ENOSPC. */
int iommu_encode(const struct wherry_domain_caps *caps, void *buf, size_t cap);
/* Would a migration back find what it found here? -EPROTO: another granule, or no sound section. */
int iommu_compare(const void *buf, size_t len, const struct wherry_domain_caps *ours,
	struct wherry_why *ret_why);
/* A sound section: is the region usable on both sides? -EPROTO: no. */
int iommu_reaches(const void *buf, size_t len, const struct wherry_domain_caps *ours,
	const char *name, struct wherry_span region, struct wherry_why *ret_why);

#endif /* IOMMU_SECTION_PRIV_H */
