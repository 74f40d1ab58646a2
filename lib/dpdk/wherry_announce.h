/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_ANNOUNCE_H
#define WHERRY_ANNOUNCE_H

#include <wherry_base.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * Frames by which the new owner of addresses tells the link where it is: switches learn
 * its port, neighbours its MAC address. For rebind of struct wherry_app_ops and after it.
 *
 * Threads: any.
 * Pure:    the caller sends.
 * Source:  RFC 903 (RARP), RFC 826 and 5227 (ARP), RFC 4861 section 7.2.6 (neighbour
 *          advertisement); QEMU's announce-* parameters for when.
 */

/** Who is there. Addresses are in network byte order. */
struct wherry_announce {
	uint8_t mac[6];  /**< of the port */
	uint8_t ip4[4];  /**< all 0: none */
	uint8_t ip6[16]; /**< all 0: none */
};

/** The frames of one round, in this order. */
enum wherry_announce_kind {
	WHERRY_ANNOUNCE_RARP,  /**< for switches: asks for nothing, needs no address */
	WHERRY_ANNOUNCE_ARP,   /**< for IPv4 neighbours: gratuitous, a request */
	WHERRY_ANNOUNCE_ND,    /**< for IPv6 neighbours: unsolicited, overriding */
	WHERRY_ANNOUNCE_KINDS, /**< how many there are */
};
/** Bytes of a frame at most, without the checksum. */
#define WHERRY_ANNOUNCE_LEN 86u

/** Write that frame of @p who to @p frame; its length, 0: it has no such address. */
size_t wherry_announce_frame(const struct wherry_announce *who, enum wherry_announce_kind kind,
	uint8_t frame[WHERRY_ANNOUNCE_LEN]);

/** When to repeat. Names and defaults are those of QEMU's announce-*; all 0: the defaults. */
struct wherry_announce_params {
	unsigned int initial_ms; /**< from the first round to the second: 50 */
	unsigned int max_ms;     /**< between two rounds at most: 550 */
	unsigned int rounds;     /**< 5 */
	unsigned int step_ms;    /**< longer each time by: 100 */
};
/** After @p said rounds: ms until the next; -1: that was all. The first is due at once. */
int wherry_announce_delay(const struct wherry_announce_params *params, unsigned int said);

WHERRY_END_DECLS

#endif /* WHERRY_ANNOUNCE_H */
