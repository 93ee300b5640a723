/* Criteria: reading `metric[label].stat [during PHASE] OP VALUE [x baseline]`. */
#define _GNU_SOURCE
#include "judge/criterion.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stat_row {
	const char *name;
	enum stat stat;
	enum unit unit;
};

#define MAX_STATS 10

static const struct metric_row {
	const char *name;
	enum metric metric;
	const char *label; /* what may stand in brackets, or NULL */
	bool label_needed;
	bool quantiles; /* of unit `quantile_unit` */
	enum unit quantile_unit;
	struct stat_row stats[MAX_STATS];
} METRICS[] = {
	{"latency", METRIC_LATENCY, "transaction", false, true, UNIT_TIME,
		{{"max", STAT_MAX, UNIT_TIME}, {"min", STAT_MIN, UNIT_TIME}, {"mean", STAT_MEAN, UNIT_TIME},
			{"count", STAT_COUNT, UNIT_NONE}}},
	{"service", METRIC_SERVICE, "transaction", false, true, UNIT_TIME,
		{{"max", STAT_MAX, UNIT_TIME}, {"min", STAT_MIN, UNIT_TIME}, {"mean", STAT_MEAN, UNIT_TIME},
			{"count", STAT_COUNT, UNIT_NONE}}},
	{"errors", METRIC_ERRORS, "SQLSTATE", false, false, UNIT_NONE, {{"rate", STAT_RATE, UNIT_SHARE}, {"count", STAT_COUNT, UNIT_NONE}}},
	{"throughput", METRIC_THROUGHPUT, NULL, false, false, UNIT_RATE, {{"mean", STAT_MEAN, UNIT_RATE}, {"min", STAT_MIN, UNIT_RATE}}},
	{"backlog", METRIC_BACKLOG, NULL, false, false, UNIT_NONE, {{"max", STAT_MAX, UNIT_NONE}}},
	{"lock_wait", METRIC_LOCK_WAIT, "relation", false, true, UNIT_TIME,
		{{"max", STAT_MAX, UNIT_TIME}, {"mean", STAT_MEAN, UNIT_TIME}, {"total", STAT_TOTAL, UNIT_TIME},
			{"count", STAT_COUNT, UNIT_NONE}}},
	{"reads_blocked", METRIC_READS_BLOCKED, "table", false, false, UNIT_TIME,
		{{"max", STAT_MAX, UNIT_TIME}, {"total", STAT_TOTAL, UNIT_TIME}, {"count", STAT_COUNT, UNIT_NONE}}},
	{"writes_blocked", METRIC_WRITES_BLOCKED, "table", false, false, UNIT_TIME,
		{{"max", STAT_MAX, UNIT_TIME}, {"total", STAT_TOTAL, UNIT_TIME}, {"count", STAT_COUNT, UNIT_NONE}}},
	{"migration.statement", METRIC_STATEMENT, "step", false, false, UNIT_TIME,
		{{"max", STAT_MAX, UNIT_TIME}, {"mean", STAT_MEAN, UNIT_TIME}, {"total", STAT_TOTAL, UNIT_TIME},
			{"count", STAT_COUNT, UNIT_NONE}}},
	{"migration", METRIC_MIGRATION, NULL, false, false, UNIT_NONE,
		{{"duration", STAT_DURATION, UNIT_TIME}, {"completed", STAT_COMPLETED, UNIT_NONE}}},
	{"step", METRIC_STEP, "step", true, false, UNIT_NONE,
		{{"duration", STAT_DURATION, UNIT_TIME}, {"attempts", STAT_COUNT, UNIT_NONE}, {"eta", STAT_ETA, UNIT_TIME},
			{"eta_error", STAT_ETA_ERROR, UNIT_SHARE}, {"victims", STAT_VICTIMS, UNIT_NONE},
			{"longest_wait", STAT_LONGEST_WAIT, UNIT_TIME}, {"rewrites", STAT_REWRITES, UNIT_NONE},
			{"scans", STAT_SCANS, UNIT_NONE}}},
	{"replication.replay_lag", METRIC_REPLAY_LAG, "standby", false, false, UNIT_TIME,
		{{"max", STAT_MAX, UNIT_TIME}, {"mean", STAT_MEAN, UNIT_TIME}}},
	{"replication.replay_bytes", METRIC_REPLAY_BYTES, "standby", false, false, UNIT_BYTES,
		{{"max", STAT_MAX, UNIT_BYTES}, {"mean", STAT_MEAN, UNIT_BYTES}}},
	{"replication.slot_bytes", METRIC_SLOT_BYTES, "slot", false, false, UNIT_BYTES,
		{{"max", STAT_MAX, UNIT_BYTES}, {"mean", STAT_MEAN, UNIT_BYTES}}},
	{"wal", METRIC_WAL, NULL, false, false, UNIT_BYTES, {{"bytes", STAT_BYTES, UNIT_BYTES}}},
	{"check", METRIC_CHECK, "check", true, false, UNIT_NONE, {{"rows", STAT_ROWS, UNIT_NONE}}},
	{"checks", METRIC_CHECK, NULL, false, false, UNIT_NONE, {{"clean", STAT_CLEAN, UNIT_NONE}}},
	{"rollback", METRIC_ROLLBACK, NULL, false, false, UNIT_NONE,
		{{"clean", STAT_CLEAN, UNIT_NONE}, {"identical", STAT_IDENTICAL, UNIT_NONE}}},
	{"ledger", METRIC_LEDGER, NULL, false, false, UNIT_NONE, {{"clean", STAT_CLEAN, UNIT_NONE}, {"lost", STAT_COUNT, UNIT_NONE}}},
	{"drill", METRIC_DRILL, NULL, false, false, UNIT_NONE, {{"clean", STAT_CLEAN, UNIT_NONE}}},
	{"reconcile", METRIC_RECONCILE, "reconciliation", true, false, UNIT_NONE, {{"mismatches", STAT_ROWS, UNIT_NONE}}},
};
#define METRIC_COUNT (sizeof METRICS / sizeof METRICS[0])

