/* SPDX-License-Identifier: BSD-3-Clause */
/* The agent's life, its worker thread, and the calls of the public header. */
#define LOG_PREFIX "migrate"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent_priv.h"
#include "hello_priv.h"
#include "library_priv.h"
#include "owner_priv.h"
#include "socket_priv.h"

#define DEFAULT_CHANNELS 4 /* at most */
#define CONTROL_DIR "/run/wherry"

static int
parse(const char *uri, struct mig_uri *ret_uri)
{
	const char *why;
	int rc = mig_uri_parse(uri, ret_uri, &why);

	if (rc != 0)
		LOG_ERR("\"%s\": %s", uri, why);
	return rc;
}

static bool
is_name(const char *name)
{
	return name != NULL && name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL &&
		strlen(name) < 64;
}

static int
check_opts(const struct wherry_agent_opts *opts)
{
	struct mig_uri uri;

	if (!is_name(opts->name) || opts->tracker == NULL || opts->ops == NULL ||
		opts->ops->quiesce == NULL || opts->ops->takeover == NULL)
		return -EINVAL;
	return opts->incoming != NULL ? parse(opts->incoming, &uri) : 0;
}

/* The strings are the caller's to free, also on failure. */
static int
copy_opts(struct wherry_agent *agent, const struct wherry_agent_opts *opts)
{
	agent->name = strdup(opts->name);
	if (opts->control != NULL)
		agent->control_path = strdup(opts->control);
	else if (asprintf(&agent->control_path, CONTROL_DIR "/%s.sock", opts->name) < 0)
		agent->control_path = NULL;
	if (opts->incoming != NULL)
		agent->incoming = strdup(opts->incoming);
	agent->tracker = opts->tracker;
	agent->ops = *opts->ops;
	agent->status.state = opts->incoming != NULL ? WHERRY_STATE_LISTEN : WHERRY_STATE_SERVING;
	agent->owner = opts->incoming == NULL;
	agent->knows = agent->owner ? MIG_OWNED : MIG_ALWAYS;
	agent->job = opts->incoming != NULL ? MIG_JOB_DEST : MIG_JOB_NONE;
	agent->begun = mig_now();
	if (agent->name == NULL || agent->control_path == NULL ||
		(opts->incoming != NULL && agent->incoming == NULL))
		return -ENOMEM;
	return 0;
}

int
mig_agent_open_listener(struct wherry_agent *agent, struct mig_reason *reason)
{
	struct mig_uri uri;
	int rc = parse(agent->incoming, &uri);

	if (rc != 0)
		return mig_fail(reason, rc, "\"%s\" is no URI", agent->incoming);
	uri.only_loopback = agent->tls == NULL && !agent->insecure;
	rc = mig_listen(&uri, reason);
	if (rc < 0)
		return rc;
	agent->listen_fd = rc;
	rc = mig_porter_create(agent->listen_fd, uri.is_unix ? NULL : agent->tls, &agent->strangers,
		&agent->porter);
	if (rc == 0)
		return 0;
	mig_agent_close_listener(agent);
	return mig_fail(reason, rc, "out of memory");
}

static int
open_first_listener(struct wherry_agent *agent)
{
	struct mig_reason reason;
	struct mig_uri uri;
	int rc;

	agent->listen_fd = -1;
	if (agent->incoming == NULL)
		return 0;
	rc = parse(agent->incoming, &uri);
	if (rc != 0 || uri.is_file) /* read by the worker, nobody connects */
		return rc;
	rc = mig_agent_open_listener(agent, &reason);
	if (rc != 0)
		LOG_ERR("%s", reason.text);
	return rc;
}

/* Keys that are no good are found when the agent starts, not when it is needed. */
static int
open_keys(struct wherry_agent *agent, const struct wherry_agent_opts *opts)
{
	struct mig_reason reason = { "" };
	int rc = mig_tls_create(&opts->tls, &agent->tls);

	agent->insecure = opts->insecure;
	if (rc == -EINVAL)
		LOG_ERR("%s", mig_tls_check(&opts->tls));
	if (rc != 0 || agent->tls == NULL)
		return rc;
	rc = mig_tls_refresh(agent->tls, &reason);
	if (rc != 0)
		LOG_ERR("%s", reason.text);
	return rc;
}

