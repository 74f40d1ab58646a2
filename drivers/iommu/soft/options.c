/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of "soft:NAME=VALUE,..."; what each means is in doc/backends_soft.rst. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "soft_priv.h"

#define LOG_PREFIX "iommu/soft"

#define MAX_IOTLB 65536u

static const struct soft_format *const formats[] = { &soft_format_vtdss };

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
parse_number(const char *value, unsigned int *ret_n)
{
	unsigned long n;
	char *end;

	if (*value < '0' || *value > '9')
		return -EINVAL;
	n = strtoul(value, &end, 10);
	if (*end != '\0' || n > MAX_IOTLB)
		return -EINVAL;
	*ret_n = (unsigned int)n;
	return 0;
}

static int
parse_width(const char *value, struct soft_options *opts)
{
	int rc = parse_number(value, &opts->width);

	return rc == 0 && opts->width != 39 && opts->width != 48 && opts->width != 57 ? -EINVAL
										      : rc;
}

/* The largest leaf; all smaller ones are used too. */
static int
parse_leaf(const char *value, struct soft_options *opts)
{
	static const struct {
		const char *name;
		unsigned int shift;
	} sizes[] = { { "4k", 12 }, { "2m", 21 }, { "1g", 30 } };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (strcmp(sizes[i].name, value) != 0)
			continue;
		opts->leaves = (UINT64_C(2) << sizes[i].shift) - 1;
		return 0;
	}
	return -EINVAL;
}

static int
parse_iotlb(const char *value, struct soft_options *opts)
{
	int rc = parse_number(value, &opts->iotlb);

	return rc == 0 && !is_pow2(opts->iotlb) ? -EINVAL : rc;
}

static int
parse_units(const char *value, struct soft_options *opts)
{
	int rc = parse_number(value, &opts->units);

	return rc == 0 && (opts->units == 0 || opts->units > SOFT_MAX_UNITS) ? -EINVAL : rc;
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
};

static int
parse_one(const char *name, const char *value, struct soft_options *opts)
{
	for (size_t i = 0; value != NULL && i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(options[i].name, name) == 0)
			return options[i].parse(value, opts);
	return -EINVAL;
}

int
soft_options_parse(const char *text, struct soft_options *ret_opts)
{
	struct soft_options opts = {
		.format = &soft_format_vtdss, .leaves = PT_PAGE, .iotlb = 64, .units = 1
	};
	char *copy, *rest, *name;
	int rc = 0;

	copy = rest = wherry_fault("soft.options") ? NULL : strdup(text);
	if (copy == NULL)
		return -ENOMEM;
	while (rc == 0 && *text != '\0' && (name = strsep(&rest, ",")) != NULL) {
		char *value = strchr(name, '=');

		if (value != NULL)
			*value++ = '\0';
		rc = parse_one(name, value, &opts);
		if (rc != 0)
			LOG_ERR("option %s=%s is unknown or out of range", name,
				value != NULL ? value : "");
	}
	free(copy);
	if (rc != 0)
		return rc;
	opts.leaves &= opts.format->page_sizes;
	if (opts.width == 0)
		opts.width = opts.format->width;
	*ret_opts = opts;
	return 0;
}