static const struct {
	const char *text;
	enum comparison comparison;
} COMPARISONS[] = {{"<=", CMP_LE}, {">=", CMP_GE}, {"==", CMP_EQ}, {"=", CMP_EQ}, {"<", CMP_LT}, {">", CMP_GT}};

/* What is left to read, and the criterion for messages. */
struct cursor {
	const char *text;
	const char *at;
	struct error *err;
};

static void skip_blanks(struct cursor *c)
{
	c->at += strspn(c->at, " \t");
}

static enum status wrong(const struct cursor *c, const char *what, const char *hint)
{
	error_set(c->err, ST_USAGE, "criterion \"%s\": %s", c->text, what);
	error_hint(c->err, "%s", hint);
	return ST_USAGE;
}

static void list_metrics(char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "the metrics are");
	for (size_t i = 0; i < METRIC_COUNT && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%s %s%s", i ? "," : "", METRICS[i].name, METRICS[i].label_needed ? "[NAME]" : "");
}

static void list_stats(const struct metric_row *m, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "%s has", m->name);
	for (size_t i = 0; i < MAX_STATS && m->stats[i].name != NULL && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%s .%s", i ? "," : "", m->stats[i].name);
	if (m->quantiles && n < size)
		snprintf(out + n, size - n, ", and percentiles like .p50, .p99, .p99.9");
}

/* The longest name that matches and is followed by '[' or '.': "migration.statement" before "migration". */
static const struct metric_row *read_metric(struct cursor *c)
{
	const struct metric_row *best = NULL;
	size_t best_len = 0;
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		size_t n = strlen(METRICS[i].name);
		if (n > best_len && strncmp(c->at, METRICS[i].name, n) == 0 && (c->at[n] == '[' || c->at[n] == '.')) {
			best = &METRICS[i];
			best_len = n;
		}
	}
	c->at += best_len;
	return best;
}

static enum status read_label(struct cursor *c, const struct metric_row *m, struct criterion *out)
{
	char hint[256];
	if (*c->at != '[') {
		if (!m->label_needed)
			return ST_OK;
		snprintf(hint, sizeof hint, "%s needs the name of a %s: %s[NAME]", m->name, m->label, m->name);
		return wrong(c, "a name in brackets is missing", hint);
	}
	if (m->label == NULL) {
		snprintf(hint, sizeof hint, "%s takes no name in brackets", m->name);
		return wrong(c, "a name in brackets is not accepted here", hint);
	}
	const char *end = strchr(c->at, ']');
	size_t n = end != NULL ? (size_t)(end - c->at - 1) : 0;
	if (n == 0 || n >= sizeof out->label)
		return wrong(c, "the brackets are not closed, empty, or hold more than 255 bytes",
			"a name stands in brackets: lock_wait[users].max < 1s");
	memcpy(out->label, c->at + 1, n);
	c->at = end + 1;
	return ST_OK;
}

