/* SPDX-License-Identifier: BSD-3-Clause */
/* Migrations over TLS that come through, and how keys are read and read again. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault_priv.h"
#include "keys.h"
#include "pair.h"
#include "test.h"
#include "tls_priv.h"

#define PSK_A "node-a:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define PSK_B "node-b:ffeeddccbbaa99887766554433221100\n"
#define BIG ((size_t)16 << 20)

static const char *const proofs[] = { "certificates", "psk", NULL };
static const char *const channels[] = { "1", "4", NULL };

/* Keys for both sides of a pair. */
static struct keys *
give_keys(struct pair_opts *opts, const char *proof)
{
	struct keys *keys = keys_make();

	opts->tcp = true;
	keys_sign(keys, "source", NULL);
	keys_sign(keys, "dest", NULL);
	keys_psk(keys, "both", "# of the test\n" PSK_A PSK_B);
	if (strcmp(proof, "psk") == 0) {
		opts->tls = opts->dest_tls = keys_psk_of(keys, "both");
	} else {
		opts->tls = keys_of(keys, "source");
		opts->dest_tls = keys_of(keys, "dest");
	}
	return keys;
}

static void
moves(struct pair_opts *opts, const struct wherry_migrate_params *params)
{
	struct pair *pair = pair_create(opts);
	struct wherry_status st;

	pair_migrate(pair, params, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
}

TEST_EACH(migrate_tls_moves_every_byte, proofs, proof)
{
	for (int i = 0; channels[i] != NULL; i++) {
		struct pair_opts opts = { .len = BIG, .writer = true, .writer_us = 50, .late = 40 };
		struct wherry_migrate_params params = { .verify = true,
			.downtime_limit_ms = 10000,
			.channels = (unsigned int)strtoul(channels[i], NULL, 10) };
		struct keys *keys = give_keys(&opts, proof);

		moves(&opts, &params);
		params.compress = true;
		moves(&opts, &params);
		keys_drop(keys);
	}
}

TEST(migrate_tls_keeps_to_the_bandwidth_limit)
{
	struct pair_opts opts = { .len = 1 << 20 };
	struct wherry_migrate_params params = { .max_bandwidth = 1 << 20, .channels = 2 };
	struct keys *keys = give_keys(&opts, "certificates");
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;

	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	CHECK((double)st.bytes_sent / ((double)st.total_ns / 1e9) < 1.15 * (1 << 20));
	pair_destroy(pair);
	keys_drop(keys);
}

/* The agent was given none; this migration is. A process that was given some may be given others. */
TEST(migrate_tls_keys_of_a_migration_go_before_those_of_the_agent)
{
	struct pair_opts opts = { .len = 1 << 20 };
	struct keys *keys = give_keys(&opts, "certificates");
	struct wherry_migrate_params params = { .tls = opts.tls };

	opts.tls = (struct wherry_tls){ 0 };
	moves(&opts, &params);
	keys_sign(keys, "useless", &(struct keys_leaf){ .by = "other" });
	opts.tls = keys_of(keys, "useless");
	moves(&opts, &params);
	keys_drop(keys);
}

TEST(migrate_tls_peer_is_looked_for_by_the_name_given)
{
	struct pair_opts opts = { .len = 1 << 20 };
	struct keys *keys = give_keys(&opts, "certificates");

	keys_sign(keys, "source", &(struct keys_leaf){ .san = "DNS:left.example" });
	keys_sign(keys, "dest", &(struct keys_leaf){ .san = "DNS:*.right.example" });
	opts.tls.peer = "b.right.example"; /* and not the URI's 127.0.0.1 */
	opts.dest_tls.peer = "left.example";
	moves(&opts, NULL);
	keys_drop(keys);
}

/* A Unix socket is for its owner alone: there keys are no matter. */
TEST(migrate_tls_is_for_tcp)
{
	struct pair_opts opts = { .len = 1 << 20 };
	struct keys *keys = give_keys(&opts, "certificates");

	opts.tcp = false;
	opts.dest_tls = (struct wherry_tls){ 0 };
	moves(&opts, NULL);
	keys_drop(keys);
}

/* ---- read again ---- */

/* The destination waits; then it gets keys of another authority, and the source has no others. */
TEST_EACH(migrate_tls_new_keys_are_used_without_a_restart, proofs, proof)
{
	struct pair_opts opts = { .len = 1 << 20 };
	struct keys *keys = give_keys(&opts, proof);
	struct wherry_migrate_params params = { .tls = opts.tls };
	struct keys_leaf other = { .by = "other" };
	struct wherry_status st;
	struct pair *pair;

	keys_psk(keys, "both", PSK_A);
	opts.tls = (struct wherry_tls){ 0 };
	pair = pair_create(&opts);

	keys_sign(keys, "source", &other);
	keys_sign(keys, "dest", &other);
	CHECK_EQ(rename(keys_path(keys, "other.pem"), keys_path(keys, "ca.pem")), 0);
	keys_psk(keys, "both", PSK_B);
	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	pair_destroy(pair);
	keys_drop(keys);
}

TEST_EACH(migrate_tls_bad_new_keys_leave_the_old_in_use, proofs, proof)
{
	struct pair_opts opts = { .len = 1 << 20 };
	struct wherry_migrate_params params = { .channels = 3 };
	struct keys *keys = give_keys(&opts, proof);
	struct pair *pair = pair_create(&opts);
	struct wherry_status st;
	const char *said;

	keys_write(keys, "dest.key", "half of a fi");
	keys_write(keys, "both.psk", "half of a fi");
	pair_migrate(pair, &params, &st);
	pair_check_moved(pair, &st);
	said = strstr(pair->shared->log, "stay in use");
	if (said == NULL)
		FAIL("it says \"%s\"", pair->shared->log);
	CHECK(strstr(said + 1, "stay in use") == NULL); /* once, not for each connection */
	pair_destroy(pair);
	keys_drop(keys);
}

/* ---- what may be in the files ---- */

static void
expect(const struct wherry_tls *files, int want, const char *why)
{
	struct mig_reason reason = { "" };
	struct mig_tls *tls;
	int rc;

	CHECK_EQ(mig_tls_create(files, &tls), 0);
	rc = mig_tls_refresh(tls, &reason);
	mig_tls_destroy(tls);
	if (rc != want || strstr(reason.text, why) == NULL)
		FAIL("%d, not %d: \"%s\"", rc, want, reason.text);
	CHECK(strstr(reason.text, "5ec2e7") == NULL);
}

TEST(migrate_tls_wants_all_three_files_or_a_pre_shared_key)
{
	static const struct wherry_tls bad[] = { { .cert = "c" }, { .cert = "c", .key = "k" },
		{ .key = "k", .ca = "a" }, { .cert = "c", .key = "k", .ca = "a", .psk = "p" },
		{ .psk = "p", .ca = "a" }, { .psk = "p", .peer = "n" }, { .peer = "n" },
		{ .psk = "p", .crl = "l" }, { .crl = "l" } };
	struct wherry_tls none = { 0 };
	struct mig_tls *tls;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(mig_tls_check(&bad[i]) != NULL);
		CHECK_EQ(mig_tls_create(&bad[i], &tls), -EINVAL);
	}
	CHECK_EQ(mig_tls_create(&none, &tls), 0);
	CHECK(tls == NULL);
}

