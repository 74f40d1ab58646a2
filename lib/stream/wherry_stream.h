/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_STREAM_H
#define WHERRY_STREAM_H

#include <wherry_base.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * The wire format of a migration: bytes in, records out, and back.
 *
 * A *record* is a header of 32 bytes and a payload. The header says type, number and
 * length and carries two checksums: one of the header alone, so that a damaged length
 * is never believed, and one of both. A payload is either a *table* of typed fields
 * (control records), or *runs* of pages. The bytes of a pages record are its *body*:
 * they follow the payload and never enter the decoder, so that a receiver can read
 * them straight to where they belong; their own check is the batch's digest.
 *
 * Every byte is taken for hostile: a record that comes out of the decoder is of a known
 * type, in sequence, of sound form, with every required field of the right type.
 *
 * Errors:  0 or -errno; -EPROTO: the bytes break the format, and the decoder's error
 *          names the record.
 * Memory:  a decoder holds one payload of the greatest length, and nothing else.
 * Threads: a decoder or a table is used by one call at a time.
 * Pure:    no clock, no file, no lock.
 * Source:  doc/stream_format.rst says it byte by byte.
 */

/** The format these calls speak; only equal formats talk to each other. */
#define WHERRY_STREAM_FORMAT 2
/** Bytes of a record's header. */
#define WHERRY_STREAM_HEADER 32u
/** Bytes of a page on the wire, whatever the memory's own pages are. */
#define WHERRY_STREAM_PAGE 4096u
/** Pages in one record at most. */
#define WHERRY_STREAM_PAGES_MAX 256u
/** Runs in one record at most; a pages record has no more runs than pages. */
#define WHERRY_STREAM_RUNS_MAX 4096u
/** Bytes of a payload and its body at most: pages, each in a run of its own. */
#define WHERRY_STREAM_PAYLOAD_MAX (32u + WHERRY_STREAM_PAGES_MAX * (16u + WHERRY_STREAM_PAGE))
/** Bytes of a text field at most. */
#define WHERRY_STREAM_TEXT_MAX 1024u

/** What a record is. The table in records.c says which fields it has. */
enum wherry_record_type {
	WHERRY_REC_HELLO = 1, /**< both: who I am, what I have; the first record of each side */
	WHERRY_REC_PAGES,     /**< source: a batch: runs of pages, and their bytes as body */
	WHERRY_REC_ZEROS,     /**< source: runs of pages that hold zeroes */
	WHERRY_REC_ROUND,     /**< source: a round has been sent; asks for GOT */
	WHERRY_REC_GOT,       /**< destination: that round is in its place */
	WHERRY_REC_SECTION,   /**< source: state that is no memory */
	WHERRY_REC_SKIP,      /**< source: runs of worthless pages, not to be verified */
	WHERRY_REC_VERIFY,    /**< source: hash all memory now, as I do */
	WHERRY_REC_DIGEST,    /**< source: that was all, and this is its digest */
	WHERRY_REC_READY,     /**< destination: all there, digest equal */
	WHERRY_REC_COMMIT,    /**< source: yours */
	WHERRY_REC_RUNNING,   /**< destination: mine */
	WHERRY_REC_ABORT,     /**< both: it came to nothing, and why */
	WHERRY_REC_PULSE,     /**< both: still at work */
	WHERRY_REC_FRAME,     /**< source: a frame that came after quiesce */

	WHERRY_REC_JOIN =
		32,       /**< source: a further connection of the migration; its first record */
	WHERRY_REC_FLUSH, /**< source: all of this connection's part of a round was sent */

	WHERRY_REC_RECOVER = 40, /**< both: a migration whose connection was lost goes on here */
	WHERRY_REC_WANT,         /**< source: runs of pages; asks for HAVE */
	WHERRY_REC_HAVE,         /**< destination: what it holds of the pages wanted */
};
/** One more than the greatest of them. */
#define WHERRY_REC_END (WHERRY_REC_HAVE + 1)
/** "hello", "pages", ...; "unknown" for a type that is none. */
const char *wherry_record_name(unsigned int type);

/** A record as it came. The payload lives until the decoder's next call. */
struct wherry_record {
	unsigned int type;      /**< one of enum wherry_record_type */
	uint64_t number;        /**< of the record in its direction, from 0 */
	uint64_t offset;        /**< of its first byte in the stream */
	const uint8_t *payload; /**< len bytes */
	size_t len;             /**< of the payload */
	size_t body;            /**< bytes that follow it, to be read elsewhere; pages only */
};

