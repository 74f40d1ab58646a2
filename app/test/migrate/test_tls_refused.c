/* SPDX-License-Identifier: BSD-3-Clause */
/* Who cannot prove what it is: nothing is migrated, both say why, and nobody learns a thing. */
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keys.h"
#include "pair.h"
#include "test.h"
#include "tls_priv.h"
#include "wherry_stream.h"

#define SMALL ((size_t)64 * PAIR_PAGE)
#define HEX_A "00112233445566778899aabbccddeeff"
#define HEX_B "ffeeddccbbaa99887766554433221100"

/* What is wrong, what the source says, and what is in the destination's log; NULL: nothing. */
struct wrong {
	const char *name;
	void (*arrange)(struct keys *keys, struct pair_opts *opts);
	const char *source_says, *dest_logs;
};

static void
source_of_another_ca(struct keys *keys, struct pair_opts *opts)
{
	(void)opts;
	keys_sign(keys, "source", &(struct keys_leaf){ .by = "other" });
}

static void
dest_of_another_ca(struct keys *keys, struct pair_opts *opts)
{
	(void)opts;
	keys_sign(keys, "dest", &(struct keys_leaf){ .by = "other" });
}

static void
source_expired(struct keys *keys, struct pair_opts *opts)
{
	(void)opts;
	keys_sign(keys, "source", &(struct keys_leaf){ .days = -1 });
}

static void
dest_expired(struct keys *keys, struct pair_opts *opts)
{
	(void)opts;
	keys_sign(keys, "dest", &(struct keys_leaf){ .days = -1 });
}

/* Each looks at the list of the authority of both. */
static void
use_list(struct keys *keys, struct pair_opts *opts, const struct keys_list *list)
{
	keys_revoke(keys, list);
	opts->tls.crl = opts->dest_tls.crl =
		keys_path(keys, list->by != NULL ? "other.crl" : "ca.crl");
}

static void
source_revoked(struct keys *keys, struct pair_opts *opts)
{
	use_list(keys, opts, &(struct keys_list){ .revoked = "source" });
}

static void
dest_revoked(struct keys *keys, struct pair_opts *opts)
{
	use_list(keys, opts, &(struct keys_list){ .revoked = "dest" });
}

static void
list_of_another_ca(struct keys *keys, struct pair_opts *opts)
{
	use_list(keys, opts, &(struct keys_list){ .by = "other" });
}

static void
list_expired(struct keys *keys, struct pair_opts *opts)
{
	use_list(keys, opts, &(struct keys_list){ .days = -1 });
}

static void
dest_for_another_address(struct keys *keys, struct pair_opts *opts)
{
	(void)opts;
	keys_sign(keys, "dest", &(struct keys_leaf){ .san = "IP:127.0.0.2" });
}

static void
dest_for_another_name(struct keys *keys, struct pair_opts *opts)
{
	keys_sign(keys, "dest", &(struct keys_leaf){ .san = "DNS:a.example,IP:127.0.0.1" });
	opts->tls.peer = "b.example";
}

static void
source_for_another_name(struct keys *keys, struct pair_opts *opts)
{
	keys_sign(keys, "source", &(struct keys_leaf){ .san = "DNS:a.example" });
	opts->dest_tls.peer = "b.example";
}

static void
use_psks(struct keys *keys, struct pair_opts *opts, const char *source, const char *dest)
{
	keys_psk(keys, "source", source);
	keys_psk(keys, "dest", dest);
	opts->tls = keys_psk_of(keys, "source");
	opts->dest_tls = keys_psk_of(keys, "dest");
}

static void
psk_of_other_bytes(struct keys *keys, struct pair_opts *opts)
{
	use_psks(keys, opts, "a:" HEX_A "\n", "a:" HEX_B "\n");
}

static void
psk_of_another_identity(struct keys *keys, struct pair_opts *opts)
{
	use_psks(keys, opts, "a:" HEX_A "\n", "b:" HEX_A "\n");
}

static void
psk_to_certificate(struct keys *keys, struct pair_opts *opts)
{
	keys_psk(keys, "source", "a:" HEX_A "\n");
	opts->tls = keys_psk_of(keys, "source");
}

static void
certificate_to_psk(struct keys *keys, struct pair_opts *opts)
{
	keys_psk(keys, "dest", "a:" HEX_A "\n");
	opts->dest_tls = keys_psk_of(keys, "dest");
}

static void
plain_source(struct keys *keys, struct pair_opts *opts)
{
	(void)keys;
	opts->tls = (struct wherry_tls){ 0 };
}

static void
plain_dest(struct keys *keys, struct pair_opts *opts)
{
	(void)keys;
	opts->dest_tls = (struct wherry_tls){ 0 };
}

