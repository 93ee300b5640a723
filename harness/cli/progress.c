/* Progress for people. */
#define _GNU_SOURCE
#include "cli/progress.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/units.h"
#include "cli/live.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LIVE_ROWS (LIVE_LINES + 2)    /* a terminal of fewer gets one line */
#define REST_AFTER_NS (3 * NS_PER_S)  /* before that the pace is a guess */
#define PLAIN_EVERY_NS (5 * NS_PER_S) /* on a pipe, besides changes of phase and step */

void progress_init(struct progress *p)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
	*p = (struct progress){.terminal = isatty(STDERR_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0};
	p->colour = p->terminal && (no_color == NULL || no_color[0] == '\0');
}

static void terminal_size(int *columns, int *rows)
{
	struct winsize size;
	bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0;
	*columns = known && size.ws_col > 20 ? size.ws_col : 100;
	*rows = known && size.ws_row > 0 ? size.ws_row : 24;
}

/* Bytes of text that fill at most `columns` columns, taking every UTF-8 character for one. */
static int fitting(const char *text, int columns)
{
	int n = 0;
	for (; text[n] != '\0'; n++)
		if (((unsigned char)text[n] & 0xc0) != 0x80 && columns-- == 0)
			break;
	return n;
}

/* To the first column of the first line of what stands there. */
static void add_return(const struct progress *p, struct buf *out)
{
	buf_printf(out, "\r");
	if (p->lines > 1)
		buf_printf(out, "\033[%dA", p->lines - 1);
}

void progress_end(struct progress *p)
{
	if (p->lines == 0)
		return;
	struct buf out;
	buf_init(&out, 64);
	add_return(p, &out);
	buf_printf(&out, "\033[J");
	fwrite(out.data, 1, out.len, stderr);
	fflush(stderr);
	buf_free(&out);
	p->lines = 0;
}

/* Draws over what stands there, in one write, so that nothing flickers. */
static void draw(struct progress *p, const struct live_line *lines, int n)
{
	static const char *const COLOURS[] = {"", "\033[33m", "\033[31m"};
	int columns, rows;
	terminal_size(&columns, &rows);
	struct buf out;
	buf_init(&out, LIVE_LINES * (LIVE_BYTES + 32) + 64);
	add_return(p, &out);
	for (int i = 0; i < n; i++) {
		const char *colour = p->colour ? COLOURS[lines[i].mood] : "";
		buf_printf(&out, "%s%s%.*s%s\033[K", i > 0 ? "\n" : "", colour, fitting(lines[i].text, columns - 1), lines[i].text,
			colour[0] != '\0' ? "\033[0m" : "");
	}
	if (n < p->lines)
		buf_printf(&out, "\033[J");
	fwrite(out.data, 1, out.len, stderr);
	fflush(stderr);
	buf_free(&out);
	p->lines = n;
}

void progress_note(struct progress *p, const char *text)
{
	progress_end(p);
	fprintf(stderr, "%s\n", text);
}

/* key: what a plain line is worth printing for when it changes. */
static void show(struct progress *p, const char *key, const char *text)
{
	if (p->terminal) {
		struct live_line line = {.mood = LIVE_CALM};
		snprintf(line.text, sizeof line.text, "%s", text);
		draw(p, &line, 1);
		return;
	}
	int64_t now = clock_now_ns();
	if (strncmp(key, p->said, sizeof p->said - 1) == 0 && now - p->said_ns < PLAIN_EVERY_NS)
		return;
	snprintf(p->said, sizeof p->said, "%s", key);
	p->said_ns = now;
	fprintf(stderr, "%s\n", text);
}

/* At the pace since the first rows that we saw: more may have been made by an earlier process. */
static void describe_rest(struct progress *p, int64_t done, int64_t total, char *out, size_t size)
{
	int64_t now = clock_now_ns();
	if (p->rows_since_ns == 0) {
		p->rows_since_ns = now;
		p->rows_at_first = done;
	}
	int64_t taken_ns = now - p->rows_since_ns, made = done - p->rows_at_first;
	char time[32];
	if (taken_ns >= REST_AFTER_NS && made > 0)
		snprintf(out, size, ", about %s left",
			units_format_time((int64_t)((double)taken_ns / (double)made * (double)(total - done)), time, sizeof time));
}

