/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rules of rte_flow that move: kept as bytes, for rte_flow tells nobody what a rule says,
 * and made from those whenever the port starts: most cards forget them when it stops.
 * A rule's number is that of its place, at both ends.
 *
 * The section, for each port: how many (2), and for each its number (2), its length (2) and
 * its bytes (flow_bytes_priv.h). They come from a peer: each is checked, and the port asked
 * whether it can have it, before the first page.
 */
#include <errno.h>
#include <stdlib.h>

#include <rte_errno.h>

#include "base_priv.h"
#include "bytes_priv.h"
#include "flow_bytes_priv.h"
#include "ports_priv.h"
#include "why_priv.h"

#define LOG_PREFIX "dpdk/flows"

struct port_flow {
	struct rte_flow *live; /* NULL: it is made when the port starts */
	uint16_t len;          /* 0: this place is free */
	uint8_t bytes[FLOW_BYTES_MAX];
};

/* Of all ports: an application makes rules while its agent asks for them. A leaf. */
static struct wherry_mutex lock = { .m = PTHREAD_MUTEX_INITIALIZER };

static const char *
why(const struct rte_flow_error *error, int rc)
{
	return error->message != NULL ? error->message : rte_strerror(-rc);
}

static int
make(const struct port *p, struct port_flow *f, struct rte_flow_error *error)
{
	struct flow_rule rule;
	int rc = flow_decode(f->bytes, f->len, &rule);

	*error = (struct rte_flow_error){ .message = NULL };
	if (rc != 0)
		return rc;
	if (p->at == PORT_STOPPED)
		return rte_flow_validate(p->id, &rule.attr, rule.pattern, rule.actions, error);
	f->live = rte_flow_create(p->id, &rule.attr, rule.pattern, rule.actions, error);
	if (f->live != NULL)
		return 0;
	return rte_errno > 0 ? -rte_errno : -EIO;
}

static int
unmake(const struct port *p, struct port_flow *f)
{
	struct rte_flow_error error = { .message = NULL };
	int rc = f->live != NULL ? rte_flow_destroy(p->id, f->live, &error) : 0;

	f->live = NULL;
	if (rc != 0)
		LOG_ERR("port %u does not take a rule away: %s", p->id, why(&error, rc));
	return rc;
}

static bool
keeps_flows(const struct port *p)
{
	struct rte_eth_dev_info info;

	return rte_eth_dev_info_get(p->id, &info) == 0 &&
		(info.dev_capa & RTE_ETH_DEV_CAPA_FLOW_RULE_KEEP) != 0;
}

int
port_flows_start(struct port *p)
{
	int rc = 0;

	wherry_mutex_lock(&lock);
	for (unsigned int i = 0; rc == 0 && p->flows != NULL && i < PORT_FLOWS_MAX; i++) {
		struct port_flow *f = &p->flows[i];
		struct rte_flow_error error;

		if (f->len == 0 || f->live != NULL)
			continue;
		rc = make(p, f, &error);
		if (rc != 0)
			LOG_ERR("port %u refuses rule %u: %s", p->id, i, why(&error, rc));
	}
	wherry_mutex_unlock(&lock);
	return rc;
}

void
port_flows_stop(struct port *p)
{
	wherry_mutex_lock(&lock);
	for (unsigned int i = 0; p->flows != NULL && !keeps_flows(p) && i < PORT_FLOWS_MAX; i++)
		(void)unmake(p, &p->flows[i]);
	wherry_mutex_unlock(&lock);
}

void
ports_fini(struct ports *ports)
{
	for (unsigned int i = 0; i < ports->n; i++) {
		free(ports->port[i].flows);
		ports->port[i].flows = NULL;
	}
}

/* -ENOMEM, -ENOSPC: there are too many. */
static int
find_place_locked(struct port *p, unsigned int *ret_id) WHERRY_REQUIRES(&lock)
{
	if (p->flows == NULL)
		p->flows = wherry_fault("ports.flows")
			? NULL
			: calloc(PORT_FLOWS_MAX, sizeof(struct port_flow));
	if (p->flows == NULL)
		return -ENOMEM;
	for (unsigned int i = 0; i < PORT_FLOWS_MAX; i++) {
		if (p->flows[i].len != 0)
			continue;
		*ret_id = i;
		return 0;
	}
	return -ENOSPC;
}

static int
create_locked(struct port *p, const struct port_flow *new, unsigned int *ret_id,
	struct rte_flow_error *error) WHERRY_REQUIRES(&lock)
{
	int rc = find_place_locked(p, ret_id);

	if (rc != 0)
		return rc;
	p->flows[*ret_id] = *new;
	rc = make(p, &p->flows[*ret_id], error);
	if (rc != 0)
		p->flows[*ret_id].len = 0;
	return rc == -ENOTSUP || rc == -ENOSYS ? -EOPNOTSUPP : rc;
}

int
port_create_flow(struct port *p, const struct rte_flow_attr *attr,
	const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
	unsigned int *ret_id, struct rte_flow_error *error)
{
	struct port_flow new = { .live = NULL };
	struct rte_flow_error unused;
	const char *reason;
	int rc = flow_encode(attr, pattern, actions, new.bytes, sizeof(new.bytes), &reason);

	if (error == NULL)
		error = &unused;
	if (rc < 0) {
		*error = (struct rte_flow_error){ .type = RTE_FLOW_ERROR_TYPE_UNSPECIFIED,
			.message = reason };
		return rc;
	}
	new.len = (uint16_t)rc;
	wherry_mutex_lock(&lock);
	rc = create_locked(p, &new, ret_id, error);
	wherry_mutex_unlock(&lock);
	return rc;
}

