/* pgrehearse trace: what is in a trace, as text or as a part of it. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/json.h"
#include "base/units.h"
#include "base/vec.h"
#include "cli/commands.h"
#include "cli/signals.h"
#include "cli/trace_filter.h"
#include "replay/anonymize.h"
#include "replay/capture.h"
#include "replay/scale.h"
#include "replay/trace.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] =
	"usage: pgrehearse trace info TRACE [--top N]\n"
	"       pgrehearse trace cat TRACE [--json]\n"
	"       pgrehearse trace cut|filter TRACE --out TRACE\n"
	"       pgrehearse trace anonymize TRACE --out TRACE [--secret WORD] [--keep WORD]...\n"
	"       pgrehearse trace scale TRACE --out TRACE --times N --target DSN\n\n"
	"info: what was captured, what was lost, and the classes of statements by the time that they took. cat: each event by arrival. cut and\n"
	"filter write another trace of what matches; cat takes the same options. anonymize replaces literals and parameters: the same value by\n"
	"the same one, of its type and length. Bodies of functions and DO keep all but their literals and comments. Words that the server\n"
	"must know (of enum types) are named with --keep; the same --secret gives the same answers another time. scale adds sessions,\n"
	"--times 2.5 one and a half beside each, that do the same with other keys of the clone's data, which --target leads to and is\n"
	"only read.\n\n"
	"  --from TIME, --to TIME   arrivals from then until then, behind the trace's first: 10min\n"
	"  --user NAME, --database NAME, --application NAME\n"
	"  --class FINGERPRINT      one class of statements, as info names it\n"
	"  --read-only              statements that only read\n\n"
	"Example: pgrehearse trace cut monday.trace --from 1h --to 2h --out hour.trace\n";

struct trace_options {
	const char *verb, *path, *out, *secret, *target;
	double times;
	struct capture_filter filter;
	int64_t top;
	bool json;
	VEC(const char *) keep;
};

/* ---- info ---- */

struct class
{
	uint64_t fingerprint;
	const struct trace_shape *shape; /* the first of it */
	int64_t count, failed, busy_ns, timed;
};

struct classes {
	VEC(struct class) all;
	VEC(uint32_t) of_shape; /* number + 1 */
};

static struct class *class_of(struct classes *c, const struct trace_shape *shape)
{
	while (c->of_shape.n <= shape->number)
		VEC_PUSH(&c->of_shape, 0);
	uint32_t *number = &c->of_shape.at[shape->number];
	for (uint32_t i = 0; *number == 0 && i < c->all.n && shape->fingerprint != 0; i++)
		if (c->all.at[i].fingerprint == shape->fingerprint)
			*number = i + 1;
	if (*number == 0) {
		VEC_PUSH(&c->all, (struct class){.fingerprint = shape->fingerprint, .shape = shape});
		*number = (uint32_t)c->all.n;
	}
	return &c->all.at[*number - 1];
}

static int by_busy(const void *a, const void *b)
{
	const struct class *x = a, *y = b;
	if (x->busy_ns != y->busy_ns)
		return x->busy_ns > y->busy_ns ? -1 : 1;
	return x->count > y->count ? -1 : x->count < y->count;
}

static void print_class(const struct class *c, int64_t busy_ns)
{
	char mean[32] = "-", text[72];
	size_t n = 0;
	if (c->timed > 0)
		units_format_time(c->busy_ns / c->timed, mean, sizeof mean);
	for (size_t i = 0; i < c->shape->n && n < sizeof text - 1; i++) {
		char letter = c->shape->text[i];
		text[n++] = (char)(letter == SHAPE_MARK ? '?' : (unsigned char)letter < ' ' ? ' ' : letter);
	}
	text[n] = '\0';
	printf("  %016" PRIx64 " %10" PRId64 " %8" PRId64 " %5.1f %% %9s  %s\n", c->fingerprint, c->count, c->failed,
		busy_ns > 0 ? 100.0 * (double)c->busy_ns / (double)busy_ns : 0.0, mean, text);
}