void progress_prepare(const char *what, int64_t done, int64_t total, void *arg)
{
	char text[256], left[64] = "";
	if (total > 0) {
		describe_rest(arg, done, total, left, sizeof left);
		snprintf(text, sizeof text, "  preparing: %s, %" PRId64 " of %" PRId64 " rows in all (%d %%)%s", what, done, total,
			(int)(done * 100 / total), left);
	} else
		snprintf(text, sizeof text, "  preparing: %s", what);
	char key[64];
	snprintf(key, sizeof key, "%.*s", (int)(strcspn(what, ":") < 60 ? strcspn(what, ":") : 60), what);
	show(arg, key, text);
}

static void add(char *out, size_t size, const char *label, const char *value)
{
	size_t n = strlen(out);
	if (n < size)
		snprintf(out + n, size - n, "  %s%s%s", label, label[0] != '\0' ? " " : "", value);
}

static void add_time(char *out, size_t size, const char *label, int64_t ns)
{
	char value[32];
	if (ns >= 0)
		add(out, size, label, units_format_time(ns, value, sizeof value));
}

static void show_line(const struct rehearsal_progress *r, struct progress *p)
{
	char text[512], key[160], value[128], states[64];
	int64_t seconds = r->elapsed_ns / NS_PER_S;
	snprintf(text, sizeof text, "  %02d:%02d %s %-9s", (int)(seconds / 60), (int)(seconds % 60), r->drill,
		r->phase[0] != '\0' && strcmp(r->phase, r->drill) != 0 ? r->phase : "");
	snprintf(key, sizeof key, "%s/%s/%s", r->drill, r->phase, r->step);
	if (r->traffic) {
		snprintf(value, sizeof value, "%.0f/s of %.0f/s", r->done_rate, r->planned_rate);
		add(text, sizeof text, "", value);
		add_time(text, sizeof text, "p50", r->p50_ns);
		add_time(text, sizeof text, "p99", r->p99_ns);
		add_time(text, sizeof text, "max", r->max_ns);
		live_errors(&r->errors, 2, states, sizeof states);
		snprintf(value, sizeof value, "%" PRIu64 "%s%s%s", r->failed, states[0] != '\0' ? " (" : "", states,
			states[0] != '\0' ? ")" : "");
		add(text, sizeof text, "errors", value);
		if (r->backlog > 0) {
			snprintf(value, sizeof value, "%" PRIu64, r->backlog);
			add(text, sizeof text, "backlog", value);
			add_time(text, sizeof text, "oldest", r->backlog_age_ns);
		}
		if (r->lag_ns >= 0)
			add(text, sizeof text, "lag", live_lag(r->lag_ns, value, sizeof value));
		if (r->waiting > 0) {
			char longest[32] = "";
			if (r->longest_wait_ns > 0)
				units_format_time(r->longest_wait_ns, longest, sizeof longest);
			snprintf(value, sizeof value, "%d %s", r->waiting, longest);
			add(text, sizeof text, "waiting", value);
		}
	}
	if (r->step[0] != '\0') {
		snprintf(value, sizeof value, " | %s%d/%d", r->down ? "undo " : "", r->step_index, r->step_count);
		add(text, sizeof text, value, r->step);
	}
	if (r->detail[0] != '\0')
		add(text, sizeof text, r->step[0] != '\0' ? "" : " |", r->detail);
	if (r->step[0] != '\0' && r->eta_ns > 0)
		add_time(text, sizeof text, "left", r->eta_ns);
	show(p, key, text);
}

void progress_run(const struct rehearsal_progress *r, void *arg)
{
	struct progress *p = arg;
	struct live_line lines[LIVE_LINES];
	int columns, rows;
	terminal_size(&columns, &rows);
	if (p->terminal && rows >= LIVE_ROWS)
		draw(p, lines, live_compose(r, lines));
	else
		show_line(r, p);
}