/* ---- tables of fields ---- */

/** What a field's bytes are. */
enum wherry_field_type {
	WHERRY_FIELD_U64 = 1, /**< 8 bytes, little-endian */
	WHERRY_FIELD_TEXT,    /**< UTF-8 without control characters, not empty */
	WHERRY_FIELD_BYTES,   /**< anything */
	WHERRY_FIELD_TABLE,   /**< a table again */
};

/** A table being written into the caller's buffer. Start with buf, cap and zeroes. */
struct wherry_table {
	uint8_t *buf;  /**< the caller's */
	size_t cap;    /**< its length */
	size_t len;    /**< bytes written */
	bool overflow; /**< something did not fit, the table is of no use */
};

/** Field numbers, per record. A number is never used again for something else. */
enum wherry_field_id {
	WHERRY_HELLO_FORMAT = 1, /**< u64: WHERRY_STREAM_FORMAT; this field never changes */
	WHERRY_HELLO_VERSION,    /**< text: of the library */
	WHERRY_HELLO_NAME,       /**< text: of the application */
	WHERRY_HELLO_FEATURES,   /**< u64: what the receiver must know, one bit each */
	WHERRY_HELLO_BOOT_ID,    /**< text: of the running kernel: equal means one clock */
	WHERRY_HELLO_KEY,        /**< bytes, source: of the digest */
	WHERRY_HELLO_VERIFY,     /**< u64, source: 1: memory will be verified */
	WHERRY_HELLO_TIMEOUT_MS, /**< u64, source: longest silence */
	WHERRY_HELLO_REGION,     /**< table, any number: WHERRY_REGION_... */
	WHERRY_HELLO_SECTION,    /**< table, any number: WHERRY_SECTION_... */
	WHERRY_HELLO_ARBITER,    /**< text, source: what names its record */
	WHERRY_HELLO_OWNER,      /**< text, source: who owns, as the arbiter says */
	WHERRY_HELLO_EPOCH,      /**< u64, source: in which epoch */

	WHERRY_HELLO_CHANNELS = 32, /**< u64, source: connections it will open, this included */
	WHERRY_HELLO_SESSION, /**< bytes, source: names the migration, and begins the others */

	WHERRY_HELLO_PAUSE_MS = 48, /**< u64, source: so long a lost connection may be recovered */

	WHERRY_HELLO_HANDOVER =
		40, /**< bytes: memory as files instead of pages: known by these; answered likewise */

	WHERRY_HELLO_TAKEOVER_NS = 56, /**< u64, destination: so long takeover takes, as measured */

	WHERRY_REGION_NAME = 1, /**< text */
	WHERRY_REGION_BASE,     /**< u64: virtual address */
	WHERRY_REGION_LEN,      /**< u64: bytes */
	WHERRY_REGION_PAGE,     /**< u64: bytes of the memory's own page */

	WHERRY_SECTION_NAME = 1, /**< text */
	WHERRY_SECTION_VERSION,  /**< u64 */
	WHERRY_SECTION_DATA,     /**< bytes */

	WHERRY_ROUND_N = 1,       /**< u64: from 1 */
	WHERRY_ROUND_FINAL,       /**< u64: 1: the application is stopped */
	WHERRY_ROUND_IOMMU_PAGES, /**< u64: reported by devices' bits */
	WHERRY_ROUND_CPU_PAGES,   /**< u64: reported by the CPU's */
	WHERRY_ROUND_PAGES,       /**< u64: sent, zero pages included */
	WHERRY_ROUND_ZERO_PAGES,  /**< u64: sent as zeros */
	WHERRY_ROUND_BYTES,       /**< u64: on the wire */
	WHERRY_ROUND_SAME_PAGES,  /**< u64: dirty and not sent, the destination had them */
	WHERRY_ROUND_CHANNELS, /**< u64: connections that took part, in order; all but this said FLUSH */

	WHERRY_GOT_N = 1, /**< u64: the round */
	WHERRY_GOT_TORN,  /**< bytes: 32 for each page of a live batch that is not proved */
	WHERRY_GOT_MORE,  /**< u64: 1: another GOT follows, with more of them */