void
mig_agent_close_listener(struct wherry_agent *agent)
{
	struct mig_uri uri;

	if (agent->listen_fd < 0)
		return;
	mig_porter_destroy(agent->porter);
	agent->porter = NULL;
	close(agent->listen_fd);
	agent->listen_fd = -1;
	if (parse(agent->incoming, &uri) == 0 && uri.is_unix)
		unlink(uri.path);
}

static void
close_eventfds(struct wherry_agent *agent)
{
	close(agent->cancel_fd);
	close(agent->recover_fd);
	close(agent->notify_fd);
}

static int
open_eventfds(struct wherry_agent *agent)
{
	agent->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	agent->recover_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	agent->notify_fd =
		wherry_fault("agent.eventfd") ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (agent->cancel_fd >= 0 && agent->recover_fd >= 0 && agent->notify_fd >= 0)
		return 0;
	close_eventfds(agent);
	return -ENOMEM;
}

static void
free_agent(struct wherry_agent *agent)
{
	pthread_cond_destroy(&agent->changed);
	wherry_mutex_fini(&agent->tracker_lock);
	wherry_mutex_fini(&agent->lock);
	wherry_arbiter_close(agent->arbiter);
	mig_tls_destroy(agent->migration_tls);
	mig_tls_destroy(agent->tls);
	mig_agent_forget_heat(agent);
	mig_libraries_free(agent->libraries);
	free(agent->name);
	free(agent->control_path);
	free(agent->incoming);
	free(agent);
}

int
wherry_agent_create(const struct wherry_agent_opts *opts, struct wherry_agent **ret_agent)
{
	struct wherry_agent *agent;
	int rc = check_opts(opts);

	if (rc != 0)
		return rc;
	agent = wherry_fault("agent.alloc") ? NULL : calloc(1, sizeof(*agent));
	if (agent == NULL)
		return -ENOMEM;
	wherry_mutex_init(&agent->lock);
	wherry_mutex_init(&agent->tracker_lock);
	pthread_cond_init(&agent->changed, NULL);
	rc = copy_opts(agent, opts);
	if (rc == 0)
		rc = open_keys(agent, opts);
	if (rc == 0)
		rc = mig_owner_init(agent, opts->arbiter);
	if (rc != 0)
		goto free_agent;
	rc = open_eventfds(agent);
	if (rc != 0)
		goto free_agent;
	rc = mig_control_create(agent, agent->control_path, &agent->control);
	if (rc != 0)
		goto close_eventfds;
	rc = open_first_listener(agent);
	if (rc != 0)
		goto destroy_control;
	*ret_agent = agent;
	return 0;
destroy_control:
	mig_control_destroy(agent->control);
close_eventfds:
	close_eventfds(agent);
free_agent:
	free_agent(agent);
	return rc;
}

int
wherry_agent_add_section(struct wherry_agent *agent, const struct wherry_section *section)
{
	if (agent->started || !is_name(section->name))
		return -EINVAL;
	for (unsigned int i = 0; i < agent->n_sections; i++)
		if (strcmp(agent->sections[i].name, section->name) == 0)
			return -EEXIST;
	if (agent->n_sections == MIG_SECTIONS_MAX)
		return -ENOSPC;
	agent->sections[agent->n_sections++] = *section;
	return 0;
}

/* The next job; NONE: quit. */
static enum mig_job
next_job(struct wherry_agent *agent)
{
	enum mig_job job;

	wherry_mutex_lock(&agent->lock);
	while (agent->job == MIG_JOB_NONE && !agent->rehearse && !agent->quit)
		wherry_cond_wait(&agent->changed, &agent->lock);
	job = agent->quit ? MIG_JOB_NONE : agent->job;
	if (!agent->quit && job == MIG_JOB_NONE)
		job = MIG_JOB_REHEARSE;
	agent->rehearse = false;
	wherry_mutex_unlock(&agent->lock);
	return job;
}

static void *
worker_main(void *arg)
{
	struct wherry_agent *agent = arg;
	enum mig_job job;

	while ((job = next_job(agent)) != MIG_JOB_NONE) {
		if (job == MIG_JOB_SOURCE)
			mig_source_run(agent);
		else if (job == MIG_JOB_DEST)
			mig_dest_run(agent);
		else if (job == MIG_JOB_REHEARSE)
			mig_rehearse_run(agent);
		else
			mig_resolve_run(agent);
	}
	return NULL;
}

