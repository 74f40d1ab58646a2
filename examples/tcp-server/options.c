/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line, as argp(3) sees it. Sizes are in MiB, addresses in hex or decimal. */

#include "options.h"

#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((size_t)1 << 20)
/* Between EAL's own memory and what ASLR uses; below 2^39, so that any IOMMU reaches it. */
#define DEFAULT_BASE UINT64_C(0x4000000000)

enum {
	OPT_CONTROL = 0x100,
	OPT_IP,
	OPT_GW,
	OPT_CONTENT,
	OPT_ARENA,
	OPT_BASE,
	OPT_UPLOADS,
	OPT_CHURN,
	OPT_CHURN_TABLE,
	OPT_FILL,
	OPT_HUGEPAGES,
	OPT_BUSY,
	OPT_IOMMU,
	OPT_INCOMING,
	OPT_ARBITER,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_TLS_CA,
	OPT_TLS_CRL,
	OPT_TLS_PEER,
	OPT_TLS_PSK,
	OPT_INSECURE,
	OPT_ANNOUNCE,
	OPT_UPGRADE,
	OPT_SUCCEED,
	OPT_NAME
};

static const struct argp_option table[] = {
	{ "name", OPT_NAME, "NAME", 0, "name of this server (tcp-server)", 0 },
	{ "incoming", OPT_INCOMING, "URI", 0, "wait for a running server's state", 0 },
	{ "upgrade", OPT_UPGRADE, "PROGRAM", OPTION_ARG_OPTIONAL,
		"replace the running server of this --name or --control, which hands over to PROGRAM (this one) with the same options",
		0 },
	{ "succeed", OPT_SUCCEED, "PATH", 0, "ask the server at this control socket to hand over",
		0 },
	{ "arbiter", OPT_ARBITER, "SPEC", 0, "who decides who owns: lock:PATH, etcd:URL", 0 },
	{ "tls-cert", OPT_TLS_CERT, "FILE", 0, "migrate over TLS: our certificate", 0 },
	{ "tls-key", OPT_TLS_KEY, "FILE", 0, "its private key", 0 },
	{ "tls-ca", OPT_TLS_CA, "FILE", 0, "who signs the peer's certificate", 0 },
	{ "tls-crl", OPT_TLS_CRL, "FILE", 0, "which certificates they have revoked", 0 },
	{ "tls-peer", OPT_TLS_PEER, "NAME", 0, "whom that is for (the URI's host; any source)", 0 },
	{ "tls-psk", OPT_TLS_PSK, "FILE", 0, "a key IDENTITY:HEX instead of certificates", 0 },
	{ "insecure", OPT_INSECURE, NULL, 0, "migrate beyond loopback without TLS", 0 },
	{ "announce", OPT_ANNOUNCE, "INITIAL,MAX,ROUNDS,STEP", 0,
		"after a takeover: ms to the second round, ms at most, rounds, ms more each (50,550,5,100)",
		0 },
	{ "control", OPT_CONTROL, "PATH", 0, "control socket (/run/wherry/NAME.sock)", 0 },
	{ "ip", OPT_IP, "ADDR/BITS", 0, "address to serve on; an incoming server gets it", 0 },
	{ "gw", OPT_GW, "ADDR", 0, "gateway", 0 },
	{ "content", OPT_CONTENT, "DIR", 0, "load these files, to be had at /file/NAME", 0 },
	{ "arena", OPT_ARENA, "MIB", 0, "room for state (256)", 0 },
	{ "arena-base", OPT_BASE, "ADDR", 0, "address of the state, equal at both ends", 0 },
	{ "uploads", OPT_UPLOADS, "MIB", 0, "receive buffers for uploads (64)", 0 },
	{ "churn", OPT_CHURN, "MIB_PER_S", 0, "rewrite a table of the state at this rate (0)", 0 },
	{ "churn-table", OPT_CHURN_TABLE, "MIB", 0, "size of that table (64 with --churn)", 0 },
	{ "fill", OPT_FILL, NULL, 0, "fill up the state; to be had at /file/fill", 0 },
	{ "hugepages", OPT_HUGEPAGES, NULL, 0, "state on 2 MiB pages", 0 },
	{ "busy-poll", OPT_BUSY, NULL, 0, "never sleep", 0 },
	{ "iommu", OPT_IOMMU, "SPEC", 0, "I/O address space (the NIC's, else soft)", 0 },
	{ 0 },
};

static uint64_t
parse_number(struct argp_state *as, const char *what, const char *arg, uint64_t max)
{
	char *end;

	errno = 0;
	unsigned long long n = strtoull(arg, &end, 0);
	if (errno != 0 || end == arg || *end != '\0' || *arg == '-' || n > max)
		argp_error(as, "--%s %s: a number up to %llu is needed", what, arg,
			(unsigned long long)max);
	return n;
}

static size_t
parse_mib(struct argp_state *as, const char *what, const char *arg)
{
	return (size_t)parse_number(as, what, arg, 1u << 20) * MIB;
}

static uint32_t
parse_ip(struct argp_state *as, const char *what, const char *arg)
{
	struct in_addr in;

	if (inet_pton(AF_INET, arg, &in) != 1)
		argp_error(as, "--%s %s: not an IPv4 address", what, arg);
	return in.s_addr;
}

