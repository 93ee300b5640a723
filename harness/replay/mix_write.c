/* A mix as Lua. Values that a transaction uses twice are drawn once; what is inside a loop is drawn inside it. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/units.h"
#include "replay/mix.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)64 << 20)
#define ARGS_MAX 60      /* drawn by args; more are drawn where they are used */
#define EQUAL_SHARE 0.95 /* of the occurrences: the two are one value */
#define EQUAL_LOOKED_MIN 5
#define STEPS_OF_RATE 20

/* How a parameter is drawn. */
struct drawn {
	char *expression;
	char note[160];
};

/* A parameter of a step of a transaction. */
struct slot {
	uint32_t statement, param, loop;
	size_t step, root; /* root: the slot whose value it has; itself where it has its own */
	size_t made_by;    /* the step that returns it, as a key that it has made, + 1; 0: none */
	bool counts;       /* it is the number of the loop's pass */
	bool shared;       /* is root of another */
	char name[80];
};

struct writer {
	const struct mix *mix;
	struct buf text, lists, scratch;
	struct drawn **drawn; /* by statement, by parameter */
};

static char *copy_text(const char *text)
{
	char *copy = strdup(text);
	if (copy == NULL)
		abort();
	return copy;
}

/* ---- draws ---- */

static void draw_statement(struct writer *w, size_t at)
{
	const struct mix_statement *s = &w->mix->statements.at[at];
	w->drawn[at] = calloc(s->n + 1, sizeof **w->drawn);
	if (w->drawn[at] == NULL)
		abort();
	for (size_t i = 0; i < s->n; i++) {
		char name[160];
		if (s->columns[i].column[0] != '\0')
			snprintf(name, sizeof name, "%s_%zu", s->name, i + 1);
		else
			snprintf(name, sizeof name, "%s_p%zu", s->name, i + 1);
		struct domain_text text = {.expression = &w->scratch, .lists = &w->lists, .name = name};
		buf_clear(&w->scratch);
		domain_write(&s->domains[i], &s->columns[i], s->types[i], &text);
		w->drawn[at][i].expression = copy_text(w->scratch.data);
		snprintf(w->drawn[at][i].note, sizeof w->drawn[at][i].note, "%s", text.note);
	}
}

static bool is_reserved(const char *word)
{
	static const char *const WORDS[] = {"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
		"local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while", "c", "r", "values", "workload", "pass",
		NULL};
	for (size_t i = 0; WORDS[i] != NULL; i++)
		if (strcmp(word, WORDS[i]) == 0)
			return true;
	return false;
}

