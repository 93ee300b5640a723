/* Who has the lock that the first statement in order waits for? Asked on a connection of its own, when that takes long. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "replay/play_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LONG_NS (20 * NS_PER_MS) /* a statement that runs for so long may be waiting */
#define CONNECT_TIMEOUT_NS (10 * NS_PER_S)

static struct replayed *of_pid(const struct player *p, int pid)
{
	for (size_t i = 0; i < p->sessions.n; i++) {
		struct replayed *r = p->sessions.at[i];
		if (r != NULL && r->session != NULL && session_pid(r->session) == pid)
			return r;
	}
	return NULL;
}

/* Rows are pid and who blocks it, from the first statement on. */
static void answered(struct session *s, void *arg)
{
	struct player *p = arg;
	const struct session_outcome *o = session_outcome(s);
	bool took = false;
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; o->ok && i < PQntuples(o->result); i++) {
			struct replayed *r = of_pid(p, (int)strtol(PQgetvalue(o->result, i, 0), NULL, 10));
			if (r != NULL && pass == 0)
				took |= r->took;
			else if (r != NULL && r->waiting_ns != 0)
				play_release(r, took);
		}
	play_let_ready_go(p);
}

static void connected(struct session *s, void *arg)
{
	(void)s;
	(void)arg;
}

static const struct replayed *find_first(const struct player *p)
{
	for (size_t i = 0; i < p->sessions.n; i++) {
		const struct replayed *r = p->sessions.at[i];
		if (r != NULL && r->running != NULL && order_is_oldest(p->order, r->number))
			return r;
	}
	return NULL;
}

void play_look_for_blocked(struct player *p)
{
	if (p->first_waiting == NULL)
		return;
	const struct replayed *r = find_first(p);
	int64_t now = loop_now_ns(p->loop);
	if (r == NULL || now - r->sent_ns < (r->sent_ns == p->asked_of_ns ? p->ask_after_ns : LONG_NS))
		return;
	if (p->asker == NULL)
		p->asker = session_create(p->loop, p->dsn.data, "pgrehearse replay", NULL);
	enum session_state state = session_state(p->asker);
	if (state == SESSION_CLOSED)
		session_connect(p->asker, CONNECT_TIMEOUT_NS, connected, p);
	if (state != SESSION_IDLE)
		return;
	p->asked_of_ns = r->sent_ns;
	/* The longer it runs, the more likely it only takes long; asking takes locks in the server. */
	int64_t runs_ns = now - r->sent_ns;
	p->ask_after_ns = runs_ns + (runs_ns / 4 > LONG_NS ? runs_ns / 4 : LONG_NS);
	buf_clear(&p->sql);
	buf_printf(&p->sql,
		"WITH RECURSIVE chain (pid) AS (SELECT %d UNION SELECT blocker FROM chain"
		" CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) AS blocker) SELECT pid FROM chain",
		session_pid(r->session));
	session_query(p->asker, p->sql.data, answered, p);
}
