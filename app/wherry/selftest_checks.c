/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checks: wherry-hardware-checks is wherry-test with those tests alone that need a real
 * device. It is found beside this command, built or installed, and speaks TAP.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "selftest.h"
#include "wherry.h"

#define PROGRAM "wherry-hardware-checks"

/* Beside the command in the build folder, or where it is installed to. */
static bool
find_program(char *path, size_t cap)
{
	static const char *const places[] = { "../test/" PROGRAM, "../libexec/wherry/" PROGRAM };
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return false;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, cap, "%s/%s", self, places[i]);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static FILE *
start(const char *path, const char *address, pid_t *ret_pid)
{
	int ends[2];
	pid_t pid;

	if (pipe(ends) != 0)
		return NULL;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setenv("WHERRY_TEST_DEVICES", address, 1);
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		execl(path, path, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return NULL;
	}
	*ret_pid = pid;
	return fdopen(ends[0], "r");
}

/* "ok 3 - name # SKIP why"; what a test printed before stands in notes. */
static void
add_result(json_t *checks, char *line, json_t *notes, int *failed)
{
	bool ok = strncmp(line, "ok ", 3) == 0;
	char *name = strstr(line, " - "), *skip;
	const char *result = ok ? "passed" : "failed";

	if (name == NULL)
		return;
	name += 3;
	skip = strstr(name, " # SKIP");
	if (skip != NULL) {
		*skip = '\0';
		result = "skipped";
		json_array_append_new(notes, json_string(skip + strlen(" # SKIP")));
	}
	*failed += !ok;
	printf("  %-7s %s\n", result, name);
	fflush(stdout);
	json_array_append_new(
		checks, json_pack("{ss ss sO}", "check", name, "result", result, "notes", notes));
}

/* TAP says why a test failed in comments behind it, and what it found in comments before. */
static int
read_tap(FILE *tap, json_t *checks)
{
	json_t *notes = json_array(), *last = NULL;
	char line[1024];
	int failed = 0;

	while (fgets(line, sizeof(line), tap) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "# ", 2) == 0) {
			printf("          %s\n", line + 2);
			json_array_append_new(
				last != NULL && failed > 0 ? last : notes, json_string(line + 2));
		} else if (strncmp(line, "ok ", 3) == 0 || strncmp(line, "not ok ", 7) == 0) {
			add_result(checks, line, notes, &failed);
			last = line[0] == 'n' ? notes : NULL; /* the report holds it */
			json_decref(notes);
			notes = json_array();
		}
	}
	json_decref(notes);
	return failed;
}

int
selftest_checks(const char *address, json_t *report)
{
	json_t *checks = json_array();
	int failed, status = 0;
	char path[600];
	pid_t pid = -1;
	FILE *tap;

	json_object_set_new(report, "checks", checks);
	if (!find_program(path, sizeof(path))) {
		puts("checks: not part of this build: meson setup -Dtest_hooks=true");
		json_object_set_new(
			report, "checks_missing", json_string("build with -Dtest_hooks=true"));
		return -1;
	}
	puts("checks, by real DMA:");
	tap = start(path, address, &pid);
	if (tap == NULL)
		return -1;
	failed = read_tap(tap, checks);
	fclose(tap);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (failed == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		puts("  failed  the checks ended early");
		failed = 1;
	}
	json_object_set_new(report, "checks_failed", json_integer(failed));
	return failed;
}
