/* SPDX-License-Identifier: BSD-3-Clause */
/* The arbiter alone: its record, compare-and-swap by many, and what it says when it is gone. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter_priv.h"
#include "base64_priv.h"
#include "etcd.h"
#include "fault_priv.h"
#include "test.h"
#include "wherry_arbiter.h"

static const char *const kinds[] = { "lock", "etcd", NULL };

/* An arbiter of that kind that nobody has used. */
struct ground {
	struct etcd_server *etcd;
	char spec[128];
	struct wherry_arbiter *arbiter;
};

static void
prepare(struct ground *g, const char *kind)
{
	memset(g, 0, sizeof(*g));
	if (strcmp(kind, "etcd") == 0) {
		g->etcd = etcd_start();
		if (g->etcd == NULL)
			SKIP("no etcd: devtools/packages test installs etcd-server");
		snprintf(g->spec, sizeof(g->spec), "%s", etcd_spec(g->etcd));
	} else {
		snprintf(g->spec, sizeof(g->spec), "lock:/tmp/wherry-test-%d.owner", (int)getpid());
		unlink(g->spec + strlen("lock:"));
	}
	CHECK_EQ(wherry_arbiter_open(g->spec, &g->arbiter), 0);
}

static void
clean(struct ground *g)
{
	wherry_arbiter_close(g->arbiter);
	if (g->etcd != NULL)
		etcd_stop(g->etcd);
	else
		unlink(g->spec + strlen("lock:"));
}

static struct wherry_owner
owner(const char *id, uint64_t epoch)
{
	struct wherry_owner o = { .epoch = epoch };

	snprintf(o.id, sizeof(o.id), "%s", id);
	return o;
}

static void
check_is(const struct wherry_owner *now, const char *id, uint64_t epoch)
{
	if (strcmp(now->id, id) != 0 || now->epoch != epoch)
		FAIL("%s owns in epoch %llu, not %s in %llu", now->id,
			(unsigned long long)now->epoch, id, (unsigned long long)epoch);
}

/* A real one, small. What is there is overwritten in its place, and moves on. */
TEST(arbiter_lock_on_a_full_disk_gives_nobody_what_is_not_written)
{
	char dir[64], filler[96], spec[96];
	struct wherry_owner now, nobody = owner("", 0), a1 = owner("a:/s", 1);
	struct wherry_arbiter *arbiter;
	int fd;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		SKIP("mounting takes root: run as root");
	snprintf(dir, sizeof(dir), "/tmp/wherry-test-%d-full", (int)getpid());
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	snprintf(spec, sizeof(spec), "lock:%s/owner", dir);
	mkdir(dir, 0700);
	CHECK_EQ(mount("tmpfs", dir, "tmpfs", 0, "size=4k"), 0);
	fd = open(filler, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(write(fd, dir, sizeof(dir)), sizeof(dir));
	CHECK_EQ(wherry_arbiter_open(spec, &arbiter), 0);
	CHECK_EQ(wherry_arbiter_swap(arbiter, &nobody, "a:/s", &now), -ENOSPC);
	CHECK_EQ(wherry_arbiter_read(arbiter, &now), 0);
	check_is(&now, "", 0);
	CHECK_EQ(ftruncate(fd, 0), 0); /* room is made */
	CHECK_EQ(wherry_arbiter_swap(arbiter, &nobody, "a:/s", &now), 0);
	CHECK_EQ(write(fd, dir, sizeof(dir)), -1);
	CHECK_EQ(errno, ENOSPC); /* full again, with the record in it */
	CHECK_EQ(wherry_arbiter_swap(arbiter, &a1, "b:/s", &now), 0);
	check_is(&now, "b:/s", 2);
	wherry_arbiter_close(arbiter);
	close(fd);
	CHECK_EQ(umount(dir), 0);
	rmdir(dir);
}

TEST_EACH(arbiter_swaps_only_what_is_known, kinds, kind)
{
	struct wherry_owner now, nobody = owner("", 0), a1 = owner("a:/s", 1);
	struct ground g;

	prepare(&g, kind);
	CHECK_EQ(wherry_arbiter_read(g.arbiter, &now), 0);
	check_is(&now, "", 0);
	CHECK_EQ(wherry_arbiter_swap(g.arbiter, &nobody, "a:/s", &now), 0);
	check_is(&now, "a:/s", 1);
	CHECK_EQ(wherry_arbiter_swap(g.arbiter, &nobody, "b:/s", &now), 0);
	check_is(&now, "a:/s", 1);
	CHECK_EQ(wherry_arbiter_swap(g.arbiter, &a1, "b:/s", &now), 0);
	check_is(&now, "b:/s", 2);
	CHECK_EQ(wherry_arbiter_swap(g.arbiter, &a1, "a:/s", &now), 0); /* too late */
	check_is(&now, "b:/s", 2);
	CHECK_EQ(wherry_arbiter_read(g.arbiter, &now), 0);
	check_is(&now, "b:/s", 2);
	clean(&g);
}

/* Epochs are won in turn, each by one process. */
static int
race(const char *spec, char letter)
{
	char id[] = "?:/s";
	struct wherry_arbiter *arbiter;
	struct wherry_owner known = { .epoch = 0 }, now;
	int won = 0;

	id[0] = letter;
	if (wherry_arbiter_open(spec, &arbiter) != 0)
		return 255;
	while (known.epoch < 60) {
		if (wherry_arbiter_swap(arbiter, &known, id, &now) != 0)
			return 254;
		won += now.epoch == known.epoch + 1 && strcmp(now.id, id) == 0;
		known = now;
	}
	wherry_arbiter_close(arbiter);
	return won;
}

TEST_EACH(arbiter_gives_each_epoch_to_one, kinds, kind)
{
	pid_t pids[3];
	struct ground g;
	int won = 0;

	prepare(&g, kind);
	fflush(stdout);
	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		CHECK(pids[i] >= 0);
		if (pids[i] == 0)
			_exit(race(g.spec, (char)('a' + i)));
	}
	for (int i = 0; i < 3; i++) {
		int status;

		CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) < 200);
		won += WEXITSTATUS(status);
	}
	CHECK_EQ(won, 60);
	clean(&g);
}

