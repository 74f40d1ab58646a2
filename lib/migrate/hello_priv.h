/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef HELLO_PRIV_H
#define HELLO_PRIV_H

/*
 * What both sides tell each other first, and the comparison. Both compare, so both can
 * say by name what does not fit, and no page is sent before.
 */

#include "digest_priv.h"
#include "reason_priv.h"
#include "wherry_arbiter.h"
#include "wherry_dirty.h"
#include "wherry_stream.h"

#define MIG_REGIONS_MAX 1024
#define MIG_BOOT_ID_LEN 64
#define MIG_SESSION_LEN 16
#define MIG_CHANNELS_MAX 32u

/* A region of ours. */
struct mig_region {
	struct wherry_watch *watch;
	const char *name;
	struct wherry_span span;
	uint64_t page;
};

/* Ours, in the order of the tracker. */
struct mig_regions {
	struct mig_region *list;
	uint32_t n;
	uint64_t bytes;
};

/* Take the tracker's watches down; fini frees. -ENOMEM, -E2BIG. */
int mig_regions_init(struct mig_regions *regions, struct wherry_tracker *tracker);
void mig_regions_fini(struct mig_regions *regions);

/* What a hello says besides regions and sections. */
struct mig_hello {
	char name[256];
	char version[32];
	char boot_id[MIG_BOOT_ID_LEN]; /* "": not known */
	bool has_key;
	uint8_t key[MIG_KEY_LEN];
	bool verify;
	unsigned int timeout_ms;          /* 0: not said */
	unsigned int channels;            /* connections, this one included; 0: not said, one */
	uint8_t session[MIG_SESSION_LEN]; /* what the others begin with; names the migration */
	bool has_session;
	unsigned int pause_ms;     /* how long a lost connection may be recovered; 0: it may not */
	char arbiter[512];         /* what names its record; "": the source has none */
	struct wherry_owner owner; /* as the source's arbiter says */
	uint64_t takeover_ns;      /* so long it takes at the destination; 0: not known */
	bool handover;             /* memory as files */
	uint8_t token[MIG_SESSION_LEN]; /* what the connection that brings them begins with */
};

/* Fill in what is the same in every hello of this process. */
void mig_hello_init(struct mig_hello *hello, const char *name);
/* Write ours; sections are the caller's to add. */
void mig_hello_put(
	struct wherry_table *t, const struct mig_hello *hello, const struct mig_regions *regions);

/*
 * Read the peer's, whose record is rec, and compare: format, features, and each of its
 * regions with ours. map, if not NULL, has room for MIG_REGIONS_MAX and is filled with
 * our region for each of the peer's, in the peer's order; *ret_n says how many.
 * -EPROTO with the reason that both sides should show.
 */
int mig_hello_compare(const struct wherry_record *rec, const struct mig_regions *ours,
	struct mig_hello *ret_peer, const struct mig_region **map, uint32_t *ret_n,
	struct mig_reason *reason);

#endif /* HELLO_PRIV_H */
