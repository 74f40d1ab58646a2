/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pmd-app: an ordinary application over a poll-mode driver, made migratable.
 *
 * It sends every frame back to where it came from and counts frames per address; the
 * count goes back in the first four bytes of the payload. What makes it migratable is
 * marked 1 to 5: counts lie in an arena, and another instance takes them over.
 *
 *	$ ./pmd-app --vdev net_tap0,iface=tap0 -- one &
 *	serving as one
 *	$ ./pmd-app --file-prefix two --vdev net_tap1,iface=tap1 -- two tcp:127.0.0.1:4444 &
 *	$ wherry migrate --app one tcp:127.0.0.1:4444
 *	serving as two
 *	ended as one
 *
 * Then read doc/howto/pmd_app.rst.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_debug.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_jhash.h>
#include <rte_mbuf.h>

#include <wherry_dpdk.h>

#define BURST 32
#define FLOWS 4096u

struct flow {
	struct rte_ether_addr from;
	uint32_t frames; /* 0: free */
};

static struct flow *flows; /* FLOWS of them in the arena: all that moves */
static struct wherry_app *app;

static void
must(int rc, const char *what)
{
	if (rc < 0)
		rte_exit(EXIT_FAILURE, "%s: %s\n", what, strerror(-rc));
}

static void
quit(int sig)
{
	(void)sig;
	wherry_app_quit(app);
}

static uint32_t
count(const struct rte_ether_addr *from)
{
	uint32_t at = rte_jhash(from, sizeof(*from), 0);

	for (uint32_t i = 0; i < FLOWS; i++) {
		struct flow *f = &flows[(at + i) % FLOWS];

		if (f->frames == 0)
			f->from = *from;
		if (rte_is_same_ether_addr(&f->from, from))
			return ++f->frames;
	}
	return 0; /* the table is full */
}

static void
answer(struct rte_mbuf *m, const struct rte_ether_addr *own)
{
	struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
	uint32_t frames = rte_cpu_to_be_32(count(&eth->src_addr));

	eth->dst_addr = eth->src_addr;
	eth->src_addr = *own;
	memcpy(eth + 1, &frames, sizeof(frames)); /* no frame is shorter than 60 bytes */
}

static void
serve(uint16_t port)
{
	struct rte_ether_addr own;

	must(rte_eth_macaddr_get(port, &own), "MAC address"); /* it has moved, too */
	while (wherry_app_poll(app)) {                        /* 5 */
		struct rte_mbuf *m[BURST];
		uint16_t n = rte_eth_rx_burst(port, 0, m, BURST), sent;

		for (uint16_t i = 0; i < n; i++)
			answer(m[i], &own);
		sent = rte_eth_tx_burst(port, 0, m, n);
		rte_pktmbuf_free_bulk(m + sent, n - sent);
	}
}

static void
configure(uint16_t port)
{
	static const struct rte_eth_conf conf;
	struct rte_mempool *mp = rte_pktmbuf_pool_create(
		"frames", 4095, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);

	must(mp == NULL ? -ENOMEM : 0, "mempool");
	must(rte_eth_dev_configure(port, 1, 1, &conf), "port");
	must(rte_eth_rx_queue_setup(port, 0, 512, SOCKET_ID_ANY, NULL, mp), "receive queue");
	must(rte_eth_tx_queue_setup(port, 0, 512, SOCKET_ID_ANY, NULL), "transmit queue");
}

int
main(int argc, char **argv)
{
	const struct wherry_region_opts region = { .name = "flows",
		.vaddr = (void *)0x200000000000, /* the same in every instance */
		.len = 1 << 20,
		.node = WHERRY_NODE_ANY };
	int n = rte_eal_init(argc, argv);
	struct wherry_app_opts opts = { .pollers = 1 };
	struct wherry_arena *arena;

	if (n < 0 || argc - n < 2)
		rte_exit(EXIT_FAILURE, "usage: pmd-app EAL-OPTIONS -- NAME [URI to wait on]\n");
	opts.name = argv[n + 1];
	opts.incoming = argv[n + 2]; /* NULL: serve at once */
	configure(0);
	must(wherry_app_create(&opts, &app), "wherry_app_create");                /* 1 */
	must(wherry_app_add_arena(app, &region, &arena), "wherry_app_add_arena"); /* 2 */
	must(wherry_app_add_port(app, 0), "wherry_app_add_port");                 /* 3 */
	if (opts.incoming == NULL) {
		flows = wherry_arena_alloc(arena, FLOWS * sizeof(*flows));
		must(flows == NULL ? -ENOMEM : 0, "flows");
		wherry_arena_set_root(arena, memset(flows, 0, FLOWS * sizeof(*flows)));
	}
	signal(SIGINT, quit);
	signal(SIGTERM, quit);
	must(wherry_app_start(app), "wherry_app_start"); /* 4: incoming returns with the state */
	flows = wherry_arena_root(wherry_app_arena(app, "flows"));
	must(flows == NULL ? -EPROTO : 0, "the peer's flows");
	setlinebuf(stdout);
	printf("serving as %s\n", opts.name);
	serve(0);
	printf("ended as %s\n", opts.name);
	wherry_app_destroy(app);
	return rte_eal_cleanup() != 0;
}
