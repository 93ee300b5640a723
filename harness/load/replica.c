/* Keeps a client's session on the standby connected, beside whatever the client does. A read that finds it away fails (08003). */
#define _GNU_SOURCE
#include "load/replica.h"

#include "base/clock.h"
#include "load/client.h"

#include <stdio.h>

static void try_connect(struct client *c);

static void retry_now(struct loop_timer *t)
{
	try_connect(container_of(container_of(t, struct replica, retry), struct client, replica));
}

static void try_later(struct client *c)
{
	c->worker->stats->reconnects++;
	loop_timer_set(c->worker->loop, &c->replica.retry, clock_now_ns() + worker_backoff(c->worker, &c->replica.backoff_ns));
}

static void connection_made(struct session *s, void *arg)
{
	struct client *c = arg;
	const struct session_outcome *out = session_outcome(s);
	if (!out->ok) {
		if (!c->replica.counted)
			worker_tell_refusal(c->worker, out);
		try_later(c);
		return;
	}
	c->replica.backoff_ns = c->replica.timeout_ns = 0;
	if (!c->replica.counted)
		worker_tell_connected(c->worker, &c->replica.counted);
}

static void try_connect(struct client *c)
{
	session_connect(c->replica.session, WORKER_CONNECT_TIMEOUT_NS, connection_made, c);
}

static void connection_lost(struct session *s, void *arg)
{
	struct client *c = arg;
	/* In mid-transaction the next statement finds out, and replica_settle comes after it. */
	if (c->session != s)
		try_later(c);
}

void replica_open(struct client *c)
{
	const struct load_config *config = c->worker->crew->config;
	if (config->read_dsn == NULL)
		return;
	replica_close(c);
	c->replica.retry.fn = retry_now;
	char name[64];
	struct session_hooks hooks = {.lost = connection_lost, .result = client_keep_result, .arg = c};
	c->replica.session = session_create(c->worker->loop, config->read_dsn, worker_session_name(c, name, sizeof name), &hooks);
	try_connect(c);
}

void replica_close(struct client *c)
{
	loop_timer_cancel(c->worker->loop, &c->replica.retry);
	session_free(c->replica.session);
	c->replica.session = NULL;
}

void replica_settle(struct client *c)
{
	struct replica *r = &c->replica;
	if (r->session != NULL && session_state(r->session) == SESSION_CLOSED && !loop_timer_armed(&r->retry))
		try_later(c);
}