static void
parse_prefix(struct argp_state *as, char *arg, struct options *o)
{
	char *slash = strchr(arg, '/');
	char host[INET_ADDRSTRLEN] = "";

	if (slash == NULL || (size_t)(slash - arg) >= sizeof(host)) {
		argp_error(as, "--ip %s: ADDRESS/BITS is needed", arg);
		return;
	}
	memcpy(host, arg, (size_t)(slash - arg));
	o->ip = parse_ip(as, "ip", host);
	unsigned int bits = (unsigned int)parse_number(as, "ip", slash + 1, 32);
	o->netmask = bits == 0 ? 0 : htonl(UINT32_MAX << (32 - bits));
}

static void
parse_announce(struct argp_state *as, char *arg, struct wherry_announce_params *p)
{
	unsigned int *to[] = { &p->initial_ms, &p->max_ms, &p->rounds, &p->step_ms };
	char *save = NULL, *word = strtok_r(arg, ",", &save);

	for (size_t i = 0; i < 4; i++, word = strtok_r(NULL, ",", &save)) {
		if (word == NULL)
			argp_error(as, "--announce: four numbers are needed");
		else
			*to[i] = (unsigned int)parse_number(as, "announce", word, 100000);
	}
	if (word != NULL || p->rounds == 0)
		argp_error(as, "--announce: four numbers are needed, and a round");
}

static void
parse_string(int key, const char *arg, struct options *o)
{
	const char **where = key == OPT_NAME ? &o->name
		: key == OPT_INCOMING        ? &o->incoming
		: key == OPT_CONTROL         ? &o->control
		: key == OPT_IOMMU           ? &o->iommu
		: key == OPT_SUCCEED         ? &o->succeed
		: key == OPT_ARBITER         ? &o->arbiter
		: key == OPT_TLS_CERT        ? &o->tls.cert
		: key == OPT_TLS_KEY         ? &o->tls.key
		: key == OPT_TLS_CA          ? &o->tls.ca
		: key == OPT_TLS_CRL         ? &o->tls.crl
		: key == OPT_TLS_PEER        ? &o->tls.peer
		: key == OPT_TLS_PSK         ? &o->tls.psk
					     : &o->content;
	*where = arg;
}

static void
check(struct argp_state *as, struct options *o)
{
	if (o->ip == 0 && o->incoming == NULL && !o->upgrade)
		argp_error(as, "--ip ADDR/BITS is needed (or --incoming URI)");
	if (o->churn_rate != 0 && o->churn_len == 0)
		o->churn_len = 64 * MIB;
	if (o->arena_len < o->churn_len + o->uploads_len + 16 * MIB)
		argp_error(
			as, "--arena is too small: churn table and uploads leave less than 16 MiB");
	if (o->arena_vaddr % (2 * MIB) != 0 || o->arena_vaddr < 16 * MIB)
		argp_error(as, "--arena-base: a multiple of 2 MiB is needed");
}

static error_t
parse_flag(int key, struct options *o)
{
	switch (key) {
	case OPT_FILL:
		o->fill = true;
		return 0;
	case OPT_HUGEPAGES:
		o->hugepages = true;
		return 0;
	case OPT_INSECURE:
		o->insecure = true;
		return 0;
	case OPT_BUSY:
		o->busy_poll = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t
parse_opt(int key, char *arg, struct argp_state *as)
{
	struct options *o = as->input;

	switch (key) {
	case OPT_NAME:
	case OPT_INCOMING:
	case OPT_ARBITER:
	case OPT_TLS_CERT:
	case OPT_TLS_KEY:
	case OPT_TLS_CA:
	case OPT_TLS_CRL:
	case OPT_TLS_PEER:
	case OPT_TLS_PSK:
	case OPT_CONTROL:
	case OPT_IOMMU:
	case OPT_SUCCEED:
	case OPT_CONTENT:
		parse_string(key, arg, o);
		break;
	case OPT_UPGRADE:
		o->upgrade = true;
		o->upgrade_to = arg;
		break;
	case OPT_ANNOUNCE:
		parse_announce(as, arg, &o->announce);
		break;
	case OPT_IP:
		parse_prefix(as, arg, o);
		break;
	case OPT_GW:
		o->gw = parse_ip(as, "gw", arg);
		break;
	case OPT_ARENA:
		o->arena_len = parse_mib(as, "arena", arg);
		break;
	case OPT_BASE:
		o->arena_vaddr = parse_number(as, "arena-base", arg, UINT64_C(1) << 47);
		break;
	case OPT_UPLOADS:
		o->uploads_len = parse_mib(as, "uploads", arg);
		break;
	case OPT_CHURN:
		o->churn_rate = parse_mib(as, "churn", arg);
		break;
	case OPT_CHURN_TABLE:
		o->churn_len = parse_mib(as, "churn-table", arg);
		break;
	case ARGP_KEY_ARG:
		argp_error(as, "what is \"%s\"?", arg);
		break;
	case ARGP_KEY_END:
		check(as, o);
		break;
	default:
		return parse_flag(key, o);
	}
	return 0;
}

int
options_parse(int argc, char **argv, struct options *ret_opts)
{
	static const struct argp argp = {
		.options = table,
		.parser = parse_opt,
		.args_doc = "",
		.doc = "Serve HTTP over lwIP and DPDK; connections, content and uploads can "
		       "move to another process.\vEAL's options come first: tcp-server EAL... -- OPTIONS.",
	};
	struct options o = {
		.name = "tcp-server",
		.arena_len = 256 * MIB,
		.arena_vaddr = DEFAULT_BASE,
		.uploads_len = 64 * MIB,
	};

	if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
		return -EINVAL;
	*ret_opts = o;
	return 0;
}
