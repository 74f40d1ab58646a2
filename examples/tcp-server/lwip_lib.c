/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * liblwip in this process: found by the address of one of its functions, read by
 * its ELF program headers and dynamic section (elf(5)), never by its file.
 */

#include "lwip_lib.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lwip/init.h>
#include <lwip/priv/tcp_priv.h>

#include "server.h"

static struct wherry_arena *heap;

static void *
heap_malloc(size_t len)
{
	return heap == NULL ? NULL : wherry_arena_alloc(heap, len);
}

static void *
heap_calloc(size_t n, size_t len)
{
	size_t all;
	void *p = __builtin_mul_overflow(n, len, &all) ? NULL : heap_malloc(all);

	return p == NULL ? NULL : memset(p, 0, all);
}

static void
heap_free(void *p)
{
	wherry_arena_free(heap, p);
}

void
lwip_lib_set_heap(struct wherry_arena *arena)
{
	heap = arena;
}

static size_t
page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static uintptr_t
page_up(uintptr_t addr)
{
	return (addr + page_size() - 1) & ~(page_size() - 1);
}

/* Called per loaded object; ends at the one that was loaded at lib->base. */
static int
read_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct lwip_lib *lib = ctx;
	uintptr_t relro_end = 0, data_end = 0;

	(void)size;
	if (info->dlpi_addr != lib->base)
		return 0;
	for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t end = lib->base + ph->p_vaddr + ph->p_memsz;
		if (ph->p_type == PT_GNU_RELRO)
			relro_end = end;
		else if (ph->p_type == PT_LOAD && (ph->p_flags & PF_W) != 0)
			data_end = end;
		else if (ph->p_type == PT_DYNAMIC)
			lib->dynamic = (const void *)(lib->base + ph->p_vaddr);
	}
	lib->data = relro_end;
	lib->data_len = page_up(data_end) - relro_end;
	return 1;
}

static int
refuse(const char *why)
{
	complain("liblwip cannot be moved: %s", why);
	return -EOPNOTSUPP;
}

int
lwip_lib_find(struct lwip_lib *ret_lib)
{
	struct lwip_lib lib = { 0 };
	/* -fPIC: the address of the library's variable, not of a copy in this program */
	uintptr_t variable = (uintptr_t)&tcp_active_pcbs;

	struct link_map *map;
	Dl_info where;

	if (dladdr1((const void *)(uintptr_t)lwip_init, &where, (void **)&map, RTLD_DL_LINKMAP) ==
		0)
		return -ENOENT;
	lib.base = map->l_addr;
	if (dl_iterate_phdr(read_object, &lib) == 0)
		return -ENOENT;
	if (lib.data == 0 || lib.data % page_size() != 0 || lib.dynamic == NULL)
		return refuse("its RELRO does not end on a page");
	if (variable < lib.data || variable - lib.data >= lib.data_len)
		return refuse("this program holds a copy of tcp_active_pcbs; build it with -fPIC");
	*ret_lib = lib;
	return 0;
}

/* What of a dynamic section it takes to walk relocations. */
struct relocs {
	const ElfW(Rela) * rela[2]; /* of data, of functions */
	size_t n[2];
	const ElfW(Sym) * symbols;
	const char *strings;
};

static struct relocs
relocs_of(const struct lwip_lib *lib)
{
	struct relocs r = { 0 };

	for (const ElfW(Dyn) *d = lib->dynamic; d->d_tag != DT_NULL; d++) {
		/* glibc has made these addresses absolute */
		const void *p = (const void *)d->d_un.d_ptr;
		if (d->d_tag == DT_RELA)
			r.rela[0] = p;
		else if (d->d_tag == DT_RELASZ)
			r.n[0] = d->d_un.d_val / sizeof(ElfW(Rela));
		else if (d->d_tag == DT_JMPREL)
			r.rela[1] = p;
		else if (d->d_tag == DT_PLTRELSZ)
			r.n[1] = d->d_un.d_val / sizeof(ElfW(Rela));
		else if (d->d_tag == DT_SYMTAB)
			r.symbols = p;
		else if (d->d_tag == DT_STRTAB)
			r.strings = p;
	}
	for (int i = 0; i < 2; i++) { /* a library may have none of a kind */
		if (r.rela[i] == NULL)
			r.n[i] = 0;
	}
	return r;
}

static uintptr_t
replacement_for(const char *name)
{
	if (strcmp(name, "malloc") == 0)
		return (uintptr_t)heap_malloc;
	if (strcmp(name, "calloc") == 0)
		return (uintptr_t)heap_calloc;
	if (strcmp(name, "free") == 0)
		return (uintptr_t)heap_free;
	return 0;
}

int
lwip_lib_redirect(const struct lwip_lib *lib)
{
	struct relocs r = relocs_of(lib);
	uintptr_t from = lib->data, to = from; /* RELRO pages that hold the slots */
	unsigned int done = 0;

	for (size_t i = 0; i < r.n[1]; i++) {
		const char *name = r.strings + r.symbols[ELF64_R_SYM(r.rela[1][i].r_info)].st_name;
		uintptr_t slot = lib->base + r.rela[1][i].r_offset;
		if (replacement_for(name) != 0 && slot < from)
			from = slot & ~(page_size() - 1);
	}
	if (mprotect((void *)from, to - from, PROT_READ | PROT_WRITE) != 0)
		return -errno;
	for (size_t i = 0; i < r.n[1]; i++) {
		const char *name = r.strings + r.symbols[ELF64_R_SYM(r.rela[1][i].r_info)].st_name;
		uintptr_t target = replacement_for(name);
		if (target != 0) {
			*(uintptr_t *)(lib->base + r.rela[1][i].r_offset) = target;
			done++;
		}
	}
	if (mprotect((void *)from, to - from, PROT_READ) != 0)
		return -errno;
	return done == 3 ? 0 : refuse("it does not call malloc, calloc and free as expected");
}

int
lwip_lib_map_data(const struct lwip_lib *lib, int fd, void *vaddr, bool fill)
{
	if (fill)
		memcpy(vaddr, (void *)lib->data, lib->data_len);
	if (mmap((void *)lib->data, lib->data_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    fd, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

void
lwip_lib_relocate(const struct lwip_lib *lib)
{
	struct relocs r = relocs_of(lib);

	/* Debian's 2.1.3 has one such variable, __dso_handle, which names itself. */
	for (size_t i = 0; i < r.n[0]; i++) {
		const ElfW(Rela) *rela = &r.rela[0][i];
		/* n is 0 without a table: NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
		uintptr_t slot = lib->base + rela->r_offset;
		if (slot >= lib->data && ELF64_R_SYM(rela->r_info) == 0)
			*(uintptr_t *)slot = lib->base + (uintptr_t)rela->r_addend;
	}
}
