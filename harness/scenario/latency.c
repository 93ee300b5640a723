/* Histograms by transaction and by statement; see latency.h. Memory is made when a histogram gets its first value. */
#define _GNU_SOURCE
#include "scenario/latency.h"

#include "base/vec.h"
#include "measure/hist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One tag. The names live as long as the load. */
struct series {
	const char *statement, *transaction; /* one of them is NULL */
	const char *version, *kind, *outcome;
	struct hist *recent; /* not written yet; NULL: none so far */
	struct hist *run;    /* written; likewise */
};

struct latency {
	VEC(struct series) series; /* in the order of the interval's members, found by their place in it */
};

struct latency *latency_create(void)
{
	struct latency *l = calloc(1, sizeof *l);
	if (l == NULL)
		abort();
	return l;
}

void latency_free(struct latency *l)
{
	if (l == NULL)
		return;
	for (size_t i = 0; i < l->series.n; i++) {
		hist_free(l->series.at[i].recent);
		hist_free(l->series.at[i].run);
	}
	VEC_FREE(&l->series);
	free(l);
}

static void merge(struct hist **into, const struct hist *from)
{
	if (from == NULL || hist_count(from) == 0)
		return;
	if (*into == NULL && (*into = hist_create()) == NULL)
		abort();
	hist_merge(*into, from);
}

/* place: of the series; the first interval makes them all. */
static void add(struct latency *l, size_t *place, const struct series *names, const struct hist *from)
{
	if (*place == l->series.n)
		VEC_PUSH(&l->series, *names);
	merge(&l->series.at[(*place)++].recent, from);
}

void latency_add(struct latency *l, const struct load_interval *in)
{
	size_t place = 0;
	for (size_t i = 0; i < in->n_hists; i++) {
		const struct load_hists *h = &in->hists[i];
		struct series s = {.transaction = h->transaction, .version = h->version, .kind = "response", .outcome = "ok"};
		add(l, &place, &s, h->response_ok);
		s.outcome = "failed";
		add(l, &place, &s, h->response_failed);
		s.kind = "service";
		add(l, &place, &s, h->service_failed);
		s.outcome = "ok";
		add(l, &place, &s, h->service_ok);
	}
	for (size_t i = 0; i < in->n_statements; i++) {
		const struct load_statement_hists *h = &in->statements[i];
		struct series s = {.statement = h->statement, .version = h->version, .kind = "service", .outcome = "ok"};
		add(l, &place, &s, h->ok);
		s.outcome = "failed";
		add(l, &place, &s, h->failed);
	}
}

void latency_write(struct latency *l, struct record *record, int64_t from_ns, int64_t to_ns)
{
	for (size_t i = 0; i < l->series.n; i++) {
		struct series *s = &l->series.at[i];
		if (s->recent == NULL || hist_count(s->recent) == 0)
			continue;
		char tag[256];
		snprintf(tag, sizeof tag, "%s%s/%s/%s/%s", s->statement != NULL ? "statement/" : "",
			s->statement != NULL ? s->statement : s->transaction, s->version, s->kind, s->outcome);
		record_histogram(record, tag, from_ns, to_ns, s->recent);
		merge(&s->run, s->recent);
		hist_clear(s->recent);
	}
}

/* ---- percentiles ---- */

/* Only those that at least one value lies above: the others would be the maximum under another name. */
static json_t *percentiles_json(const struct hist *h)
{
	static const struct {
		const char *name;
		double q;
	} PERCENTILES[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}, {"p99.999", 0.99999}};
	json_t *out = json_object();
	for (size_t i = 0; i < sizeof PERCENTILES / sizeof *PERCENTILES; i++) {
		uint64_t n = hist_count(h), above = n - hist_rank(PERCENTILES[i].q, n);
		if (above > 0)
			json_object_set_new(out, PERCENTILES[i].name,
				json_pack("{s:I, s:I}", "ns", (json_int_t)hist_quantile(h, PERCENTILES[i].q), "above", (json_int_t)above));
	}
	return out;
}

static json_t *summary_json(const struct hist *h)
{
	return json_pack("{s:I, s:I, s:I, s:o}", "count", (json_int_t)hist_count(h), "mean_ns", (json_int_t)hist_mean(h), "max_ns",
		(json_int_t)hist_max(h), "percentiles", percentiles_json(h));
}

/* All transactions together, also those that failed. */
static json_t *total_json(const struct latency *l, const char *kind)
{
	struct hist *sum = hist_create();
	if (sum == NULL)
		abort();
	for (size_t i = 0; i < l->series.n; i++) {
		const struct series *s = &l->series.at[i];
		if (s->transaction != NULL && s->run != NULL && strcmp(s->kind, kind) == 0)
			hist_merge(sum, s->run);
	}
	json_t *out = summary_json(sum);
	hist_free(sum);
	return out;
}

json_t *latency_json(const struct latency *l)
{
	json_t *transactions = json_array(), *statements = json_array();
	for (size_t i = 0; i < l->series.n; i++) {
		const struct series *s = &l->series.at[i];
		if (s->run == NULL)
			continue;
		json_t *line = summary_json(s->run);
		json_object_set_new(line, s->statement != NULL ? "statement" : "transaction",
			json_string(s->statement != NULL ? s->statement : s->transaction));
		json_object_set_new(line, "version", json_string(s->version));
		json_object_set_new(line, "outcome", json_string(s->outcome));
		if (s->transaction != NULL)
			json_object_set_new(line, "kind", json_string(s->kind));
		json_array_append_new(s->statement != NULL ? statements : transactions, line);
	}
	return json_pack("{s:o, s:o, s:o, s:o}", "response", total_json(l, "response"), "service", total_json(l, "service"), "transactions",
		transactions, "statements", statements);
}
