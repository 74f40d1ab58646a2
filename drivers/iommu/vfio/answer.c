/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What VFIO says at length: a struct that begins with its size, and a chain of capabilities
 * behind it. The kernel says how much room it wants, and at the second time it has it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_priv.h"

int
vfio_ask(int fd, unsigned long request, const void *question, uint32_t size, void **ret_answer)
{
	uint32_t room = size, want;
	uint32_t *answer; /* its first word is its size */
	int rc;

	for (;;) {
		answer = wherry_fault("vfio.ask") ? NULL : calloc(1, room);
		if (answer == NULL)
			return -ENOMEM;
		memcpy(answer, question, size);
		*answer = room;
		rc = wherry_sys->ioctl(fd, request, answer);
		want = *answer;
		if (rc != 0 || want <= room)
			break;
		free(answer);
		room = want;
	}
	if (rc != 0) {
		free(answer);
		return rc;
	}
	*ret_answer = answer;
	return 0;
}

const void *
vfio_find_cap(const void *answer, uint32_t first, uint16_t id, size_t min)
{
	uint32_t len = *(const uint32_t *)answer, at = first, before = 0;

	while (at > before && (uint64_t)at + min <= len) {
		const struct vfio_info_cap_header *cap = (const void *)((const char *)answer + at);

		if (cap->id == id)
			return cap;
		before = at;
		at = cap->next;
	}
	return NULL;
}
