/* Copies of folders, new ones and such as are written over what is there. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/fs.h"
#include "clone/copy.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[32];

static const char *path_of(const char *name)
{
	static char paths[4][PATH_MAX];
	static int next;
	char *path = paths[next++ % 4];
	snprintf(path, PATH_MAX, "%s/%s", home, name);
	return path;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void make_folder(const char *name)
{
	assert_int_equal(mkdir(path_of(name), 0700), 0);
}

static void assert_content(const char *name, const char *text)
{
	char got[64] = "";
	FILE *f = fopen(path_of(name), "re");
	assert_non_null(f);
	(void)!fread(got, 1, sizeof got - 1, f);
	fclose(f);
	assert_string_equal(got, text);
}

static bool is_there(const char *name)
{
	struct stat st;
	return lstat(path_of(name), &st) == 0;
}

static bool leaves_out(const char *path, void *arg)
{
	(*(int *)arg)++;
	return strcmp(path, "sub/left out") == 0;
}

static int set_up(void **state)
{
	(void)state;
	snprintf(home, sizeof home, "/tmp/pgr-unit-XXXXXX");
	if (mkdtemp(home) == NULL)
		return -1;
	make_folder("from");
	make_folder("from/sub");
	make_folder("from/becomes a folder");
	put("from/longer", "a text that is longer");
	put("from/shorter", "short");
	put("from/new", "new");
	put("from/becomes a file", "file");
	put("from/was a link", "no link");
	put("from/had two names", "the copy");
	put("from/sub/file", "below");
	put("from/sub/left out", "never");
	put("from/becomes a folder/inside", "inside");
	return chmod(path_of("from/new"), 0640);
}

static int tear_down(void **state)
{
	(void)state;
	return fs_remove_tree(home, NULL) == ST_OK ? 0 : -1;
}

static void assert_is_copy(const char *to)
{
	char name[64];
	static const char *const FILES[][2] = {{"longer", "a text that is longer"}, {"shorter", "short"}, {"new", "new"},
		{"becomes a file", "file"}, {"was a link", "no link"}, {"had two names", "the copy"}, {"sub/file", "below"},
		{"becomes a folder/inside", "inside"}};
	for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
		snprintf(name, sizeof name, "%s/%s", to, FILES[i][0]);
		assert_content(name, FILES[i][1]);
	}
	snprintf(name, sizeof name, "%s/sub/left out", to);
	assert_false(is_there(name));
	snprintf(name, sizeof name, "%s/new", to);
	struct stat st;
	assert_int_equal(stat(path_of(name), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
}

static void a_copy_holds_what_is_not_left_out(void **state)
{
	(void)state;
	struct copy_totals totals;
	struct error err;
	int asked = 0;
	assert_int_equal(copy_tree(path_of("from"), path_of("to"), 0, 0, leaves_out, &asked, &totals, &err), ST_OK);
	assert_is_copy("to");
	assert_int_equal(totals.files, 8);
	assert_int_equal(totals.bytes, 59);
	assert_int_equal(asked, 11);
	assert_int_equal(copy_tree(path_of("from"), path_of("to"), 0, 0, NULL, NULL, NULL, &err), ST_FAILED); /* it is there already */
}

static void a_copy_over_another_folder_leaves_nothing_of_that(void **state)
{
	(void)state;
	struct copy_totals totals;
	struct error err;
	int asked = 0;
	make_folder("to");
	make_folder("to/sub");
	make_folder("to/becomes a file");
	make_folder("to/old");
	put("to/longer", "short");
	put("to/shorter", "a text that is longer");
	put("to/becomes a folder", "a file");
	put("to/becomes a file/inside", "gone");
	put("to/old/file", "gone");
	put("to/sub/left out", "gone");
	put("elsewhere", "kept");
	put("other name", "kept too");
	assert_int_equal(symlink(path_of("elsewhere"), path_of("to/was a link")), 0);
	assert_int_equal(symlink(path_of("from"), path_of("to/old link")), 0);
	assert_int_equal(link(path_of("other name"), path_of("to/had two names")), 0);
	assert_int_equal(copy_tree_over(path_of("from"), path_of("to"), 0, 0, leaves_out, &asked, &totals, &err), ST_OK);
	assert_is_copy("to");
	assert_int_equal(totals.files, 8);
	assert_int_equal(asked, 11);
	assert_false(is_there("to/old"));
	assert_false(is_there("to/old link"));
	assert_content("elsewhere", "kept");
	assert_content("other name", "kept too");
	assert_content("from/sub/file", "below");
	struct stat before, after;
	assert_int_equal(stat(path_of("to/longer"), &before), 0);
	assert_int_equal(copy_tree_over(path_of("from"), path_of("to"), 0, 0, leaves_out, &asked, NULL, &err), ST_OK);
	assert_int_equal(stat(path_of("to/longer"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_is_copy("to");
}

static void a_copy_over_a_folder_that_is_not_there_makes_it(void **state)
{
	(void)state;
	struct error err;
	int asked = 0;
	assert_int_equal(copy_tree_over(path_of("from"), path_of("to"), 0, 0, leaves_out, &asked, NULL, &err), ST_OK);
	assert_is_copy("to");
	assert_int_equal(symlink(path_of("to"), path_of("link")), 0);
	assert_int_equal(copy_tree_over(path_of("from"), path_of("link"), 0, 0, NULL, NULL, NULL, &err), ST_FAILED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_copy_holds_what_is_not_left_out),
		TEST(a_copy_over_another_folder_leaves_nothing_of_that),
		TEST(a_copy_over_a_folder_that_is_not_there_makes_it),
	};
	return cmocka_run_group_tests_name("copies of folders", tests, NULL, NULL);
}
