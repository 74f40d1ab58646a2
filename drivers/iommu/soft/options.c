/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of "soft:NAME=VALUE,..."; what each means is in doc/backends_soft.rst. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "soft_priv.h"

#define LOG_PREFIX "iommu/soft"

#define MAX_IOTLB 65536u
#define MAX_TABLES 16777216u    /* 64 GiB of them, for 32 TiB in leaves of 4 KiB */
#define DEFAULT_TABLES 1048576u /* 4 GiB, for 2 TiB */

static const struct soft_format *const formats[] = { &soft_format_vtdss, &soft_format_amdv1,
	&soft_format_arm64s1 };

static int
parse_format(const char *value, struct soft_options *opts)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(formats[i]->name, value) != 0)
			continue;
		opts->format = formats[i];
		return 0;
	}
	return -EINVAL;
}

/* A decimal number and nothing else. */
static int
parse_number(const char *value, unsigned int max, unsigned int *ret_n)
{
	unsigned long n;
	char *end;

	if (*value < '0' || *value > '9')
		return -EINVAL;
	n = strtoul(value, &end, 10);
	if (*end != '\0' || n > max)
		return -EINVAL;
	*ret_n = (unsigned int)n;
	return 0;
}

static int
parse_width(const char *value, struct soft_options *opts)
{
	int rc = parse_number(value, 57, &opts->width);

	return rc == 0 && opts->width != 39 && opts->width != 48 && opts->width != 57 ? -EINVAL
										      : rc;
}

/* The largest leaf; all smaller ones are used too. A number, then k, m or g. */
static int
parse_leaf(const char *value, struct soft_options *opts)
{
	static const char units[] = "kmg";
	size_t digits = strspn(value, "0123456789");
	const char *unit = value[digits] == '\0' ? NULL : strchr(units, value[digits]);
	unsigned long n = strtoul(value, NULL, 10);

	if (digits == 0 || digits > 3 || unit == NULL || value[digits + 1] != '\0' || !is_pow2(n))
		return -EINVAL;
	opts->largest = (uint64_t)n << (10 * (unit - units + 1));
	return 0;
}

static int
parse_iotlb(const char *value, struct soft_options *opts)
{
	int rc = parse_number(value, MAX_IOTLB, &opts->iotlb);

	return rc == 0 && !is_pow2(opts->iotlb) ? -EINVAL : rc;
}

static int
parse_units(const char *value, struct soft_options *opts)
{
	int rc = parse_number(value, SOFT_MAX_UNITS, &opts->units);

	return rc == 0 && opts->units == 0 ? -EINVAL : rc;
}

static int
parse_tables(const char *value, struct soft_options *opts)
{
	int rc = parse_number(value, MAX_TABLES, &opts->tables);

	return rc == 0 && opts->tables == 0 ? -EINVAL : rc;
}

static int
parse_dbit(const char *value, struct soft_options *opts)
{
	static const char *const names[] = {
		[SOFT_CHECKED] = "checked", [SOFT_LATE] = "late", [SOFT_STALE] = "stale"
	};

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], value) != 0)
			continue;
		opts->dbit = (enum soft_dbit)i;
		return 0;
	}
	return -EINVAL;
}

static int
parse_exact(const char *value, struct soft_options *opts)
{
	opts->by_content = strcmp(value, "content") == 0;
	return opts->by_content || strcmp(value, "fence") == 0 ? 0 : -EINVAL;
}

static const struct {
	const char *name;
	int (*parse)(const char *value, struct soft_options *opts);
} options[] = {
	{ "format", parse_format },
	{ "width", parse_width },
	{ "leaf", parse_leaf },
	{ "iotlb", parse_iotlb },
	{ "units", parse_units },
	{ "tables", parse_tables },
	{ "dbit", parse_dbit },
	{ "exact", parse_exact },
};

static int
parse_one(const char *name, const char *value, struct soft_options *opts)
{
	for (size_t i = 0; value != NULL && i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(options[i].name, name) == 0)
			return options[i].parse(value, opts);
	return -EINVAL;
}

/* What takes more than one option to tell. */
static int
settle(struct soft_options *opts)
{
	if ((opts->format->page_sizes & opts->largest) == 0) {
		LOG_ERR("format %s has no leaf of %llu bytes", opts->format->name,
			(unsigned long long)opts->largest);
		return -EINVAL;
	}
	if (opts->dbit == SOFT_LATE && opts->format->no_late != NULL) {
		LOG_ERR("format %s excludes dbit=late (%s)", opts->format->name,
			opts->format->no_late);
		return -EINVAL;
	}
	if (opts->width > opts->format->widest) {
		LOG_ERR("format %s has %u bits of I/O address at most (%s)", opts->format->name,
			opts->format->widest, opts->format->section);
		return -EINVAL;
	}
	opts->leaves = opts->format->page_sizes & (opts->largest | (opts->largest - 1));
	if (opts->width == 0)
		opts->width = opts->format->width;
	return 0;
}

static int
parse_all(char *rest, struct soft_options *opts)
{
	char *name, *value;
	int rc = 0;

	while (rc == 0 && (name = strsep(&rest, ",")) != NULL) {
		value = strchr(name, '=');
		if (value != NULL)
			*value++ = '\0';
		rc = parse_one(name, value, opts);
		if (rc != 0)
			LOG_ERR("option %s=%s is unknown or out of range", name,
				value != NULL ? value : "");
	}
	return rc;
}

int
soft_options_parse(const char *text, struct soft_options *ret_opts)
{
	struct soft_options opts = {
		.format = &soft_format_vtdss,
		.largest = PT_PAGE,
		.iotlb = 64,
		.units = 1,
		.tables = DEFAULT_TABLES,
	};
	char *copy = wherry_fault("soft.options") ? NULL : strdup(text);
	int rc;

	if (copy == NULL)
		return -ENOMEM;
	rc = *text == '\0' ? 0 : parse_all(copy, &opts);
	free(copy);
	if (rc == 0)
		rc = settle(&opts);
	if (rc == 0)
		*ret_opts = opts;
	return rc;
}
