/* SPDX-License-Identifier: BSD-3-Clause */
#define LOG_PREFIX "migrate/late"

#include <errno.h>
#include <limits.h>

#include "late_priv.h"
#include "socket_priv.h"

#define LOOK_MS 1u     /* how often the source looks for frames */
#define SEND_MS 1000u  /* a destination that takes over does not read meanwhile */
#define LINGER_MS 300u /* a switch learns with the destination's first frame */
#define TAIL_MS 2000u  /* how long the destination waits for the source's last word */
#define TAIL_LOOK_MS 20u
#define FRAME_MAX 16384u /* bytes; longer ones are dropped, as networks may */

static int
send_frame(struct mig_channel *ch, const struct wherry_late_frame *frame)
{
	uint8_t rec[WHERRY_STREAM_HEADER + FRAME_MAX + 64];
	struct wherry_table t = { .buf = rec + WHERRY_STREAM_HEADER,
		.cap = sizeof(rec) - WHERRY_STREAM_HEADER };

	wherry_table_put_u64(&t, WHERRY_FRAME_PORT, frame->port);
	wherry_table_put_u64(&t, WHERRY_FRAME_QUEUE, frame->queue);
	wherry_table_put_bytes(&t, WHERRY_FRAME_BYTES, frame->bytes, frame->len);
	return t.overflow ? 0 : mig_channel_send(ch, WHERRY_REC_FRAME, t.buf, t.len);
}

/* What has come by now. */
static int
forward(struct wherry_agent *agent, struct mig_channel *ch)
{
	struct wherry_late_frame frame;
	int rc = 0;

	while (rc == 0 && agent->ops.late != NULL && agent->ops.late(agent->ops.ctx, &frame) == 1) {
		rc = send_frame(ch, &frame);
		mig_agent_count_late(agent);
	}
	return rc;
}

int
mig_late_until_running(struct wherry_agent *agent, struct mig_channel *ch, unsigned int timeout_ms,
	struct wherry_record *ret_running)
{
	uint64_t end = mig_now() + timeout_ms * UINT64_C(1000000);
	bool takes_frames = agent->ops.late != NULL;
	int rc;

	do {
		/* a connection that takes no frame may still bring RUNNING */
		mig_channel_set_timeout(ch, SEND_MS);
		takes_frames = takes_frames && forward(agent, ch) == 0;
		mig_channel_set_limit(ch, takes_frames ? LOOK_MS : timeout_ms);
		rc = mig_channel_expect(ch, WHERRY_REC_RUNNING, ret_running);
	} while (rc == -ETIMEDOUT && mig_now() < end);
	mig_channel_set_timeout(ch, timeout_ms);
	return rc;
}

void
mig_late_silence(struct wherry_agent *agent)
{
	if (agent->ops.silence != NULL)
		agent->ops.silence(agent->ops.ctx);
}

void
mig_late_linger(struct wherry_agent *agent, struct mig_channel *ch)
{
	uint64_t end = mig_now() + LINGER_MS * UINT64_C(1000000);

	while (agent->ops.late != NULL && mig_now() < end && !mig_agent_is_wanted(agent)) {
		if (forward(agent, ch) != 0)
			break;
		mig_wait(-1, 0, agent->cancel_fd, LOOK_MS);
	}
	mig_late_silence(agent);
}

static void
inject(struct wherry_agent *agent, const struct wherry_record *rec)
{
	struct wherry_late_frame frame;
	struct wherry_field bytes;
	uint64_t port = wherry_field_u64(rec->payload, rec->len, WHERRY_FRAME_PORT, 0);
	uint64_t queue = wherry_field_u64(rec->payload, rec->len, WHERRY_FRAME_QUEUE, 0);

	if (port > UINT16_MAX || queue > UINT16_MAX ||
		!wherry_field_find(rec->payload, rec->len, WHERRY_FRAME_BYTES, &bytes))
		return;
	frame = (struct wherry_late_frame){ .port = (unsigned int)port,
		.queue = (unsigned int)queue,
		.bytes = bytes.bytes,
		.len = bytes.len };
	agent->ops.inject(agent->ops.ctx, &frame);
	mig_agent_count_late(agent);
}

void
mig_late_receive(struct wherry_agent *agent, struct mig_channel *ch)
{
	uint64_t end = mig_now() + TAIL_MS * UINT64_C(1000000);
	struct wherry_record rec;
	int rc = 0;

	while ((rc == 0 || rc == -ETIMEDOUT) && agent->ops.inject != NULL && mig_now() < end &&
		!mig_agent_is_wanted(agent)) {
		mig_channel_set_limit(ch, TAIL_LOOK_MS);
		rc = mig_channel_receive(ch, &rec);
		if (rc == 0 && rec.type == WHERRY_REC_FRAME)
			inject(agent, &rec);
	}
}