	WHERRY_DIGEST_LOW = 1,     /**< u64: sum of the hashes of all pages sent */
	WHERRY_DIGEST_HIGH,        /**< u64 */
	WHERRY_DIGEST_PAGES,       /**< u64: how many */
	WHERRY_DIGEST_LAST_BURST,  /**< u64: ns, the source's CLOCK_MONOTONIC */
	WHERRY_DIGEST_VERIFY_LOW,  /**< u64: sum of the hashes of all memory */
	WHERRY_DIGEST_VERIFY_HIGH, /**< u64 */
	WHERRY_DIGEST_VERIFY_NS,   /**< u64: how long hashing took */

	WHERRY_READY_VERIFY_NS = 1, /**< u64: how long hashing took */

	WHERRY_RUNNING_FIRST_BURST = 1, /**< u64: ns, the destination's CLOCK_MONOTONIC */
	WHERRY_RUNNING_ARBITER_NS,      /**< u64: until the arbiter had moved ownership */
	WHERRY_RUNNING_MAPPINGS,        /**< u64: what became of them, enum wherry_mappings */

	WHERRY_FRAME_PORT = 1,   /**< u64: in the order of the application's ports */
	WHERRY_FRAME_QUEUE,      /**< u64: of its receive queues */
	WHERRY_FRAME_BYTES,      /**< bytes: the frame */
	WHERRY_JOIN_SESSION = 1, /**< bytes: as in hello */
	WHERRY_JOIN_CHANNEL,     /**< u64: which one, from 1 */

	WHERRY_FLUSH_N = 1, /**< u64: the round */

	WHERRY_RECOVER_ID = 1,  /**< bytes: the session of the migration's hello */
	WHERRY_RECOVER_SESSION, /**< bytes, source: what the further connections begin with now */
	WHERRY_RECOVER_OVER,    /**< text, source: it does not go on, and why */

	WHERRY_HAVE_HASHES =
		1, /**< bytes: 16 for each page wanted, in order: its hash, as in the digest */

	WHERRY_ABORT_CODE = 1, /**< u64: errno */
	WHERRY_ABORT_REASON,   /**< text: for people, with the remedy */
};

/** Append a number. */
void wherry_table_put_u64(struct wherry_table *t, unsigned int id, uint64_t value);
/** The same; a reader that does not know the field may go on. */
void wherry_table_put_u64_skippable(struct wherry_table *t, unsigned int id, uint64_t value);
/**
 * Append text; control characters and bytes that are no UTF-8 become '?', it is cut at
 * WHERRY_STREAM_TEXT_MAX bytes, empty is left out.
 */
void wherry_table_put_text(struct wherry_table *t, unsigned int id, const char *text);
/** Append bytes. */
void wherry_table_put_bytes(struct wherry_table *t, unsigned int id, const void *bytes, size_t len);
/** Open a table in the table; what is put until close goes into it. For close. */
size_t wherry_table_open(struct wherry_table *t, unsigned int id);
/** Close the table that @p mark came from. */
void wherry_table_close(struct wherry_table *t, size_t mark);

/** One field of a table that was read. */
struct wherry_field {
	unsigned int id;             /**< as enum wherry_field_id */
	enum wherry_field_type type; /**< of its bytes */
	bool skippable;              /**< a reader that does not know it may go on */
	const uint8_t *bytes;        /**< len bytes */
	size_t len;                  /**< of the field */
};

/**
 * The next field of the table of @p len bytes at @p bytes; @p *cursor is 0 at first.
 * 1: there is one; 0: the end; -EPROTO: it is cut short.
 */
int wherry_field_next(
	const uint8_t *bytes, size_t len, size_t *cursor, struct wherry_field *ret_field);
/** The first field @p id of a sound table; false: it has none. */
bool wherry_field_find(
	const uint8_t *bytes, size_t len, unsigned int id, struct wherry_field *ret_field);
/** The number in field @p id of a sound table, @p otherwise if it has none. */
uint64_t wherry_field_u64(const uint8_t *bytes, size_t len, unsigned int id, uint64_t otherwise);
/** The text of field @p id, cut to @p cap with a final 0; "" if there is none. */
void wherry_field_text(
	const uint8_t *bytes, size_t len, unsigned int id, char *ret_text, size_t cap);

/* ---- runs of pages ---- */

