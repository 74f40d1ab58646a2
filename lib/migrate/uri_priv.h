/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef URI_PRIV_H
#define URI_PRIV_H

/* "tcp:HOST:PORT", "tcp:[V6]:PORT", "unix:PATH", "file:PATH", taken apart. Pure. */

#include <stdbool.h>

#define MIG_FILE_MAX 1024 /* bytes of a file's path, with its final 0 */

struct mig_uri {
	bool is_unix;
	bool is_file;       /* a snapshot */
	bool only_loopback; /* tcp: not for parse to say: any other address is refused */
	char host[256];     /* tcp; "" listens on every address */
	char port[8];       /* tcp */
	char path[108];     /* unix: as long as sun_path */
	char file[MIG_FILE_MAX];
};

/* 0, or -EINVAL and in *ret_why what is wrong with it, for people. */
int mig_uri_parse(const char *text, struct mig_uri *ret_uri, const char **ret_why);

#endif /* URI_PRIV_H */
