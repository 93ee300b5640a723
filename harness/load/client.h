/* The parts of a client's object c. Private to load/. */
#ifndef PGR_LOAD_CLIENT_H
#define PGR_LOAD_CLIENT_H

#include "load/worker.h"

/* The client whose transaction runs in L; raises where that is none. */
struct client *client_of(lua_State *L);

/* Raises the table that stands for a failed statement. */
int client_raise(lua_State *L, const char *sqlstate, const char *message);

/* The statement that the string at index 2 names; notes its name in c. Raises when there is none. */
const struct session_statement *client_find_statement(lua_State *L, struct client *c);

/* Fills c->values from the n values behind index 2. They point into L's stack and c. Raises when st has another number of parameters. */
void client_take_values(lua_State *L, struct client *c, const struct session_statement *st);

/* The done function of a statement: tells of slow ones, goes on with the fiber. */
void client_statement_done(struct session *s, void *arg);

/* That of session_prepare, whose time is no statement's. */
void client_prepare_done(struct session *s, void *arg);

/* Notes what is executed next, where that is no statement of the workload; returns its name. */
const char *client_note_extra(struct client *c, enum extra_statement extra);

/* The statement that writes the ledger's row of the transaction under way, and notes that its end is to be told to the book; NULL: it needs none. */
const char *client_ledger_row(struct client *c, char out[96]);

/* client_ledger.c: whether a row of the ledger is to go along with st, executed by itself; a load without ledger need not ask. Then
 * `return client_execute_with_ledger(...)` as for client_await, or what to send instead of sql, left on the stack. */
bool client_wants_ledger(const struct client *c, const struct session_statement *st);
int client_execute_with_ledger(lua_State *L, struct client *c, const struct session_statement *st, lua_KFunction after);
const char *client_query_with_ledger(lua_State *L, struct client *c, const char *sql);

/* The result of the statement that has ended, without the ledger's, whose end is told to the book; raises its error. Then again. */
const PGresult *client_take_result(lua_State *L, struct client *c);
const PGresult *client_latest_result(const struct client *c);

/* Its code pauses from now on, which is no delay of the generator. */
void client_note_pause(struct client *c);

/* `return client_await(...)` once a statement has been handed to the session: its patience begins if it has one, and the fiber waits. */
int client_await(lua_State *L, struct client *c, lua_KFunction after, lua_KContext ctx);

/* The outcome of the latest statement; raises its error. */
const struct session_outcome *client_check_outcome(lua_State *L);

/* Raises inside of a pipeline, where results are not there yet. */
void client_need_results(lua_State *L, const struct client *c);

/* client_values.c: parameter i (from 0) of the statement c->statement from stack index arg, as text or NULL; it points into L's stack
 * or c. Then a column, a row as a list of columns, all rows as a list of these. */
const char *client_format_value(lua_State *L, struct client *c, int i, int arg);
void client_push_column(lua_State *L, const PGresult *result, int row, int column);
void client_push_row(lua_State *L, const PGresult *result, int row);
void client_push_rows(lua_State *L, const PGresult *result);

/* Rows returned or affected. */
int64_t client_count_rows(const PGresult *result);

/* client_pipeline.c: c:pipeline(function(p) ... end), and as steps of their own c:start_pipeline(name, ...), c:sync_pipeline(), c:end_pipeline() */
int client_pipeline(lua_State *L);
int client_start_pipeline(lua_State *L);
int client_sync_pipeline(lua_State *L);
int client_end_pipeline(lua_State *L);

/* client_pgbench.c, for the scripts that workloads/lib/pgbench translates:
 * c:query(name, sql): the simple query protocol, under the name of a statement;
 * c:last_row(): number of rows of the latest result, then name and text of each column of the last row in turn;
 * c:keep_results(), c:kept_results(): the same, as a list, for each result with rows between the two;
 * c:shell(command): exit code and output. */
int client_query(lua_State *L);
int client_last_row(lua_State *L);
int client_keep_results(lua_State *L);
int client_kept_results(lua_State *L);
int client_shell(lua_State *L);

/* Hook of the session, and what becomes of kept results and a shell command when the transaction is over. */
bool client_keep_result(struct session *s, PGresult *result, void *arg);
void client_drop_results(struct client *c);
void client_drop_extras(struct client *c);

#endif