TEST(arbiter_keeps_its_record_when_it_crashes)
{
	struct wherry_owner now, nobody = owner("", 0);
	struct ground g;

	prepare(&g, "etcd");
	CHECK_EQ(wherry_arbiter_swap(g.arbiter, &nobody, "a:/s", &now), 0);
	etcd_kill(g.etcd);
	CHECK(wherry_arbiter_read(g.arbiter, &now) < 0);
	CHECK(wherry_arbiter_swap(g.arbiter, &now, "b:/s", &now) < 0);
	etcd_revive(g.etcd);
	CHECK_EQ(wherry_arbiter_read(g.arbiter, &now), 0);
	check_is(&now, "a:/s", 1);
	clean(&g);
}

TEST(arbiter_file_held_by_a_stopped_process_is_given_up)
{
	struct wherry_owner now;
	struct ground g;
	int fd;

	prepare(&g, "lock");
	CHECK_EQ(wherry_arbiter_read(g.arbiter, &now), 0);
	fd = open(g.spec + strlen("lock:"), O_RDWR | O_CLOEXEC);
	CHECK_EQ(flock(fd, LOCK_EX), 0);
	CHECK_EQ(wherry_arbiter_read(g.arbiter, &now), -ETIMEDOUT);
	close(fd);
	CHECK_EQ(wherry_arbiter_read(g.arbiter, &now), 0);
	clean(&g);
}

TEST(arbiter_refuses_a_file_that_is_no_record)
{
	static const char *const bad[] = { "x", "a 1", "a\n", " 1\n", "a 0\n", "a 01\n", "a -1\n",
		"a 1 \n", "a 1\nb 2\n", "a 99999999999999999999\n", "a b 1\n" };
	struct wherry_owner now;
	struct ground g;

	prepare(&g, "lock");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		FILE *file = fopen(g.spec + strlen("lock:"), "we");

		fputs(bad[i], file);
		fclose(file);
		if (wherry_arbiter_read(g.arbiter, &now) != -EPROTO)
			FAIL("\"%s\" was taken for a record", bad[i]);
		CHECK_EQ(wherry_arbiter_swap(g.arbiter, &now, "b:/s", &now), -EPROTO);
	}
	clean(&g);
}

TEST(arbiter_record_reads_back_as_written)
{
	struct wherry_owner long_one = owner("", UINT64_MAX), back;
	char text[MIG_RECORD_MAX];

	memset(long_one.id, 'x', WHERRY_OWNER_MAX - 1);
	CHECK_EQ(mig_record_get(text, mig_record_put(&long_one, text), &back), 0);
	check_is(&back, long_one.id, UINT64_MAX);
	CHECK_EQ(mig_record_get("a\0b 1\n", 6, &back), -EPROTO);
	CHECK(!mig_owner_id_is_sound(""));
	CHECK(!mig_owner_id_is_sound("a b"));
	CHECK(!mig_owner_id_is_sound("a\nb"));
}

TEST(arbiter_spec_that_makes_no_sense_is_refused)
{
	static const char *const bad[] = { "", "lock", "lock:", "lock:relative", "etcd:", "zk:x",
		"etcd:127.0.0.1:2379/k", "etcd:http://127.0.0.1:2379",
		"etcd:http://127.0.0.1:2379/", "etcd:http:///key", "etcd:file:///etc/passwd" };
	struct wherry_arbiter *arbiter;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (wherry_arbiter_open(bad[i], &arbiter) != -EINVAL)
			FAIL("\"%s\" was taken for an arbiter", bad[i]);
	wherry_arbiter_close(NULL);
}

TEST(base64_is_that_of_the_rfc)
{
	static const char *const pairs[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" } };
	static const char *const bad[] = { "Z", "Zg=", "Zg", "Zg=a", "Z===", "Zm9v!A==", "====" };
	char text[16], back[16];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		mig_base64_put(pairs[i][0], strlen(pairs[i][0]), text);
		CHECK(strcmp(text, pairs[i][1]) == 0);
		CHECK_EQ(mig_base64_get(text, back, sizeof(back)), strlen(pairs[i][0]));
		CHECK(memcmp(back, pairs[i][0], strlen(pairs[i][0])) == 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(mig_base64_get(bad[i], back, sizeof(back)), -EPROTO);
	CHECK_EQ(mig_base64_get("Zm9vYmFy", back, 5), -EPROTO);
}
