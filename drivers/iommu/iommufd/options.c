/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "iommufd_priv.h"

#define LOG_PREFIX "iommu/iommufd"

int
iommufd_options_parse(const char *text, struct iommufd_options *ret_opts)
{
	if (*text == '\0' || strcmp(text, "leaf=4k") == 0) {
		ret_opts->small = true;
		return 0;
	}
	if (strcmp(text, "leaf=max") == 0) {
		ret_opts->small = false;
		return 0;
	}
	LOG_ERR("iommufd:%s: the only option is leaf=4k or leaf=max", text);
	return -EINVAL;
}
