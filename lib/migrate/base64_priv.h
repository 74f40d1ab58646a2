/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BASE64_PRIV_H
#define BASE64_PRIV_H

/* Bytes as text and back. Pure. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Characters for len bytes, the final 0 included. */
#define MIG_BASE64_LEN(len) (((len) + 2) / 3 * 4 + 1)

void mig_base64_put(const void *bytes, size_t len, char *ret_text);
/* How many bytes were put into buf; -EPROTO: it is no such text, or they are more than cap. */
ssize_t mig_base64_get(const char *text, void *buf, size_t cap);

#endif /* BASE64_PRIV_H */
