/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef STREAM_TAPE_H
#define STREAM_TAPE_H

/* A recorded stream, and where its records are. Grows; a test that fails leaks it. */

#include "wherry_stream.h"

struct tape_record {
	unsigned int type;
	size_t offset, len, body; /* len: of the payload */
};

struct tape {
	uint8_t *bytes;
	size_t len, cap;
	struct tape_record records[64];
	unsigned int n;
};

struct tape *tape_create(void);
void tape_destroy(struct tape *tape);
/* Room for a payload, and the record made of it. */
uint8_t *tape_payload(struct tape *tape);
void tape_seal(struct tape *tape, enum wherry_record_type type, size_t len);
/* The same for a record of which the last body bytes are its body. */
void tape_seal_body(struct tape *tape, enum wherry_record_type type, size_t len, size_t body);

/* One record each. */
void tape_put_got(struct tape *tape, uint64_t n);
void tape_put_hello(struct tape *tape, uint64_t format);
void tape_put_pages(struct tape *tape, uint32_t region, uint32_t runs, uint64_t pages);
void tape_put_runs(struct tape *tape, enum wherry_record_type type, uint32_t runs);
void tape_put_random(struct tape *tape);
/* One of each type. */
void tape_put_each_type(struct tape *tape);

/* The record that byte at of the stream belongs to. */
unsigned int tape_record_at(const struct tape *tape, size_t at);

#endif /* STREAM_TAPE_H */
