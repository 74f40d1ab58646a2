/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FUZZ_H
#define FUZZ_H

/*
 * The frame of models that a fuzzer and a unit test share. A model is
 *
 *	const char *bitmap_model_run(const uint8_t *data, size_t len);
 *
 * It reads operations from the bytes, does each on the real thing and on a naive
 * second implementation, compares, and returns NULL or the first sentence that
 * did not hold. wherry-test feeds it random bytes (fuzz_random), libFuzzer what
 * it has learned: NAME_fuzz.c holds FUZZ_TARGET(bitmap_model_run) and no more.
 *
 * Bytes that run out are 0: every input is a valid row of operations.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct fuzz_input {
	const uint8_t *next, *end;
	const char *failed; /* what did not hold, or NULL */
};

/* Are there operations left, and did all hold so far? */
static inline bool
fuzz_more(const struct fuzz_input *in)
{
	return in->failed == NULL && in->next < in->end;
}

/* The next n_bytes (at most 8) as a number, least significant byte first. */
static inline uint64_t
fuzz_take(struct fuzz_input *in, unsigned int n_bytes)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < n_bytes && in->next < in->end; i++)
		n |= (uint64_t)*in->next++ << 8 * i;
	return n;
}

/* A number below limit, which is at least 1. */
static inline uint64_t
fuzz_below(struct fuzz_input *in, uint64_t limit)
{
	return fuzz_take(in, limit <= 0x100 ? 1 : limit <= 0x10000 ? 2 : 8) % limit;
}

/* Is this text that any program can show? By the table of RFC 3629, section 4. */
static inline bool
fuzz_is_utf8(const char *text)
{
	for (const uint8_t *at = (const uint8_t *)text; *at != '\0';) {
		unsigned int more = *at < 0x80 ? 0 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : 3;
		uint8_t low = *at == 0xe0 ? 0xa0 : *at == 0xf0 ? 0x90 : 0x80;
		uint8_t high = *at == 0xed ? 0x9f : *at == 0xf4 ? 0x8f : 0xbf;

		if ((*at >= 0x80 && *at < 0xc2) || *at > 0xf4)
			return false;
		if (more > 0 && (at[1] < low || at[1] > high))
			return false;
		for (unsigned int i = 2; i <= more; i++)
			if (at[i] < 0x80 || at[i] > 0xbf)
				return false;
		at += 1 + more;
	}
	return true;
}

#define FUZZ_STR_(x) #x
#define FUZZ_STR(x) FUZZ_STR_(x)
/* Keeps the first failure; the model goes on to its next fuzz_more(). */
#define FUZZ_EXPECT(in, cond)                                                      \
	do {                                                                       \
		if (!(cond) && (in)->failed == NULL)                               \
			(in)->failed = __FILE__ ":" FUZZ_STR(__LINE__) ": " #cond; \
	} while (0)

#define FUZZ_TARGET(model)                                          \
	int LLVMFuzzerTestOneInput(const uint8_t *, size_t);        \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) \
	{                                                           \
		const char *failed = model(data, len);              \
		if (failed != NULL) {                               \
			fputs(failed, stderr);                      \
			abort();                                    \
		}                                                   \
		return 0;                                           \
	}

#endif /* FUZZ_H */