static void name_slot(const struct writer *w, struct slot *slots, size_t at)
{
	struct slot *s = &slots[at];
	const struct param_column *c = &w->mix->statements.at[s->statement].columns[s->param];
	char base[64] = "p";
	if (c->use == PARAM_LIMIT || c->use == PARAM_OFFSET)
		snprintf(base, sizeof base, "%s", c->use == PARAM_LIMIT ? "limit" : "offset");
	else if (c->column[0] != '\0')
		snprintf(base, sizeof base, "%.40s%s", c->column, c->part ? "_by" : "");
	for (char *p = base; *p != '\0'; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')))
			*p = '_';
	if (base[0] >= '0' && base[0] <= '9')
		base[0] = '_';
	snprintf(s->name, sizeof s->name, "%s%s", base, is_reserved(base) ? "_" : "");
	for (int n = 2;; n++) {
		bool taken = false;
		for (size_t i = 0; i < at; i++)
			taken |= strcmp(slots[i].name, s->name) == 0;
		if (!taken)
			return;
		snprintf(s->name, sizeof s->name, "%s_%d", base, n);
	}
}

/* A value drawn in a loop lives as long as its pass. */
static bool reaches(const struct slot *from, const struct slot *to)
{
	return from->loop == 0 || from->loop == to->loop;
}

static bool is_table(const char *whole, const char *name)
{
	const char *a = strrchr(whole, '.'), *b = strrchr(name, '.');
	return strcmp(a != NULL ? a + 1 : whole, b != NULL ? b + 1 : name) == 0;
}

/* How many parameters of the step have a key of that table. */
static int count_references(const struct mix_statement *s, const char *table)
{
	int n = 0;
	for (size_t i = 0; i < s->n; i++)
		n += s->columns[i].refers_table[0] != '\0' && is_table(s->columns[i].refers_table, table);
	return n;
}

/* A key that an INSERT before it in the transaction returns. Where it could be another row's as well, only when the clone's keys end before it. */
static size_t find_maker(const struct writer *w, const struct mix_transaction *t, const struct slot *s)
{
	const struct mix_statement *own = &w->mix->statements.at[s->statement];
	const struct param_column *c = &own->columns[s->param];
	const struct domain *d = &own->domains[s->param];
	bool is_new = d->column.bounds && d->integers > 0 && d->low > d->column.high;
	if (c->refers_table[0] == '\0' || !t->begun || (!is_new && count_references(own, c->refers_table) > 1))
		return 0;
	for (size_t step = s->step; step > 0; step--) {
		const struct mix_step *before = &t->steps[step - 1];
		const struct mix_statement *maker = &w->mix->statements.at[before->statement];
		bool makes = strcmp(maker->tables.verb, "insert") == 0 && maker->tables.n_tables > 0 &&
			is_table(maker->tables.tables[0], c->refers_table) && strcmp(maker->tables.returning, c->refers_column) == 0;
		if (makes && (before->loop == 0 || before->loop == s->loop))
			return step;
	}
	return 0;
}

static struct slot *find_slots(const struct writer *w, const struct mix_transaction *t)
{
	struct slot *slots = calloc(t->n_slots + 1, sizeof *slots);
	size_t n = 0;
	if (slots == NULL)
		abort();
	for (size_t i = 0; i < t->n; i++)
		for (uint32_t k = 0; k < w->mix->statements.at[t->steps[i].statement].n; k++) {
			slots[n] = (struct slot){
				.statement = t->steps[i].statement, .param = k, .loop = t->steps[i].loop, .step = i, .root = n};
			name_slot(w, slots, n);
			n++;
		}
	for (size_t i = 0; i < n; i++) {
		slots[i].made_by = find_maker(w, t, &slots[i]);
		slots[i].counts = t->passes != NULL && slots[i].loop > 0 && t->looked >= EQUAL_LOOKED_MIN &&
			(double)t->passes[i] >= EQUAL_SHARE * (double)t->looked;
	}
	for (size_t i = 1; t->equal != NULL && t->looked >= EQUAL_LOOKED_MIN && i < n; i++)
		for (size_t j = 0; j < i && slots[i].root == i && slots[i].made_by == 0 && !slots[i].counts; j++)
			if (slots[j].root == j && slots[j].made_by == 0 && !slots[j].counts && reaches(&slots[j], &slots[i]) &&
				(double)t->equal[i * n + j] >= EQUAL_SHARE * (double)t->looked) {
				slots[i].root = j;
				slots[j].shared = true;
			}
	return slots;
}

/* ---- transactions ---- */

static const char *expression_of(const struct writer *w, const struct slot *s)
{
	return w->drawn[s->statement][s->param].expression;
}

/* Into a comment: names and notes are from outside, and what follows a line break would be code. */
static void add_comment(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++)
		buf_char(out, (char)((unsigned char)*text < ' ' || *text == 127 ? ' ' : *text));
}

static void write_local(struct writer *w, const struct slot *s, const char *indent)
{
	const struct mix_statement *st = &w->mix->statements.at[s->statement];
	const struct param_column *c = &st->columns[s->param];
	const char *note = w->drawn[s->statement][s->param].note;
	buf_printf(&w->text, "%slocal %s = %s", indent, s->name, expression_of(w, s));
	if (c->column[0] != '\0' || note[0] != '\0')
		buf_str(&w->text, "  -- ");
	if (c->column[0] != '\0') {
		add_comment(&w->text, c->table);
		buf_str(&w->text, c->table[0] != '\0' ? "." : "");
		add_comment(&w->text, c->column);
		buf_str(&w->text, note[0] != '\0' ? ": " : "");
	}
	add_comment(&w->text, note);
	buf_char(&w->text, '\n');
}

