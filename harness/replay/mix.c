/* What all sources of a mix share: statements and their names, which transactions are written, how far that is from what was captured, rates. */
#define _GNU_SOURCE
#include "replay/mix.h"

#include "base/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COVERED 0.999 /* of the statements: the transactions that are rarer than the rest are left out */

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n > 0 ? n : 1, size);
	if (p == NULL)
		abort();
	return p;
}

void mix_note(struct mix *mix, const char *fmt, ...)
{
	va_list args;
	char *text = NULL;
	va_start(args, fmt);
	int n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		abort();
	VEC_PUSH(&mix->notes, text);
}

static bool name_is_taken(const struct mix *mix, const char *name)
{
	for (size_t i = 0; i < mix->statements.n; i++)
		if (mix->statements.at[i].name != NULL && strcmp(mix->statements.at[i].name, name) == 0)
			return true;
	return false;
}

static char *name_statement(const struct mix *mix, const struct statement_columns *s)
{
	char base[64], name[80];
	const char *table = s->n_tables > 0 ? s->tables[0] : "", *dot = strchr(table, '.');
	snprintf(base, sizeof base, "%s%s%.40s", s->verb[0] != '\0' ? s->verb : "statement", table[0] != '\0' ? "_" : "",
		dot != NULL ? dot + 1 : table);
	for (char *c = base; *c != '\0'; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9')))
			*c = '_';
	snprintf(name, sizeof name, "%s", base);
	for (int i = 2; name_is_taken(mix, name); i++)
		snprintf(name, sizeof name, "%s_%d", base, i);
	char *copy = strdup(name);
	if (copy == NULL)
		abort();
	return copy;
}

struct mix_statement *mix_add_statement(struct mix *mix, uint64_t fingerprint, char *sql, size_t n)
{
	struct mix_statement s = {.fingerprint = fingerprint, .sql = sql, .n = n};
	s.domains = zeroed(n, sizeof *s.domains);
	s.columns = zeroed(n, sizeof *s.columns);
	s.types = zeroed(n, sizeof *s.types);
	if (fingerprint == 0 || !columns_of(sql, &s.tables, s.columns, n))
		s.left_out = strdup("libpg_query cannot parse it");
	else if (s.tables.n_statements != 1)
		s.left_out = strdup("several statements in one message");
	s.read_only = capture_reads_only(sql);
	s.name = name_statement(mix, &s.tables);
	VEC_PUSH(&mix->statements, s);
	return &mix->statements.at[mix->statements.n - 1];
}

/* ---- what is written ---- */

static double passes_of(const struct mix_loop *loop)
{
	int64_t times = 0, passes = 0;
	for (int i = 0; i <= MIX_REPEATS_MAX; i++) {
		times += loop->passes[i];
		passes += loop->passes[i] * i;
	}
	return times > 0 ? (double)passes / (double)times : 0;
}

static double statements_of(const struct mix_transaction *t)
{
	double n = 0;
	for (size_t i = 0; i < t->n; i++)
		n += t->steps[i].loop > 0 ? passes_of(&t->loops[t->steps[i].loop - 1]) : 1;
	return n;
}

static int by_work(const void *a, const void *b)
{
	const struct mix_transaction *x = a, *y = b;
	double p = statements_of(x) * (double)x->count, q = statements_of(y) * (double)y->count;
	return p > q ? -1 : p < q;
}

static bool is_taken(const struct mix *mix, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (mix->transactions.at[i].name != NULL && strcmp(mix->transactions.at[i].name, name) == 0)
			return true;
	return false;
}

/* After the statement that says most: the first that writes, else the first. */
static void name_transaction(const struct mix *mix, size_t at)
{
	struct mix_transaction *t = &mix->transactions.at[at];
	const struct mix_statement *chosen = NULL;
	char base[96], name[112];
	for (size_t i = 0; i < t->n; i++) {
		const struct mix_statement *s = &mix->statements.at[t->steps[i].statement];
		if (chosen == NULL || (chosen->read_only && !s->read_only))
			chosen = s;
	}
	bool single = !t->begun && chosen != NULL;
	snprintf(base, sizeof base, "%s%s%s", single ? "" : "t_", chosen != NULL ? chosen->name : "empty", t->rolled_back ? "_undone" : "");
	snprintf(name, sizeof name, "%s", base);
	for (int i = 2; is_taken(mix, at, name); i++)
		snprintf(name, sizeof name, "%s_%d", base, i);
	t->name = strdup(name);
	if (t->name == NULL)
		abort();
}

static bool can_be_written(const struct mix *mix, const struct mix_transaction *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (mix->statements.at[t->steps[i].statement].left_out != NULL)
			return false;
	return t->n > 0;
}

void mix_choose(struct mix *mix)
{
	double all = 0, taken = 0;
	size_t n = 0;
	if (mix->transactions.n > 1)
		qsort(mix->transactions.at, mix->transactions.n, sizeof *mix->transactions.at, by_work);
	for (size_t i = 0; i < mix->transactions.n; i++)
		if (can_be_written(mix, &mix->transactions.at[i]))
			all += statements_of(&mix->transactions.at[i]) * (double)mix->transactions.at[i].count;
	for (size_t i = 0; i < mix->transactions.n; i++) {
		struct mix_transaction *t = &mix->transactions.at[i];
		name_transaction(mix, i);
		t->left_out = !can_be_written(mix, t) || n >= MIX_TRANSACTIONS_MAX || taken >= COVERED * all;
		if (t->left_out)
			continue;
		n++;
		taken += statements_of(t) * (double)t->count;
	}
}

double mix_compare(struct mix *mix)
{
	double written = 0, captured = 0, largest = 0;
	for (size_t i = 0; i < mix->statements.n; i++) {
		mix->statements.at[i].written = 0;
		captured += (double)mix->statements.at[i].captured;
	}
	for (size_t i = 0; i < mix->transactions.n; i++) {
		const struct mix_transaction *t = &mix->transactions.at[i];
		for (size_t k = 0; !t->left_out && k < t->n; k++) {
			double n = (double)t->count * (t->steps[k].loop > 0 ? passes_of(&t->loops[t->steps[k].loop - 1]) : 1);
			mix->statements.at[t->steps[k].statement].written += n;
			written += n;
		}
	}
	for (size_t i = 0; i < mix->statements.n; i++) {
		struct mix_statement *s = &mix->statements.at[i];
		s->written = written > 0 ? s->written * captured / written : 0;
		double difference = captured > 0 ? fabs(s->written - (double)s->captured) / captured : 0;
		if (difference > largest)
			largest = difference;
	}
	return largest;
}

/* ---- arrivals ---- */

double mix_rate(const struct mix *mix)
{
	double n = 0;
	for (size_t i = 0; i < mix->seconds.n; i++)
		n += mix->seconds.at[i];
	for (size_t i = 0; mix->seconds.n == 0 && i < mix->transactions.n; i++)
		n += (double)mix->transactions.at[i].count;
	double span = (double)mix->span_ns / (double)NS_PER_S;
	return span > 0 ? n / span : 0;
}

/* Without the last second, which is mostly cut short. */
static double dispersion(const struct mix *mix, size_t from, size_t to)
{
	double sum = 0, squares = 0, n = (double)(to - from);
	for (size_t i = from; i < to; i++) {
		sum += mix->seconds.at[i];
		squares += (double)mix->seconds.at[i] * mix->seconds.at[i];
	}
	double mean = n > 0 ? sum / n : 0;
	return n >= 10 && mean > 0 ? (squares / n - mean * mean) / mean : 0;
}

double mix_dispersion(const struct mix *mix)
{
	return mix->seconds.n > 1 ? dispersion(mix, 0, mix->seconds.n - 1) : 0;
}

/* Under Poisson the index of n seconds is 1 with a deviation of sqrt(2 / (n - 1)). */
void mix_rate_program(const struct mix *mix, int n, struct buf *out)
{
	size_t seconds = mix->seconds.n > 0 ? mix->seconds.n - 1 : 0;
	if (seconds < 20 || dispersion(mix, 0, seconds) < 1 + 4 * sqrt(2.0 / (double)seconds))
		return;
	size_t length = (seconds + (size_t)n - 1) / (size_t)n;
	buf_str(out, "steps(");
	for (size_t from = 0; from < seconds; from += length) {
		size_t to = from + length < seconds ? from + length : seconds;
		double sum = 0;
		for (size_t i = from; i < to; i++)
			sum += mix->seconds.at[i];
		buf_printf(out, "%s%.4g/%zus", from > 0 ? ", " : "", sum / (double)(to - from), to - from);
	}
	buf_str(out, ")");
}

void mix_free(struct mix *mix)
{
	for (size_t i = 0; i < mix->statements.n; i++) {
		struct mix_statement *s = &mix->statements.at[i];
		for (size_t k = 0; k < s->n; k++)
			domain_free(&s->domains[k]);
		free(s->domains);
		free(s->columns);
		free(s->types);
		free(s->name);
		free(s->sql);
		free(s->left_out);
	}
	for (size_t i = 0; i < mix->transactions.n; i++) {
		struct mix_transaction *t = &mix->transactions.at[i];
		free(t->name);
		free(t->steps);
		free(t->loops);
		free(t->equal);
		free(t->passes);
	}
	for (size_t i = 0; i < mix->notes.n; i++)
		free(mix->notes.at[i]);
	VEC_FREE(&mix->statements);
	VEC_FREE(&mix->transactions);
	VEC_FREE(&mix->seconds);
	VEC_FREE(&mix->notes);
	free(mix->path);
	*mix = (struct mix){0};
}
