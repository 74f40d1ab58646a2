/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wherry exec: run an unmodified DPDK program with its devices on cdev and iommufd. The
 * shim (drivers/vfio_shim) is preloaded; before, what would go wrong silently is looked
 * for: a program that loads no libraries, one that the linker does not preload for.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wherry.h"
#include "wherry_vfio.h"

#define SHIM "libwherry-vfio-shim.so"

struct exec_opts {
	const char *iommu; /* --iommu */
	const char *shim;  /* --shim */
	bool quiet;        /* --quiet */
	char **command;    /* and its arguments; ends with NULL */
};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct exec_opts *o = state->input;

	switch (key) {
	case 'i':
		o->iommu = arg;
		return 0;
	case 's':
		o->shim = arg;
		return 0;
	case 'q':
		o->quiet = true;
		return 0;
	case ARGP_KEY_ARG: /* the command, and nothing behind it is ours */
		o->command = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Beside this program in the build folder, or where it was installed. */
static bool
find_shim(const char *wanted, char path[PATH_MAX])
{
	static const char *const places[] = { "%s/../../drivers/vfio_shim/" SHIM,
		"%s/" WHERRY_BIN_TO_LIB "/" SHIM };
	char self[PATH_MAX / 2], text[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (wanted != NULL)
		return realpath(wanted, path) != NULL;
	if (n <= 0)
		return false;
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(text, sizeof(text), places[i], self);
		if (realpath(text, path) != NULL)
			return true;
	}
	return false;
}

/* As execvp() finds it. */
static bool
find_command(const char *name, char path[PATH_MAX])
{
	const char *at = getenv("PATH"), *end;

	if (strchr(name, '/') != NULL)
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && access(path, X_OK) == 0;
	for (; at != NULL; at = *end == ':' ? end + 1 : NULL) {
		end = strchrnul(at, ':');
		if (snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - at), at, name) < PATH_MAX &&
			access(path, X_OK) == 0)
			return true;
	}
	return false;
}

/* Does an ELF file name a dynamic linker? True for what is no ELF file: a script has one. */
static bool
is_dynamic(int fd)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	if (pread(fd, &eh, sizeof(eh), 0) != (ssize_t)sizeof(eh) ||
		memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_phentsize != sizeof(ph))
		return true;
	for (unsigned int i = 0; i < eh.e_phnum; i++) {
		off_t at = (off_t)(eh.e_phoff + i * sizeof(ph));

		if (pread(fd, &ph, sizeof(ph), at) == (ssize_t)sizeof(ph) && ph.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* NULL, or why nothing can be preloaded into it. */
static const char *
why_not_preload(const char *path)
{
	const char *why = NULL;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL; /* executable and not readable: the linker will know */
	if (fstat(fd, &st) == 0 && (st.st_mode & (S_ISUID | S_ISGID)) != 0 && geteuid() != 0)
		why = "it is set-user-id, and the dynamic linker preloads nothing into such programs";
	else if (!is_dynamic(fd))
		why = "it is linked statically: link it with " SHIM " before DPDK's libraries";
	close(fd);
	return why;
}

/* What to expect of each network device that a userspace driver could have. */
static int
show_function(void *ctx, const struct wherry_vfio_function *fn)
{
	const char *why = "";

	(void)ctx;
	if (fn->pciclass >> 16 != 0x02 || strncmp(fn->driver, "vfio", 4) != 0)
		return 0;
	for (unsigned int i = 0; i < fn->n_gaps && *why == '\0'; i++)
		if ((fn->gaps[i].blocks & WHERRY_VFIO_BY_CDEV) != 0)
			why = fn->gaps[i].why;
	if ((fn->ways & WHERRY_VFIO_BY_CDEV) != 0)
		fprintf(stderr, "wherry exec: %s: iommufd, %s\n", fn->address, fn->cdev);
	else
		fprintf(stderr, "wherry exec: %s: %s: %s\n", fn->address,
			(fn->ways & WHERRY_VFIO_BY_GROUP) != 0 ? "DPDK's own type1" : "not usable",
			why);
	return 0;
}

static bool
prepare(const struct exec_opts *o)
{
	char shim[PATH_MAX], path[PATH_MAX], preload[2 * PATH_MAX];
	const char *before = getenv("LD_PRELOAD"), *why;

	if (!find_shim(o->shim, shim)) {
		fprintf(stderr,
			"wherry exec: no %s: was DPDK there when Wherry was built? Or --shim=FILE\n",
			o->shim != NULL ? o->shim : SHIM);
		return false;
	}
	if (!find_command(o->command[0], path)) {
		fprintf(stderr, "wherry exec: %s: there is no such program\n", o->command[0]);
		return false;
	}
	why = why_not_preload(path);
	if (why != NULL) {
		fprintf(stderr, "wherry exec: %s: %s\n", path, why);
		return false;
	}
	snprintf(preload, sizeof(preload), "%s%s%s", shim, before != NULL ? ":" : "",
		before != NULL ? before : "");
	return setenv("LD_PRELOAD", preload, 1) == 0 &&
		(o->iommu == NULL || setenv("WHERRY_IOMMU", o->iommu, 1) == 0);
}

int
cmd_exec(int argc, char **argv)
{
	static const struct argp_option option_list[] = {
		{ "iommu", 'i', "SPEC", 0, "domain of the program; iommufd unless given", 0 },
		{ "shim", 's', "FILE", 0, "another " SHIM, 0 },
		{ "quiet", 'q', NULL, 0, "do not list the devices", 0 },
		{ 0 },
	};
	static const struct argp argp = { option_list, parse, "-- COMMAND [ARG...]",
		"Run an unmodified DPDK program with its VFIO devices on /dev/vfio/devices and /dev/iommu. A device that cannot be there takes DPDK's own path, and a line says why.",
		NULL, NULL, NULL };
	struct exec_opts o = { .iommu = NULL };

	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &o);
	if (o.command == NULL || !prepare(&o))
		return 1;
	if (!o.quiet)
		(void)wherry_vfio_each(show_function, NULL);
	execvp(o.command[0], o.command);
	fprintf(stderr, "wherry exec: %s: %s\n", o.command[0], strerror(errno));
	return 1;
}
