/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket: what it answers, what it tells, and what hostile clients cannot do. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pair.h"
#include "test.h"
#include "wherry_stream.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

struct client {
	int fd;
	char buf[1 << 16];
	size_t len;
};

static struct client *
dial(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct client *c = calloc(1, sizeof(*c));

	CHECK(c != NULL);
	snprintf(un.sun_path, sizeof(un.sun_path), "%.107s", path);
	c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_EQ(connect(c->fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return c;
}

static void
hang_up(struct client *c)
{
	close(c->fd);
	free(c);
}

static void
say(struct client *c, const char *text)
{
	CHECK_EQ(send(c->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next line; NULL: it was let go. */
static json_t *
hear(struct client *c)
{
	struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
	char *end;
	json_t *line;

	while ((end = memchr(c->buf, '\n', c->len)) == NULL) {
		ssize_t n;

		if (poll(&pfd, 1, 10000) != 1)
			FAIL("it does not answer");
		n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - c->len, 0);
		if (n <= 0)
			return NULL;
		c->len += (size_t)n;
	}
	line = json_loadb(c->buf, (size_t)(end - c->buf), 0, NULL);
	CHECK(line != NULL);
	c->len -= (size_t)(end + 1 - c->buf);
	memmove(c->buf, end + 1, c->len);
	return line;
}

static const char *
text(const json_t *line, const char *name)
{
	const char *value = json_string_value(json_object_get(line, name));

	return value != NULL ? value : "";
}

static void
expect_error(struct client *c, const char *request, const char *code)
{
	json_t *line;

	say(c, request);
	line = hear(c);
	CHECK(line != NULL);
	if (strcmp(text(json_object_get(line, "error"), "code"), code) != 0)
		FAIL("%.80s", request);
	CHECK(*text(json_object_get(line, "error"), "reason") != '\0');
	json_decref(line);
}

/* It answers a well-behaved client. */
static void
check_alive(const char *path)
{
	struct client *c = dial(path);
	json_t *line;

	say(c, "{\"cmd\":\"status\"}\n");
	line = hear(c);
	CHECK(strcmp(text(line, "event"), "status") == 0);
	CHECK(strcmp(text(line, "state"), "serving") == 0);
	CHECK(strcmp(text(line, "name"), "test") == 0);
	json_decref(line);
	hang_up(c);
}

static void
check_round(const json_t *line)
{
	static const char *const numbers[] = { "n", "iommu_dirty_pages", "cpu_dirty_pages", "pages",
		"zero_pages", "bytes", "ms", "bandwidth", "forecast_ms" };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!json_is_number(json_object_get(line, numbers[i])))
			FAIL("a round has no %s", numbers[i]);
	CHECK(json_is_boolean(json_object_get(line, "final")));
}

static void
check_end(const json_t *line, const char *result)
{
	static const char *const numbers[] = { "state_bytes", "bytes_sent", "blackout_ms",
		"total_ms", "rounds" };

	if (strcmp(text(line, "result"), result) != 0)
		FAIL("%s: %s", text(line, "result"), text(line, "reason"));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!json_is_number(json_object_get(line, numbers[i])))
			FAIL("the end has no %s", numbers[i]);
	CHECK(json_is_string(json_object_get(line, "reason")));
}

/* Rounds in order, each once, and the end; how many rounds. */
static int
follow(struct client *c, const char *result)
{
	int rounds = 0;

	for (;;) {
		json_t *line = hear(c);
		bool end;

		CHECK(line != NULL);
		end = strcmp(text(line, "event"), "end") == 0;
		if (end)
			check_end(line, result);
		if (strcmp(text(line, "event"), "round") == 0) {
			check_round(line);
			CHECK_EQ(json_integer_value(json_object_get(line, "n")), ++rounds);
		}
		json_decref(line);
		if (end)
			return rounds;
	}
}

static void
ask_migrate(struct client *c, const struct pair *pair, const char *more)
{
	char request[512];
	json_t *line;

	snprintf(request, sizeof(request), "{\"cmd\":\"migrate\",\"uri\":\"%s\"%s}\n", pair->uri,
		more);
	say(c, request);
	line = hear(c);
	if (!json_is_true(json_object_get(line, "ok")))
		FAIL("%s", text(json_object_get(line, "error"), "reason"));
	json_decref(line);
}

TEST(migrate_control_tells_rounds_and_end_to_who_asked)
{
	struct pair_opts opts = { .len = SMALL, .writer = true };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control), *w = dial(pair->control);
	struct wherry_status st;
	json_t *line;

	say(w, "{\"cmd\":\"watch\",\"interval_ms\":50}\n");
	line = hear(w);
	CHECK(json_is_true(json_object_get(line, "ok")));
	json_decref(line);
	ask_migrate(c, pair, ",\"verify\":true,\"timeout_ms\":5000");
	CHECK(follow(c, "completed") >= 2);
	CHECK(follow(w, "completed") >= 2); /* whoever watches is told, too */
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	expect_error(c, "{\"cmd\":\"migrate\",\"uri\":\"unix:/x\"}\n", "EPERM");
	hang_up(c);
	hang_up(w);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(migrate_control_cancels)
{
	struct pair_opts opts = { .writer = true };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control), *d = dial(pair->control);
	struct wherry_status st;

	expect_error(c, "{\"cmd\":\"cancel\"}\n", "EALREADY");
	ask_migrate(c, pair, ",\"max_bandwidth\":1000000");
	expect_error(d, "{\"cmd\":\"migrate\",\"uri\":\"unix:/x\"}\n", "EBUSY");
	pair_wait(pair, WHERRY_STATE_PRECOPY, &st);
	say(d, "{\"cmd\":\"cancel\"}\n");
	follow(c, "cancelled");
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	pair_check_stayed(pair, &st);
	hang_up(c);
	hang_up(d);
	pair_destroy(pair);
}

/* The next line of this kind. */
static json_t *
await_event(struct client *c, const char *event)
{
	for (;;) {
		json_t *line = hear(c);

		CHECK(line != NULL);
		if (strcmp(text(line, "event"), event) == 0)
			return line;
		if (strcmp(text(line, "event"), "end") == 0)
			FAIL("%s", text(line, "reason"));
		json_decref(line);
	}
}

static void
expect_paused(struct client *c, int pauses)
{
	json_t *line = await_event(c, "paused");

	CHECK(strcmp(text(line, "state"), "paused") == 0);
	CHECK(*text(line, "reason") != '\0');
	CHECK_EQ(json_integer_value(json_object_get(line, "pauses")), pauses);
	json_decref(line);
}

static void
ask_recover(struct client *c, const char *uri)
{
	char request[512];
	json_t *line;

	snprintf(request, sizeof(request), "{\"cmd\":\"recover\",\"uri\":\"%s\"}\n", uri);
	say(c, request);
	line = hear(c);
	if (!json_is_true(json_object_get(line, "ok")))
		FAIL("%s", text(json_object_get(line, "error"), "reason"));
	json_decref(line);
}

TEST(migrate_control_tells_of_a_pause_and_recovers)
{
	struct pair_opts opts = { .writer = true,
		.plan = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 2 } };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control), *d = dial(pair->control), *e = dial(pair->control);
	struct wherry_status st;
	json_t *line;

	expect_error(d, "{\"cmd\":\"recover\"}\n", "EALREADY");
	expect_error(d, "{\"cmd\":\"recover\",\"uri\":7}\n", "EINVAL");
	expect_error(d, "{\"cmd\":\"recover\",\"url\":\"unix:/x\"}\n", "EINVAL");
	ask_migrate(c, pair, ",\"pause_limit_ms\":20000,\"timeout_ms\":1000,\"channels\":1");
	expect_paused(c, 1);
	expect_error(d, "{\"cmd\":\"recover\",\"uri\":\"fly:x\"}\n", "EINVAL");
	ask_recover(d, "unix:/nonexistent/x");
	expect_error(e, "{\"cmd\":\"recover\"}\n", "EBUSY");
	hang_up(e);
	expect_paused(c, 2);
	expect_paused(d, 2); /* not the first: that was before it asked */
	hang_up(d);
	d = dial(pair->control);
	ask_recover(d, pair->dest_uri);
	line = await_event(d, "end");
	check_end(line, "completed");
	json_decref(line);
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	hang_up(c);
	hang_up(d);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

