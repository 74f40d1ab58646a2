/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DEST_SOURCE_H
#define DEST_SOURCE_H

/* The source of dest_model.c, and what a naive destination makes of its records. */

#include "digest_priv.h"
#include "fuzz.h"
#include "hello_priv.h"
#include "wherry_stream.h"

#define DEST_REGIONS 2u
#define DEST_PAGES 12u
#define DEST_PAGE WHERRY_STREAM_PAGE
#define DEST_BYTES ((size_t)DEST_PAGES * DEST_PAGE)
#define DEST_FILL 0x55 /* each byte, before */
#define DEST_LANES 2u  /* further connections at most */

extern const char *const dest_region_names[DEST_REGIONS];

/* The bytes of one connection, all of which fit into a socket's buffer. */
struct out {
	uint8_t bytes[200u << 10];
	size_t len;
	uint64_t n;  /* records */
	bool closed; /* cut short: nothing comes any more */
};

enum verdict { RIGHT, EITHER, BROKEN };
/* Of the connection's protocol: pages come; digest was proved; COMMIT came. */
enum phase { PAGES, READY, THROUGH };

struct source {
	struct fuzz_input *in;
	unsigned int channels, pause_ms;
	unsigned int harm; /* so many things go wrong at most */
	bool leaves;       /* the first connection ends in pre-copy, even if nothing goes wrong */
	bool verify, swapped; /* swapped: regions in another order than the destination's */
	enum verdict verdict;
	enum phase phase;
	bool greeted;     /* hello was right */
	bool commit_sent; /* right or wrong */
	/* the naive destination, by the source's numbers */
	uint8_t mem[DEST_REGIONS][DEST_BYTES];
	bool skip[DEST_REGIONS][DEST_PAGES], unsure[DEST_REGIONS][DEST_PAGES];
	struct mig_digest digest, memory;
	bool torn, verified, section, final;
	bool lane_is_lost;
	bool doubtful; /* one was, and may be made good: who knows what else had been read by then? */
	bool lanes_done; /* a round has waited for them */
	struct mig_digest lanes;
	struct out lane[DEST_LANES]; /* closed: it ends, else it stays open */
};

/* The first connection, from hello on, and the further ones. mem: the destination's regions. */
void source_put_all(
	struct source *s, struct fuzz_input *in, const uint8_t *const *mem, struct out *out);
/* The connection after one that was lost, and new further ones. */
void source_put_again(struct source *s, struct out *out);
/* On further connection i, the first is 1: zeros over all that it may send, when nothing is due there. */
void source_put_late(struct source *s, unsigned int i, struct out *out);

/* Was the connection lost, for all that is known, when that may be made good, and nothing else wrong? */
bool source_may_recover(const struct source *s);
/* Has everything come, and COMMIT? */
bool source_is_through(const struct source *s);
/* Is that what the destination's region i holds, as far as it is known? */
bool source_has(const struct source *s, unsigned int i, const uint8_t *mem);

#endif /* DEST_SOURCE_H */
