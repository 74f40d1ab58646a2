/* SPDX-License-Identifier: BSD-3-Clause */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "torn_priv.h"

#define FIRST 64u /* entries */

static int
grow(struct mig_torn *t)
{
	size_t cap = t->cap == 0 ? (size_t)FIRST * MIG_TORN_ENTRY : 2 * t->cap;
	uint8_t *bytes = wherry_fault("torn.alloc") ? NULL : realloc(t->bytes, cap);

	if (bytes == NULL)
		return -ENOMEM;
	t->bytes = bytes;
	t->cap = cap;
	return 0;
}

int
mig_torn_add(struct mig_torn *t, uint32_t region, uint64_t page, const uint64_t hash[2])
{
	uint64_t entry[] = { htole64(region), htole64(page), htole64(hash[0]), htole64(hash[1]) };
	int rc = t->cap - t->len < MIG_TORN_ENTRY ? grow(t) : 0;

	if (rc != 0)
		return rc;
	memcpy(t->bytes + t->len, entry, MIG_TORN_ENTRY);
	t->len += MIG_TORN_ENTRY;
	return 0;
}

void
mig_torn_get(const uint8_t *bytes, uint32_t *ret_region, uint64_t *ret_page, uint64_t ret_hash[2])
{
	uint64_t entry[4];

	memcpy(entry, bytes, sizeof(entry));
	*ret_region = (uint32_t)le64toh(entry[0]);
	*ret_page = le64toh(entry[1]);
	ret_hash[0] = le64toh(entry[2]);
	ret_hash[1] = le64toh(entry[3]);
}

size_t
mig_torn_take(struct mig_torn *t, uint8_t *buf, size_t cap)
{
	size_t n = cap - cap % MIG_TORN_ENTRY;

	if (n > t->len)
		n = t->len;
	t->len -= n;
	if (n > 0)
		memcpy(buf, t->bytes + t->len, n);
	return n;
}

void
mig_torn_fini(struct mig_torn *t)
{
	free(t->bytes);
	*t = (struct mig_torn){ .len = 0 };
}
