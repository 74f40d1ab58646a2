/* SPDX-License-Identifier: BSD-3-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "side.h"

char side_psk[96];

int
side_make_psk(void)
{
	uint8_t key[32];
	FILE *file;

	snprintf(side_psk, sizeof(side_psk), "/tmp/wherry-bench-%d.psk", (int)getpid());
	file = fopen(side_psk, "wxe");
	if (file == NULL || fchmod(fileno(file), 0600) != 0 ||
		getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
		return -EIO;
	fputs("bench:", file);
	for (size_t i = 0; i < sizeof(key); i++)
		fprintf(file, "%02x", key[i]);
	return fclose(file) == 0 ? 0 : -EIO;
}

void
side_drop_psk(void)
{
	unlink(side_psk);
	side_psk[0] = '\0';
}

void
side_fini(struct side *side)
{
	wherry_agent_destroy(side->agent);
	wherry_watch_destroy(side->watch);
	wherry_tracker_destroy(side->tracker);
}

static void
control_of(pid_t pid, char *path, size_t cap)
{
	snprintf(path, cap, "/tmp/wherry-bench-%d.sock", (int)pid);
}

int
side_init(struct side *side, char *memory, const struct side_opts *how)
{
	const struct wherry_tracker_opts defaults = { 0 };
	struct wherry_span span = { .iova = (uint64_t)(uintptr_t)memory, .len = bench_size };
	struct wherry_agent_opts opts = { .name = side->name,
		.control = side->control,
		.incoming = how->incoming,
		.arbiter = how->arbiter,
		.ops = how->ops,
		.tls = { .psk = side_psk[0] != '\0' ? side_psk : NULL } };
	int rc;

	memset(side, 0, sizeof(*side));
	snprintf(side->name, sizeof(side->name), "wherry-bench-%d", (int)getpid());
	control_of(getpid(), side->control, sizeof(side->control));
	rc = wherry_tracker_create(&defaults, &side->tracker);
	if (rc == 0)
		rc = wherry_watch_create(side->tracker, "state", span, PAGE, &side->watch);
	opts.tracker = side->tracker;
	if (rc == 0)
		rc = wherry_agent_create(&opts, &side->agent);
	if (rc == 0)
		rc = wherry_agent_start(side->agent);
	return rc;
}

int
bench_free_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = -1;

	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 &&
		getsockname(fd, (struct sockaddr *)&at, &len) == 0)
		port = ntohs(at.sin_port);
	if (fd >= 0)
		close(fd);
	return port;
}

double
bench_cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* What the child tells: once when it is ready, once at the end. */
struct word {
	int rc;
	double cpu;
};

static void
tell(int fd, int rc, double cpu)
{
	struct word word = { .rc = rc, .cpu = cpu };

	if (write(fd, &word, sizeof(word)) != sizeof(word))
		_exit(1);
}

static int
hear(int fd, double *ret_cpu)
{
	struct word word;

	if (read(fd, &word, sizeof(word)) != sizeof(word))
		return -EPIPE;
	if (ret_cpu != NULL)
		*ret_cpu = word.cpu;
	return word.rc;
}

static int
new_memory(char *memory, bool cold)
{
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | (cold ? 0 : MAP_POPULATE);

	if (memory == NULL)
		return 0;
	return mmap(memory, bench_size, PROT_READ | PROT_WRITE, flags, -1, 0) == memory ? 0
											: -ENOMEM;
}

int
receiver_start(struct receiver *r, char *memory, int (*ready)(void *ctx), int (*main)(void *ctx),
	void *ctx)
{
	int told[2], rc;

	if (pipe(told) != 0)
		return -errno;
	r->pid = fork();
	if (r->pid == 0) {
		double begin;

		rc = new_memory(memory, r->cold);
		rc = rc == 0 ? ready(ctx) : rc;
		begin = bench_cpu();
		tell(told[1], rc, 0);
		if (rc == 0) {
			rc = main(ctx);
			tell(told[1], rc, bench_cpu() - begin);
			if (r->end != NULL)
				r->end(ctx);
		}
		_exit(0);
	}
	close(told[1]);
	r->told = told[0];
	rc = r->pid > 0 ? hear(r->told, NULL) : -EAGAIN;
	if (rc != 0 && r->pid > 0)
		receiver_end(r, true, NULL);
	return rc;
}

int
receiver_end(struct receiver *r, bool end_it, double *ret_cpu)
{
	char control[96];
	int rc;

	if (end_it)
		kill(r->pid, SIGKILL);
	rc = hear(r->told, ret_cpu);
	close(r->told);
	waitpid(r->pid, NULL, 0);
	control_of(r->pid, control, sizeof(control));
	unlink(control); /* of one that was killed, or left without a word */
	return rc;
}
