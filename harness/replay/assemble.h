/* From messages of a log to statements with their session, arrival, duration, parameters and error, whichever settings were on:
 * log_statement, log_duration, log_min_duration_statement, or several of them. */
#ifndef PGR_REPLAY_ASSEMBLE_H
#define PGR_REPLAY_ASSEMBLE_H

#include "replay/loss.h"
#include "replay/params.h"

/* Sessions that are remembered at a time; the one silent for longest is then taken for ended. */
#define ASSEMBLE_SESSIONS_MAX ((size_t)100000)

enum captured_kind {
	CAPTURED_CONNECT,
	CAPTURED_DISCONNECT,
	CAPTURED_SIMPLE,  /* simple protocol; may be several statements */
	CAPTURED_EXECUTE, /* extended protocol */
	CAPTURED_FETCH,   /* further rows of a portal that an execute has opened */
	CAPTURED_KINDS,
};

struct captured_session {
	uint32_t number;  /* from 0, in the order in which they first occur */
	uint64_t id;      /* as in struct log_entry */
	int64_t start_ns; /* 0: unknown */
	struct log_text user, database, application, host;
};

/* Texts are valid during the call. */
struct captured {
	enum captured_kind kind;
	uint32_t session;
	int64_t arrival_ns;                 /* since the Unix epoch */
	int64_t duration_ns;                /* -1: unknown */
	bool from_end;                      /* arrival was reckoned from the end's time, less the duration; else the log has it */
	bool no_end;                        /* connections: not logged, but concluded */
	struct log_text text, name, portal; /* name "": unnamed */
	const struct param *params;
	size_t n_params;
	int64_t rows;     /* -1: unknown */
	char sqlstate[6]; /* "00000": it succeeded; "?????": it failed, and the log does not say how */
	size_t file;
	int64_t line;
};

struct assembler;

struct assemble_sink {
	void (*session)(const struct captured_session *s, void *arg); /* before its first event */
	void (*event)(const struct captured *c, void *arg);
	void *arg;
};

struct assembler *assemble_create(const struct assemble_sink *sink);
void assemble_free(struct assembler *a);

/* Texts of e may be changed in place. */
void assemble_entry(struct assembler *a, struct log_entry *e);

/* The log has ended: statements under way are told, without durations. */
void assemble_end(struct assembler *a);

const struct loss *assemble_loss(const struct assembler *a);

#endif
