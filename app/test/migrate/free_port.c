/* SPDX-License-Identifier: BSD-3-Clause */
#include "free_port.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

#define FIRST 10000u
#define PORTS 20000u
#define APART 97u /* between two processes that follow each other */

static bool
is_free(unsigned int port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is;

	CHECK(fd >= 0);
	is = bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0;
	close(fd);
	return is;
}

unsigned int
free_port(void)
{
	static unsigned int n;

	for (unsigned int tries = 0; tries < PORTS; tries++) {
		unsigned int port = FIRST + ((unsigned int)getpid() * APART + n++) % PORTS;

		if (is_free(port))
			return port;
	}
	FAIL("no port of %u is free", PORTS);
}
