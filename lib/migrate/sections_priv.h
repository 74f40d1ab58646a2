/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SECTIONS_PRIV_H
#define SECTIONS_PRIV_H

/* State that is no memory: saved, compared, checked and loaded by its owner. */

#include "agent_priv.h"
#include "channel_priv.h"

/* Add all sections to a hello; with_data: with what save says now, for check. */
int mig_sections_put(struct wherry_agent *agent, struct wherry_table *t, bool with_data,
	struct mig_reason *reason);
/* Are the peer's sections, in its hello, ours by name and version? -EPROTO, with the reason. */
int mig_sections_compare(
	struct wherry_agent *agent, const struct wherry_record *hello, struct mig_reason *reason);
/* Destination: ask each owner whether what the hello holds could be loaded here. */
int mig_sections_check(
	struct wherry_agent *agent, const struct wherry_record *hello, struct mig_reason *reason);
/* Source, application stopped: send each. */
int mig_sections_send(
	struct wherry_agent *agent, struct mig_channel *ch, struct mig_reason *reason);
/* Destination: hand this one to its owner; *seen has one bit per section. */
int mig_section_load(struct wherry_agent *agent, const struct wherry_record *rec, uint32_t *seen,
	struct mig_reason *reason);
/* Destination: have all come? */
int mig_sections_complete(struct wherry_agent *agent, uint32_t seen, struct mig_reason *reason);

#endif /* SECTIONS_PRIV_H */
