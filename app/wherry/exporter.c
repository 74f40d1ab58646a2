/* SPDX-License-Identifier: BSD-3-Clause */
/* wherry exporter: this machine's applications as Prometheus scrapes them, until Ctrl-C. */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "wherry.h"

#define MOST_SCRAPES 8
#define IDLE_SECONDS 10

struct options {
	struct sockaddr_in at;
	const char *folder;
};

static const struct argp_option option_list[] = {
	{ "listen", 'l', "ADDRESS:PORT", 0,
		"answer there (default: 127.0.0.1:9643; 0.0.0.0:PORT for all networks)", 0 },
	{ "folder", 'f', "FOLDER", 0, "of applications with sockets there (default: " RUN_DIR ")",
		0 },
	{ 0 },
};

/* "127.0.0.1:9643" */
static bool
parse_address(const char *text, struct sockaddr_in *ret_at)
{
	char host[INET_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	uint64_t port;

	if (colon == NULL || (size_t)(colon - text) >= sizeof(host) ||
		!parse_number(colon + 1, false, &port) || port > UINT16_MAX)
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	*ret_at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	return inet_pton(AF_INET, host, &ret_at->sin_addr) == 1;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'l':
		if (!parse_address(arg, &o->at))
			argp_error(state, "\"%s\" is no ADDRESS:PORT, as in 127.0.0.1:9643", arg);
		return 0;
	case 'f':
		o->folder = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static enum MHD_Result
answer(struct MHD_Connection *to, unsigned int status, char *text, size_t len)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result queued;

	if (response == NULL) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(
		response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; version=0.0.4");
	queued = MHD_queue_response(to, status, response);
	MHD_destroy_response(response);
	return queued;
}

static enum MHD_Result
answer_words(struct MHD_Connection *to, unsigned int status, const char *words)
{
	char *text = strdup(words);

	return text != NULL ? answer(to, status, text, strlen(text)) : MHD_NO;
}

/* libmicrohttpd's: NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result
handle(void *ctx, struct MHD_Connection *to, const char *url, const char *method,
	const char *version, const char *body, size_t *body_len, void **seen)
{
	const struct options *o = ctx;
	size_t len;
	char *text;

	(void)version, (void)body, (void)body_len, (void)seen;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
		return answer_words(to, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only\n");
	if (strcmp(url, "/metrics") != 0)
		return answer_words(to, MHD_HTTP_NOT_FOUND, "/metrics is what there is\n");
	text = metrics_text(o->folder, &len);
	if (text == NULL)
		return answer_words(to, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	return answer(to, MHD_HTTP_OK, text, len);
}

/* The port that was got, if 0 was asked for. */
static unsigned int
port_of(struct MHD_Daemon *daemon)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);

	return info != NULL ? info->port : 0;
}

static int
serve(struct options *o)
{
	struct MHD_Daemon *daemon;
	char host[INET_ADDRSTRLEN];
	sigset_t end;
	int sig;

	sigemptyset(&end);
	sigaddset(&end, SIGINT);
	sigaddset(&end, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &end, NULL); /* the daemon's threads inherit it */
	daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, o,
		MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)&o->at, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int)MOST_SCRAPES, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned int)IDLE_SECONDS, MHD_OPTION_END);
	inet_ntop(AF_INET, &o->at.sin_addr, host, sizeof(host));
	if (daemon == NULL) {
		fprintf(stderr,
			"wherry: cannot listen on %s:%u: %s; choose another with --listen\n", host,
			ntohs(o->at.sin_port), strerror(errno));
		return 1;
	}
	printf("http://%s:%u/metrics\n", host, port_of(daemon));
	fflush(stdout);
	sigwait(&end, &sig);
	MHD_stop_daemon(daemon);
	return 0;
}

int
cmd_exporter(int argc, char **argv)
{
	static const struct argp argp = { option_list, parse, "",
		"Answer Prometheus' scrapes with the state of all applications on this machine, at "
		"http://ADDRESS:PORT/metrics, until Ctrl-C. It asks for the state only: no dirty "
		"tracking is switched on. There is no encryption and no password: leave it on the "
		"loopback address, or behind a proxy that has them.",
		NULL, NULL, NULL };
	struct options o = { .folder = RUN_DIR };

	(void)parse_address("127.0.0.1:9643", &o.at);
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	return serve(&o);
}
