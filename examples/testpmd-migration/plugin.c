/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes an unmodified dpdk-testpmd migratable: a DPDK -d object that adopts its ports.
 *
 *	WHERRY_TESTPMD=name=a                              the source
 *	WHERRY_TESTPMD=name=b,incoming=unix:/run/b,shadow=eal.0@0x100000000+0x8000000
 *	                                                   the destination
 *
 * and for either, if they are on two machines: tls-cert=, tls-key=, tls-ca=, tls-crl=, tls-peer= or
 * tls-psk=FILE, as of tcp-server; or insecure.
 *
 * The object is loaded while EAL starts, so all there is to do then is to start a thread;
 * it waits until testpmd has configured its ports. The source has all of EAL's memory
 * watched. The destination receives it into regions at the same addresses, its shadow:
 * nothing runs there, it shows that no write of a NIC was missed. See doc/howto/testpmd.rst;
 * run.sh beside this file does all of it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_ethdev.h>

#include <wherry_dpdk.h>

static char settings[4096];
static const char *name = "testpmd", *incoming;
static struct wherry_tls tls;
static bool insecure;
static char *shadows[64];
static unsigned int n_shadows;

/* tls-cert=FILE and its like; false: it is none of these. */
static bool
read_keys(const char *at)
{
	const struct {
		const char *name;
		const char **value;
	} keys[] = {
		{ "tls-cert=", &tls.cert },
		{ "tls-key=", &tls.key },
		{ "tls-ca=", &tls.ca },
		{ "tls-crl=", &tls.crl },
		{ "tls-peer=", &tls.peer },
		{ "tls-psk=", &tls.psk },
	};

	for (size_t i = 0; i < RTE_DIM(keys); i++) {
		if (strncmp(at, keys[i].name, strlen(keys[i].name)) != 0)
			continue;
		*keys[i].value = at + strlen(keys[i].name);
		return true;
	}
	if (strcmp(at, "insecure") != 0)
		return false;
	insecure = true;
	return true;
}

static void
read_settings(const char *text)
{
	char *rest = NULL;

	snprintf(settings, sizeof(settings), "%s", text);
	for (char *at = strtok_r(settings, ",", &rest); at != NULL; at = strtok_r(NULL, ",", &rest))
		if (strncmp(at, "name=", 5) == 0)
			name = at + 5;
		else if (strncmp(at, "incoming=", 9) == 0)
			incoming = at + 9;
		else if (strncmp(at, "shadow=", 7) == 0 && n_shadows < RTE_DIM(shadows))
			shadows[n_shadows++] = at + 7;
		else if (!read_keys(at))
			fprintf(stderr, "wherry: WHERRY_TESTPMD: %s is not understood\n", at);
}

/* All ports of the command line are there before testpmd configures the first. */
static bool
ports_are_configured(void)
{
	struct rte_eth_dev_info info;
	unsigned int n = 0;

	for (uint16_t port = 0; port < RTE_MAX_ETHPORTS; port++) {
		if (!rte_eth_dev_is_valid_port(port))
			continue;
		if (rte_eth_dev_info_get(port, &info) != 0 || info.nb_rx_queues == 0)
			return false;
		n++;
	}
	return n != 0;
}

/* NAME@ADDRESS+LENGTH: a region there that nobody uses, for what the source has there. */
static int
add_shadow(struct wherry_app *app, char *text)
{
	struct wherry_region_opts opts = WHERRY_REGION_OPTS_INIT;
	char *at = strchr(text, '@'), *plus = at != NULL ? strchr(at, '+') : NULL;
	struct wherry_region *region;
	int rc;

	if (plus == NULL)
		return -1;
	*at = *plus = '\0';
	opts.name = text;
	opts.vaddr = (void *)(uintptr_t)strtoull(at + 1, NULL, 0);
	opts.len = strtoull(plus + 1, NULL, 0);
	rc = wherry_region_create(&opts, &region); /* lives as long as testpmd */
	return rc == 0 ? wherry_app_add_region(app, region) : rc;
}

static int
add_all(struct wherry_app *app)
{
	int rc = incoming == NULL ? wherry_app_add_eal(app) : 0;

	for (unsigned int i = 0; rc == 0 && i < n_shadows; i++)
		rc = add_shadow(app, shadows[i]);
	for (uint16_t port = 0; rc == 0 && port < RTE_MAX_ETHPORTS; port++)
		if (rte_eth_dev_is_valid_port(port))
			rc = wherry_app_adopt_port(app, port);
	return rc;
}

static void *
run(void *arg)
{
	struct wherry_app_opts opts = {
		.name = name, .incoming = incoming, .tls = tls, .insecure = insecure
	};
	struct wherry_app *app;
	int rc;

	while (!ports_are_configured())
		usleep(100000);
	rc = wherry_app_create(&opts, &app);
	if (rc == 0)
		rc = add_all(app);
	if (rc == 0)
		rc = wherry_app_start(app); /* a destination waits here until it owns the state */
	printf("wherry: %s: %s\n", name, rc == 0 ? "runs" : strerror(-rc));
	fflush(stdout);
	return arg;
}

RTE_INIT(wherry_testpmd)
{
	const char *text = getenv("WHERRY_TESTPMD");
	pthread_t thread;

	read_settings(text != NULL ? text : "");
	if (pthread_create(&thread, NULL, run, NULL) == 0)
		pthread_detach(thread);
}