static void write_call(
	struct writer *w, const struct mix_transaction *t, const struct slot *slots, size_t step, bool by_args, const char *indent)
{
	const struct mix_statement *s = &w->mix->statements.at[t->steps[step].statement];
	bool makes = false;
	for (size_t i = 0; i < t->n_slots; i++)
		makes |= slots[i].made_by == step + 1;
	if (makes)
		buf_printf(&w->text, "%slocal made_%zu = c:row(\"%s\"", indent, step + 1, s->name);
	else
		buf_printf(&w->text, "%sc:exec(\"%s\"", indent, s->name);
	for (size_t i = 0; i < t->n_slots; i++) {
		if (slots[i].step != step)
			continue;
		if (slots[i].made_by > 0 || slots[i].counts) {
			if (slots[i].counts)
				buf_str(&w->text, ", pass");
			else
				buf_printf(&w->text, ", made_%zu", slots[i].made_by);
			continue;
		}
		const struct slot *root = &slots[slots[i].root];
		bool named = root != &slots[i] || root->shared || (by_args && root->loop == 0);
		buf_printf(&w->text, ", %s", named ? root->name : expression_of(w, root));
	}
	buf_str(&w->text, ")\n");
}

static void write_passes(struct writer *w, const struct mix_transaction *t, uint32_t number)
{
	const struct mix_loop *loop = &t->loops[number - 1];
	int low = MIX_REPEATS_MAX, high = 0;
	int64_t n = 0, sum = 0;
	for (int i = 0; i <= MIX_REPEATS_MAX; i++) {
		if (loop->passes[i] == 0)
			continue;
		low = i < low ? i : low;
		high = i;
		n += loop->passes[i];
		sum += loop->passes[i] * i;
	}
	double mean = n > 0 ? (double)sum / (double)n : 1;
	if (low >= high) {
		buf_printf(&w->text, "%d", high);
	} else if (fabs(mean - (low + high) / 2.0) < 0.05 * mean) {
		buf_printf(&w->text, "r:int(%d, %d)", low, high);
	} else {
		buf_printf(&w->lists, "  %s_passes_%u = {", t->name, number);
		for (int i = low; i <= high; i++)
			if (loop->passes[i] > 0)
				buf_printf(&w->lists, " { %d, %" PRId64 " },", i, loop->passes[i]);
		buf_str(&w->lists, " },\n");
		buf_printf(&w->text, "r:weighted(values.%s_passes_%u)", t->name, number);
	}
}

static void write_steps(struct writer *w, const struct mix_transaction *t, const struct slot *slots, bool by_args)
{
	uint32_t loop = 0;
	for (size_t i = 0; i < t->n; i++) {
		if (t->steps[i].loop != loop && loop != 0)
			buf_str(&w->text, "        end\n");
		if (t->steps[i].loop != loop && t->steps[i].loop != 0) {
			bool counted = false;
			for (size_t k = 0; k < t->n_slots; k++)
				counted |= slots[k].counts && slots[k].loop == t->steps[i].loop;
			buf_printf(&w->text, "        for %s = 1, ", counted ? "pass" : "_");
			write_passes(w, t, t->steps[i].loop);
			buf_str(&w->text, " do\n");
		}
		loop = t->steps[i].loop;
		const char *indent = loop != 0 ? "          " : "        ";
		for (size_t k = 0; k < t->n_slots; k++)
			if (slots[k].step == i && slots[k].root == k && slots[k].shared && slots[k].made_by == 0 && (loop != 0 || !by_args))
				write_local(w, &slots[k], indent);
		write_call(w, t, slots, i, by_args, indent);
	}
	if (loop != 0)
		buf_str(&w->text, "        end\n");
}

static bool is_read_only(const struct mix *mix, const struct mix_transaction *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (!mix->statements.at[t->steps[i].statement].read_only)
			return false;
	return true;
}

/* Whether the slot's value is drawn before the transaction begins. */
static bool is_arg(const struct slot *slots, size_t i)
{
	return slots[i].root == i && slots[i].loop == 0 && slots[i].made_by == 0;
}

