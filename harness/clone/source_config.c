/* The configuration that a data folder came with. What is kept is decided by PostgreSQL's own categories of settings, so that one which does
 * not exist yet is left out rather than trusted. */
#define _GNU_SOURCE
#include "clone/source_config.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/units.h"
#include "clone/source.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX (4 << 20)
#define DEPTH_MAX 10
#define CONNECTIONS_MIN 200 /* pods x pool, and the harness */

/* One setting of the files; of several of a name the last one holds. */
struct setting {
	char *name, *value;
};

struct settings {
	VEC(struct setting) all;
	json_t *facts;
	const char *dir;
};

/* As they are called by postgres --describe-config. */
static const char *const KEPT[] = {"Autovacuum", "Client Connection Defaults / Locale and Formatting",
	"Client Connection Defaults / Statement Behavior", "Lock Management", "Query Tuning", "Resource Usage", "Statistics", "Vacuuming",
	"Version and Platform Compatibility", "Write-Ahead Log / Checkpoints", "Write-Ahead Log / Settings"};

/* Of those, what depends on the machine, or would be in the way. */
static const char *const NOT_KEPT[] = {"huge_pages", "huge_page_size", "max_stack_depth", "dynamic_shared_memory_type",
	"shared_memory_type", "min_dynamic_shared_memory", "wal_sync_method", "stats_temp_directory", "lc_messages", "lc_monetary",
	"lc_numeric", "lc_time", "max_files_per_process", "io_method", "default_transaction_read_only"};

/* Kept, though --describe-config does not tell of them. */
static const char *const KEPT_NAMES[] = {"max_connections", "timezone", "datestyle", "intervalstyle"};

/* What reaches out, or lets others in. What is in no category is an extension's. */
static const char *const DEFUSED[] = {"Client Connection Defaults / Shared Library", "Connections and Authentication", "Replication",
	"Write-Ahead Log / Archive", "Write-Ahead Log / Archiving", "Write-Ahead Log / Recovery Target"};

/* Libraries that look and do nothing by themselves. */
static const char *const HARMLESS[] = {"pg_stat_statements", "auto_explain", "pg_hint_plan", "pg_qualstats", "pg_stat_kcache",
	"pg_wait_sampling", "pg_stat_monitor", "plpgsql"};

/* What stays behind every other line. Of versions that do not know a name it is left out. */
static const char HEAD[] = "# Written by pgrehearse: what the server came with is not read.\ninclude_if_exists 'pgrehearse.conf'\n";
static const struct {
	const char *line;
	int since;
} FORCED[] = {
	{"archive_mode = off", 0},
	{"archive_command = ''", 0},
	{"archive_library = ''", 150000},
	{"archive_cleanup_command = ''", 0},
	{"recovery_end_command = ''", 0},
	{"restore_command = ''", 0},
	{"max_logical_replication_workers = 0", 0},
	{"ssl = off", 0},
	{"allow_in_place_tablespaces = on", 150000},
};