/** Neighbouring pages of a region, counted in WHERRY_STREAM_PAGE. */
struct wherry_run {
	uint64_t first; /**< page number in the region, from 0 */
	uint64_t count; /**< at least 1 */
};
/** The head of a pages, zeros, skip or want record. */
struct wherry_runs {
	uint32_t region; /**< in the order of the source's HELLO, from 0 */
	uint32_t n;      /**< runs: ascending, apart or touching, never overlapping */
};
/** What the body of a pages record is. */
enum wherry_encoding {
	WHERRY_ENCODING_RAW,  /**< the bytes of all runs, one after the other */
	WHERRY_ENCODING_ZSTD, /**< the same as one zstd frame, which is shorter */
	WHERRY_ENCODING_LIVE, /**< raw, read while it may have been written: GOT tells what came */
};
/** The tail of the payload of a pages record. */
struct wherry_batch {
	enum wherry_encoding encoding; /**< of the body */
	uint64_t low;  /**< sum of the hashes of its pages, as in the digest: the lower half */
	uint64_t high; /**< and the upper half */
};
/** Bytes of it. */
#define WHERRY_STREAM_TAIL 24u

/** Bytes the head and @p n runs take at the start of a payload. */
static inline size_t
wherry_runs_size(uint32_t n)
{
	return 8 + (size_t)n * 16;
}
/** Write the head of a payload for @p n runs. */
void wherry_runs_put(uint8_t *payload, uint32_t region, uint32_t n);
/** Write run @p i. */
void wherry_runs_put_run(uint8_t *payload, uint32_t i, struct wherry_run run);
/** Read the head of a record of runs that came out of a decoder. */
void wherry_runs_get(const struct wherry_record *rec, struct wherry_runs *ret_runs);
/** Read run @p i of it. */
struct wherry_run wherry_runs_get_run(const struct wherry_record *rec, uint32_t i);
/** Bytes the payload of a pages record with @p n runs takes. */
static inline size_t
wherry_batch_size(uint32_t n)
{
	return wherry_runs_size(n) + WHERRY_STREAM_TAIL;
}
/** Write the tail of a pages payload behind its @p n runs. */
void wherry_batch_put(uint8_t *payload, uint32_t n, const struct wherry_batch *batch);
/** Read the tail of a pages record that came out of a decoder. */
void wherry_batch_get(const struct wherry_record *rec, struct wherry_batch *ret_batch);

/* ---- records ---- */

/**
 * Write the header for the @p len bytes of payload, and body if it has one, that stand
 * at @p buf + WHERRY_STREAM_HEADER. Returns the bytes of the whole record. It must be
 * one that a decoder takes: len at most WHERRY_STREAM_PAYLOAD_MAX.
 */
size_t wherry_record_seal(uint8_t *buf, enum wherry_record_type type, uint64_t number, size_t len);

struct wherry_decoder;

/** Why a decoder refused; static text. */
struct wherry_stream_error {
	uint64_t number;    /**< of the record */
	uint64_t offset;    /**< of its first byte */
	unsigned int type;  /**< as far as the header can be believed, else 0 */
	unsigned int field; /**< number of the field at fault, or 0 */
	const char *why;    /**< "checksum is wrong", ... */
};

/** Make a decoder for one direction. -ENOMEM. */
int wherry_decoder_create(struct wherry_decoder **ret_dec) WHERRY_MUST_CHECK;
/** Free it. NULL is fine. */
void wherry_decoder_destroy(struct wherry_decoder *dec);
/**
 * Where the next bytes of the stream belong, and how many are wanted at most: at least
 * 1. Only after next has returned 0. Any smaller number may be given.
 */
uint8_t *wherry_decoder_space(struct wherry_decoder *dec, size_t *ret_cap);
/** @p n bytes, at most what space said, have been put there. */
void wherry_decoder_fed(struct wherry_decoder *dec, size_t n);
/**
 * @p n bytes of the body of the record that next returned last have been read elsewhere.
 * All of it has to be before next is called again.
 */
void wherry_decoder_took(struct wherry_decoder *dec, size_t n);
/**
 * The next record. 1: there is one; 0: more bytes are needed; -EPROTO: refused, now and
 * at each later call. Records of unknown type that may be skipped are.
 */
int wherry_decoder_next(struct wherry_decoder *dec, struct wherry_record *ret_rec)
	WHERRY_MUST_CHECK;
/**
 * No more bytes will come. 0: the stream ends with a whole record; -EPROTO: within one,
 * or it was refused.
 */
int wherry_decoder_end(struct wherry_decoder *dec) WHERRY_MUST_CHECK;
/** Why it was refused; why is NULL if it was not. */
struct wherry_stream_error wherry_decoder_error(const struct wherry_decoder *dec);

WHERRY_END_DECLS

#endif /* WHERRY_STREAM_H */
