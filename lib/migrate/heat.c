/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "heat_priv.h"
#include "wherry_bitmap.h"

struct row {
	char *name;
	char digits[MIG_HEAT_PARTS + 1];
};

struct mig_heat {
	uint32_t n;
	struct row rows[];
};

/* Pages of a run, part by part. */
static void
add_run(uint64_t *counts, uint64_t first, uint64_t n, uint64_t per_part)
{
	while (n > 0) {
		uint64_t part = first / per_part, room = (part + 1) * per_part - first;
		uint64_t here = n < room ? n : room;

		counts[part] += here;
		first += here;
		n -= here;
	}
}

/* The last part may be short: it is full when all that it has is dirty. */
static char
digit(uint64_t count, uint64_t of)
{
	return "0123456789"[count == 0 ? 0 : count == of ? 9 : 1 + count * 8 / of];
}

void
mig_heat_digits(const struct wherry_bitmap *pages, char digits[MIG_HEAT_PARTS + 1])
{
	struct wherry_span span = wherry_bitmap_span(pages), run;
	uint64_t page = wherry_bitmap_page(pages), n = span.len / page, at = span.iova;
	uint64_t per_part = (n + MIG_HEAT_PARTS - 1) / MIG_HEAT_PARTS;
	uint64_t counts[MIG_HEAT_PARTS] = { 0 };
	size_t parts = (size_t)((n + per_part - 1) / per_part);

	while (wherry_bitmap_next_run(pages, &at, &run))
		add_run(counts, (run.iova - span.iova) / page, run.len / page, per_part);
	for (size_t i = 0; i < parts; i++)
		digits[i] = digit(counts[i], i + 1 < parts ? per_part : n - i * per_part);
	digits[parts] = '\0';
}

struct mig_heat *
mig_heat_draw(const struct mig_regions *regions, struct wherry_bitmap *const *pages)
{
	struct mig_heat *heat = wherry_fault("heat.alloc")
		? NULL
		: calloc(1, sizeof(*heat) + regions->n * sizeof(heat->rows[0]));

	for (uint32_t i = 0; heat != NULL && i < regions->n; i++) {
		heat->rows[i].name = strdup(regions->list[i].name);
		heat->n++;
		if (heat->rows[i].name == NULL) {
			mig_heat_free(heat);
			return NULL;
		}
		mig_heat_digits(pages[i], heat->rows[i].digits);
	}
	return heat;
}

json_t *
mig_heat_json(const struct mig_heat *heat)
{
	json_t *object = json_object();

	for (uint32_t i = 0; heat != NULL && i < heat->n; i++)
		json_object_set_new(object, heat->rows[i].name, json_string(heat->rows[i].digits));
	return object;
}

void
mig_heat_free(struct mig_heat *heat)
{
	for (uint32_t i = 0; heat != NULL && i < heat->n; i++)
		free(heat->rows[i].name);
	free(heat);
}
