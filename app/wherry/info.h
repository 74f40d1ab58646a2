/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef INFO_H
#define INFO_H

/*
 * wherry info in parts. Each part is a JSON value first, whatever the output: the text is made
 * from it, so that the two never differ.
 */

#include <jansson.h>

#include "wherry_iommu.h"

/* From now on the libraries' lines are kept, not shown. */
void info_keep_lines(void);
/* The last thing a library said: the reason of what failed just now. */
const char *info_last_line(void);
void info_forget_line(void);

/* What a domain can do, beside its name. */
json_t *info_caps(const char *name, struct wherry_domain *dom);
/* " 4.0 KiB 2.0 MiB" of an array of sizes, printed. */
void info_print_sizes(const json_t *sizes);

/* info_machine.c: IOMMUs, limits and what is missing on the way to all devices. */
json_t *info_machine(void);
void info_show_machine(const json_t *machine);

/* info_devices.c: network functions, and all that are bound to VFIO. */
json_t *info_devices(void);
void info_show_devices(const json_t *devices);
void info_show_one_device(const json_t *dev);

#endif /* INFO_H */
