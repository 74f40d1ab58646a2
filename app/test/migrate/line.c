/* SPDX-License-Identifier: BSD-3-Clause */
#include "line.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

static const char *const addresses[] = { [LINE_NEAR] = LINE_NEAR_IP, [LINE_FAR] = LINE_FAR_IP };

static int
this_namespace(void)
{
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

static void
enter(int namespace)
{
	CHECK_EQ(setns(namespace, CLONE_NEWNET), 0);
}

static bool shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line for sh, in the namespace that we are in. */
static bool
shell(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fflush(stdout);
	return system(line) == 0;
}

/* Why there is no such line here, or NULL; we are in a namespace that nobody else is in. */
static const char *
what_is_missing(void)
{
	if (!shell("command -v ip tc >/dev/null"))
		return "no ip and tc: apt-get install iproute2";
	if (!shell("tc qdisc add dev lo root netem 2>/dev/null"))
		return "this kernel has no sch_netem: devtools/test guests runs it on one that has";
	return NULL;
}

/* Each packet for itself, as on a wire: netem would take 64 KiB for one. */
static void
set_up_end(const struct line *line, enum line_end end, const char *faults)
{
	enter(line->ends[end]);
	CHECK(shell("printf '%%s\\n' 'link set lo up' 'addr add %s/24 dev line' "
		    "'link set line gso_max_segs 1 up' | ip -batch - && "
		    "tc qdisc add dev line root netem %s",
		addresses[end], faults));
}

/* In the near one at last; false: there are none. */
static bool
make_namespaces(struct line *line)
{
	line->home = this_namespace();
	if (unshare(CLONE_NEWNET) != 0)
		return false;
	line->ends[LINE_FAR] = this_namespace();
	CHECK_EQ(unshare(CLONE_NEWNET), 0);
	line->ends[LINE_NEAR] = this_namespace();
	return true;
}

void
line_create(struct line *line, const char *faults)
{
	const char *missing;

	if (!make_namespaces(line))
		SKIP("no network namespaces of our own: run as root");
	missing = what_is_missing();
	if (missing != NULL) {
		line_destroy(line);
		SKIP("%s", missing);
	}
	CHECK(shell("ip link add line type veth peer name line netns /proc/%d/fd/%d", (int)getpid(),
		line->ends[LINE_FAR]));
	set_up_end(line, LINE_FAR, faults);
	set_up_end(line, LINE_NEAR, faults);
}

void
line_change(const struct line *line, const char *faults)
{
	for (int end = LINE_FAR; end >= LINE_NEAR; end--) {
		enter(line->ends[end]);
		CHECK(shell("tc qdisc replace dev line root netem %s", faults));
	}
}

static uint64_t
lost_at_this_end(void)
{
	FILE *told = popen("tc -s qdisc show dev line", "re");
	unsigned long long lost;
	char text[1024];
	const char *at;
	size_t n;

	CHECK(told != NULL);
	n = fread(text, 1, sizeof(text) - 1, told);
	text[n] = '\0';
	CHECK_EQ(pclose(told), 0);
	at = strstr(text, "(dropped ");
	CHECK(at != NULL);
	lost = strtoull(at + strlen("(dropped "), NULL, 10);
	return lost;
}

uint64_t
line_lost(const struct line *line)
{
	uint64_t lost = 0;

	for (int end = LINE_FAR; end >= LINE_NEAR; end--) {
		enter(line->ends[end]);
		lost += lost_at_this_end();
	}
	return lost;
}

/* The kernel's tables have two lines for each group: "Tcp: names...", "Tcp: numbers...". */
static bool
find_count(const char *path, const char *group, const char *name, uint64_t *ret_count)
{
	char names[8192], numbers[8192], *rest[2], *a, *b;
	FILE *table = fopen(path, "re");
	bool found = false;

	CHECK(table != NULL);
	while (!found && fgets(names, sizeof(names), table) != NULL &&
		fgets(numbers, sizeof(numbers), table) != NULL) {
		a = strtok_r(names, ": \n", &rest[0]);
		b = strtok_r(numbers, ": \n", &rest[1]);
		if (a == NULL || strcmp(a, group) != 0)
			continue;
		while (a != NULL && b != NULL && strcmp(a, name) != 0) {
			a = strtok_r(NULL, " \n", &rest[0]);
			b = strtok_r(NULL, " \n", &rest[1]);
		}
		found = a != NULL && b != NULL;
		*ret_count = found ? strtoull(b, NULL, 10) : 0;
	}
	fclose(table);
	return found;
}

uint64_t
line_count(const struct line *line, enum line_end end, const char *group, const char *name)
{
	uint64_t count = 0;
	bool found;

	enter(line->ends[end]);
	found = find_count("/proc/thread-self/net/snmp", group, name, &count) ||
		find_count("/proc/thread-self/net/netstat", group, name, &count);
	enter(line->ends[LINE_NEAR]);
	if (!found)
		FAIL("the kernel counts no %s of %s", name, group);
	return count;
}

/* Nobody listens there, and it says so: a packet each way. */
static unsigned int
trip_us(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct timespec begin, end;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_EQ(inet_pton(AF_INET, LINE_FAR_IP, &in.sin_addr), 1);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	CHECK_EQ(connect(fd, (struct sockaddr *)&in, sizeof(in)), -1);
	CHECK_EQ(errno, ECONNREFUSED);
	clock_gettime(CLOCK_MONOTONIC, &end);
	close(fd);
	return (unsigned int)((end.tv_sec - begin.tv_sec) * 1000000 +
		(end.tv_nsec - begin.tv_nsec) / 1000);
}

unsigned int
line_trip_us(const struct line *line)
{
	unsigned int least = UINT_MAX;

	enter(line->ends[LINE_NEAR]);
	for (int i = 0; i < 8; i++) {
		unsigned int us = trip_us();

		least = us < least ? us : least;
	}
	return least;
}

void
line_destroy(struct line *line)
{
	enter(line->home);
	for (int end = 0; end < 2; end++)
		close(line->ends[end]);
	close(line->home);
}
