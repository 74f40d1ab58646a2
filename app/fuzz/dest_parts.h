/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DEST_PARTS_H
#define DEST_PARTS_H

/* What dest_record.c and dest_pages.c do for dest_source.c. */

#include "dest_source.h"

/* What comes after COMMIT changes nothing. */
void source_is_broken(struct source *s);
/* Does something go wrong here, as it does once in so often, while the input's supply lasts? */
bool source_goes_wrong(struct source *s, uint64_t often);

/* Where the payload of the next record is to stand; and a table there. */
uint8_t *out_payload(struct out *out);
struct wherry_table out_table(struct out *out);
/* Of a record: not whole, or damaged; sealed when damaged, so that nobody knows what it says. */
enum came { LOST, ALTERED, CAME };
/*
 * Seal the record whose payload stands there, of which the last body bytes are the batch's; before
 * or after, some go wrong.
 */
enum came source_put(
	struct source *s, struct out *out, enum wherry_record_type type, size_t len, size_t body);

/* Of these pages, into the digest of this connection. */
void source_put_pages(struct source *s, struct out *out, struct mig_digest *d, uint32_t region,
	const struct wherry_run *runs, uint32_t n);
void source_put_zeros(struct source *s, struct out *out, struct mig_digest *d, uint32_t region,
	const struct wherry_run *runs, uint32_t n);
/* Whatever the input wants, on the first connection. */
void source_put_some_pages(struct source *s, struct out *out);

#endif /* DEST_PARTS_H */
