/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sections_priv.h"

static int
save(const struct wherry_section *sec, uint8_t *buf, size_t *ret_len, struct mig_reason *reason)
{
	int rc = wherry_fault("section.save") ? -EIO
		: sec->save != NULL           ? sec->save(sec->ctx, buf, MIG_SECTION_BYTES)
					      : 0;

	if (rc < 0)
		return mig_fail(reason, rc, "section \"%s\" could not be saved: %s", sec->name,
			strerror(-rc));
	*ret_len = (size_t)rc;
	return 0;
}

static int
put(struct wherry_table *t, const struct wherry_section *sec, uint8_t *buf, bool with_data,
	struct mig_reason *reason)
{
	size_t len = 0;
	int rc = with_data ? save(sec, buf, &len, reason) : 0;

	if (rc != 0)
		return rc;
	wherry_table_put_text(t, WHERRY_SECTION_NAME, sec->name);
	wherry_table_put_u64(t, WHERRY_SECTION_VERSION, sec->version);
	wherry_table_put_bytes(t, WHERRY_SECTION_DATA, buf, len);
	return 0;
}

int
mig_sections_put(struct wherry_agent *agent, struct wherry_table *t, bool with_data,
	struct mig_reason *reason)
{
	uint8_t *buf = malloc(MIG_SECTION_BYTES);
	int rc = buf == NULL ? mig_no_memory(reason) : 0;

	for (unsigned int i = 0; rc == 0 && i < agent->n_sections; i++) {
		size_t mark = wherry_table_open(t, WHERRY_HELLO_SECTION);

		rc = put(t, &agent->sections[i], buf, with_data, reason);
		wherry_table_close(t, mark);
	}
	free(buf);
	if (rc == 0 && t->overflow)
		rc = mig_fail(reason, -E2BIG,
			"regions and sections are too many to be told in one record");
	return rc;
}

/* In the words of its owner, or if that has none: what could not be done, and errno. */
static int
refused(struct mig_reason *reason, int rc, const struct wherry_section *sec, const char *what,
	const struct wherry_why *why)
{
	if (why->text[0] != '\0')
		return mig_fail(reason, rc, "section \"%s\": %s", sec->name, why->text);
	return mig_fail(reason, rc, "section \"%s\" %s: %s", sec->name, what, strerror(-rc));
}

/* One of ours by the name in the peer's table; NULL: none. */
static const struct wherry_section *
find(const struct wherry_agent *agent, const uint8_t *bytes, size_t len, char *ret_name, size_t cap)
{
	wherry_field_text(bytes, len, WHERRY_SECTION_NAME, ret_name, cap);
	for (unsigned int i = 0; i < agent->n_sections; i++)
		if (strcmp(agent->sections[i].name, ret_name) == 0)
			return &agent->sections[i];
	return NULL;
}

static int
missing(struct mig_reason *reason, const char *name)
{
	return mig_fail(reason, -EPROTO,
		"section \"%.64s\" is there on one side only: start both with the same ports and options",
		name);
}

static int
compare_one(const struct wherry_section *sec, const uint8_t *bytes, size_t len,
	struct mig_reason *reason)
{
	uint64_t version = wherry_field_u64(bytes, len, WHERRY_SECTION_VERSION, 0);

	if (version == sec->version)
		return 0;
	return mig_fail(reason, -EPROTO,
		"section \"%.64s\": version %llu on one side, %u on the other: run the same version of the application on both",
		sec->name, (unsigned long long)version, sec->version);
}

int
mig_sections_compare(
	struct wherry_agent *agent, const struct wherry_record *hello, struct mig_reason *reason)
{
	char name[WHERRY_STREAM_TEXT_MAX + 1];
	struct wherry_field f;
	size_t cursor = 0;
	uint32_t seen = 0;

	while (wherry_field_next(hello->payload, hello->len, &cursor, &f) == 1) {
		const struct wherry_section *sec;
		int rc;

		if (f.id != WHERRY_HELLO_SECTION)
			continue;
		sec = find(agent, f.bytes, f.len, name, sizeof(name));
		rc = sec == NULL ? missing(reason, name) : compare_one(sec, f.bytes, f.len, reason);
		if (rc != 0)
			return rc;
		seen |= UINT32_C(1) << (sec - agent->sections);
	}
	return mig_sections_complete(agent, seen, reason);
}

int
mig_sections_check(
	struct wherry_agent *agent, const struct wherry_record *hello, struct mig_reason *reason)
{
	char name[WHERRY_STREAM_TEXT_MAX + 1];
	struct wherry_field f, data;
	size_t cursor = 0;

	while (wherry_field_next(hello->payload, hello->len, &cursor, &f) == 1) {
		const struct wherry_section *sec;
		struct wherry_why why = { "" };
		int rc;

		if (f.id != WHERRY_HELLO_SECTION)
			continue;
		sec = find(agent, f.bytes, f.len, name, sizeof(name));
		if (sec == NULL || sec->check == NULL ||
			!wherry_field_find(f.bytes, f.len, WHERRY_SECTION_DATA, &data))
			continue;
		rc = sec->check(sec->ctx, data.bytes, data.len, &why);
		if (rc != 0)
			return refused(
				reason, rc, sec, "cannot be loaded at the destination", &why);
	}
	return 0;
}

int
mig_sections_send(struct wherry_agent *agent, struct mig_channel *ch, struct mig_reason *reason)
{
	size_t cap = WHERRY_STREAM_HEADER + MIG_SECTION_BYTES + 2048;
	uint8_t *rec = malloc(cap + MIG_SECTION_BYTES);
	int rc = rec == NULL ? mig_no_memory(reason) : 0;

	for (unsigned int i = 0; rc == 0 && i < agent->n_sections; i++) {
		struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER,
			.cap = cap - WHERRY_STREAM_HEADER };

		rc = put(&t, &agent->sections[i], rec + cap, true, reason);
		if (rc != 0)
			break;
		rc = mig_channel_send(ch, WHERRY_REC_SECTION, t.buf, t.len);
		if (rc != 0)
			mig_fail(reason, rc, "%s", mig_channel_reason(ch));
	}
	free(rec);
	return rc;
}

int
mig_section_load(struct wherry_agent *agent, const struct wherry_record *rec, uint32_t *seen,
	struct mig_reason *reason)
{
	char name[WHERRY_STREAM_TEXT_MAX + 1];
	const struct wherry_section *sec = find(agent, rec->payload, rec->len, name, sizeof(name));
	struct wherry_why why = { "" };
	struct wherry_field data;
	int rc;

	if (sec == NULL)
		return missing(reason, name);
	rc = compare_one(sec, rec->payload, rec->len, reason);
	if (rc != 0)
		return rc;
	if (sec->load != NULL &&
		wherry_field_find(rec->payload, rec->len, WHERRY_SECTION_DATA, &data))
		rc = sec->load(sec->ctx, data.bytes, data.len, &why);
	if (rc != 0)
		return refused(reason, rc, sec, "could not be loaded", &why);
	*seen |= UINT32_C(1) << (sec - agent->sections);
	return 0;
}

int
mig_sections_complete(struct wherry_agent *agent, uint32_t seen, struct mig_reason *reason)
{
	for (unsigned int i = 0; i < agent->n_sections; i++)
		if ((seen >> i & 1) == 0)
			return missing(reason, agent->sections[i].name);
	return 0;
}
