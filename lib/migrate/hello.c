/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "hello_priv.h"

#define TIMEOUT_MAX_MS 3600000u
#define PAUSE_MAX_MS 86400000u
#define FEATURES UINT64_C(0) /* none so far: every bit of a peer is unknown */

static void
read_boot_id(char *ret_id, size_t cap)
{
	int fd = wherry_sys->open("/proc/sys/kernel/random/boot_id", 0);
	ssize_t n;

	ret_id[0] = '\0';
	if (fd < 0)
		return;
	n = read(fd, ret_id, cap - 1);
	close(fd);
	ret_id[n > 0 ? n : 0] = '\0';
	ret_id[strcspn(ret_id, "\n")] = '\0';
}

void
mig_hello_init(struct mig_hello *hello, const char *name)
{
	memset(hello, 0, sizeof(*hello));
	snprintf(hello->name, sizeof(hello->name), "%s", name);
	snprintf(hello->version, sizeof(hello->version), "%s", wherry_version());
	read_boot_id(hello->boot_id, sizeof(hello->boot_id));
}

static void
put_region(struct wherry_table *t, const struct mig_region *region)
{
	size_t mark = wherry_table_open(t, WHERRY_HELLO_REGION);

	wherry_table_put_text(t, WHERRY_REGION_NAME, region->name);
	wherry_table_put_u64(t, WHERRY_REGION_BASE, region->span.iova);
	wherry_table_put_u64(t, WHERRY_REGION_LEN, region->span.len);
	wherry_table_put_u64(t, WHERRY_REGION_PAGE, region->page);
	wherry_table_close(t, mark);
}

void
mig_hello_put(
	struct wherry_table *t, const struct mig_hello *hello, const struct mig_regions *regions)
{
	wherry_table_put_u64(t, WHERRY_HELLO_FORMAT, WHERRY_STREAM_FORMAT);
	wherry_table_put_text(t, WHERRY_HELLO_VERSION, hello->version);
	wherry_table_put_text(t, WHERRY_HELLO_NAME, hello->name);
	wherry_table_put_u64(t, WHERRY_HELLO_FEATURES, FEATURES);
	wherry_table_put_text(t, WHERRY_HELLO_BOOT_ID, hello->boot_id);
	if (hello->has_key)
		wherry_table_put_bytes(t, WHERRY_HELLO_KEY, hello->key, sizeof(hello->key));
	if (hello->verify)
		wherry_table_put_u64(t, WHERRY_HELLO_VERIFY, 1);
	if (hello->timeout_ms != 0)
		wherry_table_put_u64(t, WHERRY_HELLO_TIMEOUT_MS, hello->timeout_ms);
	if (hello->channels > 1)
		wherry_table_put_u64(t, WHERRY_HELLO_CHANNELS, hello->channels);
	if (hello->has_session)
		wherry_table_put_bytes(
			t, WHERRY_HELLO_SESSION, hello->session, sizeof(hello->session));
	if (hello->pause_ms != 0)
		wherry_table_put_u64(t, WHERRY_HELLO_PAUSE_MS, hello->pause_ms);
	if (hello->arbiter[0] != '\0') {
		wherry_table_put_text(t, WHERRY_HELLO_ARBITER, hello->arbiter);
		wherry_table_put_text(t, WHERRY_HELLO_OWNER, hello->owner.id);
		wherry_table_put_u64(t, WHERRY_HELLO_EPOCH, hello->owner.epoch);
	}
	if (hello->takeover_ns != 0)
		wherry_table_put_u64(t, WHERRY_HELLO_TAKEOVER_NS, hello->takeover_ns);
	if (hello->handover)
		wherry_table_put_bytes(
			t, WHERRY_HELLO_HANDOVER, hello->token, sizeof(hello->token));
	for (uint32_t i = 0; i < regions->n; i++)
		put_region(t, &regions->list[i]);
}

/* Without a session there are no further connections, whatever the number says, and no recovery. */
static void
read_channels(const struct wherry_record *rec, struct mig_hello *peer)
{
	uint64_t n = wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_CHANNELS, 1), ms;
	struct wherry_field session;

	peer->channels = 1;
	if (!wherry_field_find(rec->payload, rec->len, WHERRY_HELLO_SESSION, &session) ||
		session.len != sizeof(peer->session))
		return;
	memcpy(peer->session, session.bytes, session.len);
	peer->has_session = true;
	ms = wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_PAUSE_MS, 0);
	peer->pause_ms = ms <= PAUSE_MAX_MS ? (unsigned int)ms : PAUSE_MAX_MS;
	if (n >= 1)
		peer->channels = n <= MIG_CHANNELS_MAX ? (unsigned int)n : MIG_CHANNELS_MAX + 1;
}