static void write_names(struct writer *w, const struct mix_transaction *t, const struct slot *slots, const char *first)
{
	const char *before = first;
	for (size_t i = 0; i < t->n_slots; i++)
		if (is_arg(slots, i)) {
			buf_printf(&w->text, "%s%s", before, slots[i].name);
			before = ", ";
		}
}

static void write_transaction(struct writer *w, const struct mix_transaction *t, double all)
{
	struct slot *slots = find_slots(w, t);
	size_t args = 0;
	char count[32];
	for (size_t i = 0; i < t->n_slots; i++)
		args += is_arg(slots, i);
	bool by_args = args > 0 && args <= ARGS_MAX, draws = t->n_loops > 0 || (args > 0 && !by_args);
	buf_printf(&w->text, "    -- captured %s%s\n    %s = { weight = %.4g,%s\n",
		t->count == 1 ? "once" : units_format_count(t->count, count, sizeof count), t->count == 1 ? "" : " times", t->name,
		100 * (double)t->count / all, is_read_only(w->mix, t) ? " read_only = true," : "");
	if (by_args) {
		buf_str(&w->text, "      args = function(r)\n");
		for (size_t i = 0; i < t->n_slots; i++)
			if (is_arg(slots, i))
				write_local(w, &slots[i], "        ");
		write_names(w, t, slots, "        return ");
		buf_str(&w->text, "\n      end,\n");
	}
	buf_str(&w->text, "      run = function(c");
	if (by_args)
		write_names(w, t, slots, ", ");
	buf_str(&w->text, ")\n");
	if (draws)
		buf_str(&w->text, "        local r = c.random\n");
	if (t->begun)
		buf_str(&w->text, "        c:begin()\n");
	write_steps(w, t, slots, by_args);
	if (t->begun)
		buf_printf(&w->text, "        c:%s()\n", t->rolled_back ? "rollback" : "commit");
	buf_str(&w->text, "      end },\n");
	free(slots);
}

/* ---- the file ---- */

static void write_sql(struct buf *out, const char *sql)
{
	size_t n = strlen(sql);
	if (strpbrk(sql, "\"\\\n\r") == NULL)
		buf_printf(out, "\"%s\"", sql);
	else if (strstr(sql, "]]") == NULL && sql[n - 1] != ']' && strchr(sql, '\r') == NULL)
		buf_printf(out, "[[%s]]", sql);
	else
		domain_quote(out, sql, n);
}

static void write_head(struct writer *w, const char *path)
{
	const struct mix *mix = w->mix;
	char span[32];
	double rate = mix_rate(mix), dispersion = mix_dispersion(mix);
	buf_str(&w->text, "-- Traffic like that of ");
	add_comment(&w->text, mix->path);
	buf_str(&w->text, ". What each transaction asks for is drawn anew.\n");
	if (mix->span_ns > 0 && mix->sessions == 0)
		buf_printf(&w->text, "-- Executed: %.4g a second on average over %s", rate,
			units_format_time(mix->span_ns, span, sizeof span));
	else if (mix->span_ns > 0)
		buf_printf(&w->text, "-- Captured: %.4g transactions a second for %s, %" PRId64 " sessions of %.0f transactions each", rate,
			units_format_time(mix->span_ns, span, sizeof span), mix->sessions,
			mix->sessions > 0 ? (double)mix->in_sessions / (double)mix->sessions : 0.0);
	if (mix->sessions_ended > 0)
		buf_printf(&w->text, ", on average for %s", units_format_time(mix->session_ns / mix->sessions_ended, span, sizeof span));
	if (mix->span_ns > 0)
		buf_str(&w->text, ".\n");
	if (dispersion > 0)
		buf_printf(&w->text,
			"-- Their number in a second varies %.2f times as much as a Poisson process's (index of dispersion; 1: just as much).\n",
			dispersion);
	for (size_t i = 0; i < mix->notes.n; i++)
		buf_printf(&w->text, "-- Note: %s.\n", mix->notes.at[i]);
	buf_str(&w->text, "--\n-- pgrehearse load ");
	add_comment(&w->text, path);
	buf_str(&w->text, " --target DSN");
	buf_clear(&w->scratch);
	mix_rate_program(mix, STEPS_OF_RATE, &w->scratch);
	if (w->scratch.len > 0)
		buf_printf(&w->text, " --rate \"%s\"", w->scratch.data);
	else if (rate > 0)
		buf_printf(&w->text, " --rate %.4g", rate);
	if (mix->sessions > 0)
		buf_printf(&w->text, " --clients %" PRId64, mix->sessions < 500 ? mix->sessions : 500);
	buf_str(&w->text, "\nlocal workload = require \"workload\"\n\n");
}