static enum status read_stat(struct cursor *c, const struct metric_row *m, struct criterion *out)
{
	char hint[512];
	list_stats(m, hint, sizeof hint);
	if (*c->at != '.')
		return wrong(c, "a statistic is missing behind the metric", hint);
	c->at++;
	if (m->quantiles && *c->at == 'p' && isdigit((unsigned char)c->at[1])) {
		char *end;
		double percent = strtod(c->at + 1, &end);
		if (percent <= 0 || percent >= 100)
			return wrong(c, "a percentile lies between 0 and 100, both excluded", "use .max or .min for the ends");
		c->at = end;
		out->stat = STAT_QUANTILE;
		out->quantile = percent / 100;
		out->unit = m->quantile_unit;
		return ST_OK;
	}
	size_t n = strspn(c->at, "abcdefghijklmnopqrstuvwxyz_0123456789");
	for (size_t i = 0; i < MAX_STATS && m->stats[i].name != NULL; i++) {
		if (strlen(m->stats[i].name) == n && strncmp(c->at, m->stats[i].name, n) == 0) {
			out->stat = m->stats[i].stat;
			out->unit = m->stats[i].unit;
			c->at += n;
			return ST_OK;
		}
	}
	return wrong(c, "this metric has no such statistic", hint);
}

/* Of the run as a whole: no phase has a figure of its own. */
static bool is_of_the_run(const struct criterion *c)
{
	switch (c->metric) {
	case METRIC_CHECK:
	case METRIC_ROLLBACK:
	case METRIC_LEDGER:
	case METRIC_DRILL:
	case METRIC_RECONCILE:
		return true;
	default:
		return c->stat == STAT_ETA || c->stat == STAT_ETA_ERROR;
	}
}

/* What happens in the baseline, too, so that there is something to compare with. */
static bool has_baseline(const struct criterion *c)
{
	return !is_of_the_run(c) && c->metric != METRIC_STATEMENT && c->metric != METRIC_STEP && c->metric != METRIC_MIGRATION;
}

#define PHASED "latency, service, errors, throughput, backlog, lock_wait, reads_blocked, writes_blocked, replication and wal"

static enum status check_phase(const struct cursor *c, const struct criterion *out)
{
	char what[160];
	if (is_of_the_run(out)) {
		snprintf(what, sizeof what, "`during %s` is not accepted here: this figure is of the run as a whole", out->phase);
		return wrong(
			c, what, "leave it out; figures of a phase are " PHASED ", and most of step, migration and migration.statement");
	}
	if (out->metric == METRIC_STEP && (strcmp(out->phase, "baseline") == 0 || strcmp(out->phase, "warmup") == 0)) {
		snprintf(what, sizeof what, "`during %s` is not accepted here: no step runs then", out->phase);
		return wrong(c, what, "a step's figures are `during migration`, which may be left out, or `during rollback`");
	}
	return ST_OK;
}

static enum status read_phase(struct cursor *c, struct criterion *out)
{
	skip_blanks(c);
	if (strncmp(c->at, "during", 6) != 0 || !isblank((unsigned char)c->at[6]))
		return ST_OK;
	c->at += 6;
	skip_blanks(c);
	size_t n = strcspn(c->at, " \t<>=");
	if (n == 0 || n >= sizeof out->phase)
		return wrong(c, "the name of a phase is missing behind `during`",
			"a phase is baseline, migration, rollback or one that the scenario names");
	memcpy(out->phase, c->at, n);
	c->at += n;
	skip_blanks(c);
	return check_phase(c, out);
}

static const char *unit_hint(const struct criterion *c)
{
	bool factor = has_baseline(c);
	switch (c->unit) {
	case UNIT_TIME:
		return factor ? "this metric is a time: 50ms, 2s, 24h, or a factor: 2 x baseline" : "this metric is a time: 50ms, 2s, 24h";
	case UNIT_BYTES:
		return "this metric is a size: 30MB, or a factor: 2 x baseline";
	case UNIT_SHARE:
		return factor ? "this metric is a share: 0.1%, or a factor: 2 x baseline" : "this metric is a share: 0.1%";
	case UNIT_RATE:
		return "this metric is a rate: 400/s, or a factor: 0.9 x baseline";
	case UNIT_NONE:
		break;
	}
	return factor ? "this metric is a plain number: 5, or a factor: 2 x baseline" : "this metric is a plain number: 5";
}

