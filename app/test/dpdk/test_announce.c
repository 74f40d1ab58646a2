/* SPDX-License-Identifier: BSD-3-Clause */
/* Announcements, byte by byte as the RFCs have them. */
#include <string.h>

#include "test.h"
#include "wherry_announce.h"

static const struct wherry_announce who = { .mac = { 2, 0x11, 0x22, 0x33, 0x44, 0x55 },
	.ip4 = { 10, 77, 0, 2 },
	.ip6 = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55 } };

TEST(announce_rarp_and_arp_are_padded_broadcasts_about_ourselves)
{
	static const uint8_t rarp[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x11, 0x22, 0x33,
		0x44, 0x55, 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3, 2, 0x11, 0x22, 0x33, 0x44, 0x55, 0,
		0, 0, 0, 2, 0x11, 0x22, 0x33, 0x44, 0x55, 0, 0, 0, 0 };
	static const uint8_t arp[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x11, 0x22, 0x33,
		0x44, 0x55, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0x11, 0x22, 0x33, 0x44, 0x55, 10,
		77, 0, 2, 0, 0, 0, 0, 0, 0, 10, 77, 0, 2 };
	uint8_t f[WHERRY_ANNOUNCE_LEN], zero[18] = { 0 };

	memset(f, 0xaa, sizeof(f));
	CHECK_EQ(wherry_announce_frame(&who, WHERRY_ANNOUNCE_RARP, f), 60);
	CHECK(memcmp(f, rarp, sizeof(rarp)) == 0 && memcmp(f + 42, zero, 18) == 0);
	CHECK_EQ(wherry_announce_frame(&who, WHERRY_ANNOUNCE_ARP, f), 60);
	CHECK(memcmp(f, arp, sizeof(arp)) == 0 && memcmp(f + 42, zero, 18) == 0);
}

/* What a receiver adds up: 0xffff if it is right. */
static unsigned int
receivers_sum(const uint8_t *f)
{
	unsigned int s = 32 + 58;

	for (size_t i = 22; i < 86; i += 2) /* both addresses and the body stand side by side */
		s += (unsigned int)f[i] * 256 + f[i + 1];
	while (s > 0xffff)
		s = s % 0x10000 + s / 0x10000;
	return s;
}

TEST(announce_neighbour_advertisement_overrides_and_sums_up)
{
	uint8_t f[WHERRY_ANNOUNCE_LEN];
	static const uint8_t head[] = { 0x33, 0x33, 0, 0, 0, 1, 2, 0x11, 0x22, 0x33, 0x44, 0x55,
		0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255 };
	static const uint8_t to[16] = { 0xff, 2, [15] = 1 };
	static const uint8_t option[] = { 2, 1, 2, 0x11, 0x22, 0x33, 0x44, 0x55 };

	CHECK_EQ(wherry_announce_frame(&who, WHERRY_ANNOUNCE_ND, f), 86);
	CHECK(memcmp(f, head, sizeof(head)) == 0);
	CHECK(memcmp(f + 22, who.ip6, 16) == 0 && memcmp(f + 38, to, 16) == 0);
	CHECK_EQ(f[54], 136);
	CHECK_EQ(f[58], 0x20);
	CHECK(memcmp(f + 62, who.ip6, 16) == 0 && memcmp(f + 78, option, sizeof(option)) == 0);
	CHECK_EQ(receivers_sum(f), 0xffff);
}

TEST(announce_leaves_out_addresses_that_are_not_there)
{
	struct wherry_announce bare = who;
	uint8_t f[WHERRY_ANNOUNCE_LEN];

	memset(bare.ip4, 0, sizeof(bare.ip4));
	memset(bare.ip6, 0, sizeof(bare.ip6));
	CHECK_EQ(wherry_announce_frame(&bare, WHERRY_ANNOUNCE_RARP, f), 60);
	CHECK_EQ(wherry_announce_frame(&bare, WHERRY_ANNOUNCE_ARP, f), 0);
	CHECK_EQ(wherry_announce_frame(&bare, WHERRY_ANNOUNCE_ND, f), 0);
	CHECK_EQ(wherry_announce_frame(&who, WHERRY_ANNOUNCE_KINDS, f), 0);
}

TEST(announce_rounds_come_as_qemu_has_them)
{
	static const int qemu[] = { 0, 50, 150, 250, 350, -1, -1 }, capped[] = { 0, 7, 10, 10, -1 };
	struct wherry_announce_params none = { 0 },
				      few = { .initial_ms = 7,
					      .max_ms = 10,
					      .rounds = 4,
					      .step_ms = 5 };

	for (unsigned int i = 0; i < 7; i++)
		CHECK_EQ(wherry_announce_delay(&none, i), qemu[i]);
	for (unsigned int i = 0; i < 5; i++)
		CHECK_EQ(wherry_announce_delay(&few, i), capped[i]);
}
