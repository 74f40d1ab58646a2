/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "etcd.h"
#include "free_port.h"
#include "test.h"
#include "wherry_arbiter.h"

#define PROGRAM "/usr/bin/etcd"

struct etcd_server {
	pid_t pid;
	char folder[64], client[64], peer[64], cluster[80], spec[96];
};

static void
run_program(const struct etcd_server *s)
{
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, 1);
	dup2(null, 2);
	execl(PROGRAM, "etcd", "--data-dir", s->folder, "--listen-client-urls", s->client,
		"--advertise-client-urls", s->client, "--listen-peer-urls", s->peer,
		"--initial-advertise-peer-urls", s->peer, "--initial-cluster", s->cluster,
		"--unsafe-no-fsync", (char *)NULL);
	_exit(127);
}

void
etcd_revive(struct etcd_server *s)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	struct wherry_arbiter *arbiter;
	struct wherry_owner now;
	int rc = -1;

	s->pid = fork();
	CHECK(s->pid >= 0);
	if (s->pid == 0)
		run_program(s);
	CHECK_EQ(wherry_arbiter_open(s->spec, &arbiter), 0);
	for (int i = 0; rc != 0 && i < 600; i++) {
		nanosleep(&pause, NULL);
		rc = wherry_arbiter_read(arbiter, &now);
	}
	wherry_arbiter_close(arbiter);
	CHECK_EQ(rc, 0);
}

struct etcd_server *
etcd_start(void)
{
	struct etcd_server *s;

	if (access(PROGRAM, X_OK) != 0)
		return NULL;
	s = calloc(1, sizeof(*s));
	CHECK(s != NULL);
	snprintf(s->folder, sizeof(s->folder), "/tmp/wherry-etcd-XXXXXX");
	CHECK(mkdtemp(s->folder) != NULL);
	snprintf(s->client, sizeof(s->client), "http://127.0.0.1:%u", free_port());
	snprintf(s->peer, sizeof(s->peer), "http://127.0.0.1:%u", free_port());
	snprintf(s->cluster, sizeof(s->cluster), "default=%s", s->peer);
	snprintf(s->spec, sizeof(s->spec), "etcd:%s/wherry/test", s->client);
	etcd_revive(s);
	return s;
}

const char *
etcd_spec(const struct etcd_server *s)
{
	return s->spec;
}

void
etcd_kill(struct etcd_server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = -1;
}

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

void
etcd_stop(struct etcd_server *s)
{
	if (s->pid > 0)
		etcd_kill(s);
	nftw(s->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(s);
}
