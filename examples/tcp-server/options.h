/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <wherry_announce.h>
#include <wherry_migrate.h>

/* What the command line asks for, after EAL's "--". Strings are argv's. */
struct options {
	const char *name;                       /* of the application, for the control socket */
	const char *incoming;                   /* URI to wait on, or NULL */
	const char *arbiter;                    /* its spec, or NULL */
	struct wherry_tls tls;                  /* keys for migrations, or NULLs */
	bool insecure;                          /* none are needed */
	const char *control;                    /* path of the control socket, or NULL */
	const char *iommu;                      /* domain spec, or NULL */
	const char *content;                    /* directory, or NULL */
	uint32_t ip;                            /* network byte order */
	uint32_t netmask;                       /* network byte order */
	uint32_t gw;                            /* network byte order; 0: none */
	size_t arena_len;                       /* bytes of state */
	uintptr_t arena_vaddr;                  /* the same in all processes */
	size_t uploads_len;                     /* bytes of receive buffers that may be kept */
	size_t churn_len;                       /* bytes of the table; 0: no churn */
	uint64_t churn_rate;                    /* bytes per second */
	struct wherry_announce_params announce; /* all 0: as QEMU */
	bool fill;
	bool hugepages;
	bool busy_poll;
	bool upgrade;           /* replace a server that runs */
	const char *upgrade_to; /* by this program; NULL: our own */
	const char *succeed;    /* control socket of the server to replace, or NULL */
};

/* 0, or -EINVAL with the reason printed; --help and --usage end the program. */
int options_parse(int argc, char **argv, struct options *ret_opts);

#endif /* OPTIONS_H */