int
port_destroy_flow(struct port *p, unsigned int id)
{
	int rc = -ENOENT;

	wherry_mutex_lock(&lock);
	if (p->flows != NULL && id < PORT_FLOWS_MAX && p->flows[id].len != 0) {
		rc = unmake(p, &p->flows[id]);
		p->flows[id].len = 0;
	}
	wherry_mutex_unlock(&lock);
	return rc;
}

/* ---- the section ---- */

static void
put_flows(const struct port *p, struct bytes *b)
{
	uint8_t *at = b->at;
	uint16_t n = 0;

	bytes_put16(b, 0);
	for (unsigned int i = 0; p->flows != NULL && i < PORT_FLOWS_MAX; i++) {
		if (p->flows[i].len == 0)
			continue;
		bytes_put16(b, (uint16_t)i);
		bytes_put16(b, p->flows[i].len);
		bytes_put(b, p->flows[i].bytes, p->flows[i].len);
		n++;
	}
	if (!b->bad)
		bytes_put16(&(struct bytes){ .at = at, .left = 2 }, n);
}

int
flows_save(void *ctx, void *buf, size_t cap)
{
	const struct ports *ports = ctx;
	struct bytes b = { .at = buf, .left = cap };

	wherry_mutex_lock(&lock);
	for (unsigned int i = 0; i < ports->n; i++)
		put_flows(&ports->port[i], &b);
	wherry_mutex_unlock(&lock);
	return b.bad ? -ENOSPC : (int)(cap - b.left);
}

/* The next rule of a section; its number. */
static int
get_flow(struct bytes *b, unsigned int least, struct port_flow *ret_flow)
{
	struct flow_rule rule;
	unsigned int id = bytes_get16(b);

	ret_flow->live = NULL;
	ret_flow->len = bytes_get16(b);
	if (b->bad || id < least || id >= PORT_FLOWS_MAX || ret_flow->len > FLOW_BYTES_MAX)
		return -EPROTO;
	bytes_get(b, ret_flow->bytes, ret_flow->len);
	return b->bad || flow_decode(ret_flow->bytes, ret_flow->len, &rule) != 0 ? -EPROTO
										 : (int)id;
}

/* Could the port have it? */
static int
validate(const struct port *p, const struct port_flow *f, struct rte_flow_error *error)
{
	struct flow_rule rule;
	int rc = flow_decode(f->bytes, f->len, &rule);

	*error = (struct rte_flow_error){ .message = NULL };
	return rc != 0 ? rc
		       : rte_flow_validate(p->id, &rule.attr, rule.pattern, rule.actions, error);
}

static int
take_locked(struct port *p, unsigned int id, const struct port_flow *f,
	struct rte_flow_error *error) WHERRY_REQUIRES(&lock)
{
	unsigned int free_place;
	int rc = find_place_locked(p, &free_place);

	*error = (struct rte_flow_error){ .message = NULL };
	if (rc != 0)
		return rc;
	p->flows[id] = *f;
	return make(p, &p->flows[id], error);
}

/* What this process made itself goes: the peer's application knows other numbers. */
static void
drop_all_locked(struct port *p) WHERRY_REQUIRES(&lock)
{
	for (unsigned int i = 0; p->flows != NULL && i < PORT_FLOWS_MAX; i++) {
		(void)unmake(p, &p->flows[i]);
		p->flows[i].len = 0;
	}
}

static int
read_flows_locked(struct port *p, struct bytes *b, bool load, struct wherry_why *ret_why)
	WHERRY_REQUIRES(&lock)
{
	unsigned int n = bytes_get16(b), least = 0;

	if (load)
		drop_all_locked(p);
	for (unsigned int i = 0; i < n; i++) {
		struct rte_flow_error error;
		struct port_flow f;
		int id = get_flow(b, least, &f), rc;

		if (id < 0)
			return id;
		rc = load ? take_locked(p, (unsigned int)id, &f, &error) : validate(p, &f, &error);
		if (rc != 0)
			return refuse(ret_why, -EOPNOTSUPP,
				"port %u cannot have the source's rule %d at the destination: %s",
				p->id, id, why(&error, rc));
		least = (unsigned int)id + 1;
	}
	return b->bad ? -EPROTO : 0;
}

static int
each_port(struct ports *ports, const void *buf, size_t len, bool load, struct wherry_why *ret_why)
{
	struct bytes b = { .at = (uint8_t *)(uintptr_t)buf, .left = len };
	int rc = 0;

	wherry_mutex_lock(&lock);
	for (unsigned int i = 0; rc == 0 && i < ports->n; i++)
		rc = read_flows_locked(&ports->port[i], &b, load, ret_why);
	wherry_mutex_unlock(&lock);
	return rc == 0 && b.left != 0 ? -EPROTO : rc;
}

int
flows_check(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	return each_port(ctx, buf, len, false, ret_why);
}

int
flows_load(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why)
{
	return each_port(ctx, buf, len, true, ret_why);
}
