/* clone/guard: what is not known to be a clone is refused, mostly before anything is sent to it. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/fs.h"
#include "clone/deny.h"
#include "clone/guard.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct error err;

static enum status check(const char *dsn)
{
	memset(&err, 0, sizeof err);
	return guard_check_target(dsn, NULL, &err);
}

static void a_host_that_is_not_this_machine_is_refused_unasked(void **state)
{
	(void)state;
	/* 192.0.2.0/24 and .invalid are reserved: a connection attempt would take its time limit, or fail with another status. */
	static const char *const FAR[] = {
		"host=192.0.2.1 dbname=shop",
		"host=db.production.invalid dbname=shop",
		"hostaddr=192.0.2.1 host=localhost dbname=shop",
		"postgresql://app@192.0.2.1/shop",
		"postgresql://app@[2001:db8::1]:5432/shop",
		"host=::ffff:192.0.2.1",
		"host=128.0.0.1",
		"host=0.0.0.0",
	};
	for (size_t i = 0; i < sizeof FAR / sizeof FAR[0]; i++) {
		assert_int_equal(check(FAR[i]), ST_REFUSED);
		assert_non_null(strstr(err.what, "is not this machine"));
		assert_non_null(strstr(err.hint, "restore a clone on this machine"));
	}
}

static void every_one_of_several_hosts_must_be_local(void **state)
{
	(void)state;
	assert_int_equal(check("host=/tmp,192.0.2.1 dbname=shop"), ST_REFUSED);
	assert_int_equal(check("host=127.0.0.1,192.0.2.1,/tmp"), ST_REFUSED);
	assert_int_equal(check("hostaddr=127.0.0.1,192.0.2.1"), ST_REFUSED);
	assert_int_equal(check("hostaddr=127.0.0.1, host=localhost,192.0.2.1"), ST_REFUSED);
	assert_int_equal(check("postgresql://127.0.0.1,192.0.2.1/shop"), ST_REFUSED);
}

static void of_several_hosts_nobody_knows_which_answers(void **state)
{
	(void)state;
	assert_int_equal(check("host=/tmp,/var/run/postgresql dbname=shop"), ST_REFUSED);
	assert_non_null(strstr(err.what, "names 2 hosts"));
	assert_int_equal(check("hostaddr=127.0.0.1,127.0.0.2"), ST_REFUSED);
	assert_int_equal(check("postgresql://localhost:5432,localhost:5433/shop"), ST_REFUSED);
	assert_int_equal(check("host=/a,/b,/c,/d,/e,/f,/g,/h,/i,/j,/k,/l,/m,/n,/o,/p,/q,/r"), ST_REFUSED);
}

static void an_allowed_host_is_allowed_by_exactly_that_name(void **state)
{
	(void)state;
	static const char *const NAMES[] = {"clone.invalid", "10.0.0.5", NULL};
	const struct guard_policy policy = {.hosts = NAMES};
	assert_int_equal(guard_check_target("host=clone.invalid connect_timeout=1", &policy, &err), ST_FAILED);
	assert_int_equal(guard_check_target("host=other.clone.invalid", &policy, &err), ST_REFUSED);
	assert_string_equal(err.where, "the guard's rule \"host\"");
	assert_non_null(strstr(err.hint, "--allow-host other.clone.invalid"));
	assert_int_equal(guard_check_target("host=clone.invalid hostaddr=192.0.2.1", &policy, &err), ST_REFUSED);
	assert_int_equal(guard_check_target("host=10.0.0.50", &policy, &err), ST_REFUSED);
	setenv("PGREHEARSE_DENY", "host=clone.*", 1);
	assert_int_equal(guard_check_target("host=clone.invalid", &policy, &err), ST_REFUSED);
	assert_string_equal(err.where, "PGREHEARSE_DENY");
	unsetenv("PGREHEARSE_DENY");
}