/* The last thing a source's application does is to end: who asked still hears how it went. */
TEST(migrate_control_tells_the_end_before_the_agent_is_gone)
{
	struct pair_opts opts = { .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control);
	struct wherry_status st;

	ask_migrate(c, pair, "");
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
	follow(c, "completed");
	hang_up(c);
}

TEST(migrate_control_shows_dirty_rates_of_each_region)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL, .writer = true };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control);
	int rc = -EALREADY;
	double rate = 0;

	say(c, "{\"cmd\":\"watch\",\"interval_ms\":50}\n");
	for (int i = 0; i < 8; i++) {
		json_t *line = hear(c), *regions = json_object_get(line, "regions");

		if (i > 0) {
			CHECK(strcmp(text(line, "event"), "watch") == 0);
			CHECK_EQ(json_array_size(regions), PAIR_REGIONS);
			CHECK(strcmp(text(json_array_get(regions, 0), "name"), "arena") == 0);
			rate = json_number_value(
				json_object_get(json_array_get(regions, 0), "cpu_pages_per_s"));
		}
		json_decref(line);
	}
	CHECK(rate > 0);
	CHECK_EQ(wherry_tracker_start(pair->tracker), -EALREADY);
	hang_up(c);
	for (int i = 0; i < 5000 && rc == -EALREADY; i++) {
		usleep(1000);
		rc = wherry_tracker_start(pair->tracker);
	}
	CHECK_EQ(rc, 0); /* it goes off when nobody watches */
	wherry_tracker_stop(pair->tracker);
	pair_destroy(pair);
}

