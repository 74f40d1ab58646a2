/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RECOVER_PRIV_H
#define RECOVER_PRIV_H

/*
 * What both sides need when a migration goes on over new connections. The source connects
 * and says RECOVER with the id of the migration; the destination says the same. Further
 * connections join as ever, with the new session. Then the source asks WANT, and is
 * answered HAVE, one at a time, and rounds go on.
 */

#include <stdbool.h>
#include <stdint.h>

#include "wherry_stream.h"

#define MIG_HASH_LEN 16u
/* Pages asked for in one WANT: the answer is half a megabyte. */
#define MIG_WANT_PAGES_MAX 32768u

/* Is it a RECOVER of that migration? */
bool mig_recover_is(const struct wherry_record *rec, const uint8_t *id);
/* ms until then, rounded up; 0: it is over. */
unsigned int mig_ms_until(uint64_t end_ns);

#endif /* RECOVER_PRIV_H */
