/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_BASE_H
#define WHERRY_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Between these two lines stands what the shared libraries export, and nothing else. */
#ifdef __cplusplus
#define WHERRY_BEGIN_DECLS                                 \
	_Pragma("GCC visibility push(default)") extern "C" \
	{
#define WHERRY_END_DECLS \
	}                \
	_Pragma("GCC visibility pop")
#else
/** What follows is exported, and has C names. */
#define WHERRY_BEGIN_DECLS _Pragma("GCC visibility push(default)")
/** The end of what is exported. */
#define WHERRY_END_DECLS _Pragma("GCC visibility pop")
#endif

/** The result is an error code that the caller has to look at. */
#define WHERRY_MUST_CHECK __attribute__((warn_unused_result))

WHERRY_BEGIN_DECLS

/**
 * @file
 * What every other header needs: spans, versions, the log callback.
 *
 * Errors: 0 or -errno everywhere; a call that fails has changed nothing. The one
 *         meaning of each value is in doc/errors.rst.
 */

/** Where the I/O address of a mapping is asked for and any will do. */
#define WHERRY_IOVA_ANY UINT64_MAX

/**
 * A range of I/O addresses, in bytes. Never empty where a call asks for one, and
 * it may end at 2^64: arithmetic uses wherry_span_last(), which cannot overflow.
 */
struct wherry_span {
	uint64_t iova; /**< first byte */
	uint64_t len;  /**< bytes */
};

/** The last byte inside @p span, whose length is not 0. */
static inline uint64_t
wherry_span_last(struct wherry_span span)
{
	return span.iova + (span.len - 1);
}

/** How much a log line matters. */
enum wherry_log_level {
	WHERRY_LOG_ERR,   /**< a call failed or a promise is at risk; says what to do */
	WHERRY_LOG_WARN,  /**< it goes on, less well than asked for; says why */
	WHERRY_LOG_INFO,  /**< a decision a person would want to know */
	WHERRY_LOG_DEBUG, /**< every decision */
};

/**
 * Called with one finished line, without a newline. @p area is the part of
 * Wherry that speaks, as in "iommu/soft". Any thread; must not call Wherry.
 */
typedef void (*wherry_log_fn)(
	void *ctx, enum wherry_log_level level, const char *area, const char *line);

/**
 * Send log lines up to @p level to @p fn, or to nobody (NULL, the default: a
 * library never prints). Set it before other threads use Wherry.
 */
void wherry_log_set(wherry_log_fn fn, void *ctx, enum wherry_log_level level);

/** "0.1.0": the version of the library that is loaded. */
const char *wherry_version(void);

WHERRY_END_DECLS

#endif /* WHERRY_BASE_H */