TEST(migrate_control_refuses_what_it_does_not_understand)
{
	static const char *const bad[] = { "\n", "garbage\n", "[]\n", "{}\n", "7\n",
		"{\"cmd\":7}\n", "{\"cmd\":\"fly\"}\n", "{\"cmd\":\"status\",\"cmd\":\"cancel\"}\n",
		"{\"cmd\":\"migrate\"}\n", "{\"cmd\":\"migrate\",\"uri\":7}\n",
		"{\"cmd\":\"migrate\",\"uri\":\"fly:\"}\n",
		"{\"cmd\":\"migrate\",\"uri\":\"unix:/x\",\"verify\":1}\n",
		"{\"cmd\":\"migrate\",\"uri\":\"unix:/x\",\"max_rounds\":-1}\n",
		"{\"cmd\":\"migrate\",\"uri\":\"unix:/x\",\"max_rounds\":1001}\n",
		"{\"cmd\":\"migrate\",\"uri\":\"unix:/x\",\"timeout_ms\":1.5}\n",
		"{\"cmd\":\"migrate\",\"uri\":\"unix:/x\",\"timeout\":1}\n",
		"{\"cmd\":\"watch\",\"interval_ms\":49}\n",
		"{\"cmd\":\"watch\",\"interval_ms\":\"1\"}\n",
		"{\"cmd\":\"status\",\"colour\":1}\n", "{\"cmd\":\"cancel\",\"uri\":\"\"}\n",
		"{\"cmd\":\"\xff\xfe\"}\n" };
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_error(c, bad[i], "EINVAL");
	hang_up(c);
	check_alive(pair->control);
	pair_destroy(pair);
}

TEST(migrate_control_lets_clients_go_that_send_too_long_a_line)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control);
	char brackets[9000];
	json_t *line;

	memset(brackets, '[', sizeof(brackets));
	CHECK(send(c->fd, brackets, sizeof(brackets), MSG_NOSIGNAL) > 0);
	line = hear(c);
	CHECK(strcmp(text(json_object_get(line, "error"), "code"), "EINVAL") == 0);
	json_decref(line);
	CHECK(hear(c) == NULL);
	hang_up(c);
	check_alive(pair->control);
	pair_destroy(pair);
}

TEST(migrate_control_has_room_for_sixteen_and_turns_others_away)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct client *c[17];
	json_t *line;

	for (int i = 0; i < 17; i++)
		c[i] = dial(pair->control);
	line = hear(c[16]);
	CHECK(strcmp(text(json_object_get(line, "error"), "code"), "EBUSY") == 0);
	json_decref(line);
	CHECK(hear(c[16]) == NULL);
	for (int i = 0; i < 17; i++)
		hang_up(c[i]);
	usleep(100000);
	check_alive(pair->control);
	pair_destroy(pair);
}

/* A client that asks and asks and never reads costs a bounded amount, and harms nobody. */
TEST(migrate_control_lets_clients_go_that_do_not_read)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control);
	static const char request[] = "{\"cmd\":\"status\"}\n";
	int sent = 0;

	while (sent < 200000 && send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0)
		sent++;
	CHECK(sent < 200000);
	hang_up(c);
	check_alive(pair->control);
	pair_destroy(pair);
}

/* In a child, as another user: what it is told. */
static int
dial_as_nobody(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char told[256] = "";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%.107s", path);
	if (setgid(65534) != 0 || setuid(65534) != 0 ||
		connect(fd, (struct sockaddr *)&un, sizeof(un)) != 0)
		return 1;
	if (send(fd, "{\"cmd\":\"status\"}\n", 17, MSG_NOSIGNAL) < 0 && errno != EPIPE)
		return 2;
	if (recv(fd, told, sizeof(told) - 1, 0) <= 0)
		return 3;
	return strstr(told, "EACCES") != NULL && strstr(told, "version") == NULL ? 0 : 4;
}

