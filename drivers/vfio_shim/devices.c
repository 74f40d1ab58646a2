/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which devices of this process are ours, and the memory that its application maps for
 * them. EAL's own memory is not a matter of the shim: lib/dpdk/eal_mem.c has it in the
 * domain for as long as there is one.
 *
 * EAL maps user memory once per device, all into one container: the second time it is
 * there already, which is no error. The first unmap takes it away, as EAL's does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <rte_eal.h>

#include "shim_priv.h"
#include "wherry_iommu.h"

#define LOG_PREFIX "vfio-shim"

/* A device taken; in a secondary hw.dom is NULL and the descriptor is our own copy. */
struct taken {
	LIST_ENTRY(taken) next;
	char address[SHIM_ADDRESS];
	struct shim_hw hw;
};

/* The lock is held while a device is opened: a device is taken once. */
static struct {
	struct wherry_mutex lock;
	LIST_HEAD(, taken) list; /* under lock */
	unsigned int theirs;     /* under lock: devices that went EAL's way */
} devices = { .lock = { PTHREAD_MUTEX_INITIALIZER } };

static struct taken *
find_locked(const char *address) WHERRY_REQUIRES(&devices.lock)
{
	struct taken *t;

	LIST_FOREACH(t, &devices.list, next)
		if (strcmp(t->address, address) == 0)
			return t;
	return NULL;
}

/* False: no process can use such addresses behind an IOMMU. */
static bool
has_virtual_addresses(const char *address)
{
	if (rte_eal_iova_mode() == RTE_IOVA_VA)
		return true;
	LOG_ERR("%s is refused: EAL uses physical I/O addresses, which mean nothing behind an IOMMU: start with --iova-mode=va",
		address);
	return false;
}

static enum shim_way
open_one(const char *address, struct shim_hw *hw, char why[SHIM_WHY])
{
	if (rte_eal_process_type() == RTE_PROC_PRIMARY)
		return shim_hw_open(address, hw, why);
	*hw = (struct shim_hw){ .fd = -1 };
	return shim_ask_primary(address, &hw->fd, why);
}

static void
close_one(struct shim_hw *hw)
{
	if (hw->dom != NULL)
		shim_hw_close(hw);
	else
		close(hw->fd);
}

static enum shim_way
take_locked(const char *address, struct vfio_device_info *info, struct taken **ret_t)
	WHERRY_REQUIRES(&devices.lock)
{
	struct taken *t = wherry_fault("shim.taken") ? NULL : calloc(1, sizeof(*t));
	char why[SHIM_WHY] = "";
	enum shim_way way;

	if (t == NULL || strlen(address) >= sizeof(t->address)) {
		free(t);
		return SHIM_REFUSED;
	}
	way = open_one(address, &t->hw, why);
	if (way == SHIM_OURS && shim_hw_info(t->hw.fd, info) != 0) {
		close_one(&t->hw);
		LOG_ERR("%s is refused: the kernel does not describe it", address);
		way = SHIM_REFUSED;
	} else {
		LOG_INFO("%s: %s%s", address, way == SHIM_THEIRS ? "EAL's own path: " : "", why);
	}
	if (way != SHIM_OURS) {
		free(t);
		return way;
	}
	memcpy(t->address, address, strlen(address) + 1);
	LIST_INSERT_HEAD(&devices.list, t, next);
	*ret_t = t;
	return SHIM_OURS;
}

enum shim_way
shim_take(const char *address, int *ret_fd, struct vfio_device_info *info)
{
	struct taken *t = NULL;
	enum shim_way way;

	if (!has_virtual_addresses(address))
		return SHIM_REFUSED;
	if (rte_eal_process_type() == RTE_PROC_PRIMARY)
		shim_serve_secondaries();
	wherry_mutex_lock(&devices.lock);
	if (find_locked(address) != NULL) {
		LOG_ERR("%s is in use by this process already", address);
		way = SHIM_REFUSED;
	} else {
		way = take_locked(address, info, &t);
	}
	if (way == SHIM_OURS)
		*ret_fd = t->hw.fd;
	wherry_mutex_unlock(&devices.lock);
	return way;
}

bool
shim_release(const char *address)
{
	struct taken *t;

	wherry_mutex_lock(&devices.lock);
	t = find_locked(address);
	if (t != NULL) {
		LIST_REMOVE(t, next);
		close_one(&t->hw);
	}
	wherry_mutex_unlock(&devices.lock);
	free(t);
	return t != NULL;
}

int
shim_fd_of(const char *address)
{
	const struct taken *t;
	int fd;

	wherry_mutex_lock(&devices.lock);
	t = find_locked(address);
	fd = t != NULL ? t->hw.fd : -1;
	wherry_mutex_unlock(&devices.lock);
	return fd;
}

void
shim_count_theirs(int change)
{
	wherry_mutex_lock(&devices.lock);
	devices.theirs = (unsigned int)((int)devices.theirs + change);
	wherry_mutex_unlock(&devices.lock);
}

/* Devices here are the primary's, and so is their memory: what only this process has, none reaches. */
static bool
is_the_primarys_locked(void) WHERRY_REQUIRES(&devices.lock)
{
	const struct taken *t = LIST_FIRST(&devices.list);

	return t != NULL && t->hw.dom == NULL;
}

static int
refuse(struct wherry_span span)
{
	LOG_ERR("memory at I/O address %#llx is not mapped: in a secondary process this is for the primary to do",
		(unsigned long long)span.iova);
	return -ENOTSUP;
}

/* The domain of the devices that are ours, or NULL. */
static struct wherry_domain *
domain_locked(void) WHERRY_REQUIRES(&devices.lock)
{
	const struct taken *t = LIST_FIRST(&devices.list);

	return t != NULL ? t->hw.dom : NULL;
}

bool
shim_map(uint64_t vaddr, struct wherry_span span, int *ret_rc)
{
	struct wherry_domain *dom;
	bool alone = false;
	int rc = 0;

	wherry_mutex_lock(&devices.lock);
	dom = domain_locked();
	if (is_the_primarys_locked())
		rc = refuse(span);
	if (dom != NULL) {
		alone = devices.theirs == 0;
		rc = wherry_domain_map(
			dom, (void *)(uintptr_t)vaddr, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &span);
	}
	wherry_mutex_unlock(&devices.lock);
	*ret_rc = rc == -EEXIST ? 0 : rc;
	return alone;
}

bool
shim_unmap(struct wherry_span span, int *ret_rc)
{
	struct wherry_domain *dom;
	bool alone = false;
	int rc = 0;

	wherry_mutex_lock(&devices.lock);
	dom = domain_locked();
	if (is_the_primarys_locked()) {
		alone = true; /* whoever mapped it will */
		rc = refuse(span);
	}
	if (dom != NULL) {
		alone = devices.theirs == 0;
		rc = wherry_domain_unmap(dom, span);
	}
	wherry_mutex_unlock(&devices.lock);
	*ret_rc = rc == -ENOENT ? 0 : rc;
	return alone;
}