static int
claim(struct wherry_agent *agent)
{
	struct mig_reason reason;
	int rc = agent->incoming == NULL ? mig_owner_claim(agent, &reason) : 0;

	if (rc != 0)
		LOG_ERR("%s", reason.text);
	return rc;
}

int
wherry_agent_start(struct wherry_agent *agent)
{
	int rc;

	if (agent->started)
		return -EALREADY;
	rc = claim(agent);
	if (rc != 0)
		return rc;
	rc = mig_control_start(agent->control);
	if (rc != 0)
		return rc;
	rc = wherry_fault("agent.thread")
		? EAGAIN
		: pthread_create(&agent->worker, NULL, worker_main, agent);
	if (rc != 0)
		goto stop_control;
	agent->started = true;
	return 0;
stop_control:
	mig_control_stop(agent->control);
	return -rc;
}

int
wherry_agent_wait(struct wherry_agent *agent)
{
	int rc;

	if (agent->incoming == NULL)
		return 0;
	wherry_mutex_lock(&agent->lock);
	while (!agent->dest_over && !agent->quit)
		wherry_cond_wait(&agent->changed, &agent->lock);
	rc = agent->dest_over ? agent->result : -ECANCELED;
	wherry_mutex_unlock(&agent->lock);
	return rc;
}

static int
check_params(struct wherry_migrate_params *p)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (p->max_rounds > MIG_ROUNDS_MAX || p->channels > MIG_CHANNELS_MAX)
		return -EINVAL;
	if (p->channels == 0)
		p->channels = cpus < 1            ? 1
			: cpus < DEFAULT_CHANNELS ? (unsigned int)cpus
						  : DEFAULT_CHANNELS;
	p->downtime_limit_ms = p->downtime_limit_ms != 0 ? p->downtime_limit_ms : 50;
	p->max_rounds = p->max_rounds != 0 ? p->max_rounds : 30;
	p->timeout_ms = p->timeout_ms != 0 ? p->timeout_ms : 10000;
	p->pause_limit_ms = p->pause_limit_ms != 0 ? p->pause_limit_ms : 60000;
	return 0;
}

/* Some parameters are for a snapshot only, and some make no sense for one. */
static bool
fits(const struct wherry_migrate_params *p, const struct mig_uri *uri)
{
	return uri->is_file ? !p->verify && !p->compress : !p->release;
}

static int
begin_locked(struct wherry_agent *agent) WHERRY_REQUIRES(&agent->lock)
{
	uint64_t drained;

	if (!agent->owner || agent->quit)
		return -EPERM;
	if (agent->job != MIG_JOB_NONE || agent->status.state != WHERRY_STATE_SERVING)
		return -EBUSY;
	if (agent->cancelled && read(agent->cancel_fd, &drained, sizeof(drained)) < 0)
		LOG_DEBUG("nothing to drain");
	if (agent->recovering && read(agent->recover_fd, &drained, sizeof(drained)) < 0)
		LOG_DEBUG("the wish to recover was heard");
	agent->cancelled = agent->recovering = false;
	agent->gate = false;
	agent->ended = false;
	agent->clock_shared = false;
	agent->round_done = agent->round_total = 0;
	mig_agent_forget_heat(agent);
	agent->migrations++;
	agent->begun = mig_now();
	agent->status = (struct wherry_status){ .state = WHERRY_STATE_SETUP };
	agent->knows = MIG_OWNED;
	agent->job = MIG_JOB_SOURCE;
	return 0;
}

int
wherry_agent_migrate(
	struct wherry_agent *agent, const char *uri, const struct wherry_migrate_params *params)
{
	struct wherry_migrate_params p =
		params != NULL ? *params : (struct wherry_migrate_params){ 0 };
	struct mig_tls *tls, *unused;
	struct mig_uri parsed;
	int rc = parse(uri, &parsed);

