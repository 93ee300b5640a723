/* Classes, their names, and the sums. */
#define _GNU_SOURCE
#include "replay/loss.h"

#include "base/json.h"

static const struct {
	const char *name, *text;
} CLASSES[LOSS_CLASSES] = {
	[LOSS_STATEMENT] = {"statement", "statements"},
	[LOSS_COMPLETION] = {"completion", "their durations"},
	[LOSS_STEP] = {"step", "parse and bind steps"},
	[LOSS_ERROR] = {"error", "their errors"},
	[LOSS_CONNECTION] = {"connection", "connections opened and closed"},
	[LOSS_COPY] = {"copy", "COPY with the client, whose data is not logged"},
	[LOSS_FASTPATH] = {"fastpath", "function calls of the fast path (large objects)"},
	[LOSS_DURATION] = {"duration", "durations without their statement"},
	[LOSS_PARAMS] = {"params", "statements whose parameters were not logged"},
	[LOSS_ERROR_ALONE] = {"error_alone", "errors without their statement"},
	[LOSS_REPLICATION] = {"replication", "commands of the replication protocol"},
	[LOSS_REFUSED] = {"refused", "connections that were not let in"},
	[LOSS_TELLING] = {"telling", "lock waits, temporary files, plans"},
	[LOSS_NOTICE] = {"notice", "notices, warnings, debug messages"},
	[LOSS_SERVER] = {"server", "messages of the server's own processes"},
	[LOSS_SESSION] = {"session", "other messages of sessions"},
	[LOSS_LANGUAGE] = {"language", "statements told in a language that is not read"},
	[LOSS_BROKEN] = {"broken", "records cut off or damaged"},
	[LOSS_ALIEN] = {"alien", "lines of other writers"},
	[LOSS_LONG] = {"long", "messages of over 16 MB"},
	[LOSS_REPEATED] = {"repeated", "messages read before: a log given twice"},
	[LOSS_ORPHAN] = {"orphan", "details without their message"},
	[LOSS_FILE] = {"file", "files that could not be read to their end"},
};

const char *loss_class_name(enum loss_class c)
{
	return CLASSES[c].name;
}

const char *loss_class_text(enum loss_class c)
{
	return CLASSES[c].text;
}

void loss_count(struct loss *loss, enum loss_class c, const struct log_entry *e)
{
	struct loss_row *row = &loss->rows[c];
	row->lines += e->lines;
	if (row->messages++ > 0)
		return;
	row->file = e->file;
	row->line = e->line;
	size_t n = e->message.n < sizeof row->sample - 1 ? e->message.n : sizeof row->sample - 1;
	for (size_t i = 0; i < n; i++)
		row->sample[i] = (char)((unsigned char)e->message.at[i] < ' ' ? ' ' : e->message.at[i]);
}

void loss_add_busy(struct loss *loss, enum loss_class c, int64_t ns)
{
	if (ns > 0)
		loss->rows[c].busy_ns += ns;
}

int64_t loss_busy_kept_ns(const struct loss *loss)
{
	int64_t sum = 0;
	for (int c = 0; c < LOSS_KEPT; c++)
		sum += loss->rows[c].busy_ns;
	return sum;
}

int64_t loss_busy_lost_ns(const struct loss *loss)
{
	int64_t sum = 0;
	for (int c = LOSS_KEPT; c < LOSS_CLASSES; c++)
		sum += loss->rows[c].busy_ns;
	return sum;
}

bool loss_adds_up(const struct loss *loss)
{
	int64_t sum = 0;
	for (int c = 0; c < LOSS_CLASSES; c++)
		sum += loss->rows[c].lines;
	return sum == loss->lines;
}

json_t *loss_json(const struct loss *loss)
{
	json_t *classes = json_object();
	for (int c = 0; c < LOSS_CLASSES; c++) {
		const struct loss_row *row = &loss->rows[c];
		if (row->messages == 0)
			continue;
		json_t *of_class = json_pack("{s:b, s:I, s:I, s:f}", "kept", c < LOSS_KEPT, "messages", (json_int_t)row->messages, "lines",
			(json_int_t)row->lines, "busy_ms", (double)row->busy_ns / 1e6);
		if (c >= LOSS_KEPT) {
			json_object_set_new(of_class, "line", json_integer(row->line));
			json_object_set_new(of_class, "sample", json_text(row->sample));
		}
		json_object_set_new(classes, loss_class_name((enum loss_class)c), of_class);
	}
	return json_pack("{s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "lines", (json_int_t)loss->lines, "adds_up",
		loss_adds_up(loss), "missing", (json_int_t)loss->missing, "perhaps_cut", (json_int_t)loss->perhaps_cut, "clock_steps_back",
		(json_int_t)loss->steps_back, "no_duration", (json_int_t)loss->no_duration, "sessions_forgotten", (json_int_t)loss->evicted,
		"busy_kept_ms", (double)loss_busy_kept_ns(loss) / 1e6, "busy_lost_ms", (double)loss_busy_lost_ns(loss) / 1e6, "classes",
		classes);
}
