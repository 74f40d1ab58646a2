/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of records: every type, the form of its payload, and its fields. */
#include "stream_priv.h"

static const struct field_def region_fields[] = {
	{ WHERRY_REGION_NAME, WHERRY_FIELD_TEXT, FIELD_REQUIRED, NULL },
	{ WHERRY_REGION_BASE, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_REGION_LEN, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_REGION_PAGE, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ 0 },
};

static const struct field_def section_fields[] = {
	{ WHERRY_SECTION_NAME, WHERRY_FIELD_TEXT, FIELD_REQUIRED, NULL },
	{ WHERRY_SECTION_VERSION, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_SECTION_DATA, WHERRY_FIELD_BYTES, FIELD_REQUIRED, NULL },
	{ 0 },
};

static const struct field_def hello_fields[] = {
	{ WHERRY_HELLO_FORMAT, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_HELLO_VERSION, WHERRY_FIELD_TEXT, FIELD_REQUIRED, NULL },
	{ WHERRY_HELLO_NAME, WHERRY_FIELD_TEXT, FIELD_REQUIRED, NULL },
	{ WHERRY_HELLO_FEATURES, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_HELLO_BOOT_ID, WHERRY_FIELD_TEXT, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_KEY, WHERRY_FIELD_BYTES, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_VERIFY, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_TIMEOUT_MS, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_REGION, WHERRY_FIELD_TABLE, FIELD_REPEATED, region_fields },
	{ WHERRY_HELLO_SECTION, WHERRY_FIELD_TABLE, FIELD_REPEATED, section_fields },
	{ WHERRY_HELLO_CHANNELS, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_SESSION, WHERRY_FIELD_BYTES, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_HANDOVER, WHERRY_FIELD_BYTES, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_ARBITER, WHERRY_FIELD_TEXT, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_OWNER, WHERRY_FIELD_TEXT, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_EPOCH, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_HELLO_PAUSE_MS, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ 0 },
};

static const struct field_def round_fields[] = {
	{ WHERRY_ROUND_N, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_ROUND_FINAL, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_ROUND_IOMMU_PAGES, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_ROUND_CPU_PAGES, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_ROUND_PAGES, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_ROUND_ZERO_PAGES, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_ROUND_BYTES, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_ROUND_SAME_PAGES, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_ROUND_CHANNELS, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ 0 },
};

static const struct field_def got_fields[] = {
	{ WHERRY_GOT_N, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_GOT_TORN, WHERRY_FIELD_BYTES, FIELD_OPTIONAL, NULL },
	{ WHERRY_GOT_MORE, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ 0 },
};

static const struct field_def digest_fields[] = {
	{ WHERRY_DIGEST_LOW, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_DIGEST_HIGH, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_DIGEST_PAGES, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_DIGEST_LAST_BURST, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_DIGEST_VERIFY_LOW, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_DIGEST_VERIFY_HIGH, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ WHERRY_DIGEST_VERIFY_NS, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ 0 },
};

static const struct field_def ready_fields[] = {
	{ WHERRY_READY_VERIFY_NS, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ 0 },
};

static const struct field_def running_fields[] = {
	{ WHERRY_RUNNING_FIRST_BURST, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_RUNNING_ARBITER_NS, WHERRY_FIELD_U64, FIELD_OPTIONAL, NULL },
	{ 0 },
};

static const struct field_def abort_fields[] = {
	{ WHERRY_ABORT_CODE, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_ABORT_REASON, WHERRY_FIELD_TEXT, FIELD_REQUIRED, NULL },
	{ 0 },
};

static const struct field_def frame_fields[] = {
	{ WHERRY_FRAME_PORT, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_FRAME_QUEUE, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ WHERRY_FRAME_BYTES, WHERRY_FIELD_BYTES, FIELD_REQUIRED, NULL },
	{ 0 },
};

static const struct field_def join_fields[] = {
	{ WHERRY_JOIN_SESSION, WHERRY_FIELD_BYTES, FIELD_REQUIRED, NULL },
	{ WHERRY_JOIN_CHANNEL, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ 0 },
};

static const struct field_def flush_fields[] = {
	{ WHERRY_FLUSH_N, WHERRY_FIELD_U64, FIELD_REQUIRED, NULL },
	{ 0 },
};

static const struct field_def recover_fields[] = {
	{ WHERRY_RECOVER_ID, WHERRY_FIELD_BYTES, FIELD_REQUIRED, NULL },
	{ WHERRY_RECOVER_SESSION, WHERRY_FIELD_BYTES, FIELD_OPTIONAL, NULL },
	{ WHERRY_RECOVER_OVER, WHERRY_FIELD_TEXT, FIELD_OPTIONAL, NULL },
	{ 0 },
};

static const struct field_def have_fields[] = {
	{ WHERRY_HAVE_HASHES, WHERRY_FIELD_BYTES, FIELD_REQUIRED, NULL },
	{ 0 },
};

static const struct field_def no_fields[] = { { 0 } };

static const struct record_def records[] = {
	[WHERRY_REC_HELLO] = { "hello", FORM_TABLE, false, hello_fields },
	[WHERRY_REC_PAGES] = { "pages", FORM_PAGES, false, NULL },
	[WHERRY_REC_ZEROS] = { "zeros", FORM_RUNS, false, NULL },
	[WHERRY_REC_ROUND] = { "round", FORM_TABLE, false, round_fields },
	[WHERRY_REC_GOT] = { "got", FORM_TABLE, false, got_fields },
	[WHERRY_REC_SECTION] = { "section", FORM_TABLE, false, section_fields },
	[WHERRY_REC_SKIP] = { "skip", FORM_RUNS, false, NULL },
	[WHERRY_REC_VERIFY] = { "verify", FORM_TABLE, false, no_fields },
	[WHERRY_REC_DIGEST] = { "digest", FORM_TABLE, false, digest_fields },
	[WHERRY_REC_READY] = { "ready", FORM_TABLE, false, ready_fields },
	[WHERRY_REC_COMMIT] = { "commit", FORM_TABLE, false, no_fields },
	[WHERRY_REC_RUNNING] = { "running", FORM_TABLE, false, running_fields },
	[WHERRY_REC_ABORT] = { "abort", FORM_TABLE, false, abort_fields },
	[WHERRY_REC_PULSE] = { "pulse", FORM_TABLE, true, no_fields },
	[WHERRY_REC_FRAME] = { "frame", FORM_TABLE, true, frame_fields },
	[WHERRY_REC_JOIN] = { "join", FORM_TABLE, false, join_fields },
	[WHERRY_REC_FLUSH] = { "flush", FORM_TABLE, false, flush_fields },
	[WHERRY_REC_RECOVER] = { "recover", FORM_TABLE, false, recover_fields },
	[WHERRY_REC_WANT] = { "want", FORM_RUNS, false, NULL },
	[WHERRY_REC_HAVE] = { "have", FORM_TABLE, false, have_fields },
};

const struct record_def *
record_def(unsigned int type)
{
	if (type >= sizeof(records) / sizeof(records[0]) || records[type].name == NULL)
		return NULL;
	return &records[type];
}

const char *
wherry_record_name(unsigned int type)
{
	const struct record_def *def = record_def(type);

	return def != NULL ? def->name : "unknown";
}
