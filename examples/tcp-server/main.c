/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tcp-server: HTTP over lwIP over a DPDK port, in memory that can move.
 *
 *	tcp-server EAL-OPTIONS -- --ip 10.0.0.2/24 --content DIR       serves
 *	tcp-server EAL-OPTIONS -- --incoming tcp:127.0.0.1:4000        takes over from it
 *	tcp-server --upgrade                                           replaces it
 *
 * This file is the program's life; doc/tcp_server.rst says where to read on.
 */

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "server.h"
#include "upgrade.h"

static struct wherry_app *app_of_signals;

void
complain(const char *fmt, ...)
{
	va_list args;

	fputs("tcp-server: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static void
on_signal(int sig)
{
	if (sig == SIGHUP)
		wherry_agent_reload(wherry_app_agent(app_of_signals));
	else
		wherry_app_quit(app_of_signals);
}

static void
catch_signals(struct wherry_app *app)
{
	const struct sigaction action = { .sa_handler = on_signal };

	app_of_signals = app;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL); /* new keys, as daemons have it */
}

/* Where the options behind EAL's begin: at "--". Without one, all are ours. */
static int
find_options(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0)
			return i;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct server server = { 0 };
	int at = find_options(argc, argv);

	argv[at] = argv[0];
	int rc = options_parse(argc - at, argv + at, &server.opts);
	if (rc != 0)
		return EXIT_FAILURE;
	if (server.opts.upgrade) {
		upgrade_exec(&server.opts);
		return EXIT_FAILURE;
	}
	if (rte_eal_init(at == 0 ? 1 : at, argv) < 0) {
		complain("EAL does not start (%s): its own lines above say why; without hugepages "
			 "it takes --no-huge --no-shconf -m 256",
			strerror(rte_errno));
		return EXIT_FAILURE;
	}
	rc = server_setup(&server);
	if (rc == 0) {
		catch_signals(server.app);
		rc = server_run(&server);
	}
	server_teardown(&server);
	rte_eal_cleanup();
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
