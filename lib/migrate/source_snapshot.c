/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A snapshot: the rounds of a migration, into a file. The application stands still for
 * the last of them and while sections are saved, and goes on before the file is brought
 * to the disk; what was written is of that moment all the same, for every page was copied.
 *
 * With params.release it does not go on. Then the snapshot owns the state: by its own id
 * at the arbiter, if there is one, so that one restore of it becomes owner and no second.
 */
#define LOG_PREFIX "migrate/snapshot"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "owner_priv.h"
#include "sections_priv.h"
#include "snapshot_file_priv.h"
#include "source_priv.h"

struct snapshot {
	struct mig_source *s;
	struct mig_snapfile file;
	struct mig_snap_head head;
	struct wherry_owner known; /* the arbiter's record while this process owned */
	uint8_t *record;
};

/* Who owns when the file is in its place, as the file will say. */
static void
name_owner(struct snapshot *snap)
{
	struct mig_source *s = snap->s;
	struct wherry_owner *owner = &s->self.owner;
	size_t at = strlen(MIG_OWNER_SNAPSHOT);

	snap->known = *owner;
	if (!s->params.release || s->agent->arbiter == NULL)
		return;
	snprintf(owner->id, sizeof(owner->id), "%s", MIG_OWNER_SNAPSHOT);
	for (size_t i = 0; i < sizeof(s->self.session); i++, at += 2)
		snprintf(owner->id + at, 3, "%02x", s->self.session[i]);
	owner->epoch++;
}

static int
open_file(struct snapshot *snap, const char *path)
{
	struct mig_source *s = snap->s;
	struct mig_sender_opts opts = {
		.key = s->self.key,
		.regions = &s->regions,
		.known = s->known,
		.stop = &s->stop,
		.out = &snap->file.out,
		.progress = mig_source_on_progress,
		.progress_ctx = s,
	};
	int rc;

	snap->record = wherry_fault("snapshot.record")
		? NULL
		: malloc(WHERRY_STREAM_HEADER + WHERRY_STREAM_PAYLOAD_MAX);
	if (snap->record == NULL || mig_source_open_stop(s) != 0)
		return mig_no_memory(&snap->s->reason);
	rc = mig_snapfile_create(&snap->file, path, &s->regions, &s->reason);
	if (rc != 0)
		return rc;
	snap->file.cancel_fd = s->stop.fd;
	mig_pace_set(&snap->file.pace, s->params.max_bandwidth);
	return mig_sender_create(NULL, &opts, &s->sender) == 0 ? 0
							       : mig_no_memory(&snap->s->reason);
}

/* The application is stopped: what is left, and what is no memory. */
static int
finish(struct snapshot *snap)
{
	struct mig_source *s = snap->s;
	struct wherry_table t = { .buf = snap->record + WHERRY_STREAM_HEADER,
		.cap = WHERRY_STREAM_PAYLOAD_MAX };
	int rc = mig_source_final_round(s);

	if (rc != 0)
		return rc;
	mig_hello_put(&t, &s->self, &s->regions);
	rc = mig_sections_put(s->agent, &t, true, &s->reason);
	if (rc != 0)
		return rc;
	snap->head.record_len = wherry_record_seal(snap->record, WHERRY_REC_HELLO, 0, t.len);
	return 0;
}

/* The application has its memory back; none of it is needed any more. */
static void
go_on(struct mig_source *s)
{
	if (s->params.release)
		return;
	if (s->agent->ops.resume != NULL)
		s->agent->ops.resume(s->agent->ops.ctx);
	s->quiesced = false;
	s->blackout = mig_now() - s->last_burst;
}

/* Record and head, and all of it into its place. Nobody can cancel from here on. */
static int
commit(struct snapshot *snap)
{
	struct mig_source *s = snap->s;
	struct mig_snap_head *head = &snap->head;
	struct mig_digest placed;
	int rc;

	mig_sender_placed(s->sender, &placed);
	head->record_at = mig_snapfile_record_at(&snap->file);
	head->pages_low = placed.low;
	head->pages_high = placed.high;
	mig_snap_sum(head, snap->record, head->sum);
	rc = mig_snapfile_put(&snap->file, snap->record, head->record_len, &s->reason);
	if (rc != 0)
		return rc;
	rc = mig_agent_close_gate(s->agent);
	if (rc != 0)
		return mig_fail(&s->reason, rc, "cancelled");
	snap->file.cancel_fd = -1;
	return mig_snapfile_commit(&snap->file, head, &s->reason);
}

/*
 * The snapshot is in its place and this process is not to run again. Until the arbiter
 * says that the snapshot owns, it does not own: nothing can become owner of it.
 */
static int
hand_over(struct snapshot *snap)
{
	struct mig_source *s = snap->s;
	struct wherry_owner now;
	int rc;

	if (s->agent->arbiter != NULL)
		mig_agent_know(s->agent, MIG_ALWAYS);
	rc = mig_source_move(s, WHERRY_STATE_SWITCHOVER);
	if (rc == 0 && s->agent->arbiter != NULL)
		rc = mig_owner_settle_for(s->agent, s->self.owner.id, &snap->known, &now, 0);
	if (rc != 0)
		return mig_fail(&s->reason, rc,
			"ended before the arbiter had said that the snapshot owns the state");
	if (s->agent->arbiter != NULL && mig_owner_is(s->agent, &now)) {
		mig_agent_know(s->agent, MIG_OWNED);
		return mig_fail(&s->reason, -EPERM,
			"the arbiter says that this process owns: the snapshot does not");
	}
	mig_agent_know(s->agent, MIG_GIVEN);
	return 0;
}

static int
write_it(struct snapshot *snap, const char *path)
{
	struct mig_source *s = snap->s;
	int rc = open_file(snap, path);

	if (rc == 0)
		rc = mig_source_start_tracking(s);
	if (rc == 0)
		rc = mig_source_move(s, WHERRY_STATE_PRECOPY);
	if (rc == 0)
		rc = mig_source_precopy(s);
	if (rc == 0)
		rc = mig_source_move(s, WHERRY_STATE_QUIESCE);
	if (rc == 0)
		rc = mig_source_quiesce(s);
	if (rc == 0)
		rc = mig_source_move(s, WHERRY_STATE_FINAL);
	if (rc == 0)
		rc = finish(snap);
	if (rc != 0)
		return rc;
	go_on(s);
	rc = commit(snap);
	return rc == 0 && s->params.release ? hand_over(snap) : rc;
}

int
mig_source_snapshot(struct mig_source *s, const char *path)
{
	struct snapshot snap = { .s = s, .file = { .fd = -1 } };
	int rc = mig_source_prepare(s);

	s->self.channels = 1;
	if (rc == 0) {
		name_owner(&snap);
		rc = write_it(&snap, path);
	}
	s->stays = rc == 0 && !s->params.release;
	mig_source_disconnect(s);
	mig_snapfile_close(&snap.file);
	free(snap.record);
	return rc;
}
