/* A PostgreSQL server that does what a script says: for the faults that a real one does not produce on demand. It speaks protocol 3
 * (trust, simple and extended queries, pipelines, cancel requests) on a unix socket, with a thread a connection. */
#ifndef PGR_TESTS_FAKEPG_H
#define PGR_TESTS_FAKEPG_H

#include "base/error.h"

#include <stdint.h>

struct fakepg;

/* A script is lines of `[WHICH] WHAT [GLOB] -> ACTION; ACTION...`; empty lines and # comments are skipped. The first line that fits answers.
 *
 *   WHAT    startup, parse, run (a simple query, or Execute); GLOB is matched against the SQL, * when left out
 *   WHICH   3x: only the first three times; #3: only the third time. Counted over all connections, also
 *           when a line above answers
 *   ACTION  ok                      no more than what always comes (CommandComplete "SELECT 0")
 *           row A|B|\N              a data row; the first one is described before: whole numbers as int8, the rest as text
 *           rows N BYTES            N rows of one column of so many bytes
 *           complete TAG            CommandComplete with this tag
 *           error SEVERITY CODE TEXT    ERROR keeps the connection, FATAL and PANIC end it
 *           notice TEXT
 *           stall MS                sends what there is, then waits; a cancel request ends it with 57014
 *           drop                    sends what there is and closes the connection
 *           reset                   closes it at once (ECONNRESET where a Sync has not been read)
 *           garbage N               N bytes that mean nothing
 *           raw HEX                 those bytes
 *
 * Without a line that fits, BEGIN, COMMIT, ROLLBACK and SET are answered as a server does, anything else by one row: 1. */
enum status fakepg_start(const char *script, struct fakepg **out, struct error *err) MUST_CHECK;

/* Ends all connections and waits for their threads. NULL is fine. */
void fakepg_stop(struct fakepg *f);

const char *fakepg_dsn(const struct fakepg *f);

/* Of each connection that is made from now on: it is closed when it has sent so many bytes; -1: it is not. */
void fakepg_cut_after(struct fakepg *f, int64_t bytes);

/* Likewise: what lies behind so many bytes is sent a little later, in a packet of its own; -1: at once. 0: each byte is a packet. */
void fakepg_split_at(struct fakepg *f, int64_t bytes);

/* Sent so far by the latest connection, and what all of them have seen. */
int64_t fakepg_bytes_sent(struct fakepg *f);
int fakepg_connections(struct fakepg *f);
int fakepg_cancels(struct fakepg *f);

/* How often SQL that fits the glob was run (simple query or Execute). */
int fakepg_runs(struct fakepg *f, const char *glob);

#endif
