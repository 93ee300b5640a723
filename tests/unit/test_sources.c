/* clone/source_config and clone/source_roles: what is read from a server's configuration and from a dump's SQL. */
#define _GNU_SOURCE
#include "unit.h"

#include "clone/source_config.h"
#include "clone/source_roles.h"

/* "name=value", "-" for a line without a setting, "?" for one that is malformed. */
static const char *read_setting(const char *line)
{
	static char text[512];
	struct buf name, value;
	buf_init(&name, 4096);
	buf_init(&value, 4096);
	enum source_setting got = source_read_setting(line, &name, &value);
	snprintf(text, sizeof text, "%s%s%s", got == SETTING_READ ? name.data : "", got == SETTING_READ ? "=" : "",
		got == SETTING_READ           ? value.data
			: got == SETTING_NONE ? "-"
					      : "?");
	buf_free(&name);
	buf_free(&value);
	return text;
}

static void a_setting_is_read_as_postgresql_reads_it(void **state)
{
	(void)state;
	static const struct {
		const char *line, *expected;
	} CASES[] = {
		{"work_mem = 64MB", "work_mem=64MB"},
		{"  work_mem 64MB  # more", "work_mem=64MB"},
		{"work_mem=64MB#more", "work_mem=64MB"},
		{"work_mem=64MB\r", "work_mem=64MB"},
		{"archive_command = 'cp \"%p\" ''/a b''/%f' # daily", "archive_command=cp \"%p\" '/a b'/%f"},
		{"search_path = '\\'x\\\\'", "search_path='x\\"},
		{"app.empty = ''", "app.empty="},
		{"include_dir 'conf.d'", "include_dir=conf.d"},
		{"", "-"},
		{"\r", "-"},
		{" \t", "-"},
		{"# work_mem = 1", "-"},
		{"work_mem", "?"},
		{"work_mem =", "?"},
		{"work_mem = # nothing", "?"},
		{"work_mem = 'open", "?"},
		{"work_mem = 'open\\", "?"},
		{"work_mem = 64 MB", "?"},
		{"= 64MB", "?"},
		{"'work_mem' = 64MB", "?"},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
		assert_string_equal(read_setting(CASES[i].line), CASES[i].expected);
}

static const char *listed(const struct source_names *names)
{
	static char text[512];
	text[0] = '\0';
	for (size_t i = 0; i < names->n; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? "|" : "", names->at[i]);
	return text;
}

static void the_roles_of_a_dump_are_those_that_it_names(void **state)
{
	(void)state;
	static const char *const LINES[] = {
		"ALTER TABLE public.t OWNER TO app;",
		"ALTER FUNCTION public.f(\" OWNER TO x\" integer) OWNER TO \"odd \"\"one\";",
		"GRANT SELECT,INSERT ON TABLE public.t TO reader WITH GRANT OPTION;",
		"GRANT ALL ON SCHEMA public TO PUBLIC;",
		"REVOKE ALL ON TABLE public.t FROM app;",
		"ALTER DEFAULT PRIVILEGES FOR ROLE maker IN SCHEMA public GRANT SELECT ON TABLES  TO taker;",
		"SET SESSION AUTHORIZATION 'quoted';",
		"CREATE USER MAPPING FOR mapped SERVER far OPTIONS (password 'x');",
		"CREATE POLICY p ON public.t TO one, \"two,half\", three USING (true);",
		"CREATE SCHEMA s AUTHORIZATION owner_of_s;",
		"COPY public.t (a) FROM stdin;",
		"ALTER TABLE public.t OWNER TO a_row;",
		"\\.",
		"CREATE TABLESPACE \"far away\" OWNER app LOCATION '/x';",
		"\\connect shop",
		"\\connect -reuse-previous=on \"dbname='it''s'\"",
		"ALTER TABLE public.t OWNER TO \"never closed;",
	};
	struct source_found found = {0};
	int copying = 0;
	for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++)
		source_scan_line(LINES[i], &copying, &found);
	assert_string_equal(listed(&found.roles), "app|odd \"one|reader|maker|taker|quoted|mapped|one|two,half|three|owner_of_s");
	assert_string_equal(listed(&found.tablespaces), "far away");
	assert_string_equal(listed(&found.databases), "shop|it's");
	source_found_free(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_setting_is_read_as_postgresql_reads_it),
		cmocka_unit_test(the_roles_of_a_dump_are_those_that_it_names),
	};
	return cmocka_run_group_tests_name("sources", tests, NULL, NULL);
}
