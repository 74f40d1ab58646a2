/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A migration within a machine that copies nothing: memory goes to the destination as
 * files while the application runs, and what is left for the blackout are sections, the proof
 * and COMMIT. No page is tracked or sent; the destination cannot write before COMMIT.
 */
#define LOG_PREFIX "migrate/handover"

#include <errno.h>

#include "handover_priv.h"
#include "late_priv.h"
#include "sections_priv.h"
#include "source_priv.h"

bool
mig_source_can_lend(const struct mig_source *s, const struct mig_uri *uri)
{
	const struct wherry_agent_ops *ops = &s->agent->ops;
	struct wherry_lent lent;
	int more = 1;

	if (!uri->is_unix || ops->lend == NULL || s->params.copy || s->params.verify)
		return false;
	for (unsigned int i = 0; more == 1; i++)
		more = ops->lend(ops->ctx, i, &lent);
	return more == 0; /* memory that is no file goes as pages, and so does all */
}

int
mig_source_handover(struct mig_source *s, const struct mig_uri *uri)
{
	int rc = mig_handover_lend(s->agent, uri, &s->self, &s->reason);

	if (rc == 0)
		rc = mig_source_move(s, WHERRY_STATE_PRECOPY);
	if (rc == 0)
		rc = mig_source_empty_round(s, false); /* it has everything, and its tables made */
	if (rc == 0)
		rc = mig_source_move(s, WHERRY_STATE_QUIESCE);
	if (rc == 0)
		rc = mig_source_quiesce(s);
	if (rc != 0)
		return rc;
	mig_late_silence(s->agent); /* no device writes to memory that is about to be another's */
	rc = mig_source_move(s, WHERRY_STATE_FINAL);
	if (rc == 0)
		rc = mig_source_empty_round(s, true);
	return rc == 0 ? mig_sections_send(s->agent, s->ch, &s->reason) : rc;
}
