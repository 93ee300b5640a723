/* Reading a run record back, also one that is still being written or whose writer died. Nothing in it is trusted. */
#ifndef PGR_RECORD_READER_H
#define PGR_RECORD_READER_H

#include "base/error.h"
#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>

struct hist;
struct record_reader;

/* dir holds run.json. A status `running` whose writer is not alive is shown as `interrupted`.
 * ST_USAGE: no record there, or one of a newer format. */
enum status record_open(const char *dir, struct record_reader **out, struct error *err) MUST_CHECK;
void record_reader_free(struct record_reader *);

const char *reader_dir(const struct record_reader *);

/* run.json; lives as long as the reader. */
const json_t *reader_run(const struct record_reader *);

/* Calls fn with each line of "events", "intervals", "waits" or "windows", in order; fn returns false to stop. A last line that was cut short is
 * passed over, so are lines that are not JSON objects (counted in reader_bad_lines). A file that is missing holds no lines. */
typedef bool reader_line(const json_t *line, void *arg);
enum status reader_each(struct record_reader *, const char *series, reader_line *fn, void *arg, struct error *err) MUST_CHECK;

/* Calls fn with each line of latency.hlog. */
typedef bool reader_hist(const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *hist, void *arg);
enum status reader_histograms(struct record_reader *, reader_hist *fn, void *arg, struct error *err) MUST_CHECK;

/* Name of the phase that holds t_ns, or "" between phases. Lives as long as the reader. */
const char *reader_phase_at(const struct record_reader *, int64_t t_ns);

/* Lines passed over so far because they could not be read. */
int64_t reader_bad_lines(const struct record_reader *);

/* The record folders in dir: dir itself when it holds run.json, else its direct subfolders that do, oldest first. */
struct record_list {
	char **dirs;
	int n;
};
enum status reader_list(const char *dir, struct record_list *out, struct error *err) MUST_CHECK;
void reader_list_free(struct record_list *);

/* Replaces the field `key` of the run.json in dir (value stolen): for the judge, which writes `verdict`. */
enum status reader_write_field(const char *dir, const char *key, json_t *value, struct error *err) MUST_CHECK;

#endif
