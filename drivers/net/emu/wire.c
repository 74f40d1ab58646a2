/* SPDX-License-Identifier: BSD-3-Clause */
/* Which wires there are. */
#include <errno.h>
#include <string.h>

#include "emu_log.h"
#include "emu_wire.h"

static const struct wire_ops *const wires[] = { &wire_tap_ops, &wire_loop_ops, &wire_pair_ops };

/* True if spec names ops; *ret_arg is what stands behind the '='. */
static bool
names(const char *spec, const struct wire_ops *ops, const char **ret_arg)
{
	size_t n = strlen(ops->name);

	if (strncmp(spec, ops->name, n) != 0)
		return false;
	*ret_arg = spec[n] == '=' ? spec + n + 1 : NULL;
	return ops->has_arg ? *ret_arg != NULL && **ret_arg != '\0' : spec[n] == '\0';
}

int
emu_wire_open(const char *spec, struct wire **ret_wire)
{
	const char *arg;

	for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++)
		if (names(spec, wires[i], &arg))
			return wires[i]->open(arg, ret_wire);
	EMU_LOG(ERR, "wire=%s: there are wire=loop, wire=tap=NAME, wire=tap=- and wire=pair=NAME",
		spec);
	return -EINVAL;
}
