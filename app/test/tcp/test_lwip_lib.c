/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * examples/tcp-server: liblwip with its heap and its variables elsewhere. What these
 * tests change stays changed until the program ends, and other tests do not mind.
 */

#include <stdarg.h>
#include <string.h>

#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>

#include "lwip_lib.h"
#include "server.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

void
complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
}

/* Regions in use until the program ends. */
static struct wherry_region *regions[4];
static size_t n_regions;

static struct wherry_region *
make_region(size_t len)
{
	struct wherry_region_opts opts = WHERRY_REGION_OPTS_INIT;

	opts.len = len;
	CHECK(n_regions < sizeof(regions) / sizeof(regions[0]));
	CHECK_EQ(wherry_region_create(&opts, &regions[n_regions]), 0);
	return regions[n_regions++];
}

static struct wherry_arena *
make_arena(void)
{
	struct wherry_arena *arena;

	CHECK_EQ(wherry_arena_create(make_region(MIB), &arena), 0);
	return arena;
}

TEST(tcp_lib_is_found_with_its_variables)
{
	struct lwip_lib lib;

	CHECK_EQ(lwip_lib_find(&lib), 0);
	CHECK((uintptr_t)&tcp_ticks - lib.data < lib.data_len);
	CHECK((uintptr_t)&tcp_active_pcbs - lib.data < lib.data_len);
}

TEST(tcp_lib_allocates_from_the_arena_and_nowhere_else)
{
	struct wherry_arena *arena = make_arena();
	struct lwip_lib lib;

	CHECK_EQ(lwip_lib_find(&lib), 0);
	CHECK_EQ(lwip_lib_redirect(&lib), 0);
	CHECK(pbuf_alloc(PBUF_RAW, 100, PBUF_RAM) == NULL); /* no heap, no memory */
	lwip_lib_set_heap(arena);
	struct pbuf *p = pbuf_alloc(PBUF_RAW, 100, PBUF_RAM);
	void *ours = malloc(100);
	struct wherry_arena_stats stats;
	CHECK(wherry_arena_contains(arena, p));
	CHECK(!wherry_arena_contains(arena, ours));
	free(ours);
	pbuf_free(p);
	wherry_arena_get_stats(arena, &stats);
	CHECK_EQ(stats.objects, 0);
	while (pbuf_alloc(PBUF_RAW, 60000, PBUF_RAM) != NULL) /* to the end, without harm */
		;
	lwip_lib_set_heap(make_arena()); /* for the tests that follow */
	wherry_arena_close(arena);
}

/* Where in the pages a variable of the library lies. */
static void *
twin_of(const struct lwip_lib *lib, const struct wherry_region_info *pages, const void *variable)
{
	return (char *)pages->vaddr + ((uintptr_t)variable - lib->data);
}

TEST(tcp_lib_variables_are_the_pages)
{
	struct wherry_region_info pages;
	struct lwip_lib lib;
	uint32_t before = tcp_ticks, seen;

	CHECK_EQ(lwip_lib_find(&lib), 0);
	wherry_region_get_info(make_region(lib.data_len), &pages);
	tcp_ticks = 0x1234;
	CHECK_EQ(lwip_lib_map_data(&lib, pages.fd, pages.vaddr, true), 0);
	CHECK_EQ(tcp_ticks, 0x1234); /* filled */
	tcp_ticks = 0x5678;
	memcpy(&seen, twin_of(&lib, &pages, &tcp_ticks), sizeof(seen));
	CHECK_EQ(seen, 0x5678);
	memcpy(twin_of(&lib, &pages, &tcp_ticks), &before, sizeof(before));
	CHECK_EQ(tcp_ticks, before);
}

TEST(tcp_lib_variables_that_hold_its_addresses_are_set_again)
{
	unsigned int held = 0;
	struct lwip_lib lib;

	CHECK_EQ(lwip_lib_find(&lib), 0);
	for (uintptr_t at = lib.data; at < lib.data + lib.data_len; at += sizeof(uintptr_t)) {
		uintptr_t *slot = (uintptr_t *)at;
		uintptr_t value = *slot;
		if (value < lib.base || value >= lib.data + lib.data_len)
			continue;
		held++;
		*slot = 0xdead; /* as from a process where the library lies elsewhere */
		lwip_lib_relocate(&lib);
		CHECK(*slot == value);
	}
	CHECK(held > 0);
}