static void print_header(const struct trace *t)
{
	const struct trace_summary *s = trace_summary(t);
	const json_t *meta = trace_meta(t), *loss = json_object_get(meta, "loss");
	char first[40], span[32], size[32];
	units_format_bytes((double)s->bytes, size, sizeof size);
	printf("trace of version %d, %s in %u blocks%s\n", TRACE_VERSION, size, s->blocks,
		s->cut_off ? "; it was cut off, and is read up to there" : "");
	if (s->events > 0)
		printf("%" PRId64 " events from %s, for %s\n", s->events, clock_format_wall(s->first_ns, first, sizeof first),
			units_format_time(s->last_ns - s->first_ns, span, sizeof span));
	if (meta == NULL)
		return;
	printf("captured from %s, %" PRId64 " sessions%s%s\n", json_get_string(meta, "format", "?"), json_get_int(meta, "sessions", 0),
		json_is_true(json_object_get(meta, "part")) ? "; a part of the capture" : "",
		json_is_true(json_object_get(meta, "anonymized")) ? "; anonymized" : "");
	double kept = json_get_number(loss, "busy_kept_ms", 0), lost = json_get_number(loss, "busy_lost_ms", 0);
	printf("busy time of the log that is not in the capture: %.2f %%\n", kept + lost > 0 ? 100 * lost / (kept + lost) : 0.0);
}

static enum status print_info(struct trace *t, int64_t top, struct error *err)
{
	struct classes classes = {0};
	struct trace_event e;
	int64_t busy_ns = 0, statements = 0;
	print_header(t);
	while (trace_next(t, &e, err)) {
		if (e.shape == NULL)
			continue;
		struct class *c = class_of(&classes, e.shape);
		c->count++;
		statements++;
		c->failed += strcmp(e.sqlstate, "00000") != 0;
		if (e.duration_ns >= 0) {
			c->busy_ns += e.duration_ns;
			c->timed++;
			busy_ns += e.duration_ns;
		}
	}
	if (classes.all.n > 0)
		qsort(classes.all.at, classes.all.n, sizeof *classes.all.at, by_busy);
	printf("\n%" PRId64 " statements of %zu classes:\n  %-16s %10s %8s %7s %9s  %s\n", statements, classes.all.n, "class", "count",
		"failed", "busy", "mean", "statement");
	for (size_t i = 0; i < classes.all.n && (int64_t)i < top; i++)
		print_class(&classes.all.at[i], busy_ns);
	VEC_FREE(&classes.all);
	VEC_FREE(&classes.of_shape);
	return err->status;
}

/* ---- cat ---- */

static const char *const KINDS[] = {"connect", "disconnect", "simple", "execute", "fetch"};

static json_t *text_json(const char *text, size_t n)
{
	json_t *value = json_stringn(text, n);
	return value != NULL ? value : json_text(text);
}

static void cat_json(const struct trace_event *e, int64_t first_ns, const struct buf *sql)
{
	json_t *line = json_pack("{s:s, s:I, s:f}", "kind", KINDS[e->kind], "session", (json_int_t)e->session->number, "at_ms",
		(double)(e->arrival_ns - first_ns) / 1e6);
	if (e->kind == CAPTURED_CONNECT) {
		json_object_set_new(line, "user", json_text(e->session->user));
		json_object_set_new(line, "database", json_text(e->session->database));
		json_object_set_new(line, "application", json_text(e->session->application));
	}
	if (e->shape != NULL) {
		json_object_set_new(line, "duration_ms", e->duration_ns >= 0 ? json_real((double)e->duration_ns / 1e6) : json_null());
		json_object_set_new(line, "sqlstate", json_text(e->sqlstate));
		if (e->name[0] != '\0')
			json_object_set_new(line, "name", json_text(e->name));
		if (e->portal[0] != '\0')
			json_object_set_new(line, "portal", json_text(e->portal));
		json_object_set_new(line, "sql", text_json(sql->data, sql->len));
		json_t *params = json_array();
		for (uint32_t i = 0; i < e->n_params; i++)
			json_array_append_new(
				params, e->params[i].null ? json_null() : text_json(e->params[i].value.at, e->params[i].value.n));
		if (e->n_params > 0)
			json_object_set_new(line, "params", json_incref(params));
		json_decref(params);
		char fingerprint[20];
		snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, e->shape->fingerprint);
		json_object_set_new(line, "class", json_string(fingerprint));
	}
	(void)json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
	putchar('\n');
	json_decref(line);
}

