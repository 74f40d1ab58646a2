/* SPDX-License-Identifier: BSD-3-Clause */
/* userfaultfd write protection: open, register, protect. */
#include "uffd_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define LOG_PREFIX "dirty/uffd"

#define WINDOW MEM_PAGE_MAX

static int
open_fd(bool user_only, struct reason *why)
{
	int fd = wherry_fault("dirty.uffd") ? -ENOSYS
					    : wherry_sys->userfaultfd(O_CLOEXEC | O_NONBLOCK);

	if (fd == -EPERM && user_only)
		fd = wherry_sys->userfaultfd(O_CLOEXEC | O_NONBLOCK | USER_FAULTS_ONLY);
	if (fd == -EPERM)
		reason_set(why,
			"userfaultfd is not permitted: be root or set "
			"vm.unprivileged_userfaultfd=1");
	else if (fd < 0)
		reason_set(why, "no userfaultfd in this kernel (%s)", strerror(-fd));
	return fd;
}

static int
set_features(int fd, uint64_t *features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = *features };
	int rc = wherry_sys->ioctl(fd, UFFDIO_API, &api);

	*features = api.features;
	return rc;
}

/* What this kernel has; an fd that was asked cannot be used for anything else. */
static int
ask_features(bool user_only, uint64_t *ret_features, struct reason *why)
{
	uint64_t features = 0;
	int fd = open_fd(user_only, why), rc;

	if (fd < 0)
		return fd;
	rc = set_features(fd, &features);
	close(fd);
	if (rc < 0) {
		reason_set(why, "userfaultfd answers %s", strerror(-rc));
		return rc;
	}
	*ret_features = features;
	return 0;
}

static const char *
missing_feature(uint64_t missing)
{
	if ((missing & (UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_SHMEM)) != 0)
		return "no userfaultfd write protection of memfds (Linux 5.19 or newer has it)";
	return "no userfaultfd WP_ASYNC (Linux 6.7 or newer has it)";
}

int
uffd_open(struct uffd_want want, uint64_t *ret_features, struct reason *why)
{
	uint64_t has = 0, use;
	int fd, rc;

	if (ask_features(want.user_only, &has, why) < 0)
		return -EOPNOTSUPP;
	if ((want.need & ~has) != 0) {
		reason_set(why, "%s", missing_feature(want.need & ~has));
		return -EOPNOTSUPP;
	}
	fd = open_fd(want.user_only, why);
	if (fd < 0)
		return -EOPNOTSUPP;
	use = want.need | (want.like & has);
	*ret_features = use;
	rc = set_features(fd, &use);
	if (rc < 0) {
		close(fd);
		reason_set(why, "userfaultfd refuses its own features: %s", strerror(-rc));
		return -EOPNOTSUPP;
	}
	return fd;
}

int
uffd_register(int fd, struct wherry_span span)
{
	struct uffdio_register reg = {
		.range = { .start = span.iova, .len = span.len },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int rc = wherry_fault("dirty.register") ? -ENOMEM
						: wherry_sys->ioctl(fd, UFFDIO_REGISTER, &reg);

	if (rc >= 0 || rc == -ENOMEM)
		return rc < 0 ? rc : 0;
	LOG_ERR("0x%llx+0x%llx cannot be write-protected: %s", (unsigned long long)span.iova,
		(unsigned long long)span.len, strerror(-rc));
	return -EFAULT;
}

void
uffd_unregister(int fd, struct wherry_span span)
{
	struct uffdio_range range = { .start = span.iova, .len = span.len };
	int rc = wherry_sys->ioctl(fd, UFFDIO_UNREGISTER, &range);

	if (rc < 0) /* the memory is gone already, and its protection with it */
		LOG_DEBUG("unregister 0x%llx: %s", (unsigned long long)span.iova, strerror(-rc));
	/* unregistering alone leaves those asleep who wait for a write to be allowed */
	(void)wherry_sys->ioctl(fd, UFFDIO_WAKE, &range);
}

int
uffd_protect(int fd, struct wherry_span span, bool on)
{
	struct wherry_span rest = span, piece;

	while (next_window(&rest, &piece)) {
		struct uffdio_writeprotect wp = {
			.range = { .start = piece.iova, .len = piece.len },
			.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
		};
		int rc = on && wherry_fault("dirty.protect")
			? -ENOMEM
			: wherry_sys->ioctl(fd, UFFDIO_WRITEPROTECT, &wp);

		if (rc < 0)
			return rc == -ENOMEM ? rc : -EFAULT;
	}
	return 0;
}

bool
next_window(struct wherry_span *rest, struct wherry_span *ret_window)
{
	uint64_t len = WINDOW - (rest->iova & (WINDOW - 1));

	if (rest->len == 0)
		return false;
	if (len > rest->len)
		len = rest->len;
	*ret_window = (struct wherry_span){ .iova = rest->iova, .len = len };
	rest->iova += len;
	rest->len -= len;
	return true;
}