static void
read_hello(const struct wherry_record *rec, struct mig_hello *peer)
{
	struct wherry_field key;
	uint64_t ms;

	memset(peer, 0, sizeof(*peer));
	wherry_field_text(
		rec->payload, rec->len, WHERRY_HELLO_NAME, peer->name, sizeof(peer->name));
	wherry_field_text(
		rec->payload, rec->len, WHERRY_HELLO_VERSION, peer->version, sizeof(peer->version));
	wherry_field_text(
		rec->payload, rec->len, WHERRY_HELLO_BOOT_ID, peer->boot_id, sizeof(peer->boot_id));
	if (wherry_field_find(rec->payload, rec->len, WHERRY_HELLO_KEY, &key) &&
		key.len == sizeof(peer->key)) {
		memcpy(peer->key, key.bytes, key.len);
		peer->has_key = true;
	}
	wherry_field_text(
		rec->payload, rec->len, WHERRY_HELLO_ARBITER, peer->arbiter, sizeof(peer->arbiter));
	wherry_field_text(
		rec->payload, rec->len, WHERRY_HELLO_OWNER, peer->owner.id, sizeof(peer->owner.id));
	peer->owner.epoch = wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_EPOCH, 0);
	if (wherry_field_find(rec->payload, rec->len, WHERRY_HELLO_HANDOVER, &key) &&
		key.len == sizeof(peer->token)) {
		memcpy(peer->token, key.bytes, key.len);
		peer->handover = true;
	}
	peer->takeover_ns = wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_TAKEOVER_NS, 0);
	peer->verify = wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_VERIFY, 0) != 0;
	read_channels(rec, peer);
	ms = wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_TIMEOUT_MS, 0);
	peer->timeout_ms = ms <= TIMEOUT_MAX_MS ? (unsigned int)ms : TIMEOUT_MAX_MS;
}

static int
compare_format(const struct wherry_record *rec, struct mig_reason *reason)
{
	uint64_t format = wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_FORMAT, 0);
	uint64_t features = wherry_field_u64(rec->payload, rec->len, WHERRY_HELLO_FEATURES, 0);

	if (format != WHERRY_STREAM_FORMAT)
		return mig_fail(reason, -EPROTO,
			"one side speaks stream format %llu, the other %d: run the same version of Wherry on both",
			(unsigned long long)format, WHERRY_STREAM_FORMAT);
	if ((features & ~FEATURES) != 0)
		return mig_fail(reason, -EPROTO,
			"one side uses features %#llx that the other does not know: run the same version of Wherry on both",
			(unsigned long long)(features & ~FEATURES));
	return 0;
}

/* "arena: base 0x1 on one side, 0x2 on the other" */
static int
differ(struct mig_reason *reason, const char *name, const char *what, uint64_t theirs,
	uint64_t ours, const char *remedy)
{
	return mig_fail(reason, -EPROTO,
		"region \"%.64s\": %s %#llx on one side, %#llx on the other: %s", name, what,
		(unsigned long long)theirs, (unsigned long long)ours, remedy);
}

static int
compare_region(const struct wherry_field *f, const struct mig_region *r, struct mig_reason *reason)
{
	uint64_t base = wherry_field_u64(f->bytes, f->len, WHERRY_REGION_BASE, 0);
	uint64_t len = wherry_field_u64(f->bytes, f->len, WHERRY_REGION_LEN, 0);
	uint64_t page = wherry_field_u64(f->bytes, f->len, WHERRY_REGION_PAGE, 0);

	if (base != r->span.iova)
		return differ(reason, r->name, "base address", base, r->span.iova,
			"start both with the same address");
	if (len != r->span.len)
		return differ(reason, r->name, "length", len, r->span.len,
			"start both with the same size");
	if (page != r->page)
		return differ(reason, r->name, "page size", page, r->page,
			"give both the same kind of hugepages, or none");
	return 0;
}

/* Ours of that name, unless another of the peer's has it already. */
static const struct mig_region *
find_region(const struct mig_regions *ours, const char *name, const uint8_t *taken)
{
	for (uint32_t i = 0; i < ours->n; i++)
		if (!taken[i] && strcmp(ours->list[i].name, name) == 0)
			return &ours->list[i];
	return NULL;
}

static int
missing(struct mig_reason *reason, const char *name)
{
	return mig_fail(reason, -EPROTO,
		"region \"%.64s\" is there on one side only: start both with the same memory",
		name);
}

static int
compare_regions(const struct wherry_record *rec, const struct mig_regions *ours,
	const struct mig_region **map, uint32_t *ret_n, struct mig_reason *reason)
{
	uint8_t taken[MIG_REGIONS_MAX] = { 0 };
	char name[WHERRY_STREAM_TEXT_MAX + 1];
	struct wherry_field f;
	size_t cursor = 0;
	uint32_t n = 0;

	while (wherry_field_next(rec->payload, rec->len, &cursor, &f) == 1) {
		const struct mig_region *r;
		int rc;

		if (f.id != WHERRY_HELLO_REGION)
			continue;
		wherry_field_text(f.bytes, f.len, WHERRY_REGION_NAME, name, sizeof(name));
		r = find_region(ours, name, taken);
		if (r == NULL)
			return missing(reason, name);
		rc = compare_region(&f, r, reason);
		if (rc != 0)
			return rc;
		taken[r - ours->list] = 1;
		if (map != NULL)
			map[n] = r;
		n++;
	}
	for (uint32_t i = 0; i < ours->n; i++)
		if (!taken[i])
			return missing(reason, ours->list[i].name);
	*ret_n = n;
	return 0;
}

int
mig_hello_compare(const struct wherry_record *rec, const struct mig_regions *ours,
	struct mig_hello *ret_peer, const struct mig_region **map, uint32_t *ret_n,
	struct mig_reason *reason)
{
	int rc = compare_format(rec, reason);

	if (rc != 0)
		return rc;
	read_hello(rec, ret_peer);
	if (ret_peer->channels > MIG_CHANNELS_MAX)
		return mig_fail(reason, -EPROTO, "more than %u channels", MIG_CHANNELS_MAX);
	return compare_regions(rec, ours, map, ret_n, reason);
}
