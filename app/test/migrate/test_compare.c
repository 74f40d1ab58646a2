/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/migrate: what is compared before the first byte, one difference at a time. */
#include <errno.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>

#include "agent_priv.h"
#include "hello_priv.h"
#include "library_priv.h"
#include "sections_priv.h"
#include "test.h"

/* What one side says of itself; the other says what is in `plain`. */
struct said {
	uint64_t format, features;
	const char *region;
	uint64_t base, len, page;
	const char *section;
	uint64_t version;
	uint8_t build_id_flip; /* of its first byte */
};

static const struct said plain = {
	.format = WHERRY_STREAM_FORMAT,
	.region = "arena",
	.base = 0x550000000000,
	.len = 0x400000,
	.page = 4096,
	.section = "server",
	.version = 3,
};

/* What differs, how it is refused: both values, and what to do. */
static const struct {
	const char *what;
	struct said theirs;
	const char *say[4];
} differences[] = {
	{ "format", { .format = 77 }, { "stream format 77", "the other 2", "same version" } },
	{ "features", { .features = 0x10 }, { "features 0x10", "same version" } },
	{ "region", { .region = "heap" }, { "\"heap\"", "one side only", "same memory" } },
	{ "base", { .base = 0x560000000000 },
		{ "\"arena\"", "0x560000000000", "0x550000000000", "same address" } },
	{ "length", { .len = 0x200000 }, { "\"arena\"", "0x200000", "0x400000", "same size" } },
	{ "page", { .page = 0x200000 }, { "\"arena\"", "0x200000", "0x1000", "hugepages" } },
	{ "section", { .section = "other" }, { "\"other\"", "one side only", "same" } },
	{ "version", { .version = 4 },
		{ "\"server\"", "version 4", "3 on the other", "same version" } },
	{ "build-id", { .build_id_flip = 0xff }, { "library:program", "build-id", "same build" } },
};

static struct said
said_with(const struct said *d)
{
	struct said s = plain;

	s.format = d->format != 0 ? d->format : s.format;
	s.features = d->features;
	s.region = d->region != NULL ? d->region : s.region;
	s.base = d->base != 0 ? d->base : s.base;
	s.len = d->len != 0 ? d->len : s.len;
	s.page = d->page != 0 ? d->page : s.page;
	s.section = d->section != NULL ? d->section : s.section;
	s.version = d->version != 0 ? d->version : s.version;
	s.build_id_flip = d->build_id_flip;
	return s;
}

static void
put_section(
	struct wherry_table *t, const char *name, uint64_t version, const void *data, size_t len)
{
	size_t mark = wherry_table_open(t, WHERRY_HELLO_SECTION);

	wherry_table_put_text(t, WHERRY_SECTION_NAME, name);
	wherry_table_put_u64(t, WHERRY_SECTION_VERSION, version);
	wherry_table_put_bytes(t, WHERRY_SECTION_DATA, data, len);
	wherry_table_close(t, mark);
}

/* Its hello, as a decoder would give it. */
static struct wherry_record
say(const struct said *s, const struct wherry_section *library)
{
	static uint8_t buf[4096];
	struct wherry_table t = { .buf = buf, .cap = sizeof(buf) };
	uint8_t id[64];
	int n = library->save(library->ctx, id, sizeof(id));
	size_t mark;

	CHECK(n > 0);
	id[0] ^= s->build_id_flip;
	wherry_table_put_u64(&t, WHERRY_HELLO_FORMAT, s->format);
	wherry_table_put_u64(&t, WHERRY_HELLO_FEATURES, s->features);
	mark = wherry_table_open(&t, WHERRY_HELLO_REGION);
	wherry_table_put_text(&t, WHERRY_REGION_NAME, s->region);
	wherry_table_put_u64(&t, WHERRY_REGION_BASE, s->base);
	wherry_table_put_u64(&t, WHERRY_REGION_LEN, s->len);
	wherry_table_put_u64(&t, WHERRY_REGION_PAGE, s->page);
	wherry_table_close(&t, mark);
	put_section(&t, s->section, s->version, "x", 1);
	put_section(&t, library->name, library->version, id, (size_t)n);
	CHECK(!t.overflow);
	return (struct wherry_record){ .type = WHERRY_REC_HELLO, .payload = buf, .len = t.len };
}