static void add(struct settings *s, const char *name, const char *value)
{
	struct setting one = {.name = strdup(name), .value = strdup(value)};
	if (one.name == NULL || one.value == NULL)
		abort();
	for (char *p = one.name; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	for (size_t i = 0; i < s->all.n; i++)
		if (strcmp(s->all.at[i].name, one.name) == 0) {
			free(one.name);
			free(s->all.at[i].value);
			s->all.at[i].value = one.value;
			return;
		}
	VEC_PUSH(&s->all, one);
}

static void free_settings(struct settings *s)
{
	for (size_t i = 0; i < s->all.n; i++) {
		free(s->all.at[i].name);
		free(s->all.at[i].value);
	}
	VEC_FREE(&s->all);
}

static void read_file(struct settings *s, const char *name, int depth);

enum source_setting source_read_setting(const char *line, struct buf *name, struct buf *value)
{
	buf_clear(name);
	buf_clear(value);
	line += strspn(line, " \t\r");
	if (line[0] == '\0' || line[0] == '#')
		return SETTING_NONE;
	size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.");
	buf_add(name, line, n);
	const char *at = line + n;
	at += strspn(at, " \t");
	at += *at == '=';
	at += strspn(at, " \t");
	if (n == 0)
		return SETTING_MALFORMED;
	if (*at != '\'') {
		buf_add(value, at, strcspn(at, " \t\r#"));
		at += value->len;
		at += strspn(at, " \t\r");
		return value->len > 0 && (*at == '\0' || *at == '#') ? SETTING_READ : SETTING_MALFORMED;
	}
	for (at++; *at != '\0' && (*at != '\'' || at[1] == '\''); at++) {
		if ((at[0] == '\'' || at[0] == '\\') && at[1] != '\0')
			at++;
		buf_char(value, *at);
	}
	return *at == '\'' ? SETTING_READ : SETTING_MALFORMED;
}

/* A line that PostgreSQL would not have taken has had no effect there. */
static void read_line(struct settings *s, const char *line, int depth)
{
	struct buf name, value;
	buf_init(&name, FILE_MAX);
	buf_init(&value, FILE_MAX);
	if (source_read_setting(line, &name, &value) != SETTING_READ)
		;
	else if (strncasecmp(name.data, "include", 7) == 0)
		read_file(s, value.data, depth + 1);
	else
		add(s, name.data, value.data);
	buf_free(&name);
	buf_free(&value);
}

/* Only files within the data folder: another path is another server's, on this machine. */
static void read_file(struct settings *s, const char *name, int depth)
{
	char path[PATH_MAX + 16];
	if (name[0] == '/' || strstr(name, "..") != NULL || depth > DEPTH_MAX) {
		source_note_defused(s->facts, "include file", name);
		return;
	}
	snprintf(path, sizeof path, "%.4000s/%.90s", s->dir, name);
	struct buf text;
	buf_init(&text, FILE_MAX);
	bool ok = fs_exists(path) && !fs_is_dir(path) && fs_read_file(path, &text, NULL) == ST_OK;
	for (char *line = text.data; ok && *line != '\0';) {
		size_t n = strcspn(line, "\n");
		char *next = line + n + (line[n] == '\n');
		line[n] = '\0';
		read_line(s, line, depth);
		line = next;
	}
	buf_free(&text);
	if (depth > 0 && !ok)
		source_note_defused(s->facts, "include file", name);
}

static bool is_among(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(word, list[i]) == 0)
			return true;
	return false;
}
#define AMONG(word, list) is_among(word, list, sizeof(list) / sizeof *(list))

/* The category of a setting, from the lines "name\tcontext\tcategory\t..."; "" for one that PostgreSQL itself does not have. */
static void find_category(const char *described, const char *name, char *out, size_t size)
{
	char begin[80];
	out[0] = '\0';
	snprintf(begin, sizeof begin, "\n%.70s\t", name);
	const char *at = strstr(described, begin);
	if (at == NULL)
		return;
	at += strlen(begin);
	at += strcspn(at, "\t\n");
	if (*at == '\t')
		snprintf(out, size, "%.*s", (int)strcspn(at + 1, "\t\n"), at + 1);
}

static bool begins_with_one(const char *category, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strncmp(category, list[i], strlen(list[i])) == 0)
			return true;
	return false;
}
#define BEGINS_WITH(category, list) begins_with_one(category, list, sizeof(list) / sizeof *(list))

/* A server with much memory may not start here. Bare numbers are blocks of 8 kB. */
static bool fits_memory(const char *value)
{
	int64_t bytes;
	struct error ignored;
	char *end;
	double number = strtod(value, &end);
	if (*end == '\0')
		bytes = (int64_t)(number * 8192);
	else if (units_parse_bytes(value, &bytes, &ignored) != ST_OK)
		return false;
	return bytes <= (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE) / 4;
}

static void keep(struct origin_data *data, const char *name, const char *value)
{
	char *setting = NULL;
	if (asprintf(&setting, "%s=%s", name, value) < 0)
		abort();
	VEC_PUSH(&data->found, setting);
}

/* Those that are known to do nothing of their own accord, and are installed. */
static void take_libraries(struct origin_data *data, json_t *facts, const char *list)
{
	char kept[512] = "";
	for (const char *at = list; *at != '\0'; at += *at == ',') {
		char name[128], path[PATH_MAX + 160];
		at += strspn(at, " \"");
		size_t n = strcspn(at, ", \"");
		snprintf(name, sizeof name, "%.*s", (int)(n < 127 ? n : 127), at);
		at += strcspn(at, ",");
		const char *base = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name;
		snprintf(path, sizeof path, "%s/../lib/%s.so", data->tools->dir, base);
		bool installed = access(path, R_OK) == 0;
		if (n > 0 && AMONG(base, HARMLESS) && installed) {
			size_t used = strlen(kept);
			snprintf(kept + used, sizeof kept - used, "%s%s", used > 0 ? "," : "", base);
		} else if (n > 0) {
			source_note_defused(facts, "preloaded library", name);
		}
	}
	if (kept[0] != '\0')
		keep(data, "shared_preload_libraries", kept);
}

