/* SPDX-License-Identifier: BSD-3-Clause */
/* The clock, the loop around a step, and memory to measure on. */
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

uint64_t
bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t
bench_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

double
bench_ns_per_op(int (*step)(void *ctx), void *ctx, uint64_t ops)
{
	const uint64_t enough = UINT64_C(50000000);
	uint64_t start = bench_cpu_ns(), took, steps = 0;

	do {
		int rc = step(ctx);

		if (rc != 0)
			return rc;
		steps++;
		took = bench_cpu_ns() - start;
	} while (took < enough);
	return (double)took / (double)(steps * ops);
}

/* Reserved with room to align, then replaced in its place by the memfd. */
void *
bench_memory(size_t len, size_t align)
{
	char *room = mmap(
		NULL, len + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fd = memfd_create("wherry-bench", MFD_CLOEXEC);
	void *p = MAP_FAILED;
	size_t before;

	if (room != MAP_FAILED && fd >= 0 && ftruncate(fd, (off_t)len) == 0) {
		before = (align - (uintptr_t)room % align) % align;
		p = mmap(room + before, len, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	return p != MAP_FAILED ? p : NULL;
}

void
bench_memory_free(void *p, size_t len)
{
	if (p != NULL)
		munmap(p, len);
}