static void cat_text(const struct trace_event *e, int64_t first_ns, const struct buf *sql)
{
	char took[32] = "-";
	if (e->duration_ns >= 0)
		units_format_time(e->duration_ns, took, sizeof took);
	printf("%12.3f s  %5u %s@%s  ", (double)(e->arrival_ns - first_ns) / 1e9, e->session->number, e->session->user,
		e->session->database);
	if (e->shape == NULL) {
		printf("%s\n", KINDS[e->kind]);
		return;
	}
	printf("%s  %s%s%s ", took, strcmp(e->sqlstate, "00000") != 0 ? e->sqlstate : "", e->sqlstate[0] != '0' ? " " : "", KINDS[e->kind]);
	if (e->name[0] != '\0')
		printf("%s: ", e->name);
	fwrite(sql->data, 1, sql->len, stdout);
	for (uint32_t i = 0; i < e->n_params; i++) {
		printf("%s$%u = ", i == 0 ? "  -- " : ", ", i + 1);
		if (e->params[i].null)
			fputs("NULL", stdout);
		else
			printf("'%.*s'", (int)e->params[i].value.n, e->params[i].value.at);
	}
	putchar('\n');
}

static enum status print_events(struct trace *t, const struct trace_options *o, struct error *err)
{
	struct trace_event e;
	struct buf sql;
	int64_t first_ns = trace_summary(t)->first_ns;
	struct capture_matcher *m = capture_matcher_create(&o->filter, first_ns);
	const volatile sig_atomic_t *stop = signals_watch();
	buf_init(&sql, LOG_RECORD_MAX);
	if (o->filter.from_ns > 0)
		trace_seek(t, first_ns + o->filter.from_ns);
	while (!*stop && !ferror(stdout) && trace_next(t, &e, err)) {
		if (o->filter.to_ns > 0 && e.arrival_ns - first_ns >= o->filter.to_ns)
			break;
		if (!capture_matches(m, &e))
			continue;
		buf_clear(&sql);
		trace_event_text(&e, &sql);
		(o->json ? cat_json : cat_text)(&e, first_ns, &sql);
	}
	buf_free(&sql);
	capture_matcher_free(m);
	return err->status;
}

/* ---- other traces ---- */

