/* SPDX-License-Identifier: BSD-3-Clause */
#include "base_priv.h"
#include "hello_priv.h"
#include "recover_priv.h"

/* Takes as long for any wrong id: whoever guesses learns nothing from the time. */
bool
mig_recover_is(const struct wherry_record *rec, const uint8_t *id)
{
	struct wherry_field said;
	unsigned int differ = 0;

	if (rec->type != WHERRY_REC_RECOVER ||
		!wherry_field_find(rec->payload, rec->len, WHERRY_RECOVER_ID, &said) ||
		said.len != MIG_SESSION_LEN)
		return false;
	for (unsigned int i = 0; i < MIG_SESSION_LEN; i++)
		differ |= (unsigned int)(said.bytes[i] ^ id[i]);
	return differ == 0;
}

unsigned int
mig_ms_until(uint64_t end_ns)
{
	uint64_t now = mig_now();

	return now < end_ns ? (unsigned int)((end_ns - now + 999999) / 1000000) : 0;
}
