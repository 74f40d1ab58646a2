/* SPDX-License-Identifier: BSD-3-Clause */
/* The CPU's writes are somebody else's business: nothing is ever reported. */
#include <errno.h>
#include <stdlib.h>

#include "cpu_priv.h"

static int
none_open(struct cpu_source **ret_src, struct reason *why)
{
	(void)why;
	*ret_src = wherry_fault("dirty.source") ? NULL : calloc(1, sizeof(**ret_src));
	return *ret_src == NULL ? -ENOMEM : 0;
}

static void
none_close(struct cpu_source *src)
{
	free(src);
}

static int
none_attach(struct cpu_source *src, struct wherry_span span, uint64_t mem_page,
	struct cpu_area **ret_area)
{
	struct cpu_area *area = wherry_fault("dirty.area") ? NULL : calloc(1, sizeof(*area));

	if (area == NULL)
		return -ENOMEM;
	*area = (struct cpu_area){ .src = src, .span = span, .mem_page = mem_page };
	*ret_area = area;
	return 0;
}

static void
none_detach(struct cpu_area *area)
{
	free(area);
}

static int
none_start(struct cpu_area *area)
{
	(void)area;
	return 0;
}

static void
none_stop(struct cpu_area *area)
{
	(void)area;
}

static int
none_harvest(struct cpu_area *area, struct wherry_bitmap *into)
{
	(void)area;
	(void)into;
	return 0;
}

static size_t
none_footprint(const struct cpu_area *area)
{
	return sizeof(*area);
}

const struct cpu_ops cpu_none = {
	.kind = WHERRY_CPU_NONE,
	.open = none_open,
	.close = none_close,
	.attach = none_attach,
	.detach = none_detach,
	.start = none_start,
	.stop = none_stop,
	.harvest = none_harvest,
	.footprint = none_footprint,
};
