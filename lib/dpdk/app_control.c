/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads of the agent and the tracker inherit the CPUs of the thread that makes them,
 * and the application's main thread is pinned to a core that polls. So what makes
 * threads is called on one of EAL's control threads, which stay off the polling cores
 * as far as there are others.
 */
#define ALLOW_EXPERIMENTAL_API /* rte_thread_create_control() before 24.11 */
#include <errno.h>
#include <pthread.h>

#include <rte_lcore.h>
#include <rte_thread.h>
#include <rte_version.h>

#include "app_priv.h"
#include "base_priv.h"

struct call {
	int (*fn)(struct wherry_app *app);
	struct wherry_app *app;
	int rc;
};

#if RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0)
static uint32_t
run(void *arg)
{
	struct call *c = arg;

	c->rc = c->fn(c->app);
	return 0;
}

static int
run_and_join(struct call *c)
{
	rte_thread_t thread;
	int rc = rte_thread_create_control(&thread, "wherry", run, c);

	return rc == 0 ? rte_thread_join(thread, NULL) : rc;
}
#else
static void *
run(void *arg)
{
	struct call *c = arg;

	c->rc = c->fn(c->app);
	return NULL;
}

static int
run_and_join(struct call *c)
{
	pthread_t thread;
	int rc = rte_ctrl_thread_create(&thread, "wherry", NULL, run, c);

	return rc == 0 ? -pthread_join(thread, NULL) : rc;
}
#endif

int
app_as_control(struct wherry_app *app, int (*fn)(struct wherry_app *app))
{
	struct call c = { .fn = fn, .app = app, .rc = 0 };
	int rc = wherry_fault("app.thread") ? -EAGAIN : run_and_join(&c);

	return rc == 0 ? c.rc : -ENOMEM;
}
