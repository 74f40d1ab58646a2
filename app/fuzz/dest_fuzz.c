/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "fuzz.h"
#include "models.h"

FUZZ_TARGET(dest_model_run)
