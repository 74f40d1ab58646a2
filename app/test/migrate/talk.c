/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "channel_ends_priv.h"
#include "hello_priv.h"
#include "socket_priv.h"
#include "talk.h"
#include "test.h"

void *
talk_on(void *arg)
{
	const struct talker *talker = arg;
	int rc = 0;

	for (int i = 0; i < 600 && rc == 0; i++) {
		rc = mig_channel_send_empty(
			talker->ch, i % 2 == 0 ? WHERRY_REC_PULSE : talker->also);
		usleep(50000);
	}
	return NULL;
}

struct mig_channel *
talk_to(const char *uri)
{
	uint64_t end = mig_now() + UINT64_C(20000000000);
	struct mig_channel *ch = NULL;
	struct mig_reason reason;
	struct mig_uri parsed;
	const char *why;
	int fd;

	CHECK_EQ(mig_uri_parse(uri, &parsed, &why), 0);
	while ((fd = mig_connect(&parsed, -1, 1000, &reason)) < 0 && mig_now() < end)
		usleep(2000);
	if (fd < 0)
		FAIL("%s", reason.text);
	CHECK_EQ(mig_channel_create(fd, -1, &ch), 0);
	return ch;
}

void
talk_await_read(const struct mig_channel *ch)
{
	uint64_t end = mig_now() + UINT64_C(20000000000);
	int waiting = 1;

	while (waiting > 0 && mig_now() < end) {
		CHECK_EQ(ioctl(ch->conn.fd, SIOCOUTQ, &waiting), 0);
		usleep(1000);
	}
	CHECK_EQ(waiting, 0);
}

void
talk_say(struct mig_channel *ch, enum wherry_record_type type)
{
	static const uint8_t word[MIG_SESSION_LEN] = "nobody's";
	uint8_t rec[WHERRY_STREAM_HEADER + 128];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER, .cap = 128 };

	if (type == WHERRY_REC_JOIN || type == WHERRY_REC_RECOVER)
		wherry_table_put_bytes(&t, 1, word, sizeof(word));
	if (type == WHERRY_REC_JOIN)
		wherry_table_put_u64(&t, WHERRY_JOIN_CHANNEL, 1);
	if (type == WHERRY_REC_RECOVER)
		wherry_table_put_bytes(&t, WHERRY_RECOVER_SESSION, word, sizeof(word));
	if (type == WHERRY_REC_ABORT) {
		wherry_table_put_u64(&t, WHERRY_ABORT_CODE, ECANCELED);
		wherry_table_put_text(&t, WHERRY_ABORT_REASON, "cancelled");
	}
	CHECK_EQ(mig_channel_send(ch, type, t.buf, t.len), 0);
}