static const struct wrong wrongs[] = {
	{ "source_of_another_ca", source_of_another_ca, "does not accept our certificate",
		"certificate is not accepted" },
	{ "dest_of_another_ca", dest_of_another_ca, "certificate is not accepted: unable to get",
		"does not accept our certificate" },
	{ "source_expired", source_expired, "our certificate has expired",
		"certificate has expired" },
	{ "dest_expired", dest_expired, "certificate has expired", "our certificate has expired" },
	{ "source_revoked", source_revoked, "does not accept our certificate",
		"certificate revoked" },
	{ "dest_revoked", dest_revoked, "certificate revoked", "does not accept our certificate" },
	{ "list_of_another_ca", list_of_another_ca, "unable to get certificate CRL", "" },
	{ "list_expired", list_expired, "CRL has expired", "" },
	{ "dest_for_another_address", dest_for_another_address, "IP address mismatch",
		"does not accept our certificate" },
	{ "dest_for_another_name", dest_for_another_name, "hostname mismatch",
		"does not accept our certificate" },
	{ "source_for_another_name", source_for_another_name, "does not accept our certificate",
		"hostname mismatch" },
	{ "psk_of_other_bytes", psk_of_other_bytes, "pre-shared key the same",
		"another one than ours" },
	{ "psk_of_another_identity", psk_of_another_identity, "nothing in common",
		"nothing in common" },
	{ "psk_to_certificate", psk_to_certificate, "certificate is not accepted",
		"does not accept our certificate" },
	{ "certificate_to_psk", certificate_to_psk, "nothing in common", "nothing in common" },
	{ "plain_source", plain_source, "", "does not speak TLS" },
	{ "plain_dest", plain_dest, "does not speak TLS", "sent away" },
};
static const char *const wrong_names[] = { "source_of_another_ca", "dest_of_another_ca",
	"source_expired", "dest_expired", "source_revoked", "dest_revoked", "list_of_another_ca",
	"list_expired", "dest_for_another_address", "dest_for_another_name",
	"source_for_another_name", "psk_of_other_bytes", "psk_of_another_identity",
	"psk_to_certificate", "certificate_to_psk", "plain_source", "plain_dest", NULL };

static struct keys *
give_keys(struct pair_opts *opts)
{
	struct keys *keys = keys_make();

	*opts = (struct pair_opts){ .tcp = true, .len = SMALL };
	keys_sign(keys, "source", NULL);
	keys_sign(keys, "dest", NULL);
	opts->tls = keys_of(keys, "source");
	opts->dest_tls = keys_of(keys, "dest");
	return keys;
}

static const struct wrong *
find_wrong(const char *name)
{
	const struct wrong *w = wrongs;

	while (strcmp(w->name, name) != 0)
		w++;
	return w;
}

static void
check_said(const char *who, const char *said, const char *want)
{
	if (strstr(said, want) == NULL)
		FAIL("%s says \"%s\"", who, said);
	if (strstr(said, HEX_A) != NULL || strstr(said, HEX_B) != NULL)
		FAIL("%s tells a secret: \"%s\"", who, said);
}

TEST_EACH(migrate_tls_refuses, wrong_names, name)
{
	const struct wrong *w = find_wrong(name);
	struct wherry_migrate_params params = { .timeout_ms = 3000 };
	struct pair_opts opts;
	struct keys *keys = give_keys(&opts);
	struct wherry_status st;
	struct pair *pair;

	w->arrange(keys, &opts);
	pair = pair_create(&opts);
	pair_migrate(pair, &params, &st);
	pair_check_stayed(pair, &st);
	CHECK_EQ(st.rounds, 0);
	CHECK_EQ(pair->quiesces, 0);
	check_said("the source", st.reason, w->source_says);
	check_said("the destination", pair->shared->log, w->dest_logs);
	/* a hello tells version and name: the destination never sent one */
	CHECK(strstr(st.reason, wherry_version()) == NULL);
	pair_destroy(pair);
	keys_drop(keys);
}

/* ---- strangers, by hand ---- */

static int
dial(const struct pair *pair)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	in.sin_port = htons((uint16_t)strtoul(strrchr(pair->dest_uri, ':') + 1, NULL, 10));
	CHECK_EQ(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

/* All that comes until the other side closes; how many bytes. */
static size_t
hear_out(int fd, uint8_t *buf, size_t cap)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len < cap) {
		if (poll(&pfd, 1, 10000) != 1)
			FAIL("it keeps a stranger waiting");
		n = recv(fd, buf + len, cap - len, 0);
		len += n > 0 ? (size_t)n : 0;
	}
	return len;
}

static void
still_moves(struct pair *pair, unsigned int within_ms)
{
	struct wherry_migrate_params params = { .channels = 3, .verify = true };
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	if (st.total_ns / 1000000 > within_ms)
		FAIL("it was held up for %llu ms", (unsigned long long)st.total_ns / 1000000);
}

