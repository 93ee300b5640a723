/* base/hide: a password is taken out of either form of a connection string, and nothing else is. */
#include "unit.h"

#include "base/hide.h"

static void the_password_of_a_connection_string_is_masked(void **state)
{
	(void)state;
	static const struct {
		const char *word, *shown;
	} CASES[] = {
		{"host=/tmp password=hunter2 dbname=shop", "host=/tmp password=******* dbname=shop"},
		{"password = 'hun ter\\'2' user=app", "password = '**********' user=app"},
		{"password=a\\ b user=app", "password=**** user=app"},
		{"host=/tmp PASSWORD=hunter2 sslpassword=x", "host=/tmp PASSWORD=******* sslpassword=*"},
		{"password='hunter2", "password='*******"},
		{"password=", "password="},
		{"postgresql://app:hunter2@localhost/shop", "postgresql://app:*******@localhost/shop"},
		{"dsn:postgres://app:hun@ter2@[::1]:5432/shop?a=b", "dsn:postgres://app:********@[::1]:5432/shop?a=b"},
		{"--target=postgresql:///shop?host=/tmp&password=hunter2&user=app",
			"--target=postgresql:///shop?host=/tmp&password=****************"},
		{"postgresql://app@localhost:5432/shop", "postgresql://app@localhost:5432/shop"},
		{"postgresql://localhost:5432/shop", "postgresql://localhost:5432/shop"},
		{"scenarios/user_password.lua", "scenarios/user_password.lua"},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
		char word[200];
		snprintf(word, sizeof word, "%s", CASES[i].word);
		hide_passwords(word);
		assert_string_equal(word, CASES[i].shown);
	}
}

static void words_are_copied_before_they_are_masked(void **state)
{
	(void)state;
	char program[] = "pgrehearse", dsn[] = "password=hunter2";
	char *argv[] = {program, dsn, NULL};
	char **words = hide_arguments(2, argv);
	assert_string_equal(words[1], "password=hunter2");
	assert_null(words[2]);
	assert_string_equal(argv[1], "password=*******");
}

static void the_secret_of_an_anonymization_is_masked(void **state)
{
	(void)state;
	char program[] = "pgrehearse", apart[] = "--secret", word[] = "hunter2", joined[] = "--secret=hunter2", cut[] = "--sec=hunter2";
	char scale[] = "--scale", number[] = "20", last[] = "--secret";
	char *argv[] = {program, apart, word, joined, cut, scale, number, last, NULL};
	char **words = hide_arguments(8, argv);
	static const char *const SHOWN[] = {
		"pgrehearse", "--secret", "*******", "--secret=*******", "--sec=*******", "--scale", "20", "--secret"};
	for (size_t i = 0; i < 8; i++)
		assert_string_equal(argv[i], SHOWN[i]);
	assert_string_equal(words[2], "hunter2");
	assert_string_equal(words[3], "--secret=hunter2");
	for (size_t i = 0; i < 8; i++)
		free(words[i]);
	free(words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_password_of_a_connection_string_is_masked),
		cmocka_unit_test(the_secret_of_an_anonymization_is_masked),
		cmocka_unit_test(words_are_copied_before_they_are_masked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
