/* SPDX-License-Identifier: BSD-3-Clause */
/* The command `wherry` against a live agent: what it prints and how it exits. */
#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keys.h"
#include "pair.h"
#include "test.h"
#include "wherry_stream.h"

#define SMALL ((size_t)64 * PAIR_PAGE)

static char command[PATH_MAX + 64];

/* It is built beside the tests. */
static void
find_command(void)
{
	char self[PATH_MAX] = "";

	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	snprintf(command, sizeof(command), "%s/../wherry/wherry", dirname(self));
	if (access(command, X_OK) != 0)
		SKIP("%s is not built: ninja builds it", command);
}

struct run {
	pid_t pid;
	int out; /* its stdout and stderr */
	char text[1 << 16];
};

static struct run *
start(const char *args)
{
	struct run *run = calloc(1, sizeof(*run));
	char line[PATH_MAX + 1024];
	int fd[2];

	CHECK(run != NULL);
	CHECK_EQ(pipe(fd), 0);
	snprintf(line, sizeof(line), "exec %s %s 2>&1", command, args);
	fflush(stdout);
	run->pid = fork();
	CHECK(run->pid >= 0);
	if (run->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* an exporter would run on after a failure */
		dup2(fd[1], STDOUT_FILENO);
		close(fd[0]);
		close(fd[1]);
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	run->out = fd[0];
	return run;
}

/* Its exit status; text has what it printed. */
static int
finish(struct run *run)
{
	size_t len = 0;
	int status;
	ssize_t n;

	while ((n = read(run->out, run->text + len, sizeof(run->text) - 1 - len)) > 0)
		len += (size_t)n;
	close(run->out);
	CHECK_EQ(waitpid(run->pid, &status, 0), run->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void
expect(const char *args, int want_status, const char *want_text)
{
	struct run *run = start(args);
	int status = finish(run);

	if (status != want_status || strstr(run->text, want_text) == NULL)
		FAIL("wherry %s: status %d, \"%.300s\"", args, status, run->text);
	free(run);
}

static const char *
with(const struct pair *pair, const char *fmt)
{
	static char args[512];

	/* cppcheck-suppress wrongPrintfScanfArgNum ; a format may leave the URI out */
	snprintf(args, sizeof(args), fmt, pair->control, pair->uri);
	return args;
}

TEST(command_explains_itself_and_what_it_does_not_know)
{
	find_command();
	expect("", 2, "Usage: wherry COMMAND");
	expect("--help", 0, "migrate");
	expect("--version", 0, "wherry ");
	expect("fly", 2, "no command \"fly\"");
	expect("migrate --help", 0, "--downtime-limit");
	expect("migrate", 64, "URI is missing");
	expect("migrate --max-bandwidth=fast unix:/x", 64, "no whole number");
	expect("migrate --max-rounds=-1 unix:/x", 64, "no whole number");
	expect("watch --interval=7", 64, "from 50");
	expect("status extra", 64, "Usage");
	expect("forecast --bandwidth=0", 64, "no whole number from 1");
	expect("forecast extra", 64, "Usage");
	expect("report", 64, "LOG is missing");
	expect("report /nonexistent/log", 1, "/nonexistent/log: No such file");
	expect("report /dev/null", 1, "has no round");
}

TEST(command_says_which_application_it_does_not_find)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair;

	find_command();
	expect("status --control=/nonexistent/x.sock", 1, "is it running");
	expect("cancel --app=no-such-application", 1, "/run/wherry/no-such-application.sock");
	pair = pair_create(&opts);
	expect(with(pair, "migrate --control=%s.other unix:/x"), 1, "is it running");
	expect(with(pair, "cancel --control=%s"), 1, "no migration is under way");
	expect(with(pair, "migrate --control=%s fly:x"), 1, "unix:PATH or file:PATH");
	expect(with(pair, "migrate --control=%s %s"), 1, "started with --incoming");
	pair_destroy(pair);
}

TEST(command_shows_state_and_rates)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL, .writer = true };
	struct pair *pair;

	find_command();
	pair = pair_create(&opts);
	expect(with(pair, "status --control=%s"), 0, "state        serving");
	expect(with(pair, "status --json --control=%s"), 0, "\"state\":\"serving\"");
	expect(with(pair, "watch --control=%s --interval=50 --count=2"), 0, "by the CPU");
	expect(with(pair, "watch --json --control=%s --interval=50 --count=2"), 0, "\"arena\"");
	pair_destroy(pair);
}

