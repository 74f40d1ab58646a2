/* SPDX-License-Identifier: BSD-3-Clause */
/* What concerns all devices: the kernel, its IOMMUs, its nodes, and how much may be pinned. */
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "info.h"
#include "wherry.h"
#include "wherry_vfio.h"

static int
add_iommu(void *ctx, const struct wherry_vfio_iommu *iommu)
{
	json_t *item = json_pack("{ss ss si so}", "name", iommu->name, "kind", iommu->kind,
		"devices", (int)iommu->n_devices, "dirty_bits",
		iommu->shown ? json_boolean(iommu->dirty) : json_null());

	json_object_set_new(item, "drains_writes", json_boolean(iommu->drains));
	json_object_set_new(item, "reason", json_string(iommu->why));
	return json_array_append_new(ctx, item);
}

static void
add_gap(json_t *gaps, const char *why, const char *remedy)
{
	json_array_append_new(gaps, json_pack("{ss ss}", "why", why, "remedy", remedy));
}

static void
check_memlock(json_t *gaps)
{
	struct rlimit limit;
	char why[128], text[32];

	if (geteuid() == 0 || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
		limit.rlim_cur == RLIM_INFINITY)
		return;
	snprintf(why, sizeof(why),
		"this user may pin %s, and all memory that devices reach is pinned",
		show_bytes((double)limit.rlim_cur, text, sizeof(text)));
	add_gap(gaps, why,
		"memlock in /etc/security/limits.conf, or LimitMEMLOCK= of the systemd unit");
}

static bool
any_translates(const json_t *iommus)
{
	const json_t *iommu;
	size_t i;

	json_array_foreach(iommus, i, iommu) if (get_count(iommu, "devices") > 0) return true;
	return false;
}

/* What every device would miss; what one misses stands with the device. */
static json_t *
find_gaps(const json_t *iommus)
{
	json_t *gaps = json_array();

	if (!any_translates(iommus))
		add_gap(gaps, "the kernel has no IOMMU that translates for a device",
			"switch it on in the firmware setup (VT-d; AMD-Vi, \"IOMMU\"; SMMU); for VT-d boot the kernel with intel_iommu=on");
	if (access("/dev/iommu", F_OK) != 0)
		add_gap(gaps, "there is no /dev/iommu, so no iommufd and no dirty bits",
			"modprobe iommufd; where there is no such module, Linux 6.6 or newer with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV");
	if (access("/dev/vfio/vfio", F_OK) != 0)
		add_gap(gaps, "there is no /dev/vfio/vfio, so no type1",
			"modprobe vfio_iommu_type1; where there is no such module, a kernel with CONFIG_VFIO_CONTAINER");
	check_memlock(gaps);
	return gaps;
}

json_t *
info_machine(void)
{
	struct utsname name = { .release = "" };
	json_t *iommus = json_array();

	(void)wherry_vfio_each_iommu(add_iommu, iommus);
	(void)uname(&name);
	return json_pack("{ss so so}", "kernel", name.release, "missing", find_gaps(iommus),
		"iommus", iommus);
}

/* null: nobody can tell before a device is attached */
static const char *
word_for(const json_t *known)
{
	return json_is_null(known) ? "unknown" : json_is_true(known) ? "yes" : "no";
}

static void
show_iommu(const json_t *iommu)
{
	const json_t *dirty = json_object_get(iommu, "dirty_bits");

	printf("IOMMU %-10s %s%s%llu devices; dirty bits: %s%s%s%s\n", get_text(iommu, "name"),
		get_text(iommu, "kind"), *get_text(iommu, "kind") != '\0' ? ", " : "",
		(unsigned long long)get_count(iommu, "devices"), word_for(dirty),
		json_is_true(dirty) ? "" : ": ", get_text(iommu, "reason"),
		json_is_true(json_object_get(iommu, "drains_writes"))
			? ""
			: "; does not promise to drain writes");
}

void
info_show_machine(const json_t *machine)
{
	const json_t *item;
	size_t i;

	printf("kernel           %s\n", get_text(machine, "kernel"));
	json_array_foreach(json_object_get(machine, "iommus"), i, item) show_iommu(item);
	json_array_foreach(json_object_get(machine, "missing"), i, item)
		printf("missing          %s\n  remedy         %s\n", get_text(item, "why"),
			get_text(item, "remedy"));
}
