/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HEAT_PRIV_H
#define HEAT_PRIV_H

/*
 * Where in each region a round's pages lay: every region is cut into equal parts, and each
 * part has one digit, 0 for no page, 9 for all of them. `wherry report` draws it.
 */

#include <jansson.h>

#include "hello_priv.h"

#define MIG_HEAT_PARTS 64u

struct mig_heat;

/* Of one bitmap; a region of fewer pages has as many parts. */
void mig_heat_digits(const struct wherry_bitmap *pages, char digits[MIG_HEAT_PARTS + 1]);
/* Of all regions, pages[i] for the i-th; NULL: no memory, and the round goes without. */
struct mig_heat *mig_heat_draw(
	const struct mig_regions *regions, struct wherry_bitmap *const *pages);
/* {"arena":"0019...", ...}; of NULL an empty object. */
json_t *mig_heat_json(const struct mig_heat *heat);
/* NULL is fine. */
void mig_heat_free(struct mig_heat *heat);

#endif /* HEAT_PRIV_H */