static enum status read_value(struct cursor *c, struct criterion *out)
{
	char value[128];
	const char *baseline = strstr(c->at, "baseline");
	size_t n = strlen(c->at);
	if (baseline != NULL) {
		/* "2 x baseline": the x is a word or a multiplication sign, and nothing follows. */
		out->relative = true;
		if (baseline[8 + strspn(baseline + 8, " \t")] != '\0')
			return wrong(c, "something stands behind `baseline`", unit_hint(out));
		n = (size_t)(baseline - c->at);
		while (n > 0 && isblank((unsigned char)c->at[n - 1]))
			n--;
		if (n > 0 && (c->at[n - 1] == 'x' || c->at[n - 1] == '*'))
			n--;
		else
			return wrong(c, "an x is missing before `baseline`", unit_hint(out));
	}
	while (n > 0 && isblank((unsigned char)c->at[n - 1]))
		n--;
	if (n == 0 || n >= sizeof value)
		return wrong(c, "the value to compare with is missing", unit_hint(out));
	memcpy(value, c->at, n);
	value[n] = '\0';
	enum unit unit;
	struct error why;
	if (units_parse_quantity(value, &out->value, &unit, &why) != ST_OK)
		return wrong(c, why.what, unit_hint(out));
	enum unit wanted = out->relative ? UNIT_NONE : out->unit;
	if (unit != wanted && !(out->value == 0 && unit == UNIT_NONE))
		return wrong(c, "the value has the wrong unit", unit_hint(out));
	return ST_OK;
}

static bool stands_alone(enum stat stat)
{
	return stat == STAT_CLEAN || stat == STAT_IDENTICAL || stat == STAT_COMPLETED;
}

static enum status read_comparison(struct cursor *c, struct criterion *out)
{
	skip_blanks(c);
	if (stands_alone(out->stat)) {
		if (*c->at == '\0')
			return ST_OK;
		return wrong(c, "nothing may follow: it holds or it does not", "write it alone: rollback.clean");
	}
	for (size_t i = 0; i < sizeof COMPARISONS / sizeof COMPARISONS[0]; i++) {
		size_t n = strlen(COMPARISONS[i].text);
		if (strncmp(c->at, COMPARISONS[i].text, n) == 0) {
			out->comparison = COMPARISONS[i].comparison;
			c->at += n;
			skip_blanks(c);
			return read_value(c, out);
		}
	}
	return wrong(c, "a comparison is missing", "one of < <= > >= = and a value: lock_wait.max < 1s");
}

enum status criterion_parse(const char *text, struct criterion *out, struct error *err)
{
	*out = (struct criterion){0};
	const char *from = text + strspn(text, " \t\n");
	size_t n = strlen(from);
	while (n > 0 && isspace((unsigned char)from[n - 1]))
		n--;
	if (n >= sizeof out->text)
		return error_set(err, ST_USAGE, "a criterion of %zu bytes is too long (at most %zu)", n, sizeof out->text - 1);
	memcpy(out->text, from, n);
	struct cursor c = {.text = out->text, .at = out->text, .err = err};
	const struct metric_row *m = read_metric(&c);
	if (m == NULL) {
		char hint[512];
		list_metrics(hint, sizeof hint);
		return wrong(&c, "there is no such metric", hint);
	}
	out->metric = m->metric;
	enum status st = read_label(&c, m, out);
	if (st == ST_OK)
		st = read_stat(&c, m, out);
	if (st == ST_OK)
		st = read_phase(&c, out);
	if (st == ST_OK)
		st = read_comparison(&c, out);
	if (st == ST_OK && out->relative && !has_baseline(out))
		st = wrong(&c, "there is nothing in the baseline to compare this with",
			"name a value instead of a factor; `x baseline` is for " PHASED);
	if (st == ST_OK && out->relative && strcmp(out->phase, "baseline") == 0)
		st = wrong(&c, "the baseline would be compared with itself", "name another phase behind `during`");
	return st;
}

bool criterion_holds(const struct criterion *c, double observed, double limit)
{
	switch (c->comparison) {
	case CMP_LT:
		return observed < limit;
	case CMP_LE:
		return observed <= limit;
	case CMP_GT:
		return observed > limit;
	case CMP_GE:
		return observed >= limit;
	case CMP_EQ:
		return observed == limit;
	case CMP_NONE:
		break;
	}
	return observed != 0;
}
