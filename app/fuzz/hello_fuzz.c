/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>

#include "fuzz.h"
#include "models.h"

FUZZ_TARGET(hello_model_run)
