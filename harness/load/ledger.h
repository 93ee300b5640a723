/* The ledger: clients write a numbered row in each transaction that they commit, and remember which commits were acknowledged; afterwards
 * every acknowledged row is looked for. What is missing was lost, by the server, by a failover or by a migration. */
#ifndef PGR_LOAD_LEDGER_H
#define PGR_LOAD_LEDGER_H

#include "base/error.h"
#include "base/vec.h"
#include "load/engine.h"

#include <stdint.h>

#define LEDGER_TABLE "pgrehearse.ledger"

/*
 * One client's numbers. A number whose commit failed is used again, since nobody can have seen it; so all below next were acknowledged but
 * for those in unknown: their connection was lost during COMMIT, and they may be there or not. Memory does not grow with success.
 */
struct ledger_book {
	uint64_t next;
	VEC(uint64_t) unknown; /* ascending */
	bool pending;          /* the commit of next is under way */
};

enum ledger_end { LEDGER_ACKNOWLEDGED, LEDGER_FAILED, LEDGER_UNKNOWN };

/* How the commit that is pending ended; nothing happens when none is. */
void ledger_end(struct ledger_book *book, enum ledger_end end);

/* Makes the table, empty, in the program's schema. Waits up to timeout_ns (2 s at least) for a server that does not answer. Blocks. */
enum status ledger_create(const char *dsn, int64_t timeout_ns, struct error *err) MUST_CHECK;

/* Looks for the rows of n books, whose clients are numbered by their place, and drops the table. Waits up to timeout_ns for a server
 * that does not take connections, and as long (2 s at least) for one that has and falls silent: ST_FAILED. Blocks. */
enum status ledger_check(const char *dsn, const struct ledger_book *const *books, int n, int64_t timeout_ns, struct load_ledger *out,
	struct error *err) MUST_CHECK;

#endif
