/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu_section_priv.h"

#include <errno.h>
#include <inttypes.h>

#include "base_priv.h"
#include "bytes_priv.h"
#include "why_priv.h"

#define LOG_PREFIX "dpdk/iommu"

static const char *const kinds[] = { "not", "only as all that is mapped", "by dirty bits" };

int
iommu_encode(const struct wherry_domain_caps *caps, void *buf, size_t cap)
{
	struct bytes b = { .at = buf, .left = cap };

	if (caps->n_usable > UINT16_MAX)
		return -ENOSPC;
	bytes_put16(&b, (uint16_t)caps->dirty);
	bytes_put64(&b, caps->granule);
	bytes_put16(&b, (uint16_t)caps->n_usable);
	for (size_t i = 0; i < caps->n_usable; i++) {
		bytes_put64(&b, caps->usable[i].iova);
		bytes_put64(&b, caps->usable[i].len);
	}
	return b.bad ? -ENOSPC : (int)(cap - b.left);
}

int
iommu_compare(const void *buf, size_t len, const struct wherry_domain_caps *ours,
	struct wherry_why *ret_why)
{
	struct bytes b = { .at = (uint8_t *)(uintptr_t)buf, .left = len };
	uint16_t dirty = bytes_get16(&b);
	uint64_t granule = bytes_get64(&b);

	if (b.left != 2 + bytes_get16(&b) * (size_t)16 || dirty >= sizeof(kinds) / sizeof(kinds[0]))
		return refuse(ret_why, -EPROTO, "%zu bytes came, which describe no IOMMU", len);
	if (dirty != (uint16_t)ours->dirty)
		LOG_WARN("writes of devices were known %s at the source, and are %s here",
			kinds[dirty], kinds[ours->dirty]);
	else if (ours->dirty == WHERRY_DIRTY_TRACKED && granule != ours->granule)
		return refuse(ret_why, -EPROTO,
			"a dirty bit of the IOMMU stands for %" PRIu64
			" bytes at the source, %" PRIu64
			" at the destination: give both the same leaf= in the domain's options",
			granule, ours->granule);
	return 0;
}

/* Is a region in one of some ranges? If not, which comes nearest from below? */
struct search {
	struct wherry_span region, below;
	bool found;
	unsigned int seen;
};

static void
look_at(struct search *s, struct wherry_span usable)
{
	uint64_t at = s->region.iova - usable.iova; /* in it */

	if (s->region.iova >= usable.iova) {
		s->below = usable;
		s->found = s->found || (at <= usable.len && s->region.len <= usable.len - at);
	} else if (s->seen == 0) {
		s->below = usable;
	}
	s->seen++;
}

static int
judge(const struct search *s, const char *name, const char *side, struct wherry_why *ret_why)
{
	if (s->found)
		return 0;
	return refuse(ret_why, -EPROTO,
		"region \"%.32s\" at %#" PRIx64 " to %#" PRIx64 ", IOMMU usable from %#" PRIx64
		" to %#" PRIx64 " at the %s: give both an address that is usable at both",
		name, s->region.iova, s->region.iova + s->region.len - 1, s->below.iova,
		s->below.iova + s->below.len - 1, side);
}

int
iommu_reaches(const void *buf, size_t len, const struct wherry_domain_caps *ours, const char *name,
	struct wherry_span region, struct wherry_why *ret_why)
{
	struct search here = { .region = region }, there = here;
	struct bytes b = { .at = (uint8_t *)(uintptr_t)buf, .left = len };
	int rc;

	for (size_t i = 0; i < ours->n_usable; i++)
		look_at(&here, ours->usable[i]);
	rc = judge(&here, name, "destination", ret_why);
	if (rc != 0)
		return rc;
	(void)bytes_step(&b, 2 + 8 + 2);
	while (b.left >= 16) {
		struct wherry_span usable = { .iova = bytes_get64(&b) };

		usable.len = bytes_get64(&b);
		look_at(&there, usable);
	}
	return judge(&there, name, "source", ret_why);
}