static void the_environment_cannot_lead_elsewhere(void **state)
{
	(void)state;
	setenv("PGHOSTADDR", "192.0.2.1", 1);
	assert_int_equal(check("host=/tmp dbname=shop"), ST_REFUSED);
	assert_int_equal(check("shop"), ST_REFUSED);
	unsetenv("PGHOSTADDR");
	setenv("PGHOST", "192.0.2.1", 1);
	assert_int_equal(check("dbname=shop"), ST_REFUSED);
	unsetenv("PGHOST");
	assert_int_equal(check("service=production"), ST_REFUSED);
	assert_non_null(strstr(err.what, "service"));
}

static void no_message_shows_a_password(void **state)
{
	(void)state;
	static const char *const SECRETS[] = {
		"host=192.0.2.1 password=hunter2",
		"postgresql://app:hunter2@192.0.2.1/shop",
		"postgresql://app:hunter2@[192.0.2.1/shop",
		"password=a hunter2",
		"password='hunter2",
		"host=/nonexistent password=hunter2",
		"postgresql://app:hunter2@127.0.0.1:1/shop",
	};
	for (size_t i = 0; i < sizeof SECRETS / sizeof SECRETS[0]; i++) {
		assert_int_not_equal(check(SECRETS[i]), ST_OK);
		assert_null(strstr(err.what, "hunter2"));
		assert_null(strstr(err.hint, "hunter2"));
	}
}

static void what_is_no_connection_string_is_a_usage_error(void **state)
{
	(void)state;
	assert_int_equal(check("hots=/tmp"), ST_USAGE);
	assert_int_equal(check("postgresql://[::1/shop"), ST_USAGE);
}

static void a_local_server_that_is_not_there_is_a_failure(void **state)
{
	(void)state;
	assert_int_equal(check("host=/nonexistent dbname=shop"), ST_FAILED);
	assert_non_null(strstr(err.what, "cannot connect to the target"));
	assert_int_equal(check("host=127.0.0.1 port=1 dbname=shop"), ST_FAILED);
}

static void a_host_on_the_deny_list_is_refused_unasked(void **state)
{
	(void)state;
	setenv("PGREHEARSE_DENY", "# production\nhost=192.0.2.*, host=LOCALHOST", 1);
	assert_int_equal(check("host=192.0.2.1 dbname=shop"), ST_REFUSED);
	assert_non_null(strstr(err.what, "deny list: host=192.0.2.*"));
	assert_int_equal(check("host=localhost port=1 dbname=shop"), ST_REFUSED);
	assert_string_equal(err.where, "PGREHEARSE_DENY");
	assert_int_equal(check("host=127.0.0.1 port=1 dbname=shop"), ST_FAILED);
	unsetenv("PGREHEARSE_DENY");
}

static char home[64]; /* of the user's entry; "" not known */

/* In the place of the C library's, by whose names its parameters are called. */
int getpwuid_r(uid_t __uid, struct passwd *__resultbuf, char *__buffer, size_t __buflen, struct passwd **__result)
{
	static char name[] = "somebody", nothing[] = "";
	snprintf(__buffer, __buflen, "%s", home);
	*__resultbuf = (struct passwd){
		.pw_name = name, .pw_passwd = nothing, .pw_uid = __uid, .pw_gecos = nothing, .pw_dir = __buffer, .pw_shell = nothing};
	*__result = home[0] != '\0' ? __resultbuf : NULL;
	return 0;
}

static void write_deny_list(const char *dir, const char *rules)
{
	char path[256];
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/.config%s", dir, i == 0 ? "" : "/pgrehearse");
		assert_int_equal(mkdir(path, 0755), 0);
	}
	snprintf(path, sizeof path, "%s/.config/pgrehearse/deny", dir);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%s\n", rules);
	fclose(f);
}