/* What is noted of a setting that is left out is its name: its value may hold a password. */
static void choose(struct origin_data *data, const struct settings *s, const char *described)
{
	json_t *kept = json_object(), *left = json_array();
	for (size_t i = 0; i < s->all.n; i++) {
		const char *name = s->all.at[i].name, *value = s->all.at[i].value;
		char category[128];
		find_category(described, name, category, sizeof category);
		bool take = AMONG(name, KEPT_NAMES) || (!AMONG(name, NOT_KEPT) && BEGINS_WITH(category, KEPT));
		if (strcmp(name, "shared_preload_libraries") == 0) {
			take_libraries(data, s->facts, value);
			continue;
		}
		take = take && !(strcmp(name, "max_connections") == 0 && strtol(value, NULL, 10) < CONNECTIONS_MIN);
		take = take && !(strcmp(name, "wal_level") == 0 && strcmp(value, "minimal") == 0);
		take = take && !(strcmp(name, "shared_buffers") == 0 && !fits_memory(value));
		if (take) {
			keep(data, name, value);
			json_object_set_new(kept, name, json_text(value));
		} else if (category[0] == '\0' || BEGINS_WITH(category, DEFUSED)) {
			source_note_defused(s->facts, "setting", name);
		} else {
			json_array_append_new(left, json_text(name));
		}
	}
	json_object_set_new(s->facts, "settings_left_out", left);
	json_object_set_new(s->facts, "settings_kept", kept);
}

static enum status write_as(const struct origin_data *data, const char *name, const char *text, struct error *err)
{
	char path[PATH_MAX + 64];
	snprintf(path, sizeof path, "%s/%s", data->place->data_dir, name);
	enum status st = fs_remove_tree(path, err); /* it may be a link */
	if (st == ST_OK)
		st = fs_write_file(path, text, strlen(text), err);
	return st == ST_OK ? server_give(data->tools, path, 0600, err) : st;
}

static enum status write_files(const struct origin_data *data, struct error *err)
{
	struct buf text;
	buf_init(&text, 65536);
	buf_str(&text, HEAD);
	for (size_t i = 0; i < sizeof FORCED / sizeof FORCED[0]; i++)
		if (data->tools->version >= FORCED[i].since)
			buf_printf(&text, "%s\n", FORCED[i].line);
	enum status st = write_as(data, "postgresql.conf", text.data, err);
	if (st == ST_OK)
		st = write_as(data, "postgresql.auto.conf", "", err);
	/* Sockets are in a folder that nobody else may enter. */
	if (st == ST_OK)
		st = write_as(data, "pg_hba.conf", "local all all trust\nlocal replication all trust\n", err);
	if (st == ST_OK)
		st = write_as(data, "pg_ident.conf", "", err);
	buf_free(&text);
	return st;
}

enum status source_take_config(struct origin_data *data, json_t *facts, struct error *err)
{
	struct settings s = {.facts = facts, .dir = data->place->data_dir};
	struct buf described;
	buf_init(&described, 4 << 20);
	buf_char(&described, '\n');
	const char *argv[] = {"postgres", "--describe-config", NULL};
	enum status st = server_ask_program(data->tools, data->place, argv, &described, err);
	if (st == ST_OK) {
		read_file(&s, "postgresql.conf", 0);
		read_file(&s, "postgresql.auto.conf", 0);
		choose(data, &s, described.data);
		st = write_files(data, err);
	}
	if (st == ST_OK) {
		/* What the caller wants goes over what was found. */
		VEC(const char *) settings = {0};
		for (size_t i = 0; i < data->found.n; i++)
			VEC_PUSH(&settings, data->found.at[i]);
		for (const char *const *c = data->settings; c != NULL && *c != NULL; c++)
			VEC_PUSH(&settings, *c);
		VEC_PUSH(&settings, NULL);
		st = server_configure(data->tools, data->place, settings.at, err);
		VEC_FREE(&settings);
	}
	free_settings(&s);
	buf_free(&described);
	return st;
}
