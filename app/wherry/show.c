/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool
parse_number(const char *text, bool units, uint64_t *ret_value)
{
	static const char letters[] = "KMG";
	const char *letter;
	uint64_t value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *text == '-' || value > INT64_MAX >> 30)
		return false;
	if (*end != '\0' && units && (letter = strchr(letters, *end)) != NULL) {
		value <<= 10 * (unsigned int)(letter - letters + 1);
		end++;
	}
	*ret_value = value;
	return *end == '\0';
}
