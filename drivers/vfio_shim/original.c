/* SPDX-License-Identifier: BSD-3-Clause */
/* What stands behind the shim: EAL's own functions, and whether they are the ones we know. */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <rte_version.h>

#include "shim_priv.h"

#define LOG_PREFIX "vfio-shim"

static struct shim_original original;
static bool active;

/*
 * Releases whose prototypes are the ones in shim_priv.h. 26.11 is announced to make these
 * functions internal and to change them: until somebody has looked, it is not ours.
 */
#define FIRST_RELEASE 2211u
#define LAST_RELEASE 2607u

const char *
shim_unknown_release(const char *version)
{
	unsigned long year, month;
	char *end = NULL;

	if (strncmp(version, "DPDK ", 5) != 0)
		return "its version makes no sense";
	year = strtoul(version + 5, &end, 10);
	month = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
	if (year > 99 || month == 0 || month > 12)
		return "its version makes no sense";
	if (year * 100 + month < FIRST_RELEASE)
		return "it is older than 22.11";
	if (year * 100 + month > LAST_RELEASE)
		return "it is newer than 26.07, and its functions may have changed";
	return NULL;
}

static int
count_eal(struct dl_phdr_info *info, size_t size, void *arg)
{
	unsigned int *n = arg;

	(void)size;
	*n += strstr(info->dlpi_name, "/librte_eal.so") != NULL;
	return 0;
}

/* The shim brings the EAL that it was linked with; a program of another release has its own. */
static bool
is_one_eal(void)
{
	unsigned int n = 0;

	(void)dl_iterate_phdr(count_eal, &n);
	return n <= 1;
}

/* ISO C has no conversion from void * to a function: the way POSIX shows. */
#define FIND(member, name) (*(void **)&original.member = dlsym(RTLD_NEXT, name))

static void
find_all(void)
{
	const char *unknown = shim_unknown_release(rte_version());

	FIND(setup_device, "rte_vfio_setup_device");
	FIND(release_device, "rte_vfio_release_device");
	FIND(is_enabled, "rte_vfio_is_enabled");
	FIND(get_device_info, "rte_vfio_get_device_info");
	FIND(container_dma_map, "rte_vfio_container_dma_map");
	FIND(container_dma_unmap, "rte_vfio_container_dma_unmap");
	active = unknown == NULL && is_one_eal();
	if (unknown != NULL)
		LOG_WARN("all devices take EAL's own path: %s: %s", rte_version(), unknown);
	else if (!active)
		LOG_WARN(
			"all devices take EAL's own path: the program has another release of DPDK than this shim (%s)",
			rte_version());
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

const struct shim_original *
shim_original(void)
{
	pthread_once(&once, find_all);
	return &original;
}

bool
shim_active(void)
{
	pthread_once(&once, find_all);
	return active;
}
