/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * etcd:http://HOST:PORT/KEY. A swap is one transaction: compare the key's value with the
 * record that is known (or its creation with never), put, and read in either case, so that
 * the answer always says what is written. The connection is kept: reading at the start
 * of a migration opens it, and the swap in the blackout costs one round trip.
 */
#define LOG_PREFIX "migrate/arbiter"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter_priv.h"
#include "base64_priv.h"
#include "base_priv.h"

#define TRY_MS 2000L /* the caller asks again */
#define ANSWER_MAX ((size_t)64 * 1024)
#define KEY_MAX 256

struct etcd {
	char *name; /* the key */
	char *range_url, *txn_url;
	char key[MIG_BASE64_LEN(KEY_MAX)];
	CURL *curl;
	struct curl_slist *headers;
	char answer[ANSWER_MAX];
	size_t answer_len;
	char error[CURL_ERROR_SIZE];
};

static void
init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t
take_answer(char *bytes, size_t size, size_t n, void *ctx)
{
	struct etcd *e = ctx;
	size_t len = size * n;

	if (len > sizeof(e->answer) - e->answer_len)
		return 0; /* curl gives up */
	memcpy(e->answer + e->answer_len, bytes, len);
	e->answer_len += len;
	return len;
}

static void
set_options(struct etcd *e)
{
	curl_easy_setopt(e->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e->curl, CURLOPT_TIMEOUT_MS, TRY_MS);
	curl_easy_setopt(e->curl, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(e->curl, CURLOPT_HTTPHEADER, e->headers);
	curl_easy_setopt(e->curl, CURLOPT_ERRORBUFFER, e->error);
	curl_easy_setopt(e->curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(e->curl, CURLOPT_WRITEDATA, e);
}

static void
etcd_close(void *ctx)
{
	struct etcd *e = ctx;

	curl_easy_cleanup(e->curl);
	curl_slist_free_all(e->headers);
	free(e->txn_url);
	free(e->range_url);
	free(e->name);
	free(e);
}

static int
make_urls(struct etcd *e, const char *url, size_t base_len)
{
	if (asprintf(&e->range_url, "%.*s/v3/kv/range", (int)base_len, url) < 0)
		e->range_url = NULL;
	if (asprintf(&e->txn_url, "%.*s/v3/kv/txn", (int)base_len, url) < 0)
		e->txn_url = NULL;
	e->name = strdup(url + base_len + 1);
	e->headers = curl_slist_append(NULL, "Content-Type: application/json");
	e->curl = curl_easy_init();
	if (e->range_url == NULL || e->txn_url == NULL || e->name == NULL || e->headers == NULL ||
		e->curl == NULL)
		return -ENOMEM;
	mig_base64_put(e->name, strlen(e->name), e->key);
	set_options(e);
	return 0;
}

static int
etcd_open(const char *rest, void **ret_ctx, const char **ret_why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char *host = strstr(rest, "://"), *slash;
	struct etcd *e;
	int rc;

	if (strncmp(rest, "http://", 7) != 0 && strncmp(rest, "https://", 8) != 0) {
		*ret_why = "it does not begin with http:// or https://: etcd:http://HOST:2379/KEY";
		return -EINVAL;
	}
	slash = strchr(host + 3, '/');
	if (slash == NULL || slash == host + 3 || slash[1] == '\0' || strlen(slash) > KEY_MAX) {
		*ret_why = "the host or the key is missing or too long: etcd:http://HOST:2379/KEY";
		return -EINVAL;
	}
	pthread_once(&once, init_curl);
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	rc = make_urls(e, rest, (size_t)(slash - rest));
	if (rc != 0)
		etcd_close(e);
	else
		*ret_ctx = e;
	return rc;
}

static const char *
etcd_name(const void *ctx)
{
	const struct etcd *e = ctx;

	return e->name;
}

static int
explain(struct etcd *e, CURLcode code)
{
	LOG_WARN("etcd does not answer: %s",
		e->error[0] != '\0' ? e->error : curl_easy_strerror(code));
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT:
		return -ECONNREFUSED;
	case CURLE_WRITE_ERROR:
		return -EPROTO;
	default:
		return -EIO;
	}
}

/* Send a request, taken over, and parse the answer. */
static int
post(struct etcd *e, const char *url, json_t *request, json_t **ret_answer)
{
	char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
	CURLcode code;

	json_decref(request);
	if (text == NULL)
		return -ENOMEM;
	e->answer_len = 0;
	e->error[0] = '\0';
	curl_easy_setopt(e->curl, CURLOPT_URL, url);
	curl_easy_setopt(e->curl, CURLOPT_POSTFIELDS, text);
	code = curl_easy_perform(e->curl);
	curl_easy_setopt(e->curl, CURLOPT_POSTFIELDS, (char *)NULL);
	free(text);
	if (code != CURLE_OK)
		return explain(e, code);
	*ret_answer = json_loadb(e->answer, e->answer_len, 0, NULL);
	return *ret_answer == NULL ? -EPROTO : 0;
}

/* The record in the answer to a range request; without keys nobody has written one yet. */
static int
read_range(const json_t *range, struct wherry_owner *ret_now)
{
	const json_t *kv = json_array_get(json_object_get(range, "kvs"), 0);
	const char *value = json_string_value(json_object_get(kv, "value"));
	char text[MIG_RECORD_MAX];
	ssize_t len;

	*ret_now = (struct wherry_owner){ .epoch = 0 };
	if (!json_is_object(range))
		return -EPROTO;
	if (kv == NULL)
		return 0;
	len = value == NULL ? -EPROTO : mig_base64_get(value, text, sizeof(text));
	return len < 0 ? (int)len : mig_record_get(text, (size_t)len, ret_now);
}

static int
etcd_read(void *ctx, struct wherry_owner *ret_now)
{
	struct etcd *e = ctx;
	json_t *answer;
	int rc = post(e, e->range_url, json_pack("{ss}", "key", e->key), &answer);

	if (rc != 0)
		return rc;
	rc = read_range(answer, ret_now);
	json_decref(answer);
	return rc;
}

static void
put_value(const struct wherry_owner *owner, char text[MIG_BASE64_LEN(MIG_RECORD_MAX)])
{
	char record[MIG_RECORD_MAX];

	mig_base64_put(record, mig_record_put(owner, record), text);
}

static json_t *
make_compare(const struct etcd *e, const struct wherry_owner *known)
{
	char value[MIG_BASE64_LEN(MIG_RECORD_MAX)];

	if (known->epoch == 0)
		return json_pack("{ss ss ss ss}", "key", e->key, "target", "CREATE", "result",
			"EQUAL", "createRevision", "0");
	put_value(known, value);
	return json_pack("{ss ss ss ss}", "key", e->key, "target", "VALUE", "result", "EQUAL",
		"value", value);
}

static json_t *
make_txn(const struct etcd *e, const struct wherry_owner *known, const struct wherry_owner *next)
{
	char value[MIG_BASE64_LEN(MIG_RECORD_MAX)];

	put_value(next, value);
	return json_pack("{s[o] s[{s{ss ss}} {s{ss}}] s[{s{ss}}]}", "compare",
		make_compare(e, known), "success", "requestPut", "key", e->key, "value", value,
		"requestRange", "key", e->key, "failure", "requestRange", "key", e->key);
}

/* Its last step was the read, whichever way it went. */
static int
read_txn(const json_t *answer, struct wherry_owner *ret_now)
{
	const json_t *steps = json_object_get(answer, "responses");
	const json_t *last = json_array_get(steps, json_array_size(steps) - 1);

	return read_range(json_object_get(last, "response_range"), ret_now);
}

static int
etcd_swap(void *ctx, const struct wherry_owner *known, const struct wherry_owner *next,
	struct wherry_owner *ret_now)
{
	struct etcd *e = ctx;
	struct wherry_owner now;
	json_t *answer;
	int rc = post(e, e->txn_url, make_txn(e, known, next), &answer);

	if (rc != 0)
		return rc;
	rc = read_txn(answer, &now);
	json_decref(answer);
	if (rc == 0)
		*ret_now = now;
	return rc;
}

const struct mig_arbiter_kind mig_arbiter_etcd = {
	.prefix = "etcd:",
	.open = etcd_open,
	.close = etcd_close,
	.name = etcd_name,
	.read = etcd_read,
	.swap = etcd_swap,
};