static void write_name(struct writer *w, const char *path)
{
	const char *base = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
	size_t n = strcspn(base, ".");
	buf_str(&w->text, "  name = \"");
	for (size_t i = 0; i < n && i < 60; i++) {
		char c = base[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		buf_char(&w->text, (char)(letter ? c : '_'));
	}
	buf_str(&w->text, n > 0 ? "\",\n" : "mix\",\n");
}

static bool is_used(const struct mix *mix, size_t statement)
{
	for (size_t i = 0; i < mix->transactions.n; i++)
		for (size_t k = 0; !mix->transactions.at[i].left_out && k < mix->transactions.at[i].n; k++)
			if (mix->transactions.at[i].steps[k].statement == statement)
				return true;
	return false;
}

static void write_body(struct writer *w, const char *path)
{
	const struct mix *mix = w->mix;
	double all = 0;
	buf_str(&w->text, "return workload {\n");
	write_name(w, path);
	buf_str(&w->text, "\n  statements = {\n");
	for (size_t i = 0; i < mix->statements.n; i++) {
		if (w->drawn[i] == NULL)
			continue;
		buf_printf(&w->text, "    %s = ", mix->statements.at[i].name);
		write_sql(&w->text, mix->statements.at[i].sql);
		buf_printf(&w->text, ",  -- class %016" PRIx64 "\n", mix->statements.at[i].fingerprint);
	}
	buf_str(&w->text, "  },\n\n  transactions = {\n");
	for (size_t i = 0; i < mix->transactions.n; i++)
		if (!mix->transactions.at[i].left_out)
			all += (double)mix->transactions.at[i].count;
	for (size_t i = 0; i < mix->transactions.n; i++)
		if (!mix->transactions.at[i].left_out)
			write_transaction(w, &mix->transactions.at[i], all);
	buf_str(&w->text, "  },\n}\n");
}

static enum status save(const char *path, const struct buf *head, const struct buf *lists, const struct buf *body, struct error *err)
{
	FILE *f = fopen(path, "w");
	if (f == NULL)
		return error_errno(err, ST_FAILED, "%s", path);
	fwrite(head->data, 1, head->len, f);
	if (lists->len > 0)
		fprintf(f, "local values = {\n%s}\n\n", lists->data);
	fwrite(body->data, 1, body->len, f);
	bool bad = ferror(f) != 0;
	if (fclose(f) != 0 || bad)
		return error_errno(err, ST_FAILED, "%s", path);
	return ST_OK;
}

enum status mix_write(const struct mix *mix, const char *path, struct error *err)
{
	struct writer w = {.mix = mix};
	struct buf head;
	w.drawn = calloc(mix->statements.n + 1, sizeof *w.drawn);
	if (w.drawn == NULL)
		abort();
	buf_init(&w.text, FILE_MAX);
	buf_init(&w.lists, FILE_MAX);
	buf_init(&w.scratch, FILE_MAX);
	write_head(&w, path);
	head = w.text;
	buf_init(&w.text, FILE_MAX);
	for (size_t i = 0; i < mix->statements.n; i++)
		if (is_used(mix, i))
			draw_statement(&w, i);
	write_body(&w, path);
	enum status st = w.text.overflow || w.lists.overflow ? error_set(err, ST_FAILED, "%s would be over 64 MB", path)
							     : save(path, &head, &w.lists, &w.text, err);
	for (size_t i = 0; i < mix->statements.n; i++) {
		for (size_t k = 0; w.drawn[i] != NULL && k < mix->statements.at[i].n; k++)
			free(w.drawn[i][k].expression);
		free(w.drawn[i]);
	}
	free(w.drawn);
	buf_free(&head);
	buf_free(&w.text);
	buf_free(&w.lists);
	buf_free(&w.scratch);
	return st;
}