static void the_deny_list_is_found_without_the_environment(void **state)
{
	(void)state;
	const char *was = getenv("HOME");
	char *kept = was != NULL ? strdup(was) : NULL;
	snprintf(home, sizeof home, "/tmp/pgr-deny-XXXXXX");
	assert_non_null(mkdtemp(home));
	write_deny_list(home, "host=127.0.0.1");
	static const char *const SET[] = {NULL, ""};
	for (size_t i = 0; i < 2; i++) {
		if (SET[i] != NULL)
			setenv("HOME", SET[i], 1);
		else
			unsetenv("HOME");
		assert_int_equal(check("host=127.0.0.1 port=1 dbname=shop"), ST_REFUSED);
		assert_non_null(strstr(err.where, "/.config/pgrehearse/deny"));
	}
	setenv("HOME", "/nonexistent", 1);
	assert_int_equal(check("host=127.0.0.1 port=1 dbname=shop"), ST_FAILED);
	if (kept != NULL)
		setenv("HOME", kept, 1);
	else
		unsetenv("HOME");
	free(kept);
	assert_int_equal(fs_remove_tree(home, &err), ST_OK);
	home[0] = '\0';
}

static enum status denied(const char *rules, const struct deny_target *target)
{
	setenv("PGREHEARSE_DENY", rules, 1);
	enum status st = deny_check(target, &err);
	unsetenv("PGREHEARSE_DENY");
	return st;
}

static void each_rule_of_the_deny_list_matches_what_it_names(void **state)
{
	(void)state;
	struct deny_target t = {.host = "localhost",
		.address = "127.0.0.1",
		.port = "6000",
		.server_address = "10.0.0.5",
		.server_port = "5432",
		.database = "shop",
		.system = "7001"};
	static const char *const HITS[] = {"host=10.0.0.5", "host=10.0.0.5:5432", "host=localhost:6000", "database=sh*", "system=7001",
		"system=7001@10.0.0.*", "host=elsewhere database=shop"};
	static const char *const MISSES[] = {
		"", "host=10.0.0.5:6000", "database=sho", "database=SHOP", "system=700", "system=7001@10.0.0.6", "#host=*"};
	for (size_t i = 0; i < sizeof HITS / sizeof HITS[0]; i++)
		assert_int_equal(denied(HITS[i], &t), ST_REFUSED);
	for (size_t i = 0; i < sizeof MISSES / sizeof MISSES[0]; i++)
		assert_int_equal(denied(MISSES[i], &t), ST_OK);
	t.system = "";
	assert_int_equal(denied("system=1", &t), ST_REFUSED);
}

static void a_deny_list_that_cannot_be_understood_lets_nothing_pass(void **state)
{
	(void)state;
	static const char *const BAD[] = {"production", "host=", "hots=db1", "system=abc", "system=@db1"};
	const struct deny_target t = {.host = "/tmp", .port = "", .database = "shop", .system = "7001"};
	for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
		assert_int_equal(denied(BAD[i], &t), ST_USAGE);
		assert_non_null(strstr(err.hint, "host=PATTERN"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_that_is_not_this_machine_is_refused_unasked),
		cmocka_unit_test(every_one_of_several_hosts_must_be_local),
		cmocka_unit_test(of_several_hosts_nobody_knows_which_answers),
		cmocka_unit_test(an_allowed_host_is_allowed_by_exactly_that_name),
		cmocka_unit_test(the_environment_cannot_lead_elsewhere),
		cmocka_unit_test(no_message_shows_a_password),
		cmocka_unit_test(what_is_no_connection_string_is_a_usage_error),
		cmocka_unit_test(a_local_server_that_is_not_there_is_a_failure),
		cmocka_unit_test(a_host_on_the_deny_list_is_refused_unasked),
		cmocka_unit_test(the_deny_list_is_found_without_the_environment),
		cmocka_unit_test(each_rule_of_the_deny_list_matches_what_it_names),
		cmocka_unit_test(a_deny_list_that_cannot_be_understood_lets_nothing_pass),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
