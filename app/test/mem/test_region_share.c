/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions in another process's hands; here both hands are ours, at two addresses. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault_priv.h"
#include "test.h"
#include "wherry_mem.h"

#define MIB ((size_t)1 << 20)
#define LEN (4 * MIB)

struct hands {
	struct wherry_region *from, *to;
	uint8_t *theirs, *ours;
	int fd; /* of theirs, to be borrowed */
};

static void
make(struct hands *h)
{
	struct wherry_region_opts opts = { .name = "share", .len = LEN, .node = WHERRY_NODE_ANY };
	struct wherry_region_info info;

	CHECK_EQ(wherry_region_create(&opts, &h->from), 0);
	CHECK_EQ(wherry_region_create(&opts, &h->to), 0);
	wherry_region_get_info(h->to, &info);
	h->ours = info.vaddr;
	wherry_region_get_info(h->from, &info);
	h->theirs = info.vaddr;
	h->fd = dup(info.fd);
	memset(h->theirs, 0xaa, LEN);
	memset(h->ours, 0x55, LEN);
}

static void
end(struct hands *h)
{
	wherry_region_destroy(h->from);
	wherry_region_destroy(h->to);
}

static sigjmp_buf before_write;

static void
on_fault(int sig)
{
	siglongjmp(before_write, sig);
}

static bool
write_faults(uint8_t *at)
{
	struct sigaction action = { .sa_handler = on_fault }, old;
	bool faulted = true;

	sigaction(SIGSEGV, &action, &old);
	if (sigsetjmp(before_write, 1) == 0) {
		__atomic_store_n(at, 1, __ATOMIC_RELAXED);
		faulted = false;
	}
	sigaction(SIGSEGV, &old, NULL);
	return faulted;
}

TEST(mem_region_borrowed_is_read_and_a_write_is_a_fault)
{
	struct hands h;

	make(&h);
	CHECK_EQ(wherry_region_borrow(h.to, h.fd), 0);
	CHECK(memcmp(h.ours, h.theirs, LEN) == 0);
	CHECK(write_faults(h.ours + MIB));
	h.theirs[MIB] = 1; /* seen at once: it is the same memory */
	CHECK_EQ(h.ours[MIB], 1);
	CHECK_EQ(wherry_region_borrow(h.to, h.fd), -EALREADY);
	end(&h);
}

TEST(mem_region_owned_is_written_for_both)
{
	struct hands h;

	make(&h);
	CHECK_EQ(wherry_region_own(h.to), -EINVAL);
	CHECK_EQ(wherry_region_borrow(h.to, h.fd), 0);
	CHECK_EQ(wherry_region_own(h.to), 0);
	CHECK(!write_faults(h.ours + MIB));
	CHECK_EQ(h.theirs[MIB], 1);
	wherry_region_give_back(h.to); /* too late, and harmless */
	CHECK_EQ(h.ours[0], 0xaa);
	end(&h);
}

TEST(mem_region_given_back_has_memory_of_its_own)
{
	struct hands h;

	make(&h);
	CHECK_EQ(wherry_region_borrow(h.to, h.fd), 0);
	wherry_region_give_back(h.to);
	CHECK(!write_faults(h.ours));
	CHECK_EQ(h.theirs[0], 0xaa);
	CHECK_EQ(h.ours[MIB], 0);
	end(&h);
}

TEST(mem_region_let_go_is_not_written_any_more)
{
	struct hands h;

	make(&h);
	CHECK_EQ(wherry_region_borrow(h.to, h.fd), 0);
	CHECK_EQ(wherry_region_own(h.to), 0);
	CHECK_EQ(wherry_region_let_go(h.from), 0);
	h.theirs[7] = 1;
	CHECK_EQ(h.theirs[7], 1);
	CHECK_EQ(h.ours[7], 0xaa);
	end(&h);
}

TEST(mem_region_borrows_only_memory_of_its_own_shape)
{
	struct hands h;
	int other = memfd_create("other", MFD_CLOEXEC), pipes[2];

	make(&h);
	CHECK_EQ(ftruncate(other, LEN - 4096), 0);
	CHECK_EQ(wherry_region_borrow(h.to, other), -EPROTO);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(wherry_region_borrow(h.to, pipes[0]), -EPROTO);
	CHECK_EQ(h.ours[0], 0x55);
	close(other);
	close(pipes[0]);
	close(pipes[1]);
	close(h.fd);
	end(&h);
}

TEST(mem_region_that_cannot_borrow_is_as_it_was)
{
	FOR_EACH_FAULT(nth) {
		struct hands h;
		int rc;

		wherry_fault_disarm();
		make(&h);
		wherry_fault_arm(nth);
		rc = wherry_region_borrow(h.to, h.fd);
		wherry_fault_disarm();
		if (rc != 0) {
			CHECK_EQ(rc, -ENOMEM);
			CHECK_EQ(h.ours[0], 0x55);
			CHECK(!write_faults(h.ours));
			close(h.fd);
		}
		end(&h);
	}
}

/* As another process does, where the address is free: the first mapping has to go for it. */
TEST(mem_region_attached_is_the_same_memory)
{
	struct wherry_region_opts opts = { .name = "share", .len = LEN, .node = WHERRY_NODE_ANY };
	struct wherry_region *first, *second;
	struct wherry_region_info info, got;
	int fd;

	CHECK_EQ(wherry_region_create(&opts, &first), 0);
	wherry_region_get_info(first, &info);
	memset(info.vaddr, 0x5a, LEN);
	fd = dup(info.fd);
	CHECK_EQ(wherry_region_attach(&info, fd, &second), -EEXIST);
	CHECK_EQ(wherry_region_attach(&info, STDERR_FILENO, &second), -EPROTO);
	wherry_region_destroy(first);
	info.name = "share"; /* that was the first's */
	FOR_EACH_FAULT(nth) {
		int rc = wherry_region_attach(&info, fd, &second);

		wherry_fault_disarm();
		if (rc == 0)
			break;
		CHECK_EQ(rc, -ENOMEM);
	}
	wherry_region_get_info(second, &got);
	CHECK(got.vaddr == info.vaddr && got.len == LEN && got.fd == fd);
	CHECK(strcmp(got.name, "share") == 0);
	CHECK_EQ(((uint8_t *)got.vaddr)[LEN - 1], 0x5a);
	wherry_region_destroy(second);
}
