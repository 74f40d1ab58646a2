/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_errno.h>

#include "test.h"
#include "wherry_iommu.h"

struct fake fake;

static void
keep_line(void *ctx, enum wherry_log_level level, const char *area, const char *line)
{
	(void)ctx;
	(void)level;
	(void)area;
	snprintf(fake.line, sizeof(fake.line), "%s", line);
}

void
fake_reset(void)
{
	CHECK_EQ(fake.opened, 0);
	fake = (struct fake){
		.way = SHIM_OURS, .any = true, .iova_mode = RTE_IOVA_VA, .process = RTE_PROC_PRIMARY
	};
	wherry_log_set(keep_line, NULL, WHERRY_LOG_DEBUG);
}

/* ---- hardware.c ---- */

enum shim_way
shim_hw_open(const char *address, struct shim_hw *ret_hw, char why[SHIM_WHY])
{
	snprintf(why, SHIM_WHY, "the fake says %d of %s", (int)fake.way, address);
	if (fake.way != SHIM_OURS)
		return fake.way;
	if (fake.opened++ == 0)
		CHECK_EQ(wherry_domain_create("soft", &fake.dom), 0);
	*ret_hw = (struct shim_hw){ .dom = fake.dom, .fd = open("/dev/null", O_RDWR | O_CLOEXEC) };
	CHECK(ret_hw->fd >= 0);
	return SHIM_OURS;
}

void
shim_hw_close(struct shim_hw *hw)
{
	CHECK_EQ(close(hw->fd), 0);
	if (--fake.opened == 0)
		wherry_domain_destroy(fake.dom);
}

int
shim_hw_info(int fd, struct vfio_device_info *info)
{
	(void)info;
	CHECK(fcntl(fd, F_GETFD) >= 0);
	return fake.info_rc;
}

bool
shim_hw_any(void)
{
	return fake.any;
}

/* ---- EAL ---- */

enum rte_iova_mode
rte_eal_iova_mode(void)
{
	return fake.iova_mode;
}

enum rte_proc_type_t
rte_eal_process_type(void)
{
	return fake.process;
}

static rte_mp_t primary_answers;
static struct rte_mp_msg answer;

int
rte_mp_action_register(const char *name, rte_mp_t action)
{
	(void)name;
	if (primary_answers != NULL) {
		rte_errno = EEXIST;
		return -1;
	}
	primary_answers = action;
	return 0;
}

/* A descriptor that crosses is another one, as with SCM_RIGHTS. */
int
rte_mp_reply(struct rte_mp_msg *msg, const char *peer)
{
	(void)peer;
	answer = *msg;
	for (int i = 0; i < msg->num_fds; i++)
		answer.fds[i] = dup(msg->fds[i]);
	return 0;
}

int
rte_mp_request_sync(struct rte_mp_msg *req, struct rte_mp_reply *reply, const struct timespec *ts)
{
	(void)ts;
	memset(reply, 0, sizeof(*reply));
	if (fake.primary_is_deaf || primary_answers == NULL)
		return -1;
	if (fake.answer_fd != 0) {
		answer.fds[0] = dup(fake.answer_fd); /* the rest is as it was the last time */
	} else {
		fake.process = RTE_PROC_PRIMARY;
		CHECK_EQ(primary_answers(req, "secondary"), 0);
		fake.process = RTE_PROC_SECONDARY;
	}
	reply->msgs = malloc(sizeof(answer));
	CHECK(reply->msgs != NULL);
	reply->msgs[0] = answer;
	if (fake.answer_len != 0)
		reply->msgs[0].len_param = fake.answer_len;
	reply->nb_sent = reply->nb_received = 1;
	return 0;
}