/* Of two, one is no longer trusted: the other is, and goes on being so. */
TEST(migrate_tls_revocation_list_is_of_those_on_it)
{
	struct pair_opts opts = { .len = 1 << 20 };
	struct keys *keys = give_keys(&opts, "certificates");

	keys_sign(keys, "lost", NULL);
	keys_revoke(keys, &(struct keys_list){ .revoked = "lost" });
	opts.tls.crl = opts.dest_tls.crl = keys_path(keys, "ca.crl");
	moves(&opts, NULL);
	keys_drop(keys);
}

/* The destination waits; then its list is replaced by one with the source on it. */
TEST(migrate_tls_revocation_list_is_read_again)
{
	struct pair_opts opts = { .len = 1 << 20 };
	struct keys *keys = give_keys(&opts, "certificates");
	struct wherry_migrate_params params = { .timeout_ms = 3000 };
	struct wherry_status st;
	struct pair *pair;

	keys_revoke(keys, &(struct keys_list){ .revoked = NULL });
	opts.dest_tls.crl = keys_path(keys, "ca.crl");
	pair = pair_create(&opts);
	keys_revoke(keys, &(struct keys_list){ .revoked = "source" });
	pair_migrate(pair, &params, &st);
	pair_check_stayed(pair, &st);
	CHECK(strstr(pair->shared->log, "certificate revoked") != NULL);
	pair_destroy(pair);
	keys_drop(keys);
}