/* As the destination does with a source's. */
static int
compare(struct wherry_agent *agent, const struct wherry_record *rec, struct mig_reason *reason)
{
	struct mig_region region = { .name = plain.region,
		.span = { .iova = plain.base, .len = plain.len },
		.page = plain.page };
	const struct mig_regions ours = { .list = &region, .n = 1 };
	const struct mig_region *map[MIG_REGIONS_MAX];
	struct mig_hello peer;
	uint32_t n;
	int rc = mig_hello_compare(rec, &ours, &peer, map, &n, reason);

	if (rc == 0)
		rc = mig_sections_compare(agent, rec, reason);
	return rc == 0 ? mig_sections_check(agent, rec, reason) : rc;
}

TEST(migrate_what_differs_is_refused_with_both_values_and_a_remedy)
{
	struct wherry_agent agent = { .n_sections = 0 };
	const struct wherry_section server = { .name = plain.section,
		.version = (unsigned int)plain.version };
	struct mig_reason reason;
	struct wherry_record rec;

	CHECK_EQ(wherry_agent_add_section(&agent, &server), 0);
	CHECK_EQ(wherry_agent_add_library(&agent, &plain), 0);
	rec = say(&plain, &agent.sections[1]);
	CHECK_EQ(compare(&agent, &rec, &reason), 0);
	for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
		struct said s = said_with(&differences[i].theirs);

		rec = say(&s, &agent.sections[1]);
		snprintf(reason.text, sizeof(reason.text), "taken");
		if (compare(&agent, &rec, &reason) != -EPROTO)
			FAIL("%s: %s", differences[i].what, reason.text);
		for (unsigned int k = 0; k < 4 && differences[i].say[k] != NULL; k++)
			if (strstr(reason.text, differences[i].say[k]) == NULL)
				FAIL("no %s: %s", differences[i].say[k], reason.text);
	}
	mig_libraries_free(agent.libraries);
}

/* The text is long enough for both build-ids and the remedy. */
TEST(migrate_library_of_another_build_is_named_with_both_build_ids)
{
	struct wherry_agent agent = { .n_sections = 0 };
	const struct wherry_section *lib = &agent.sections[0];
	struct wherry_why why = { "" };
	uint8_t id[64];
	char hex[3];
	int n;

	CHECK_EQ(wherry_agent_add_library(&agent, &plain), 0);
	CHECK_EQ(wherry_agent_add_library(&agent, &plain), -EEXIST);
	CHECK_EQ(wherry_agent_add_library(&agent, (const void *)1), -EINVAL);
	CHECK_EQ(wherry_agent_add_library(&agent, (const void *)gnu_get_libc_version()), 0);
	CHECK(strcmp(agent.sections[1].name, "library:libc") == 0);
	n = lib->save(lib->ctx, id, sizeof(id));
	CHECK(n >= 16);
	CHECK_EQ(lib->check(lib->ctx, id, (size_t)n, &why), 0);
	CHECK_EQ(lib->save(lib->ctx, id, (size_t)n - 1), -ENOSPC);
	CHECK_EQ(lib->check(lib->ctx, id, (size_t)n - 1, &why), -EPROTO);
	CHECK_EQ(lib->check(lib->ctx, id, 0, &why), -EPROTO);
	CHECK(strstr(why.text, "build-id none at the source") != NULL);
	memset(id, 0xab, sizeof(id));
	CHECK_EQ(lib->check(lib->ctx, id, sizeof(id), &why), -EPROTO); /* longer than any */
	CHECK_EQ(lib->check(lib->ctx, id, (size_t)n, &why), -EPROTO);
	lib->save(lib->ctx, id, sizeof(id));
	snprintf(hex, sizeof(hex), "%02x", id[0]);
	CHECK(strstr(why.text, "abababababab") != NULL && strstr(why.text, hex) != NULL);
	CHECK(strstr(why.text, "same build on both") != NULL);
	mig_libraries_free(agent.libraries);
}
