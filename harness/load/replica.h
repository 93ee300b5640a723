/* The second pool of a pod: each client has another session on a standby, where its read-only transactions run. A client serves one
 * transaction at a time, wherever that is. Private to load/. */
#ifndef PGR_LOAD_REPLICA_H
#define PGR_LOAD_REPLICA_H

#include "runtime/session.h"

#include <stdbool.h>
#include <stdint.h>

struct client;

struct replica {
	struct session *session; /* NULL: reads go where writes go */
	struct loop_timer retry; /* armed: before the next attempt to connect */
	int64_t backoff_ns;
	int64_t timeout_ns; /* statement_timeout that we set on this connection; 0: the server's own */
	bool counted;       /* in crew.connected */
};

/* Makes the session anew, as the client's app version, and begins to connect it; nothing where there is no standby. */
void replica_open(struct client *c);
void replica_close(struct client *c);

/* Connects again, after a pause, what was lost under a transaction. */
void replica_settle(struct client *c);

#endif