/* An alert of TLS is 7 bytes long; anything else would be something to learn. */
TEST(migrate_tls_stranger_learns_nothing)
{
	static const char *const words[] = { "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01",
		"WHERRY", "\x16\x03\x01\x00\x05hello", "\x15\x03\x03\x00\x02\x02\x28" };
	struct pair_opts opts;
	struct keys *keys = give_keys(&opts);
	struct pair *pair = pair_create(&opts);
	uint8_t heard[256];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		int fd = dial(pair);

		CHECK(send(fd, words[i], strlen(words[i]) + (i == 3), MSG_NOSIGNAL) > 0);
		shutdown(fd, SHUT_WR);
		if (hear_out(fd, heard, sizeof(heard)) > 7)
			FAIL("an answer to %zu", i);
		close(fd);
	}
	still_moves(pair, 5000);
	CHECK_EQ(pair->shared->status.strangers, 5);
	pair_destroy(pair);
	keys_drop(keys);
}

/* A client of OpenSSL's own, with our good certificate but an older protocol. */
TEST(migrate_tls_refuses_tls_1_2)
{
	struct pair_opts opts;
	struct keys *keys = give_keys(&opts);
	struct pair *pair = pair_create(&opts);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int fd = dial(pair);
	SSL *ssl;

	CHECK_EQ(SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION), 1);
	CHECK_EQ(SSL_CTX_use_certificate_file(ctx, opts.tls.cert, SSL_FILETYPE_PEM), 1);
	CHECK_EQ(SSL_CTX_use_PrivateKey_file(ctx, opts.tls.key, SSL_FILETYPE_PEM), 1);
	ssl = SSL_new(ctx);
	CHECK(ssl != NULL);
	SSL_set_fd(ssl, fd);
	CHECK(SSL_connect(ssl) != 1);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	still_moves(pair, 5000);
	check_said("the destination", pair->shared->log, "TLS 1.3");
	pair_destroy(pair);
	keys_drop(keys);
}

static const char *const silences[] = { "plain", "tls", "tls_that_begin", NULL };

/* More than there is room for; each would be waited for for seconds, one after the other. */
TEST_EACH(migrate_is_not_held_up_by_those_who_say_nothing, silences, kind)
{
	struct pair_opts opts;
	struct keys *keys = give_keys(&opts);
	struct pair *pair;
	int fd[200];

	if (strcmp(kind, "plain") == 0)
		opts.tls = opts.dest_tls = (struct wherry_tls){ 0 };
	pair = pair_create(&opts);
	for (int i = 0; i < 200; i++) {
		fd[i] = dial(pair);
		if (strcmp(kind, "tls_that_begin") == 0) /* the head of a hello of 300 bytes */
			CHECK_EQ(send(fd[i], "\x16\x03\x01\x01\x2c", 5, MSG_NOSIGNAL), 5);
	}
	still_moves(pair, 4000);
	CHECK(pair->shared->status.strangers >= 100);
	for (int i = 0; i < 200; i++)
		close(fd[i]);
	pair_destroy(pair);
	keys_drop(keys);
}

/* ---- no keys ---- */

TEST(migrate_without_keys_listens_on_loopback_only)
{
	static const char *const uris[] = { "tcp:0.0.0.0:0", "tcp::0", "tcp:[::]:0" };
	struct wherry_agent_ops ops = { .quiesce = pair_refuse, .takeover = pair_refuse };
	struct pair_opts opts;
	struct keys *keys = give_keys(&opts);
	struct pair *pair;
	struct wherry_agent *agent;

	opts.no_dest = true;
	pair = pair_create(&opts);
	for (int i = 0; i < 3; i++) {
		struct wherry_agent_opts o = { .name = "open",
			.control = "/tmp/wherry-test-open.control",
			.incoming = uris[i],
			.tracker = pair->tracker,
			.ops = &ops };

		CHECK_EQ(wherry_agent_create(&o, &agent), -EACCES);
		o.insecure = true;
		CHECK_EQ(wherry_agent_create(&o, &agent), 0);
		wherry_agent_destroy(agent);
		o.insecure = false;
		o.tls = opts.dest_tls;
		CHECK_EQ(wherry_agent_create(&o, &agent), 0);
		wherry_agent_destroy(agent);
		o.tls.key = "/nonexistent/key";
		CHECK_EQ(wherry_agent_create(&o, &agent), -ENOENT);
		o.tls.key = NULL;
		CHECK_EQ(wherry_agent_create(&o, &agent), -EINVAL);
	}
	pair_destroy(pair);
	keys_drop(keys);
}

/* 192.0.2.0/24 is nowhere. */
TEST(migrate_without_keys_connects_to_loopback_only)
{
	struct wherry_migrate_params params = { .timeout_ms = 200, .channels = 1 };
	struct pair_opts opts = { .no_dest = true, .len = SMALL };
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	for (int insecure = 0; insecure < 2; insecure++) {
		params.insecure = insecure == 1;
		CHECK_EQ(wherry_agent_migrate(pair->agent, "tcp:192.0.2.1:9", &params), 0);
		pair_wait(pair, WHERRY_STATE_SERVING, &st);
		if ((strstr(st.reason, "--insecure") == NULL) != (insecure == 1))
			FAIL("\"%s\"", st.reason);
	}
	params.tls.cert = "c";
	CHECK_EQ(wherry_agent_migrate(pair->agent, "tcp:192.0.2.1:9", &params), -EINVAL);
	pair_destroy(pair);
}
