/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RXLOG_PRIV_H
#define RXLOG_PRIV_H

/*
 * The descriptor log inside: which pages hold data that a NIC delivered, as completed
 * receive descriptors say, seen through callbacks behind every receive burst.
 *
 *	field   a watched span with one bit per page; made when a tracker starts it
 *	table   the fields that bursts look into; replaced to add one, shrunk in place
 *	queue   a receive queue with its callback, and what it has counted
 *	lap     CHECK: the harvests in which the domains have to report what was noted
 *
 * A burst takes no lock: it says that it is inside (queue.inside), loads the table, and
 * sets bits. Who replaces a table waits until every queue has been outside once; then
 * nobody uses the old one.
 *
 * CHECK has to tell a page that hardware missed from one that it reported earlier: a
 * frame may have lain in its ring for long before it was taken out, and its dirty bit
 * have been harvested meanwhile. A ring holds no more than its size; so what comes out
 * after that many completions was written after the lap began. Only that is noted, and
 * some harvest of the lap must report it.
 *
 * Threads: fields of a queue that say so belong to the core in its burst; the control
 * side (ports, sources) is one at a time: `lock`.
 */

#include <rte_ethdev.h>

#include "base_priv.h"
#include "rx_hook_priv.h"
#include "wherry_dpdk.h"

#define RXLOG_PAGE UINT64_C(4096)
#define RXLOG_LAP 8u /* harvests of a lap, at least */

struct rxlog_field {
	struct wherry_span span;
	uint64_t *words;             /* __atomic: bit n: page n */
	size_t n_words;              /* of words */
	struct wherry_bitmap *noted; /* CHECK: noted in this lap, as far as harvested */
	struct wherry_bitmap *heard; /* CHECK: reported by domains in this lap */
	unsigned int harvests;       /* CHECK: of this lap */
	bool deaf;                   /* CHECK: a domain could not tell in this lap */
};

struct rxlog_table {
	unsigned int n;              /* __atomic */
	struct rxlog_field *field[]; /* __atomic */
};

struct rxlog_queue {
	struct rx_hook hook;
	struct wherry_rxlog *log; /* __atomic: NULL: its log is gone */
	uint32_t size;            /* completions that may be older than a lap */
	uint64_t inside;          /* __atomic: odd while a burst is being noted; the core's */
	uint64_t seen;            /* __atomic: completed descriptors; the core's */
	uint64_t from;            /* __atomic: CHECK: completions up to this one are not noted */
} __attribute__((aligned(64)));

struct wherry_rxlog {
	enum wherry_rxlog_role role;
	struct wherry_mutex lock;
	struct rxlog_table *table;       /* __atomic; written under lock */
	unsigned int n_queues;           /* under lock */
	struct rxlog_queue **queues;     /* under lock */
	struct wherry_rxlog_stats stats; /* under lock; frames is counted by the queues */
};

/* rxlog_note.c */
uint16_t rxlog_burst(
	uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t max, void *arg);
/* Put another table in its place and free the old one. Takes as long as a burst's noting. */
void rxlog_replace_locked(struct wherry_rxlog *log, struct rxlog_table *table)
	WHERRY_REQUIRES(&log->lock);
/* Every burst that was being noted at the call has ended. */
void rxlog_settle_locked(struct wherry_rxlog *log) WHERRY_REQUIRES(&log->lock);

/* rxlog_field.c: what the tracker asks; ctx is the log */
extern const struct wherry_write_log rxlog_ops;
void rxlog_fields_free(struct wherry_rxlog *log);

#endif /* RXLOG_PRIV_H */
