/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A DPDK primary whose arena a secondary process writes, at full speed, while it moves to another
 * primary: arena_secondary.sh compares what it was in the end, and what came.
 *
 * Usage: arena-secondary EAL-ARG... -- source CONTROL
 *                                      destination CONTROL URI
 *                                      heir CONTROL URI
 *                                      writer | stubborn | steady
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <wherry_dpdk.h>
#include <wherry_secondary.h>

#define ARENA "state"
#define ARENA_AT ((void *)(uintptr_t)0x552000000000)
#define ARENA_LEN (16u << 20)
#define WORDS (3u << 19) /* 12 MiB */
#define HOT (1u << 17)   /* of them are written most */
#define PAUSE_US 50      /* of a steady writer */
#define HEIR_MS 2000     /* that a destination goes on, if it does */

/* The root of the arena. */
struct state {
	uint64_t writes; /* by the writer */
	uint64_t words[WORDS];
};

static int
fail(const char *what, int rc)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-rc));
	return 1;
}

/* FNV-1a over all of the arena, by words. */
static uint64_t
digest(void)
{
	const uint64_t *word = ARENA_AT;
	uint64_t sum = 0xcbf29ce484222325;

	for (size_t i = 0; i < ARENA_LEN / sizeof(*word); i++)
		sum = (sum ^ word[i]) * 0x100000001b3;
	return sum;
}

/* At the destination, before anything is written there. */
static int
on_verify(void *ctx)
{
	printf("came: %016" PRIx64 "\n", digest());
	(void)ctx;
	return 0;
}

static int
make_port(struct wherry_app *app)
{
	static const struct rte_eth_conf conf;
	struct rte_mempool *pool = rte_pktmbuf_pool_create(
		"pool", 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	int rc = pool != NULL ? rte_eth_dev_configure(0, 1, 1, &conf) : -ENOMEM;

	if (rc == 0)
		rc = rte_eth_rx_queue_setup(0, 0, 128, rte_socket_id(), NULL, pool);
	if (rc == 0)
		rc = rte_eth_tx_queue_setup(0, 0, 128, rte_socket_id(), NULL);
	return rc == 0 ? wherry_app_add_port(app, 0) : rc;
}

static void
poll_port(void)
{
	struct rte_mbuf *burst[32];

	rte_pktmbuf_free_bulk(burst, rte_eth_rx_burst(0, 0, burst, RTE_DIM(burst)));
	usleep(100);
}

/* It runs; what nobody writes here has to stay as it came. */
static int
keep(struct wherry_app *app, unsigned int ms)
{
	uint64_t end = rte_get_timer_cycles() + ms * rte_get_timer_hz() / 1000;

	while (rte_get_timer_cycles() < end && wherry_app_poll(app))
		poll_port();
	if (ms != 0)
		printf("kept: %016" PRIx64 "\n", digest());
	return 0;
}

static int
serve(struct wherry_app *app, struct wherry_arena *arena, unsigned int lasts_ms)
{
	struct state *state = arena != NULL ? wherry_arena_alloc(arena, sizeof(*state)) : NULL;
	int rc;

	if (state != NULL) {
		memset(state, 0, sizeof(*state));
		wherry_arena_set_root(arena, state);
	}
	rc = wherry_app_start(app);
	if (rc != 0)
		return fail("start", rc);
	printf("running\n");
	if (state == NULL) /* a destination has shown what there is to be shown */
		return arena == NULL ? keep(app, lasts_ms) : fail("alloc", -ENOMEM);
	while (wherry_app_poll(app))
		poll_port();
	printf("left: %016" PRIx64 " after %" PRIu64 " writes\n", digest(), state->writes);
	return 0;
}

/* lasts_ms: so long a destination goes on. */
static int
primary(const char *control, const char *incoming, unsigned int lasts_ms)
{
	const struct wherry_app_opts opts = { .name = "both",
		.control = control,
		.incoming = incoming,
		.ops = { .verify = on_verify } };
	const struct wherry_region_opts region = {
		.name = ARENA, .vaddr = ARENA_AT, .len = ARENA_LEN, .node = WHERRY_NODE_ANY
	};
	struct wherry_arena *arena = NULL;
	struct wherry_app *app;
	int rc = wherry_app_create(&opts, &app);

	if (rc != 0)
		return fail("create", rc);
	rc = wherry_app_add_arena(app, &region, &arena);
	if (rc == 0)
		rc = make_port(app);
	if (rc == 0)
		rc = serve(app, arena, lasts_ms);
	wherry_app_destroy(app);
	return rc != 0;
}

static uint64_t
next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* Most writes go to the same few pages, and some anywhere: there is always something to be sent. */
static void
write_some(struct state *state, uint64_t *x)
{
	for (unsigned int i = 0; i < 64; i++)
		state->words[next(x) % HOT] = *x;
	state->words[next(x) % WORDS] = *x;
	state->writes += 65;
}

/* As many writes as there is time for, or a page each PAUSE_US. */
static void
work(struct state *state, uint64_t *x, bool steady)
{
	if (!steady) {
		write_some(state, x);
		return;
	}
	state->words[next(x) % WORDS] = *x;
	state->writes++;
	rte_delay_us_block(PAUSE_US);
}

/* Told to leave, it goes on for a while, as a program with a bug may. */
static void
go_on(struct state *state, uint64_t *x)
{
	printf("goes on\n");
	for (unsigned int i = 0; i < 2 * HEIR_MS; i++) {
		write_some(state, x);
		usleep(1000);
	}
}

static int
writer(const char *kind)
{
	struct wherry_secondary *sec;
	uint64_t x = 88172645463325252u;
	struct state *state;
	int rc = wherry_secondary_attach("both", 1, &sec);

	if (rc != 0)
		return fail("attach", rc);
	state = wherry_secondary_root(sec, ARENA);
	printf("writing\n");
	while (state != NULL && wherry_secondary_poll(sec))
		work(state, &x, strcmp(kind, "steady") == 0);
	if (state != NULL && strcmp(kind, "stubborn") == 0)
		go_on(state, &x);
	printf("left the loop\n");
	wherry_secondary_detach(sec);
	return 0;
}

int
main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv), rc = 2;

	if (used < 0)
		return fail("EAL", -EINVAL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	argv += used + 1;
	if (argc - used < 2)
		return rc;
	if (argc - used == 2)
		rc = writer(argv[0]);
	else if (argc - used > 2)
		rc = primary(argv[1], argc - used > 3 ? argv[2] : NULL,
			strcmp(argv[0], "heir") == 0 ? HEIR_MS : 0);
	rte_eal_cleanup();
	return rc;
}