TEST(command_migrates_and_ends_with_0_only_then)
{
	struct pair_opts opts = { .len = SMALL, .writer = true };
	struct wherry_status st;
	struct pair *pair;

	find_command();
	pair = pair_create(&opts);
	expect(with(pair, "migrate --verify --max-bandwidth=1G --control=%s %s"), 0,
		"completed: blackout");
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	pair_check_moved(pair, &st);
	expect(with(pair, "migrate --control=%s %s"), 1, "does not own its state");
	expect(with(pair, "status --control=%s"), 0, "state        released");
	pair_destroy(pair);
}

TEST(command_recovers_a_paused_migration)
{
	struct pair_opts opts = { .writer = true,
		.plan = { .kind = PROXY_CLOSE, .type = WHERRY_REC_PAGES, .nth = 2 } };
	struct wherry_status st;
	struct pair *pair;
	struct run *run;
	char args[512];

	find_command();
	pair = pair_create(&opts);
	expect(with(pair, "recover --control=%s"), 1, "no migration is paused");
	run = start(with(
		pair, "migrate --channels=1 --timeout=10000 --pause-limit=20000 --control=%s %s"));
	while (wherry_agent_get_status(pair->agent, &st), st.state != WHERRY_STATE_PAUSED)
		usleep(1000);
	expect(with(pair, "resolve --control=%s"), 0, "this application owns the state");
	expect(with(pair, "recover --control=%s unix:/nonexistent/x"), 1, "paused: ");
	snprintf(args, sizeof(args), "recover --control=%s %s", pair->control, pair->dest_uri);
	expect(args, 0, "completed: blackout");
	CHECK_EQ(finish(run), 0);
	if (strstr(run->text, "paused: ") == NULL || strstr(run->text, "completed: ") == NULL)
		FAIL("it printed \"%.300s\"", run->text);
	free(run);
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(command_cancels_on_interrupt)
{
	struct pair_opts opts = { .writer = true };
	struct wherry_status st;
	struct run *run;
	struct pair *pair;

	find_command();
	pair = pair_create(&opts);
	run = start(with(pair, "migrate --max-bandwidth=1M --control=%s %s"));
	for (int i = 0; i < 5000; i++) {
		wherry_agent_get_status(pair->agent, &st);
		if (st.state == WHERRY_STATE_PRECOPY)
			break;
		usleep(1000);
	}
	CHECK_EQ(st.state, WHERRY_STATE_PRECOPY);
	CHECK_EQ(kill(run->pid, SIGINT), 0);
	CHECK_EQ(finish(run), 1);
	if (strstr(run->text, "cancelled: the application goes on") == NULL)
		FAIL("it printed \"%.300s\"", run->text);
	free(run);
	pair_wait(pair, WHERRY_STATE_SERVING, &st);
	pair_check_stayed(pair, &st);
	pair_destroy(pair);
}

/* What a machine offers is one JSON object, and every "not available" has a reason. */
TEST(command_info_gives_reasons)
{
	struct run *run;
	json_t *info, *backend;
	size_t i;

	find_command();
	expect("info", 0, "backend soft     available");
	run = start("info --json");
	CHECK_EQ(finish(run), 0);
	info = json_loads(run->text, 0, NULL);
	CHECK(json_is_string(json_object_get(json_object_get(info, "cpu_writes"), "source")));
	CHECK(json_array_size(json_object_get(info, "nodes")) >= 1);
	CHECK_EQ(json_array_size(json_object_get(info, "iommu")), 3);
	json_array_foreach(json_object_get(info, "iommu"), i, backend)
		CHECK(json_string_length(json_object_get(backend, "reason")) > 0);
	json_decref(info);
	free(run);
}

TEST(command_forecast_says_before_starting_whether_it_would_converge)
{
	struct pair_opts opts = { .no_dest = true, .writer = true };
	struct pair *pair;

	find_command();
	pair = pair_create(&opts);
	expect(with(pair, "forecast --seconds=1 --downtime-limit=60000 --control=%s"), 0,
		"would converge: after 1 rounds");
	expect(with(pair, "forecast --seconds=1 --bandwidth=1M --control=%s"), 3,
		"would not converge");
	expect(with(pair, "forecast --seconds=1 --bandwidth=1M --json --control=%s"), 3,
		"\"converges\":false");
	pair_destroy(pair);
}

TEST(command_forecast_has_what_quiesce_was_measured_to_take)
{
	struct pair_opts opts = { .no_dest = true, .rehearses = true, .quiesce_ms = 40000 };
	struct pair *pair;

	find_command();
	pair = pair_create(&opts);
	expect(with(pair, "forecast --seconds=1 --downtime-limit=39000 --control=%s"), 3,
		"of it 40000.0 ms to stop");
	expect(with(pair, "forecast --seconds=1 --downtime-limit=60000 --control=%s"), 0,
		"would converge: after 1 rounds");
	expect(with(pair, "forecast --seconds=1 --json --control=%s"), 3, "\"quiesce_ms\":40000.0");
	CHECK_EQ(pair->quiesces, 0);
	pair_destroy(pair);
}

/* A log with these lines. */
static const char *
write_log(const char *text)
{
	static char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/tmp/wherry-report-%d", (int)getpid());
	f = fopen(path, "we");
	CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
	return path;
}

#define ROUND                                                                                         \
	"{\"event\":\"round\",\"n\":1,\"ms\":2.0,\"bytes\":4096,\"pages\":1,\"iommu_dirty_pages\":0," \
	"\"cpu_dirty_pages\":1,\"bandwidth\":1e6,\"forecast_ms\":1.0,\"heat\":{\"<&\":\"19\"}}\n"

TEST(command_report_draws_what_a_migration_logged)
{
	struct pair_opts opts = { .len = SMALL, .writer = true };
	struct wherry_status st;
	char args[512];
	struct pair *pair;
	const char *log;

	find_command();
	pair = pair_create(&opts);
	log = write_log("");
	snprintf(args, sizeof(args), "migrate --log=%s --control=%s %s", log, pair->control,
		pair->uri);
	expect(args, 0, "completed: blackout");
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	pair_destroy(pair);
	snprintf(args, sizeof(args), "report %s", log);
	expect(args, 0, ">arena</text>");
	expect(args, 0, "<text x=\"110.00\" y=\"24.00\" text-anchor=\"start\">completed: blackout");
	expect(args, 0, "</svg>");
	snprintf(args, sizeof(args), "report %s -o /dev/full", log);
	expect(args, 1, "could not be written");
	CHECK_EQ(unlink(log), 0);
}

/* It is of the migration that the status speaks. */
TEST(command_says_that_the_log_cannot_be_written_and_goes_on)
{
	struct pair_opts opts = { .len = SMALL };
	struct wherry_status st;
	struct pair *pair;

	find_command();
	pair = pair_create(&opts);
	expect(with(pair, "migrate --log=/dev/full --control=%s %s"), 0,
		"the log could not be written, and is not complete: No space left on device");
	pair_wait(pair, WHERRY_STATE_RELEASED, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST(command_report_takes_no_log_at_its_word)
{
	static const struct {
		const char *log;
		int status;
		const char *says;
	} rows[] = {
		{ ROUND, 0, "&lt;&amp;</text>" },
		{ ROUND, 0, "the log stops before the end" },
		{ ROUND "nonsense\n", 1, "line 2 of" },
		{ ROUND "[]\n", 1, "line 2 of" },
		{ ROUND "{\"event\":\"round\",\"n\":2}\n", 1, "line 2 of" },
		{ "{\"event\":\"round\",\"n\":1,\"ms\":0}\n", 1, "line 1 of" },
		{ ROUND "{\"event\":\"end\",\"total_ms\":-1,\"blackout_ms\":1}\n", 1, "line 2 of" },
		{ "{\"event\":\"end\",\"total_ms\":1,\"blackout_ms\":1}\n", 1, "has no round" },
	};
	char args[128];

	find_command();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *log = write_log(rows[i].log);

		snprintf(args, sizeof(args), "report %s", log);
		expect(args, rows[i].status, rows[i].says);
		CHECK_EQ(unlink(log), 0);
	}
}

/* What a started exporter serves; its first line is the address. */
static char *
scrape(const struct run *exporter)
{
	static char text[1 << 14];
	char url[128], line[256];
	ssize_t n = read(exporter->out, url, sizeof(url) - 1);
	size_t len;
	FILE *curl;

	CHECK(n > 0 && url[n - 1] == '\n');
	url[n - 1] = '\0';
	snprintf(line, sizeof(line), "curl -sS --noproxy '*' %s", url);
	curl = popen(line, "re");
	CHECK(curl != NULL);
	len = fread(text, 1, sizeof(text) - 1, curl);
	text[len] = '\0';
	CHECK_EQ(pclose(curl), 0);
	return text;
}

TEST(command_exporter_says_what_is_so_also_of_the_dead)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	char args[256], folder[] = "/tmp/wherry-exporter-XXXXXX", alive[64], dead[64];
	struct run *exporter;
	struct pair *pair;
	const char *text;

	find_command();
	pair = pair_create(&opts);
	CHECK(mkdtemp(folder) != NULL);
	snprintf(alive, sizeof(alive), "%s/alive.sock", folder);
	snprintf(dead, sizeof(dead), "%s/dead.sock", folder);
	CHECK(symlink(pair->control, alive) == 0 && symlink("/nonexistent", dead) == 0);
	snprintf(args, sizeof(args), "exporter --listen=127.0.0.1:0 --folder=%s", folder);
	exporter = start(args);
	text = scrape(exporter);
	if (strstr(text, "/alive.sock\"} 1\n") == NULL ||
		strstr(text, "/dead.sock\"} 0\n") == NULL ||
		strstr(text, ",state=\"serving\"} 1\n") == NULL ||
		strstr(text, "# TYPE wherry_migration_blackout_seconds gauge\n") == NULL)
		FAIL("it served \"%.1000s\"", text);
	CHECK_EQ(kill(exporter->pid, SIGTERM), 0);
	CHECK_EQ(finish(exporter), 0);
	free(exporter);
	pair_destroy(pair);
	CHECK(unlink(alive) == 0 && unlink(dead) == 0 && rmdir(folder) == 0);
	expect("exporter --listen=nowhere", 64, "is no ADDRESS:PORT");
	expect("exporter --listen=192.0.2.1:0", 1, "cannot listen");
}

TEST(command_migrate_hands_keys_to_the_application)
{
	struct pair_opts opts = { .tcp = true, .len = SMALL };
	struct keys *keys = keys_make();
	char args[512];
	struct pair *pair;

	find_command();
	keys_psk(keys, "p", "a:00112233445566778899aabbccddeeff\n");
	opts.dest_tls = keys_psk_of(keys, "p");
	pair = pair_create(&opts);
	snprintf(args, sizeof(args), "migrate --control=%s --tls-cert=%s %s", pair->control,
		opts.dest_tls.psk, pair->uri);
	expect(args, 1, "certificate, key and CA");
	snprintf(args, sizeof(args), "migrate --control=%s --tls-ca=no-such-file %s", pair->control,
		pair->uri);
	expect(args, 2, "cannot find no-such-file");
	snprintf(args, sizeof(args), "migrate --control=%s --tls-psk=%s %s", pair->control,
		opts.dest_tls.psk, pair->uri);
	expect(args, 0, "completed");
	pair_reap(pair);
	CHECK_EQ(pair->shared->takeovers, 1);
	pair_destroy(pair);
	keys_drop(keys);
}

/* What is wrong is said to who asked, and what was in use stays so. */
TEST(command_reload_says_what_is_wrong_with_new_keys)
{
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct keys *keys = keys_make();
	struct pair *pair;

	find_command();
	pair = pair_create(&opts);
	expect(with(pair, "reload --control=%s"), 1, "was given no keys");
	pair_destroy(pair);
	keys_sign(keys, "a", NULL);
	keys_revoke(keys, &(struct keys_list){ .revoked = NULL });
	opts.tls = keys_of(keys, "a");
	opts.tls.crl = keys_path(keys, "ca.crl");
	pair = pair_create(&opts);
	expect(with(pair, "reload --control=%s"), 0, "");
	keys_write(keys, "ca.crl", "half of a fi");
	expect(with(pair, "reload --control=%s"), 1, "ca.crl: no revocation list");
	expect(with(pair, "reload --control=%s"), 1, "ca.crl: no revocation list");
	expect(with(pair, "reload --json --control=%s"), 1, "EINVAL");
	keys_revoke(keys, &(struct keys_list){ .revoked = NULL });
	CHECK_EQ(unlink(opts.tls.key), 0);
	expect(with(pair, "reload --control=%s"), 1, "a.key: No such file");
	keys_sign(keys, "a", NULL);
	expect(with(pair, "reload --control=%s"), 0, "");
	expect(with(pair, "reload --control=%s extra"), 64, "Usage");
	pair_destroy(pair);
	keys_drop(keys);
}
