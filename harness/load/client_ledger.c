/* The ledger of statements that commit by themselves, and of a COMMIT that is a statement of the workload: its row goes along with the
 * statement in one implicit transaction (a pipeline up to one sync, or one simple query), so that both are committed or neither is. */
#define _GNU_SOURCE
#include "load/client.h"

#include <string.h>

/* The row comes before a COMMIT and behind anything else. */
static bool is_commit(const struct client *c)
{
	return c->worker->workload->kinds[c->statement_index] == STATEMENT_COMMITS;
}

bool client_wants_ledger(const struct client *c, const struct session_statement *st)
{
	enum statement_kind kind = (enum statement_kind)c->worker->workload->kinds[st->index];
	if (kind == STATEMENT_OTHER || c->keeping || c->worker->workload->transactions[c->transaction].read_only)
		return false;
	return session_transaction(c->session) == (kind == STATEMENT_COMMITS ? PQTRANS_INTRANS : PQTRANS_IDLE);
}

static void begin_keeping(struct client *c)
{
	client_drop_results(c);
	c->piping = true;
}

static int send_both(lua_State *L, struct client *c, const struct session_statement *st)
{
	char row[96];
	bool commit = is_commit(c);
	client_ledger_row(c, row);
	begin_keeping(c);
	session_begin_pipeline(c->session);
	if (commit)
		session_enqueue_query(c->session, row);
	session_enqueue(c->session, st, c->values);
	if (!commit)
		session_enqueue_query(c->session, row);
	session_end_pipeline(c->session, client_statement_done, c);
	return client_await(L, c, c->ledger_after, 0);
}

/* Stack: c, name, parameters. */
static int after_prepare(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	struct client *c = client_of(L);
	client_check_outcome(L);
	const struct session_statement *st = client_find_statement(L, c);
	client_take_values(L, c, st);
	return send_both(L, c, st);
}

int client_execute_with_ledger(lua_State *L, struct client *c, const struct session_statement *st, lua_KFunction after)
{
	c->ledger_after = after;
	if (session_is_prepared(c->session, st))
		return send_both(L, c, st);
	session_prepare(c->session, st, client_prepare_done, c);
	return client_await(L, c, after_prepare, 0);
}

const char *client_query_with_ledger(lua_State *L, struct client *c, const char *sql)
{
	char row[96];
	client_ledger_row(c, row);
	begin_keeping(c);
	return is_commit(c) ? lua_pushfstring(L, "%s; %s", row, sql) : lua_pushfstring(L, "%s\n; %s", sql, row);
}

/* Of the two results, that of the statement; NULL when they did not come. */
static const PGresult *statement_result(const struct client *c)
{
	return c->kept.n < 2 ? NULL : c->kept.at[is_commit(c) ? c->kept.n - 1 : c->kept.n - 2];
}

static enum ledger_end ledger_end_of(const struct client *c)
{
	const PGresult *result = statement_result(c);
	/* The answer that the transaction is over came behind these results: they alone prove nothing. */
	if (session_outcome(c->session)->ok && result != NULL)
		return !is_commit(c) || strcmp(PQcmdStatus((PGresult *)(uintptr_t)result), "COMMIT") == 0 ? LEDGER_ACKNOWLEDGED
													  : LEDGER_FAILED;
	return session_state(c->session) == SESSION_CLOSED ? LEDGER_UNKNOWN : LEDGER_FAILED;
}

const PGresult *client_take_result(lua_State *L, struct client *c)
{
	c->ledgered = NULL;
	if (c->book.pending) {
		c->piping = false;
		ledger_end(&c->book, ledger_end_of(c));
		c->ledgered = session_outcome(c->session)->ok ? statement_result(c) : NULL;
	}
	const PGresult *result = client_check_outcome(L)->result;
	return c->ledgered != NULL ? c->ledgered : result;
}

const PGresult *client_latest_result(const struct client *c)
{
	return c->ledgered != NULL ? c->ledgered : session_outcome(c->session)->result;
}
