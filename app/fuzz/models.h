/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MODELS_H
#define MODELS_H

/* Every model that a fuzz target and wherry-test share; see fuzz.h. */

#include <stddef.h>
#include <stdint.h>

const char *arena_bytes_model_run(const uint8_t *data, size_t len);
const char *arena_model_run(const uint8_t *data, size_t len);
const char *bitmap_model_run(const uint8_t *data, size_t len);
const char *control_model_run(const uint8_t *data, size_t len);
const char *dest_model_run(const uint8_t *data, size_t len);
const char *domain_model_run(const uint8_t *data, size_t len);
const char *hello_model_run(const uint8_t *data, size_t len);
const char *iova_model_run(const uint8_t *data, size_t len);
const char *snapshot_model_run(const uint8_t *data, size_t len);
const char *stream_model_run(const uint8_t *data, size_t len);
const char *tls_model_run(const uint8_t *data, size_t len);

#endif /* MODELS_H */
