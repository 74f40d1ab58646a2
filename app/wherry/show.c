/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "wherry.h"

double
get_real(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

uint64_t
get_count(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

const char *
get_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

const char *
show_bytes(double bytes, char *buf, size_t cap)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned int unit = 0;

	for (; bytes >= 1024 && unit < 4; unit++)
		bytes /= 1024;
	snprintf(buf, cap, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
	return buf;
}

void
write_json(FILE *to, const json_t *object)
{
	json_dumpf(object, to, JSON_COMPACT);
	putc('\n', to);
	fflush(to);
}
