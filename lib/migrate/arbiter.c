/* SPDX-License-Identifier: BSD-3-Clause */
/* Specs, the record as text, and the calls of wherry_arbiter.h. */
#define LOG_PREFIX "migrate/arbiter"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter_priv.h"
#include "base_priv.h"

struct wherry_arbiter {
	const struct mig_arbiter_kind *kind;
	void *ctx;
};

bool
mig_owner_id_is_sound(const char *id)
{
	size_t len = strlen(id);

	for (const char *c = id; *c != '\0'; c++)
		if (*c <= ' ' || *c == 0x7f)
			return false;
	return len > 0 && len < WHERRY_OWNER_MAX;
}

size_t
mig_record_put(const struct wherry_owner *owner, char buf[MIG_RECORD_MAX])
{
	int n = snprintf(buf, MIG_RECORD_MAX, "%s %" PRIu64 "\n", owner->id, owner->epoch);

	return (size_t)n;
}

/* Digits to the end of the line and nothing else; 0: it is no epoch. */
static uint64_t
read_epoch(const char *digits)
{
	char *end;
	uint64_t epoch;

	if (*digits < '1' || *digits > '9')
		return 0;
	errno = 0;
	epoch = strtoull(digits, &end, 10);
	return errno == 0 && *end == '\n' && end[strspn(end, "\n")] == '\0' ? epoch : 0;
}

int
mig_record_get(const char *text, size_t len, struct wherry_owner *ret_owner)
{
	char line[MIG_RECORD_MAX];
	struct wherry_owner o = { .epoch = 0 };
	char *space;

	if (len >= sizeof(line) || memchr(text, '\0', len) != NULL)
		return -EPROTO;
	memcpy(line, text, len);
	line[len] = '\0';
	space = strchr(line, ' ');
	if (space == NULL)
		return -EPROTO;
	*space = '\0';
	o.epoch = read_epoch(space + 1);
	if (o.epoch == 0 || !mig_owner_id_is_sound(line))
		return -EPROTO;
	memcpy(o.id, line, (size_t)(space - line));
	*ret_owner = o;
	return 0;
}

static const struct mig_arbiter_kind *
find_kind(const char *spec, const char **ret_rest)
{
	static const struct mig_arbiter_kind *const kinds[] = { &mig_arbiter_lock,
		&mig_arbiter_etcd };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t len = strlen(kinds[i]->prefix);

		if (strncmp(spec, kinds[i]->prefix, len) == 0) {
			*ret_rest = spec + len;
			return kinds[i];
		}
	}
	return NULL;
}

int
wherry_arbiter_open(const char *spec, struct wherry_arbiter **ret_arbiter)
{
	const char *rest = "", *why = "it is neither lock:PATH nor etcd:URL";
	const struct mig_arbiter_kind *kind = find_kind(spec, &rest);
	struct wherry_arbiter *arbiter;
	int rc = -EINVAL;

	if (kind == NULL)
		goto explain;
	arbiter = wherry_fault("arbiter.alloc") ? NULL : calloc(1, sizeof(*arbiter));
	if (arbiter == NULL)
		return -ENOMEM;
	arbiter->kind = kind;
	rc = kind->open(rest, &arbiter->ctx, &why);
	if (rc != 0)
		goto free_arbiter;
	*ret_arbiter = arbiter;
	return 0;
free_arbiter:
	free(arbiter);
explain:
	if (rc == -EINVAL)
		LOG_ERR("\"%s\" is no arbiter: %s", spec, why);
	return rc;
}

void
wherry_arbiter_close(struct wherry_arbiter *arbiter)
{
	if (arbiter == NULL)
		return;
	arbiter->kind->close(arbiter->ctx);
	free(arbiter);
}

const char *
wherry_arbiter_name(const struct wherry_arbiter *arbiter)
{
	return arbiter->kind->name(arbiter->ctx);
}

int
wherry_arbiter_read(struct wherry_arbiter *arbiter, struct wherry_owner *ret_now)
{
	return wherry_fault("arbiter.read") ? -ETIMEDOUT
					    : arbiter->kind->read(arbiter->ctx, ret_now);
}

int
wherry_arbiter_swap(struct wherry_arbiter *arbiter, const struct wherry_owner *known,
	const char *id, struct wherry_owner *ret_now)
{
	struct wherry_owner next = { .epoch = known->epoch + 1 };
	int rc;

	if (!mig_owner_id_is_sound(id))
		return -EINVAL;
	memcpy(next.id, id, strlen(id));
	rc = wherry_fault("arbiter.ask") ? -ETIMEDOUT
					 : arbiter->kind->swap(arbiter->ctx, known, &next, ret_now);
	/* the answer may get lost when all is done */
	return rc == 0 && wherry_fault("arbiter.answer") ? -ETIMEDOUT : rc;
}
