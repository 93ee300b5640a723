/* See the header. */
#define _GNU_SOURCE
#include "cli/load_trace_record.h"

#include "base/json.h"
#include "base/units.h"
#include "load/workload.h"
#include "record/reader.h"
#include "scenario/conductor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLASSES_SHOWN 12

enum status load_trace_perform(
	const struct replay_spec *spec, const char *out, struct progress *progress, const volatile sig_atomic_t *stop, struct error *err)
{
	char *workload = NULL;
	enum status st = workload_find("traced", NULL, &workload, err);
	if (st != ST_OK)
		return st;
	struct rehearsal r = {
		.workload_path = workload,
		.drill = "load",
		.scale = 1,
		.out_dir = out,
		.dsn = spec->player.dsn,
		.replay = spec,
		.no_availability = true,
		.stop = stop,
		.progress = progress_run,
		.arg = progress,
	};
	st = conductor_perform(&r, err);
	free(workload);
	return st;
}

static const char *value_text(const json_t *measure, const char *field, char *out, size_t size)
{
	const json_t *value = json_object_get(measure, field);
	bool time = strcmp(json_get_string(measure, "unit", ""), "ns") == 0;
	if (!json_is_number(value))
		snprintf(out, size, "-");
	else if (time)
		units_format_time((int64_t)json_number_value(value), out, size);
	else
		snprintf(out, size, "%.2f %%", 100 * json_number_value(value));
	return out;
}

static void print_measure(const json_t *m)
{
	char value[40], limit[40];
	const char *bound = !json_is_number(json_object_get(m, "limit")) ? " " : json_is_true(json_object_get(m, "least")) ? "≥" : "≤";
	printf("  %-12s %10s  %s %-9s %-4s %s%s%s\n", json_get_string(m, "name", ""), value_text(m, "value", value, sizeof value), bound,
		value_text(m, "limit", limit, sizeof limit), json_is_true(json_object_get(m, "ok")) ? "" : "NOT",
		json_get_string(m, "what", ""), json_get_string(m, "detail", "")[0] != '\0' ? ": " : "", json_get_string(m, "detail", ""));
}

static void print_ratio(const json_t *class, const char *field)
{
	const json_t *ratio = json_object_get(class, field);
	if (json_is_number(ratio))
		printf(" %7.2f", json_number_value(ratio));
	else
		printf(" %7s", "-");
}

static int by_captured(const void *a, const void *b)
{
	int64_t x = json_get_int(*(json_t *const *)a, "captured", 0), y = json_get_int(*(json_t *const *)b, "captured", 0);
	return x > y ? -1 : x < y;
}

static void print_classes(const json_t *classes)
{
	size_t n = json_array_size(classes);
	const json_t **order = calloc(n + 1, sizeof *order);
	if (order == NULL)
		abort();
	for (size_t i = 0; i < n; i++)
		order[i] = json_array_get(classes, i);
	qsort(order, n, sizeof *order, by_captured);
	printf("\n  %-34s %10s %10s %6s %6s %6s %7s %7s\n", "class (times: replayed / captured)", "captured", "replayed", "new", "gone",
		"other", "p50", "p99");
	for (size_t i = 0; i < n && i < CLASSES_SHOWN; i++) {
		const json_t *c = order[i];
		printf("  %-34.34s %10" PRId64 " %10" PRId64 " %6" PRId64 " %6" PRId64 " %6" PRId64, json_get_string(c, "name", ""),
			json_get_int(c, "captured", 0), json_get_int(c, "replayed", 0), json_get_int(c, "new_errors", 0),
			json_get_int(c, "vanished", 0), json_get_int(c, "changed", 0));
		print_ratio(c, "ratio_p50");
		print_ratio(c, "ratio_p99");
		putchar('\n');
	}
	if (n > CLASSES_SHOWN)
		printf("  and %zu more\n", n - CLASSES_SHOWN);
	free(order);
}

void load_trace_print_fidelity(const char *dir)
{
	struct record_reader *reader;
	struct error err;
	if (record_open(dir, &reader, &err) != ST_OK)
		return;
	const json_t *fidelity = json_object_get(reader_run(reader), "fidelity");
	json_t *measure;
	size_t i;
	printf("\nhow true it was to the capture:\n");
	json_array_foreach(json_object_get(fidelity, "measures"), i, measure) print_measure(measure);
	print_classes(json_object_get(fidelity, "classes"));
	record_reader_free(reader);
}
