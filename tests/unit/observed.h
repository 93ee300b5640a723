/* One run of the observer on the server of a unit test, and what it recorded. Include it behind unit.h. */
#ifndef PGR_TESTS_OBSERVED_H
#define PGR_TESTS_OBSERVED_H

#include "base/clock.h"
#include "observe/observer.h"
#include "record/reader.h"
#include "record/record.h"
#include "server.h"

#include <time.h>

#define MS NS_PER_MS

static struct record *record;
static struct observer *observer;
static struct observer_totals totals;
/* Since observed_stop, until observed_forget. */
static json_t *waits, *windows, *events, *run;

static inline void pause_for(int64_t ns)
{
	nanosleep(&(struct timespec){ns / NS_PER_S, ns % NS_PER_S}, NULL);
}

/* Where the record of this run is; the next start makes another. */
static inline const char *observed_path(bool another)
{
	static int runs;
	static char path[96];
	snprintf(path, sizeof path, "%s/record-%d", server_home, runs += another);
	return path;
}

/* config: without the record, which is made. */
static inline void observed_start(struct observer_config config)
{
	struct error err;
	record = record_create(observed_path(true), json_object(), &err);
	assert_non_null(record);
	config.record = record;
	assert_ok(observer_start(&config, &observer, &err), &err);
}

static inline bool observed_keep(const json_t *line, void *arg)
{
	json_array_append_new(arg, json_deep_copy(line));
	return true;
}

static inline void observed_stop(void)
{
	struct error err;
	assert_ok(observer_stop(observer, &totals, &err), &err);
	assert_ok(record_finish(record, "finished", NULL, &err), &err);
	record_close(record);
	struct record_reader *reader;
	assert_ok(record_open(observed_path(false), &reader, &err), &err);
	waits = json_array();
	windows = json_array();
	events = json_array();
	assert_ok(reader_each(reader, "waits", observed_keep, waits, &err), &err);
	assert_ok(reader_each(reader, "windows", observed_keep, windows, &err), &err);
	assert_ok(reader_each(reader, "events", observed_keep, events, &err), &err);
	run = json_deep_copy(reader_run(reader));
	record_reader_free(reader);
}

/* A cmocka teardown. */
static inline int observed_forget(void **state)
{
	(void)state;
	json_t **all[] = {&waits, &windows, &events, &run};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		json_decref(*all[i]);
		*all[i] = NULL;
	}
	return 0;
}

/* How many warnings say so. */
static inline int observed_warnings(const char *part)
{
	size_t i;
	json_t *line;
	int n = 0;
	json_array_foreach(events, i, line)
	{
		n += strcmp(json_get_string(line, "type", ""), "warning") == 0 && strstr(json_get_string(line, "text", ""), part) != NULL;
	}
	return n;
}

#endif
