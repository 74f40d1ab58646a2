/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FUZZ_RANDOM_H
#define FUZZ_RANDOM_H

#include "test.h"

/* Feed a model of app/fuzz with rounds of len random bytes; len is at most 4096. */
static inline void
fuzz_random(const char *(*model)(const uint8_t *data, size_t len), unsigned int rounds, size_t len)
{
	static uint8_t data[4096];

	for (unsigned int round = 0; round < rounds; round++) {
		const char *failed;

		for (size_t i = 0; i < len; i++)
			data[i] = (uint8_t)test_random();
		failed = model(data, len);
		if (failed != NULL)
			FAIL("round %u: %s", round, failed);
	}
}

#endif /* FUZZ_RANDOM_H */