static enum status make_secret(char *out, size_t size, struct error *err)
{
	unsigned char bytes[16];
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;
	if (fd >= 0)
		close(fd);
	if (n != (ssize_t)sizeof bytes)
		return error_errno(err, ST_FAILED, "/dev/urandom");
	for (size_t i = 0; i < sizeof bytes && 2 * i + 3 <= size; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	return ST_OK;
}

static int rewrite(const struct trace_options *o)
{
	struct error err;
	char secret[40] = "";
	int64_t kept = 0;
	struct anonymizer *a = NULL;
	if (o->out == NULL) {
		(void)error_set(&err, ST_USAGE, "trace %s: --out TRACE is missing", o->verb);
		return command_fail(&err);
	}
	if (strcmp(o->verb, "anonymize") == 0) {
		if (o->secret == NULL && make_secret(secret, sizeof secret, &err) != ST_OK)
			return command_fail(&err);
		a = anonymize_create(o->secret != NULL ? o->secret : secret, o->keep.at, o->keep.n);
	}
	enum status st = capture_rewrite(o->path, o->out, &o->filter, a, signals_watch(), &kept, &err);
	anonymize_free(a);
	if (st != ST_OK)
		return command_fail(&err);
	printf("%" PRId64 " events in %s\n", kept, o->out);
	return ST_OK;
}

static int scale(const struct trace_options *o)
{
	struct error err;
	struct scale_result result;
	struct scale_config config = {.from = o->path, .to = o->out, .dsn = o->target, .times = o->times, .seed = 1, .filter = o->filter};
	config.stop = signals_watch();
	if (o->out == NULL || o->target == NULL || !(o->times > 0)) {
		(void)error_set(&err, ST_USAGE, "trace scale: --out TRACE, --times N and --target DSN are needed");
		error_hint(&err, "pgrehearse trace scale monday.trace --times 2 --target \"host=/tmp dbname=clone\" --out twice.trace");
		return command_fail(&err);
	}
	if (scale_trace(&config, &result, &err) != ST_OK)
		return command_fail(&err);
	printf("%" PRId64 " events of %" PRId64 " sessions in %s; %" PRId64 " statements added, %" PRId64
	       " of them with other keys, of %" PRId64 " columns\n",
		result.events, result.sessions, o->out, result.copied, result.other_keys, result.keys);
	return ST_OK;
}

/* ---- the command ---- */

static enum status read_options(int argc, char **argv, struct trace_options *o, int *bad_option, struct error *err)
{
	static const struct option OPTIONS[] = {
		{"out", required_argument, NULL, 'o'},
		{"top", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
		TRACE_FILTER_OPTIONS,
		{"secret", required_argument, NULL, 's'},
		{"keep", required_argument, NULL, 'k'},
		{"times", required_argument, NULL, 'x'},
		{"target", required_argument, NULL, 'T'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && (c = getopt_long(argc, argv, ":o:h", OPTIONS, NULL)) != -1;) {
		bool taken;
		st = trace_filter_take(&o->filter, c, optarg, &taken, err);
		if (taken)
			continue;
		switch (c) {
		case 'o':
			o->out = optarg;
			break;
		case 'n':
			st = units_parse_int("--top", optarg, 1, 1000000, &o->top, err);
			break;
		case 'j':
			o->json = true;
			break;
		case 's':
			o->secret = optarg;
			break;
		case 'k':
			VEC_PUSH(&o->keep, optarg);
			break;
		case 'x':
			st = units_parse_number("--times", optarg, 1, SCALE_MAX, &o->times, err);
			break;
		case 'T':
			o->target = optarg;
			break;
		case 'h':
			o->verb = "help";
			return ST_OK;
		default:
			*bad_option = c;
			return ST_OK;
		}
	}
	if (st != ST_OK)
		return st;
	if (optind + 2 != argc) {
		st = error_set(err, ST_USAGE, "trace: a verb and a trace are expected");
		error_hint(err, "pgrehearse trace info TRACE; the verbs are info, cat, cut, filter, anonymize, scale");
	}
	if (st != ST_OK)
		return st;
	o->verb = argv[optind];
	o->path = argv[optind + 1];
	return ST_OK;
}

static int perform(const struct trace_options *o)
{
	struct error err;
	if (strcmp(o->verb, "help") == 0)
		return fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
	if (strcmp(o->verb, "cut") == 0 || strcmp(o->verb, "filter") == 0 || strcmp(o->verb, "anonymize") == 0)
		return rewrite(o);
	if (strcmp(o->verb, "scale") == 0)
		return scale(o);
	if (strcmp(o->verb, "info") != 0 && strcmp(o->verb, "cat") != 0) {
		(void)error_set(&err, ST_USAGE, "trace: there is no verb \"%s\"", o->verb);
		error_hint(&err, "the verbs are info, cat, cut, filter, anonymize, scale");
		return command_fail(&err);
	}
	struct trace *t;
	if (trace_open(o->path, &t, &err) != ST_OK)
		return command_fail(&err);
	enum status st = strcmp(o->verb, "info") == 0 ? print_info(t, o->top, &err) : print_events(t, o, &err);
	trace_close(t);
	return st == ST_OK ? ST_OK : command_fail(&err);
}

int cmd_trace(int argc, char **argv)
{
	struct trace_options o = {.verb = "", .path = "", .top = 20};
	struct error err;
	int bad_option = 0;
	enum status st = read_options(argc, argv, &o, &bad_option, &err);
	int code = bad_option != 0 ? command_bad_option("trace", bad_option, optopt, argv[optind - 1])
		: st != ST_OK      ? command_fail(&err)
				   : perform(&o);
	VEC_FREE(&o.keep);
	return code;
}
