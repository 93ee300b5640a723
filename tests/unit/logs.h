/* What the tests of log readers share: statements of a log in memory as lines of text, one a statement. */
#ifndef PGR_TESTS_LOGS_H
#define PGR_TESTS_LOGS_H

#include "base/buf.h"
#include "replay/assemble.h"
#include "replay/log_reader.h"

struct taken {
	struct buf text; /* "kind session arrival_ms duration_us sqlstate name|SQL|parameters\n" */
	int64_t first_ns;
	struct loss loss;
};

static void taken_session(const struct captured_session *s, void *arg)
{
	struct taken *t = arg;
	buf_printf(&t->text, "session %u %.*s@%.*s\n", s->number, (int)s->user.n, s->user.at, (int)s->database.n, s->database.at);
}

static void taken_event(const struct captured *c, void *arg)
{
	static const char *const KINDS[] = {"connect", "disconnect", "simple", "execute", "fetch"};
	struct taken *t = arg;
	if (t->first_ns == 0)
		t->first_ns = c->arrival_ns;
	buf_printf(&t->text, "%s %u", KINDS[c->kind], c->session);
	if (c->kind > CAPTURED_DISCONNECT) {
		buf_printf(&t->text, " +%.3f", (double)(c->arrival_ns - t->first_ns) / 1e6);
		if (c->duration_ns >= 0)
			buf_printf(&t->text, " %.3f", (double)c->duration_ns / 1e6);
		else
			buf_str(&t->text, " -");
		buf_printf(&t->text, " %s %.*s", c->sqlstate, (int)c->name.n, c->name.at);
		if (c->portal.n > 0)
			buf_printf(&t->text, "/%.*s", (int)c->portal.n, c->portal.at);
		buf_printf(&t->text, "|%.*s", (int)c->text.n, c->text.at);
		for (size_t i = 0; i < c->n_params; i++) {
			if (c->params[i].null)
				buf_str(&t->text, "|NULL");
			else
				buf_printf(&t->text, "|'%.*s'", (int)c->params[i].value.n, c->params[i].value.at);
		}
	}
	buf_char(&t->text, '\n');
}

/* ST_OK: *t holds what is in the log; free t->text. */
static inline enum status take_log(
	const char *log, size_t n, enum log_format format, const char *prefix, struct taken *t, struct error *err)
{
	struct log_reader_config config = {.format = format, .prefix = prefix, .memory = log, .memory_n = n};
	struct log_reader *reader;
	struct log_entry e;
	*t = (struct taken){0};
	buf_init(&t->text, (size_t)64 << 20);
	if (log_reader_open(&config, &reader, err) != ST_OK)
		return err->status;
	struct assembler *a = assemble_create(&(struct assemble_sink){taken_session, taken_event, t});
	while (log_reader_next(reader, &e))
		assemble_entry(a, &e);
	assemble_end(a);
	t->loss = *assemble_loss(a);
	assemble_free(a);
	log_reader_close(reader);
	return ST_OK;
}

#endif
