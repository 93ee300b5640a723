/* Writing a run record (reports/RECORD.md) as the run goes. Any thread may call any function but record_create and record_close. */
#ifndef PGR_RECORD_RECORD_H
#define PGR_RECORD_RECORD_H

#include "base/error.h"
#include "base/json.h"

#include <stdint.h>

#define RECORD_FORMAT 1

struct hist;
struct record;

/* Could a record be made there? As record_create, but nothing is made: for asking before long preparations. */
enum status record_check_dir(const char *dir, struct error *err) MUST_CHECK;

/* Makes the folder dir (an empty or missing one) with run.json and the empty series beside it. `run` (stolen, also on failure)
 * holds what is known of run.json; format, pgrehearse, status, writer_pid, started_at and phases are filled in here.
 * ST_USAGE: dir holds something already. ST_FAILED: the disk said no. NULL comes with err filled. */
struct record *record_create(const char *dir, json_t *run, struct error *err);

const char *record_dir(const struct record *);

/* Nanoseconds since the run started, the time of every *_ns field; and that start itself on the clock of clock_now_ns(). */
int64_t record_now_ns(const struct record *);
int64_t record_start_ns(const struct record *);

/* Each appends one line; the object is stolen. A line is written whole or, when the disk is full, not at all.
 * The first failure of the disk is kept and reported by record_error and record_finish; afterwards lines are dropped. */
void record_event(struct record *, json_t *event);
void record_interval(struct record *, json_t *interval);
void record_wait(struct record *, json_t *wait);
void record_window(struct record *, json_t *window);

/* An event {t_ns: now, type: "warning", text}. */
void record_warning(struct record *, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Appends hist to latency.hlog as the interval [start_ns, end_ns) of the run; an empty one is left out. */
void record_histogram(struct record *, const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *hist);

/* Sets a field of run.json (value stolen) and replaces the file. record_set leaves the replacing to the next record_update or record_finish. */
void record_update(struct record *, const char *key, json_t *value);
void record_set(struct record *, const char *key, json_t *value);

/* Opens and closes the current phase at t_ns (of the run): run.json's phases and an event each. */
void record_phase_start(struct record *, const char *name, int64_t t_ns);
void record_phase_end(struct record *, int64_t t_ns);

/* Pushes what is buffered to the files; the owner calls it every second. */
void record_flush(struct record *);

/* ST_OK, or the first failure of the disk. */
enum status record_error(struct record *, struct error *err) MUST_CHECK;

/* Ends the record: status ("finished", "failed", "interrupted"), duration, everything flushed. cause (may be NULL) becomes run.json's error.
 * Returns the first failure of the disk, if any. */
enum status record_finish(struct record *, const char *status, const struct error *cause, struct error *err) MUST_CHECK;

/* Closes the files and frees it; a record that was not finished stays `running` and is shown as interrupted. NULL is fine. */
void record_close(struct record *);

#endif