TEST(migrate_tls_refuses_secrets_that_others_can_read)
{
	struct keys *keys = keys_make();
	struct wherry_tls tls = keys_of(keys, "a"), psk = keys_psk_of(keys, "p");

	keys_sign(keys, "a", NULL);
	keys_psk(keys, "p", PSK_A);
	expect(&tls, 0, "");
	expect(&psk, 0, "");
	CHECK_EQ(chmod(tls.key, 0640), 0); /* a group of its own may have a key */
	expect(&tls, 0, "");
	CHECK_EQ(chmod(tls.key, 0604), 0);
	expect(&tls, -EACCES, "chmod 600");
	CHECK_EQ(chmod(psk.psk, 0640), 0);
	expect(&psk, -EACCES, "chmod 600");
	if (geteuid() == 0) {
		CHECK_EQ(chmod(psk.psk, 0600), 0);
		CHECK_EQ(chown(psk.psk, 65534, 65534), 0);
		expect(&psk, -EACCES, "another user");
	}
	keys_drop(keys);
}

TEST(migrate_tls_says_which_file_is_no_good)
{
	struct keys *keys = keys_make();
	struct wherry_tls tls = keys_of(keys, "a"), bad;

	keys_sign(keys, "a", NULL);
	keys_sign(keys, "b", NULL);
	keys_write(keys, "garbage", "-----BEGIN 5ec2e7");
	bad = tls;
	bad.cert = keys_path(keys, "garbage");
	expect(&bad, -EINVAL, "garbage: no certificate");
	bad = tls;
	bad.key = keys_path(keys, "b.key");
	expect(&bad, -EINVAL, "b.key: not the private key");
	bad.key = keys_path(keys, "garbage");
	expect(&bad, -EINVAL, "garbage: not the private key");
	bad = tls;
	bad.ca = keys_path(keys, "garbage");
	expect(&bad, -EINVAL, "garbage: no certificate of a CA");
	bad = tls;
	bad.crl = keys_path(keys, "garbage");
	expect(&bad, -EINVAL, "garbage: no revocation list");
	bad.crl = keys_path(keys, "a.pem");
	expect(&bad, -EINVAL, "a.pem: no revocation list");
	bad = tls;
	bad.ca = "/nonexistent/ca.pem";
	expect(&bad, -ENOENT, "/nonexistent/ca.pem");
	bad.ca = "/";
	expect(&bad, -EACCES, "no file");
	keys_drop(keys);
}

TEST(migrate_tls_pre_shared_keys_are_lines_of_identity_and_hex)
{
	static const char junk[] = PSK_A "junk\n";
	static const char *const good[] = { "a:5ec2e7000102030405060708090a0b0c\n",
		"# why\r\n\r\na:5EC2E7000102030405060708090A0B0C", PSK_A PSK_B };
	static const char *const bad[] = { "", "# nothing\n", "5ec2e7000102030405060708090a0b0c\n",
		":5ec2e7000102030405060708090a0b0c\n", "a:5ec2e7000102030405060708090a0b\n",
		"a:5ec2e7000102030405060708090a0b0c0\n", "a:5ec2e7000102030405060708090a0b0g\n",
		"a: 5ec2e7000102030405060708090a0b0c\n", junk };
	struct keys *keys = keys_make();
	struct wherry_tls psk = keys_psk_of(keys, "p");
	char many[2048] = "";

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		keys_psk(keys, "p", good[i]);
		expect(&psk, 0, "");
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		keys_psk(keys, "p", bad[i]);
		expect(&psk, -EINVAL, "p.psk: ");
	}
	for (int i = 0; i < 17; i++)
		memcpy(many + (size_t)i * strlen(PSK_B), PSK_B, sizeof(PSK_B));
	keys_psk(keys, "p", many);
	expect(&psk, -EINVAL, "one too many");
	keys_drop(keys);
}

/* ---- a session by itself ---- */

struct ends {
	struct mig_tls *tls;
	struct mig_tls_session *s[2]; /* the one that has connected first */
	int fd[2];
};

static void
shake_hands(struct ends *e)
{
	int rc[2] = { 1, 1 };

	for (int i = 0; i < 1000 && (rc[0] != 0 || rc[1] != 0); i++)
		for (int k = 0; k < 2; k++)
			if (rc[k] != 0)
				rc[k] = mig_tls_handshake(e->s[k]);
	CHECK_EQ(rc[0], 0);
	CHECK_EQ(rc[1], 0);
}

static void
connect_ends(struct ends *e, const struct wherry_tls *files, uint64_t rekey)
{
	struct mig_reason reason;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, e->fd), 0);
	CHECK_EQ(mig_tls_create(files, &e->tls), 0);
	if (rekey != 0)
		mig_tls_set_rekey(e->tls, rekey);
	CHECK_EQ(mig_tls_session_create(e->tls, e->fd[0], "127.0.0.1", &e->s[0], &reason), 0);
	CHECK_EQ(mig_tls_session_create(e->tls, e->fd[1], NULL, &e->s[1], &reason), 0);
	shake_hands(e);
}

