/* record/: what is written comes back, also after a cut, a full disk and a dead writer. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "base/fs.h"
#include "measure/hist.h"
#include "record/reader.h"
#include "record/record.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64];

static int make_root(void **state)
{
	(void)state;
	snprintf(root, sizeof root, "/tmp/pgr-record-XXXXXX");
	return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
	(void)state;
	return fs_remove_tree(root, NULL) != ST_OK;
}

static const char *path(const char *name)
{
	static char out[128];
	snprintf(out, sizeof out, "%s/%s", root, name);
	return out;
}

static struct record *created(void)
{
	struct error err;
	struct record *r = record_create(path("r"), json_pack("{s:s, s:i}", "drill", "forward", "seed", 7), &err);
	if (r == NULL)
		fail_msg("%s", err.what);
	return r;
}

static struct record_reader *opened(void)
{
	struct record_reader *reader;
	struct error err;
	if (record_open(path("r"), &reader, &err) != ST_OK)
		fail_msg("%s", err.what);
	return reader;
}

static bool count_line(const json_t *line, void *arg)
{
	assert_true(json_is_object(line));
	++*(int *)arg;
	return true;
}

static int lines(struct record_reader *reader, const char *series)
{
	int n = 0;
	assert_int_equal(reader_each(reader, series, count_line, &n, NULL), ST_OK);
	return n;
}

static bool check_hist(const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *hist, void *arg)
{
	assert_string_equal(tag, "view_user/v1/response/ok");
	assert_int_equal(start_ns, NS_PER_S);
	assert_int_equal(end_ns, 2 * NS_PER_S);
	assert_int_equal(hist_count(hist), 2);
	++*(int *)arg;
	return true;
}

static void what_is_written_comes_back(void **state)
{
	(void)state;
	struct record *r = created();
	record_phase_start(r, "baseline", 0);
	record_event(r, json_pack("{s:i, s:s}", "t_ns", 5, "type", "warning"));
	record_interval(r, json_pack("{s:i}", "start_ns", 0));
	record_wait(r, json_pack("{s:i}", "length_ns", 12));
	record_phase_end(r, 2 * NS_PER_S);
	record_phase_start(r, "migration", 2 * NS_PER_S);
	struct hist *h = hist_create();
	record_histogram(r, "nothing", 0, 1, h);
	hist_record(h, 1000);
	hist_record(h, 2000000);
	record_histogram(r, "view_user/v1/response/ok", NS_PER_S, 2 * NS_PER_S, h);
	hist_free(h);
	record_phase_end(r, 3 * NS_PER_S);
	record_set(r, "totals", json_pack("{s:i}", "planned", 3));
	struct error err;
	assert_int_equal(record_finish(r, "finished", NULL, &err), ST_OK);
	record_close(r);

	struct record_reader *reader = opened();
	const json_t *run = reader_run(reader);
	assert_int_equal(json_get_int(run, "format", 0), 1);
	assert_string_equal(json_get_string(run, "status", ""), "finished");
	assert_int_equal(json_get_int(json_object_get(run, "totals"), "planned", 0), 3);
	assert_int_equal(lines(reader, "events"), 5); /* the warning, two phases from start to end */
	assert_int_equal(lines(reader, "intervals"), 1);
	assert_int_equal(lines(reader, "waits"), 1);
	int histograms = 0;
	assert_int_equal(reader_histograms(reader, check_hist, &histograms, NULL), ST_OK);
	assert_int_equal(histograms, 1);
	assert_string_equal(reader_phase_at(reader, NS_PER_S), "baseline");
	assert_string_equal(reader_phase_at(reader, 2 * NS_PER_S), "migration");
	assert_int_equal(reader_bad_lines(reader), 0);
	record_reader_free(reader);
}

static void a_folder_that_holds_something_is_refused(void **state)
{
	(void)state;
	record_close(created());
	struct error err;
	assert_null(record_create(path("r"), json_object(), &err));
	assert_int_equal(err.status, ST_USAGE);
	assert_non_null(strstr(err.what, "not empty"));
}

static void a_writer_that_was_killed_leaves_all_its_lines_and_is_shown_as_interrupted(void **state)
{
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		struct record *r = record_create(path("r"), json_object(), NULL);
		for (int i = 0; r != NULL && i < 100; i++)
			record_event(r, json_pack("{s:i}", "t_ns", i));
		raise(SIGKILL);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	struct record_reader *reader = opened();
	assert_string_equal(json_get_string(reader_run(reader), "status", ""), "interrupted");
	assert_int_equal(lines(reader, "events"), 100);
	record_reader_free(reader);
}

static void add_bytes(const char *file, const char *bytes)
{
	char name[160];
	snprintf(name, sizeof name, "%s/r/%s", root, file);
	FILE *f = fopen(name, "a");
	assert_non_null(f);
	fputs(bytes, f);
	fclose(f);
}

