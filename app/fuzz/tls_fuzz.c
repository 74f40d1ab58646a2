/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "fuzz.h"
#include "models.h"

FUZZ_TARGET(tls_model_run)