static void
disconnect_ends(struct ends *e)
{
	for (int i = 0; i < 2; i++) {
		mig_tls_session_destroy(e->s[i]);
		close(e->fd[i]);
	}
	mig_tls_destroy(e->tls);
}

/* All of it, through pieces that cut records anywhere; the first end sends. */
static void
pass(struct ends *e, const uint8_t *bytes, uint8_t *back, size_t len)
{
	size_t sent = 0, got = 0;

	while (got < len) {
		size_t most = 1 + test_random() % 300000;
		struct iovec iov[3];
		ssize_t n =
			mig_tls_send(e->s[0], bytes + sent, len - sent < most ? len - sent : most);

		CHECK(n >= 0 || n == -EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
		for (size_t i = 0, at = got; i < 3; at += iov[i++].iov_len) {
			iov[i].iov_base = back + at;
			iov[i].iov_len = test_random() % 50000;
			if (iov[i].iov_len > len - at)
				iov[i].iov_len = len - at;
		}
		n = mig_tls_recv(e->s[1], iov, 3);
		CHECK(n > 0 || n == -EAGAIN || (n == 0 && iov[0].iov_len == 0));
		got += n > 0 ? (size_t)n : 0;
	}
	CHECK(!mig_tls_owes(e->s[0]));
}

static const char *const rekeys[] = { "0", "1", "100000", NULL };

TEST_EACH(migrate_tls_session_delivers_whatever_the_pieces_and_changes_of_keys, rekeys, rekey)
{
	size_t len = (size_t)4 << 20;
	uint8_t *bytes = malloc(len), *back = calloc(1, len);
	struct keys *keys = keys_make();
	struct wherry_tls files = keys_of(keys, "a");
	struct ends e;

	CHECK(bytes != NULL && back != NULL);
	for (size_t i = 0; i < len; i += 8) {
		uint64_t r = test_random();

		memcpy(bytes + i, &r, 8);
	}
	keys_sign(keys, "a", NULL);
	connect_ends(&e, &files, strtoull(rekey, NULL, 10));
	CHECK(strstr(mig_tls_peer(e.s[1]), "CN=a") != NULL);
	pass(&e, bytes, back, len);
	CHECK(memcmp(bytes, back, len) == 0);
	disconnect_ends(&e);
	keys_drop(keys);
	free(bytes);
	free(back);
}

/* A byte of it changed on the way: no byte comes out, and it says that it was no accident. */
TEST(migrate_tls_session_refuses_what_was_changed_on_the_way)
{
	struct keys *keys = keys_make();
	struct wherry_tls files = keys_of(keys, "a");
	uint8_t wire[4096], out[64];
	struct iovec iov = { .iov_base = out, .iov_len = sizeof(out) };
	struct ends e;
	ssize_t n;

	keys_sign(keys, "a", NULL);
	connect_ends(&e, &files, 0);
	CHECK_EQ(mig_tls_send(e.s[0], "confidential", 12), 12);
	n = recv(e.fd[1], wire, sizeof(wire), 0);
	CHECK(n > 12);
	CHECK(memmem(wire, (size_t)n, "confidential", 12) == NULL);
	wire[n / 2] ^= 1;
	CHECK_EQ(send(e.fd[0], wire, (size_t)n, 0), n);
	CHECK_EQ(mig_tls_recv(e.s[1], &iov, 1), -EKEYREJECTED);
	CHECK_EQ(mig_tls_recv(e.s[1], &iov, 1), -EKEYREJECTED);
	CHECK(strstr(mig_tls_why(e.s[1]), "mac") != NULL);
	disconnect_ends(&e);
	keys_drop(keys);
}

TEST(migrate_tls_session_of_a_peer_that_is_gone_fails_and_nothing_else)
{
	struct keys *keys = keys_make();
	struct wherry_tls files = keys_of(keys, "a");
	uint8_t out[64];
	struct iovec iov = { .iov_base = out, .iov_len = sizeof(out) };
	struct ends e;

	keys_sign(keys, "a", NULL);
	connect_ends(&e, &files, 0);
	CHECK_EQ(mig_tls_send(e.s[0], "last", 4), 4);
	close(e.fd[0]);
	CHECK_EQ(mig_tls_recv(e.s[1], &iov, 1), 4);
	CHECK_EQ(mig_tls_recv(e.s[1], &iov, 1), 0);
	CHECK_EQ(mig_tls_send(e.s[1], "anybody?", 8), -EPIPE); /* no signal */
	e.fd[0] = dup(e.fd[1]);
	disconnect_ends(&e);
	keys_drop(keys);
}
