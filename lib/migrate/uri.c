/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "uri_priv.h"

/* Copies n characters and a 0; false: they do not fit. */
static bool
copy(char *to, size_t cap, const char *from, size_t n)
{
	if (n >= cap)
		return false;
	memcpy(to, from, n);
	to[n] = '\0';
	return true;
}

static bool
is_port(const char *text)
{
	unsigned int port = 0;
	size_t n = 0;

	for (; text[n] >= '0' && text[n] <= '9' && n < 6; n++)
		port = port * 10 + (unsigned int)(text[n] - '0');
	return n > 0 && text[n] == '\0' && port <= 65535;
}

static const char *
parse_tcp(const char *text, struct mig_uri *uri)
{
	const char *host = text, *end, *port;

	if (*text == '[') {
		host = text + 1;
		end = strchr(host, ']');
		if (end == NULL || end[1] != ':')
			return "an IPv6 address is written tcp:[ADDRESS]:PORT";
		port = end + 2;
	} else {
		end = strrchr(text, ':');
		if (end == NULL)
			return "the port is missing: tcp:HOST:PORT";
		if (memchr(text, ':', (size_t)(end - text)) != NULL)
			return "an IPv6 address is written tcp:[ADDRESS]:PORT";
		port = end + 1;
	}
	if (!is_port(port))
		return "the port is no number from 0 to 65535";
	if (!copy(uri->host, sizeof(uri->host), host, (size_t)(end - host)))
		return "the host name is too long";
	copy(uri->port, sizeof(uri->port), port, strlen(port));
	return NULL;
}

static const char *
parse_unix(const char *text, struct mig_uri *uri)
{
	uri->is_unix = true;
	if (*text == '\0')
		return "the path is missing: unix:PATH";
	if (!copy(uri->path, sizeof(uri->path), text, strlen(text)))
		return "the path is longer than the 107 bytes a Unix socket's may have";
	return NULL;
}

static const char *
parse_file(const char *text, struct mig_uri *uri)
{
	uri->is_file = true;
	if (*text == '\0' || text[strlen(text) - 1] == '/')
		return "the path is missing: file:PATH";
	if (!copy(uri->file, sizeof(uri->file), text, strlen(text)))
		return "the path is longer than 1023 bytes";
	return NULL;
}

int
mig_uri_parse(const char *text, struct mig_uri *ret_uri, const char **ret_why)
{
	struct mig_uri uri = { .is_unix = false };
	const char *why = "it is none of tcp:HOST:PORT, unix:PATH and file:PATH";

	if (strncmp(text, "tcp:", 4) == 0)
		why = parse_tcp(text + 4, &uri);
	else if (strncmp(text, "unix:", 5) == 0)
		why = parse_unix(text + 5, &uri);
	else if (strncmp(text, "file:", 5) == 0)
		why = parse_file(text + 5, &uri);
	if (why != NULL) {
		*ret_why = why;
		return -EINVAL;
	}
	*ret_uri = uri;
	return 0;
}