	if (rc == 0)
		rc = fits(&p, &parsed) ? check_params(&p) : -EINVAL;
	if (rc == 0)
		rc = mig_tls_create(&p.tls, &tls);
	if (rc != 0)
		return rc;
	p.tls = (struct wherry_tls){ 0 }; /* the strings are not ours */
	p.insecure = p.insecure || agent->insecure;
	wherry_mutex_lock(&agent->lock);
	rc = begin_locked(agent);
	unused = rc == 0 ? agent->migration_tls : tls;
	if (rc == 0) {
		agent->uri = parsed;
		agent->params = p;
		agent->migration_tls = tls;
		pthread_cond_broadcast(&agent->changed);
	}
	wherry_mutex_unlock(&agent->lock);
	mig_tls_destroy(unused);
	if (rc == 0)
		mig_agent_notify(agent);
	return rc;
}

/* Nothing here that a signal handler may not do. */
void
wherry_agent_reload(struct wherry_agent *agent)
{
	int before = errno;

	/* pairs with the control thread's exchange */
	__atomic_store_n(&agent->reload, true, __ATOMIC_RELEASE);
	mig_agent_notify(agent);
	errno = before;
}

static int
cancel_locked(struct wherry_agent *agent) WHERRY_REQUIRES(&agent->lock)
{
	uint64_t one = 1;

	if (agent->gate || !mig_state_can_cancel(agent->status.state))
		return -EALREADY;
	agent->cancelled = true;
	return write(agent->cancel_fd, &one, sizeof(one)) < 0 ? -EALREADY : 0;
}

int
wherry_agent_cancel(struct wherry_agent *agent)
{
	int rc;

	wherry_mutex_lock(&agent->lock);
	rc = cancel_locked(agent);
	wherry_mutex_unlock(&agent->lock);
	return rc;
}

static int
recover_locked(struct wherry_agent *agent, const struct mig_uri *uri) WHERRY_REQUIRES(&agent->lock)
{
	uint64_t one = 1;

	if (agent->status.state != WHERRY_STATE_PAUSED)
		return -EALREADY;
	if (agent->recovering)
		return -EBUSY;
	if (uri != NULL)
		agent->uri = *uri;
	agent->recovering = true;
	return write(agent->recover_fd, &one, sizeof(one)) < 0 ? -EBUSY : 0;
}

int
wherry_agent_recover(struct wherry_agent *agent, const char *uri)
{
	struct mig_uri parsed;
	int rc = uri != NULL ? parse(uri, &parsed) : 0;

	if (rc != 0)
		return rc;
	wherry_mutex_lock(&agent->lock);
	rc = recover_locked(agent, uri != NULL ? &parsed : NULL);
	wherry_mutex_unlock(&agent->lock);
	return rc;
}

static int
resolve_locked(struct wherry_agent *agent, bool serve) WHERRY_REQUIRES(&agent->lock)
{
	if (agent->arbiter != NULL)
		return -EPERM;
	if (agent->status.state != WHERRY_STATE_UNKNOWN || agent->job != MIG_JOB_NONE)
		return -EALREADY;
	agent->knows = serve ? MIG_OWNED : MIG_GIVEN;
	agent->job = MIG_JOB_RESOLVE;
	agent->ended = false;
	pthread_cond_broadcast(&agent->changed);
	return 0;
}

int
wherry_agent_resolve(struct wherry_agent *agent, bool serve)
{
	int rc;

	wherry_mutex_lock(&agent->lock);
	rc = resolve_locked(agent, serve);
	wherry_mutex_unlock(&agent->lock);
	return rc;
}

int
wherry_agent_move_control(struct wherry_agent *agent, const char *path)
{
	return mig_control_move(agent->control, path);
}

/* Whatever waits, waits no longer: even an arbiter that does not answer. */
static void
wake_for_good(struct wherry_agent *agent)
{
	uint64_t one = 1;

	if (write(agent->cancel_fd, &one, sizeof(one)) < 0)
		LOG_DEBUG("it is awake");
}

void
wherry_agent_destroy(struct wherry_agent *agent)
{
	if (agent == NULL)
		return;
	wherry_mutex_lock(&agent->lock);
	agent->quit = true;
	cancel_locked(agent);
	wake_for_good(agent);
	pthread_cond_broadcast(&agent->changed);
	wherry_mutex_unlock(&agent->lock);
	if (agent->started)
		pthread_join(agent->worker, NULL);
	mig_control_destroy(agent->control);
	mig_agent_close_listener(agent);
	close_eventfds(agent);
	free_agent(agent);
}