/* Whatever the socket's mode has become. */
TEST(migrate_control_socket_refuses_other_users)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair;
	struct wherry_status st;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		SKIP("not root, so nobody else to be: sudo");
	pair = pair_create(&opts);
	CHECK_EQ(chmod(pair->control, 0666), 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(dial_as_nobody(pair->control));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(WEXITSTATUS(status), 0);
	wherry_agent_get_status(pair->agent, &st);
	CHECK_EQ(st.refused_clients, 1);
	check_alive(pair->control);
	pair_destroy(pair);
}

TEST(migrate_control_socket_is_for_its_owner_alone_and_taken_once)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct wherry_agent_ops ops = { .quiesce = pair_refuse, .takeover = pair_refuse };
	struct wherry_agent_opts again = {
		.name = "test", .control = pair->control, .tracker = pair->tracker, .ops = &ops
	};
	struct wherry_agent *agent;
	char path[128];
	struct stat sb;

	CHECK_EQ(stat(pair->control, &sb), 0);
	CHECK_EQ(sb.st_mode & 0777, 0600);
	CHECK_EQ(wherry_agent_create(&again, &agent), -EADDRINUSE);
	snprintf(path, sizeof(path), "%s", pair->control);
	pair_destroy(pair);
	CHECK_EQ(access(path, F_OK), -1);
}

/* What a process leaves behind that was killed does not keep the next from starting. */
TEST(migrate_control_socket_of_a_dead_process_is_taken_over)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct wherry_agent_ops ops = { .quiesce = pair_refuse, .takeover = pair_refuse };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct wherry_agent_opts again = {
		.name = "test", .control = un.sun_path, .tracker = pair->tracker, .ops = &ops
	};
	struct wherry_agent *agent;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%.90s.stale", pair->control);
	CHECK_EQ(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	CHECK_EQ(wherry_agent_create(&again, &agent), 0);
	CHECK_EQ(wherry_agent_start(agent), 0);
	CHECK_EQ(wherry_agent_start(agent), -EALREADY);
	check_alive(un.sun_path);
	wherry_agent_destroy(agent);
	pair_destroy(pair);
}

TEST(migrate_control_socket_moves)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct client *c = dial(pair->control);
	struct sockaddr_un other = { .sun_family = AF_UNIX };
	char path[108], longer[200];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(path, sizeof(path), "%.90s.moved", pair->control);
	snprintf(other.sun_path, sizeof(other.sun_path), "%.90s.other", pair->control);
	CHECK_EQ(bind(fd, (struct sockaddr *)&other, sizeof(other)), 0);
	CHECK_EQ(listen(fd, 1), 0);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	CHECK_EQ(wherry_agent_move_control(pair->agent, longer), -EINVAL);
	CHECK_EQ(wherry_agent_move_control(pair->agent, other.sun_path), -EADDRINUSE);
	CHECK_EQ(wherry_agent_move_control(pair->agent, "/nonexistent/x"), -ENOENT);
	check_alive(pair->control);
	CHECK_EQ(wherry_agent_move_control(pair->agent, path), 0);
	check_alive(path);
	CHECK_EQ(access(pair->control, F_OK), -1);
	say(c, "{\"cmd\":\"status\"}\n"); /* who was there stays */
	json_decref(hear(c));
	hang_up(c);
	close(fd);
	unlink(other.sun_path);
	pair_destroy(pair);
	CHECK_EQ(access(path, F_OK), -1);
}

TEST(migrate_agent_create_checks_what_it_is_given)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct wherry_agent_ops ops = { .quiesce = pair_refuse, .takeover = pair_refuse },
				none = { .quiesce = pair_refuse };
	char control[160];
	const struct wherry_agent_opts good = {
		.name = "test", .control = control, .tracker = pair->tracker, .ops = &ops
	};
	struct wherry_agent_opts bad[6] = { good, good, good, good, good, good };
	struct wherry_agent *agent;

	snprintf(control, sizeof(control), "%s.2", pair->control);
	bad[0].name = NULL;
	bad[1].name = "../x";
	bad[2].tracker = NULL;
	bad[3].ops = NULL;
	bad[4].ops = &none;
	bad[5].incoming = "tcp:x";
	for (int i = 0; i < 6; i++)
		if (wherry_agent_create(&bad[i], &agent) != -EINVAL)
			FAIL("case %d is taken", i);
	bad[5].incoming = "unix:/nonexistent/x";
	CHECK_EQ(wherry_agent_create(&bad[5], &agent), -ENOENT);
	CHECK_EQ(access(control, F_OK), -1);
	pair_destroy(pair);
}
