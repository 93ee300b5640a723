/* Progress for people. */
#define _GNU_SOURCE
#include "cli/progress.h"

#include "base/clock.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HEARTBEAT_NS (100 * NS_PER_MS) /* lag is known to this */
#define HEARTBEAT_NS (100 * NS_PER_MS) /* replication lag is known to this */
#define PLAIN_EVERY_NS (5 * NS_PER_S)  /* on a pipe, besides changes of phase and step */

void progress_init(struct progress *p)
{
	*p = (struct progress){.terminal = isatty(STDERR_FILENO) == 1};
}

static int terminal_width(void)
{
	struct winsize size;
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 100;
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

void progress_end(struct progress *p)
{
	if (p->open)
		fputs("\r\033[K", stderr);
	p->open = false;
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
		fprintf(stderr, "\r\033[K%.*s", fitting(text, terminal_width() - 1), text);
		fflush(stderr);
		p->open = true;
		return;
	}
	int64_t now = clock_now_ns();
	if (strncmp(key, p->said, sizeof p->said - 1) == 0 && now - p->said_ns < PLAIN_EVERY_NS)
		return;
	snprintf(p->said, sizeof p->said, "%s", key);
	p->said_ns = now;
	fprintf(stderr, "%s\n", text);
}

void progress_prepare(const char *what, int64_t done, int64_t total, void *arg)
{
	char text[256];
	if (total > 0)
		snprintf(text, sizeof text, "  preparing: %s, %" PRId64 " of %" PRId64 " rows (%d %%)", what, done, total,
			(int)(done * 100 / total));
	else
		snprintf(text, sizeof text, "  preparing: %s", what);
	show(arg, what, text);
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

void progress_run(const struct rehearsal_progress *r, void *arg)
{
	char text[512], key[160], value[64];
	int64_t seconds = r->elapsed_ns / NS_PER_S;
	snprintf(text, sizeof text, "  %02d:%02d %s %-9s", (int)(seconds / 60), (int)(seconds % 60), r->drill,
		r->phase[0] != '\0' && strcmp(r->phase, r->drill) != 0 ? r->phase : "");
	snprintf(key, sizeof key, "%s/%s/%s", r->drill, r->phase, r->step);
	if (r->traffic) {
		snprintf(value, sizeof value, "%.0f/s of %.0f/s", r->done_rate, r->planned_rate);
		add(text, sizeof text, "", value);
		add_time(text, sizeof text, "p99", r->p99_ns);
		snprintf(value, sizeof value, "%" PRIu64, r->failed);
		add(text, sizeof text, "errors", value);
		if (r->backlog > 0) {
			snprintf(value, sizeof value, "%" PRIu64, r->backlog);
			add(text, sizeof text, "backlog", value);
		}
		if (r->lag_ns >= 0 && r->lag_ns < HEARTBEAT_NS)
			add(text, sizeof text, "lag", "<0.1 s");
		else
			add_time(text, sizeof text, "lag", r->lag_ns);
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
	show(arg, key, text);
}
