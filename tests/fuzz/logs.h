/* What the fuzz targets of the log readers share: a log in memory goes the whole way to a trace that is thrown away. */
#ifndef PGR_TESTS_FUZZ_LOGS_H
#define PGR_TESTS_FUZZ_LOGS_H

#include "replay/assemble.h"
#include "replay/log_reader.h"
#include "replay/trace.h"

#include <stdlib.h>

/* A writer takes megabytes: one serves many inputs, as one serves many messages. */
static inline struct trace_writer *writer_of_many(void)
{
	static struct trace_writer *w;
	static int inputs;
	struct error err;
	if (w != NULL && ++inputs % 1000 == 0) {
		json_t *meta = json_object();
		if (trace_finish(w, meta, &err) != ST_OK)
			abort();
		json_decref(meta);
		w = NULL;
	}
	if (w == NULL && trace_create("/dev/null", &w, &err) != ST_OK)
		abort();
	return w;
}

/* The ledger has every line, and no statement is longer than the log. */
static inline void read_log(const uint8_t *data, size_t size, enum log_format format, const char *prefix)
{
	struct log_reader_config config = {.format = format, .prefix = prefix, .memory = data, .memory_n = size};
	struct log_reader *reader;
	struct log_entry e;
	struct error err;
	if (size == 0 || log_reader_open(&config, &reader, &err) != ST_OK)
		return;
	struct assembler *a = assemble_create(&(struct assemble_sink){trace_add_session, trace_add_event, writer_of_many()});
	while (log_reader_next(reader, &e))
		assemble_entry(a, &e);
	assemble_end(a);
	if (!loss_adds_up(assemble_loss(a)))
		abort();
	json_t *meta = loss_json(assemble_loss(a));
	if (meta == NULL)
		abort();
	json_decref(meta);
	assemble_free(a);
	log_reader_close(reader);
}

#endif
