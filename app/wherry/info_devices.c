/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices: found in sysfs; one that is bound to VFIO is attached for a moment, because only then
 * the kernel tells what its IOMMU can do.
 */
#include <string.h>

#include "info.h"
#include "wherry.h"
#include "wherry_vfio.h"

static json_t *
hex(uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)n);
	return json_string(text);
}

static json_t *
gap_list(const struct wherry_vfio_function *fn)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < fn->n_gaps; i++) {
		const struct wherry_vfio_gap *gap = &fn->gaps[i];

		json_array_append_new(list,
			json_pack("{sb sb ss ss}", "blocks_iommufd",
				(gap->blocks & WHERRY_VFIO_BY_CDEV) != 0, "blocks_type1",
				(gap->blocks & WHERRY_VFIO_BY_GROUP) != 0, "why", gap->why,
				"remedy", gap->remedy));
	}
	return list;
}

static json_t *
range_list(const struct wherry_domain_caps *caps)
{
	json_t *list = json_array();

	for (size_t i = 0; i < caps->n_usable; i++)
		json_array_append_new(list,
			json_pack("{so so}", "first", hex(caps->usable[i].iova), "last",
				hex(wherry_span_last(caps->usable[i]))));
	return list;
}

static json_t *
attached_info(const char *backend, struct wherry_device *dev, struct wherry_domain *dom)
{
	json_t *info = info_caps(backend, dom);
	enum wherry_vfio_writes writes;
	struct wherry_domain_caps caps;
	char why[512];

	wherry_domain_get_caps(dom, &caps);
	writes = wherry_vfio_writes_known(dev, dom, false, why, sizeof(why));
	json_object_set_new(info, "usable", range_list(&caps));
	json_object_set_new(info, "writes_known_by", json_string(wherry_vfio_writes_name(writes)));
	json_object_set_new(info, "writes_reason", json_string(why));
	return info;
}

/* What the device would have with this backend, or NULL and the reason in *ret_why. */
static json_t *
try_backend(const char *backend, struct wherry_device *dev, json_t **ret_why)
{
	struct wherry_domain *dom;
	json_t *info = NULL;
	int rc;

	info_forget_line();
	rc = wherry_domain_create(backend, &dom);
	if (rc == 0) {
		rc = wherry_device_attach(dev, dom, NULL);
		if (rc == 0) {
			info = attached_info(backend, dev, dom);
			wherry_device_detach(dev);
		}
		wherry_domain_destroy(dom);
	}
	if (rc != 0)
		*ret_why = json_pack("{ss ss}", "backend", backend, "reason",
			*info_last_line() != '\0' ? info_last_line() : strerror(-rc));
	return info;
}

/* The first backend that takes it, and why those before it do not. */
static void
add_use(json_t *item, struct wherry_device *dev)
{
	static const char *const backends[] = { "iommufd", "type1" };
	json_t *refused = json_array(), *use = NULL, *why;

	for (size_t i = 0; use == NULL && i < sizeof(backends) / sizeof(backends[0]); i++) {
		why = NULL;
		use = try_backend(backends[i], dev, &why);
		if (why != NULL)
			json_array_append_new(refused, why);
	}
	if (use != NULL)
		json_object_set_new(item, "use", use);
	json_object_set_new(item, "refused", refused);
}

static int
add_function(void *ctx, const struct wherry_vfio_function *fn)
{
	struct wherry_device *dev;
	json_t *item;

	if (fn->pciclass >> 16 != 2 && strstr(fn->driver, "vfio") == NULL)
		return 0;
	item = json_pack("{ss ss ss ss ss si}", "address", fn->address, "driver", fn->driver,
		"iommu", fn->iommu, "group", fn->group, "cdev", fn->cdev, "node", fn->node);
	json_object_set_new(item, "vendor", hex(fn->vendor));
	json_object_set_new(item, "device", hex(fn->device));
	json_object_set_new(item, "missing", gap_list(fn));
	if (fn->ways != 0 && wherry_device_open(fn->address, &dev) == 0) {
		add_use(item, dev);
		wherry_device_close(dev);
	}
	return json_array_append_new(ctx, item);
}

json_t *
info_devices(void)
{
	json_t *list = json_array();

	(void)wherry_vfio_each(add_function, list);
	return list;
}

static void
show_if(const char *before, const char *text)
{
	if (*text != '\0')
		printf("%s%s", before, text);
}

static void
show_use(const json_t *use)
{
	const json_t *range;
	size_t i;

	printf("  would use      %s; pages", get_text(use, "backend"));
	info_print_sizes(json_object_get(use, "page_sizes"));
	printf("; exact unmap %s\n  I/O addresses ", get_text(use, "exact_unmap"));
	json_array_foreach(json_object_get(use, "usable"), i, range) printf(
		"%s %s to %s", i > 0 ? "," : "", get_text(range, "first"), get_text(range, "last"));
	printf("\n  dirty source   %s: %s\n", get_text(use, "writes_known_by"),
		get_text(use, "writes_reason"));
}

void
info_show_one_device(const json_t *dev)
{
	const json_t *use = json_object_get(dev, "use"), *item;
	size_t i;

	printf("%-16s %.4s:%.4s", get_text(dev, "address"), get_text(dev, "vendor") + 2,
		get_text(dev, "device") + 2);
	printf(", %s", *get_text(dev, "driver") != '\0' ? get_text(dev, "driver") : "no driver");
	show_if(", behind ", get_text(dev, "iommu"));
	show_if(", ", get_text(dev, "cdev"));
	show_if(", ", get_text(dev, "group"));
	if (json_integer_value(json_object_get(dev, "node")) >= 0)
		printf(", NUMA node %llu", (unsigned long long)get_count(dev, "node"));
	putchar('\n');
	if (use != NULL)
		show_use(use);
	json_array_foreach(json_object_get(dev, "refused"), i, item) printf(
		"  not by         %s: %s\n", get_text(item, "backend"), get_text(item, "reason"));
	json_array_foreach(json_object_get(dev, "missing"), i, item)
		printf("  missing        %s\n  remedy         %s\n", get_text(item, "why"),
			get_text(item, "remedy"));
}

void
info_show_devices(const json_t *devices)
{
	const json_t *dev;
	size_t i;

	json_array_foreach(devices, i, dev) info_show_one_device(dev);
}
