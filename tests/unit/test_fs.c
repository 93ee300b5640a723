/* Replacing files whole, and what must not be replaced. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/fs.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_pipe_is_written_to_and_stays_one(void **state)
{
	(void)state;
	char path[] = "/tmp/pgr-fs-XXXXXX";
	char text[16] = "";
	struct error err;
	struct stat s;
	close(mkstemp(path));
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	int reader = open(path, O_RDONLY | O_NONBLOCK);
	assert_int_equal(fs_write_file(path, "words", 5, &err), ST_OK);
	assert_int_equal(read(reader, text, sizeof text - 1), 5);
	assert_string_equal(text, "words");
	assert_int_equal(stat(path, &s), 0);
	assert_true(S_ISFIFO(s.st_mode));
	close(reader);
	unlink(path);
}

static void a_file_is_replaced_whole(void **state)
{
	(void)state;
	char path[] = "/tmp/pgr-fs-XXXXXX";
	struct error err;
	struct stat before, after;
	close(mkstemp(path));
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(fs_write_file(path, "words", 5, &err), ST_OK);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_ino != before.st_ino && after.st_size == 5);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pipe_is_written_to_and_stays_one),
		cmocka_unit_test(a_file_is_replaced_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