static void a_cut_last_line_is_passed_over_and_a_bad_one_counted(void **state)
{
	(void)state;
	struct record *r = created();
	record_event(r, json_pack("{s:i}", "t_ns", 1));
	record_close(r);
	add_bytes("events.jsonl", "not json\n[1]\n{\"t_ns\": 2}\n{\"t_ns\": 3");
	add_bytes("latency.hlog", "garbage,that,is,no\nTag=a,1,1,");
	struct record_reader *reader = opened();
	assert_int_equal(lines(reader, "events"), 2);
	assert_int_equal(reader_bad_lines(reader), 2);
	int n = 0;
	assert_int_equal(reader_histograms(reader, check_hist, &n, NULL), ST_OK);
	assert_int_equal(n, 0);
	assert_int_equal(reader_bad_lines(reader), 3);
	record_reader_free(reader);
}

/* RLIMIT_FSIZE stands for the full disk: write() fails in the same place, part of a line written. */
static void a_full_disk_is_told_once_and_leaves_whole_lines(void **state)
{
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGXFSZ, SIG_IGN);
		struct record *r = record_create(path("r"), json_object(), NULL);
		struct rlimit limit = {1000, 1000};
		setrlimit(RLIMIT_FSIZE, &limit);
		for (int i = 0; r != NULL && i < 100; i++)
			record_event(r, json_pack("{s:i, s:s}", "t_ns", i, "type", "warning"));
		struct error err;
		bool told = r != NULL && record_error(r, &err) == ST_FAILED && strstr(err.where, "events.jsonl") != NULL;
		_exit(told && record_finish(r, "finished", NULL, &err) == ST_FAILED ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	struct record_reader *reader = opened();
	int n = lines(reader, "events");
	assert_true(n > 10 && n < 100);
	assert_int_equal(reader_bad_lines(reader), 0);
	record_reader_free(reader);
}

static void a_newer_format_is_refused_by_name(void **state)
{
	(void)state;
	record_close(created());
	assert_int_equal(reader_write_field(path("r"), "format", json_integer(2), NULL), ST_OK);
	struct record_reader *reader;
	struct error err;
	assert_int_equal(record_open(path("r"), &reader, &err), ST_USAGE);
	assert_non_null(strstr(err.what, "format 2"));
}

static void a_rehearsal_lists_its_records(void **state)
{
	(void)state;
	struct error err;
	struct record_list list;
	assert_int_equal(reader_list(root, &list, &err), ST_USAGE);
	record_close(record_create(path("rollback"), json_object(), &err));
	record_close(record_create(path("forward"), json_object(), &err));
	assert_int_equal(reader_list(root, &list, &err), ST_OK);
	assert_int_equal(list.n, 2);
	assert_string_equal(strrchr(list.dirs[0], '/'), "/rollback"); /* it started first */
	reader_list_free(&list);
	assert_int_equal(reader_list(path("forward"), &list, &err), ST_OK);
	assert_int_equal(list.n, 1);
	reader_list_free(&list);
}

static void text_that_is_not_utf8_is_kept_as_far_as_it_goes(void **state)
{
	(void)state;
	json_t *text = json_text("caf\xe9 \xc3\xa9 \xed\xa0\x80");
	assert_string_equal(json_string_value(text), "caf\xEF\xBF\xBD \xc3\xa9 \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
	json_decref(text);
}

static bool check_left_out(const json_t *line, void *arg)
{
	(void)arg;
	size_t kept = json_array_size(json_object_get(line, "locks"));
	assert_in_range(kept, 1000, 19999);
	assert_int_equal(kept + (size_t)json_get_int(line, "locks_left_out", 0), 20005);
	assert_int_equal(json_array_size(json_object_get(line, "work")), 1);
	return true;
}

static void a_line_that_would_be_too_long_to_read_leaves_out_part_of_its_longest_list(void **state)
{
	(void)state;
	struct error err;
	struct record *r = created();
	json_t *locks = json_array();
	for (int i = 0; i < 20000; i++)
		json_array_append_new(
			locks, json_pack("{s:s, s:s}", "relation", "a_partition_of_a_table_with_a_long_name", "mode", "ShareLock"));
	record_event(r,
		json_pack("{s:s, s:o, s:i, s:[{s:s}]}", "type", "statement", "locks", locks, "locks_left_out", 5, "work", "what", "scan"));
	assert_int_equal(record_finish(r, "finished", NULL, &err), ST_OK);
	record_close(r);
	struct record_reader *reader = opened();
	assert_int_equal(reader_each(reader, "events", check_left_out, NULL, NULL), ST_OK);
	assert_int_equal(lines(reader, "events"), 1);
	assert_int_equal(reader_bad_lines(reader), 0);
	record_reader_free(reader);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_comes_back),
		TEST(a_folder_that_holds_something_is_refused),
		TEST(a_writer_that_was_killed_leaves_all_its_lines_and_is_shown_as_interrupted),
		TEST(a_cut_last_line_is_passed_over_and_a_bad_one_counted),
		TEST(a_line_that_would_be_too_long_to_read_leaves_out_part_of_its_longest_list),
		TEST(a_full_disk_is_told_once_and_leaves_whole_lines),
		TEST(a_newer_format_is_refused_by_name),
		TEST(a_rehearsal_lists_its_records),
		TEST(text_that_is_not_utf8_is_kept_as_far_as_it_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
