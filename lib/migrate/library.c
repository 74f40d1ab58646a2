/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs and shared libraries that understand what is in memory that moves: each is a
 * section of its own, "library:" and its name without version, whose data is its build-id
 * (the note that ld --build-id writes, elf(5)), found in memory by its program headers.
 */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_priv.h"
#include "library_priv.h"

#define ID_MAX 32u

struct mig_library {
	struct mig_library *next;
	size_t len;
	uint8_t id[ID_MAX];
	char name[64]; /* of the section */
};

/* What holds an address, as it is found. */
struct search {
	uintptr_t addr;
	struct mig_library *lib;
};

static bool
holds(const struct dl_phdr_info *info, uintptr_t addr)
{
	for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && addr >= from && addr - from < ph->p_memsz)
			return true;
	}
	return false;
}

static size_t
up4(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

static void
read_notes(struct mig_library *lib, const char *at, size_t left)
{
	while (left >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)at;
		size_t desc = sizeof(*note) + up4(note->n_namesz);
		size_t end = desc + up4(note->n_descsz);

		if (end > left)
			return;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
			memcmp(at + sizeof(*note), "GNU", 4) == 0 && note->n_descsz <= ID_MAX) {
			memcpy(lib->id, at + desc, note->n_descsz);
			lib->len = note->n_descsz;
			return;
		}
		at += end;
		left -= end;
	}
}

/* The program itself has no name here. */
static void
read_name(struct mig_library *lib, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
	const char *end = strstr(base, ".so");
	int len = end != NULL ? (int)(end - base) : (int)strlen(base);

	snprintf(lib->name, sizeof(lib->name), "library:%.*s", len > 0 ? len : 7,
		len > 0 ? base : "program");
}

/* Called per loaded object; ends at the one that holds the address. */
static int
read_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct search *s = ctx;

	(void)size;
	if (!holds(info, s->addr))
		return 0;
	read_name(s->lib, info->dlpi_name);
	for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_NOTE && s->lib->len == 0)
			read_notes(
				s->lib, (const char *)(info->dlpi_addr + ph->p_vaddr), ph->p_memsz);
	}
	return 1;
}

static int
save(void *ctx, void *buf, size_t cap)
{
	const struct mig_library *lib = ctx;

	if (cap < lib->len)
		return -ENOSPC;
	memcpy(buf, lib->id, lib->len);
	return (int)lib->len;
}

static void
print(char *ret_hex, const uint8_t *id, size_t len)
{
	for (size_t i = 0; i < len && i < ID_MAX; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", id[i]);
}

static int
compare(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	const struct mig_library *lib = ctx;
	char theirs[2 * ID_MAX + 1] = "none", ours[2 * ID_MAX + 1];

	if (len == lib->len && memcmp(buf, lib->id, len) == 0)
		return 0;
	print(theirs, buf, len);
	print(ours, lib->id, lib->len);
	snprintf(ret_why->text, sizeof(ret_why->text),
		"build-id %.40s at the source, %.40s at the destination: install the same build on both",
		theirs, ours);
	return -EPROTO;
}

static int
find(const void *addr, struct mig_library *ret_lib)
{
	struct search s = { .addr = (uintptr_t)addr, .lib = ret_lib };

	if (dl_iterate_phdr(read_object, &s) == 0)
		return -EINVAL;
	return ret_lib->len != 0 ? 0 : -EOPNOTSUPP;
}

int
wherry_agent_add_library(struct wherry_agent *agent, const void *addr)
{
	struct mig_library *lib = wherry_fault("library.alloc") ? NULL : calloc(1, sizeof(*lib));
	struct wherry_section section = {
		.version = 1, .save = save, .check = compare, .load = compare, .ctx = lib
	};
	int rc = lib == NULL ? -ENOMEM : find(addr, lib);

	if (rc != 0)
		goto free_lib;
	section.name = lib->name;
	rc = wherry_agent_add_section(agent, &section);
	if (rc != 0)
		goto free_lib;
	lib->next = agent->libraries;
	agent->libraries = lib;
	return 0;
free_lib:
	free(lib);
	return rc;
}

void
mig_libraries_free(struct mig_library *first)
{
	while (first != NULL) {
		struct mig_library *next = first->next;

		free(first);
		first = next;
	}
}
