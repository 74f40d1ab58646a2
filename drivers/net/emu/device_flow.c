/* SPDX-License-Identifier: BSD-3-Clause */
/* Rules of rte_flow, as the device has them: bytes under a mask. */
#include "device_priv.h"

static bool
fits(const struct emu_flow *f, const uint8_t *bytes, size_t len)
{
	if (!f->used || len < f->len)
		return false;
	for (unsigned int i = 0; i < f->len; i++)
		if ((bytes[i] & f->mask[i]) != f->value[i])
			return false;
	return true;
}

const struct emu_flow *
device_flow(const struct emu_config *config, const void *frame, size_t len)
{
	for (unsigned int i = 0; i < EMU_FLOWS; i++)
		if (fits(&config->flows[i], frame, len))
			return &config->flows[i];
	return NULL;
}
