/* Programs that a step or a drill runs: started in a process group of their own, watched by the loop, never left behind. */
#define _GNU_SOURCE
#include "scenario/exec_lua.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/proc.h"
#include "runtime/dsn.h"
#include "scenario/host.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_KEPT (16 * 1024)
#define GRACE_NS (2 * NS_PER_S)  /* between SIGTERM and SIGKILL */
#define LOOK_NS (20 * NS_PER_MS) /* how often its end is looked for */
#define WORDS_MAX 256
#define SECRETS_MAX 4

struct exec_child {
	struct exec_child *next;
	struct host *host;
	struct fiber *fiber;
	pid_t pid;
	int fd; /* our end of its output; -1: closed */
	struct loop_io io;
	struct loop_timer look;
	int64_t start_ns, end_ns, deadline_ns; /* 0: none */
	int64_t kill_ns;                       /* when SIGKILL follows SIGTERM; 0: was not asked to end */
	bool ended, timed_out;
	bool held;      /* its output is read by a drill, when that wants it to go on */
	size_t padding; /* bytes of ours that come before its output */
	int exit_code;
	char output[OUTPUT_KEPT + 1];
	size_t output_n;
	char *secrets[SECRETS_MAX]; /* not to be kept of what it says; NULL-terminated where there are fewer */
	char application[48];       /* the application_name that its sessions bear, and nobody else's */
};

/* ---- what it says, and how it ends ---- */

/* The password as it is and as DATABASE_URL has it. Whatever the program prints goes to the record. */
static void hide_secrets(struct exec_child *c)
{
	for (size_t i = 0; i < SECRETS_MAX && c->secrets[i] != NULL; i++) {
		size_t n = strlen(c->secrets[i]);
		for (char *p = c->output; (p = memmem(p, c->output_n - (size_t)(p - c->output), c->secrets[i], n)) != NULL; p += n)
			memset(p, '*', n);
	}
}

static void keep_output(struct exec_child *c, const char *text, size_t n)
{
	if (n > OUTPUT_KEPT) {
		text += n - OUTPUT_KEPT;
		n = OUTPUT_KEPT;
	}
	if (c->output_n + n > OUTPUT_KEPT) {
		size_t drop = c->output_n + n - OUTPUT_KEPT;
		memmove(c->output, c->output + drop, c->output_n - drop);
		c->output_n -= drop;
	}
	memcpy(c->output + c->output_n, text, n);
	c->output_n += n;
	hide_secrets(c);
}

static void close_output(struct exec_child *c)
{
	if (c->fd < 0)
		return;
	if (!c->held)
		loop_io_remove(c->host->loop, &c->io);
	close(c->fd);
	c->fd = -1;
}

/* The last line, for the person who watches. */
static void show_last_line(struct exec_child *c)
{
	size_t end = c->output_n;
	while (end > 0 && (c->output[end - 1] == '\n' || c->output[end - 1] == '\r'))
		end--;
	size_t from = end;
	while (from > 0 && c->output[from - 1] != '\n')
		from--;
	snprintf(c->host->status.detail, sizeof c->host->status.detail, "%.*s", (int)(end - from), c->output + from);
}

/* True: there may be more. */
static bool read_output(struct exec_child *c)
{
	char chunk[8192];
	ssize_t n = read(c->fd, chunk, sizeof chunk);
	if (n > 0) {
		size_t ours = (size_t)n < c->padding ? (size_t)n : c->padding;
		c->padding -= ours;
		keep_output(c, chunk + ours, (size_t)n - ours);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_output(c);
	return false;
}

static void on_output(struct loop_io *io, uint32_t ready)
{
	(void)ready;
	struct exec_child *c = container_of(io, struct exec_child, io);
	if (read_output(c) && c->fiber != NULL)
		show_last_line(c);
}

static void ask_to_end(struct exec_child *c, int64_t now_ns)
{
	/* One that is held cannot even say that it ends. */
	if (c->held)
		close_output(c);
	kill(-c->pid, SIGTERM);
	c->kill_ns = now_ns + GRACE_NS;
}

static void on_look(struct loop_timer *t)
{
	struct exec_child *c = container_of(t, struct exec_child, look);
	int64_t now = clock_now_ns();
	int status = 0;
	pid_t done = waitpid(c->pid, &status, WNOHANG);
	if (done == c->pid || (done < 0 && errno == ECHILD)) {
		c->ended = true;
		c->end_ns = now;
		c->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		/* What it left behind may hold the pipe open; what is in it already is still read. */
		while (c->fd >= 0 && read_output(c))
			;
		close_output(c);
		kill(-c->pid, SIGKILL);
		if (c->host->observer != NULL)
			observer_unwatch_command(c->host->observer, c->pid);
		if (c->fiber != NULL)
			fiber_resume(c->fiber);
		return;
	}
	if (c->kill_ns > 0 && now >= c->kill_ns) {
		kill(-c->pid, SIGKILL);
	} else if (c->kill_ns == 0 && c->deadline_ns > 0 && now >= c->deadline_ns) {
		c->timed_out = true;
		ask_to_end(c, now);
	}
	loop_timer_set(c->host->loop, t, now + LOOK_NS);
}

static void free_secrets(struct exec_child *c)
{
	for (size_t i = 0; i < SECRETS_MAX; i++)
		free(c->secrets[i]);
}

static void free_child(struct exec_child *c)
{
	for (struct exec_child **at = &c->host->children; *at != NULL; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	loop_timer_cancel(c->host->loop, &c->look);
	close_output(c);
	free_secrets(c);
	free(c);
}

void exec_lua_forget(struct host *h, const struct fiber *f)
{
	for (struct exec_child *c = h->children; c != NULL; c = c->next)
		if (c->fiber == f) {
			c->fiber = NULL;
			if (!c->ended)
				ask_to_end(c, clock_now_ns());
		}
}

void exec_lua_stop(struct host *h)
{
	int64_t now = clock_now_ns();
	for (struct exec_child *c = h->children; c != NULL; c = c->next) {
		c->fiber = NULL;
		if (!c->ended)
			ask_to_end(c, now);
	}
	while (h->children != NULL) {
		if (h->children->ended)
			free_child(h->children);
		else
			loop_run_once(h->loop, LOOK_NS);
	}
}

/* ---- starting it ---- */

/* The environment of the child: ours, the target's, then the step's own. Later ones win. */
struct environment {
	char *at[2048];
	size_t n;
};

static void set_variable(struct environment *e, char *text)
{
	size_t name = strcspn(text, "=") + 1;
	for (size_t i = 0; i < e->n; i++)
		if (strncmp(e->at[i], text, name) == 0) {
			free(e->at[i]);
			e->at[i] = text;
			return;
		}
	if (e->n + 1 < sizeof e->at / sizeof e->at[0])
		e->at[e->n++] = text;
	else
		free(text);
}

static void add_variable(struct environment *e, const char *name, const char *value)
{
	char *text;
	if (asprintf(&text, "%s=%s", name, value) < 0)
		abort();
	set_variable(e, text);
}

static void add_encoded(struct buf *url, const char *text)
{
	for (; *text != '\0'; text++)
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *text) != NULL)
			buf_printf(url, "%c", *text);
		else
			buf_printf(url, "%%%02X", (unsigned char)*text);
}

static void add_secret(struct exec_child *c, const char *text)
{
	struct buf encoded;
	buf_init(&encoded, 8192);
	add_encoded(&encoded, text);
	const char *const forms[] = {text, encoded.data};
	for (size_t i = 0, at = 0; i < 2; i++) {
		while (at < SECRETS_MAX && c->secrets[at] != NULL)
			at++;
		if (at < SECRETS_MAX && text[0] != '\0' && (c->secrets[at] = strdup(forms[i])) == NULL)
			abort();
	}
	buf_free(&encoded);
}

/* postgresql:///DB?host=...&port=...: the form that takes a socket's folder too. */
static void add_url(struct environment *e, const PQconninfoOption *options)
{
	struct buf url;
	buf_init(&url, 8192);
	buf_printf(&url, "postgresql:///");
	for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
		if (strcmp(o->keyword, "dbname") == 0 && o->val != NULL)
			add_encoded(&url, o->val);
	char separator = '?';
	for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
		/* Not every program that reads DATABASE_URL knows PGPASSWORD too. */
		bool lets_in = strcmp(o->keyword, "password") == 0 && o->val == NULL;
		const char *value = lets_in ? getenv("PGPASSWORD") : o->val;
		if (strcmp(o->keyword, "dbname") == 0 || value == NULL || value[0] == '\0')
			continue;
		buf_printf(&url, "%c%s=", separator, o->keyword);
		add_encoded(&url, value);
		separator = '&';
	}
	add_variable(e, "DATABASE_URL", url.data);
	buf_free(&url);
}

/* Of libpq's own variables only those that let it in: the others might lead it elsewhere. */
static bool is_passed_on(const char *variable)
{
	static const char *const LIBPQ[] = {"PGREHEARSE", "PGPASSWORD=", "PGPASSFILE=", "PGSSL"};
	bool passed = strncmp(variable, "PG", 2) != 0;
	for (size_t i = 0; i < sizeof LIBPQ / sizeof LIBPQ[0]; i++)
		passed = passed || strncmp(variable, LIBPQ[i], strlen(LIBPQ[i])) == 0;
	return passed;
}

static void fill_environment(struct exec_child *c, struct environment *e, const char *dsn)
{
	for (char **v = environ; *v != NULL; v++)
		if (is_passed_on(*v)) {
			char *copy = strdup(*v);
			if (copy == NULL)
				abort();
			set_variable(e, copy);
		}
	const char *password = getenv("PGPASSWORD");
	if (password != NULL)
		add_secret(c, password);
	PQconninfoOption *options = dsn_parse(dsn, NULL);
	for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
		if (o->envvar != NULL && o->val != NULL)
			add_variable(e, o->envvar, o->val);
		if (strcmp(o->keyword, "password") == 0 && o->val != NULL)
			add_secret(c, o->val);
	}
	if (options != NULL)
		add_url(e, options);
	PQconninfoFree(options);
	snprintf(c->application, sizeof c->application, "exec by pgrehearse %d", ++c->host->programs);
	add_variable(e, "PGAPPNAME", c->application);
}

/* Texts of the list in field `name` of the table at 1, copied. */
static size_t read_list(lua_State *L, const char *name, char **out, size_t max)
{
	size_t n = 0;
	if (lua_getfield(L, 1, name) == LUA_TTABLE)
		for (lua_Integer i = 1; n < max && lua_geti(L, -1, i) == LUA_TSTRING; i++) {
			if ((out[n++] = strdup(lua_tostring(L, -1))) == NULL)
				abort();
			lua_pop(L, 1);
		}
	return n;
}

/* ---- for Lua ---- */

static int after_exec(lua_State *L, int status, lua_KContext ctx)
{
	(void)status;
	struct exec_child *c = (struct exec_child *)(intptr_t)ctx;
	int64_t origin = record_start_ns(c->host->record);
	lua_createtable(L, 0, 7);
	lua_pushinteger(L, c->pid);
	lua_setfield(L, -2, "pid");
	lua_pushinteger(L, c->exit_code);
	lua_setfield(L, -2, "exit_code");
	lua_pushlstring(L, c->output, c->output_n);
	lua_setfield(L, -2, "output");
	lua_pushinteger(L, c->start_ns - origin);
	lua_setfield(L, -2, "start_ns");
	lua_pushinteger(L, c->end_ns - origin);
	lua_setfield(L, -2, "end_ns");
	lua_pushboolean(L, c->timed_out);
	lua_setfield(L, -2, "timed_out");
	lua_pushstring(L, c->application);
	lua_setfield(L, -2, "application");
	free_child(c);
	return 1;
}

/* The program that the table at 1 describes: argv, env, dir. NULL: it could not be started. */
static struct exec_child *start_child(lua_State *L, struct host *h, struct error *err)
{
	struct exec_child *c = calloc(1, sizeof *c);
	struct environment *e = calloc(1, sizeof *e);
	char *argv[WORDS_MAX + 1] = {NULL}, *own[WORDS_MAX];
	if (c == NULL || e == NULL)
		abort();
	c->host = h;
	c->fd = -1;
	fill_environment(c, e, h->spec->dsn);
	size_t words = read_list(L, "argv", argv, WORDS_MAX), n = read_list(L, "env", own, WORDS_MAX);
	for (size_t i = 0; i < n; i++)
		set_variable(e, own[i]);
	lua_getfield(L, 1, "dir");
	const char *dir = lua_tostring(L, -1);
	c->start_ns = clock_now_ns();
	enum status st = words > 0 ? proc_start(argv, e->at, dir, &c->pid, &c->fd, err) : error_set(err, ST_USAGE, "there is no command");
	for (size_t i = 0; i < words; i++)
		free(argv[i]);
	for (size_t i = 0; i < e->n; i++)
		free(e->at[i]);
	free(e);
	lua_settop(L, 1);
	if (st != ST_OK) {
		free_secrets(c);
		free(c);
		return NULL;
	}
	c->next = h->children;
	h->children = c;
	c->look.fn = on_look;
	loop_timer_set(h->loop, &c->look, c->start_ns + LOOK_NS);
	return c;
}

int exec_lua_run(lua_State *L)
{
	struct host *h = lua_touserdata(L, lua_upvalueindex(1));
	struct error err;
	luaL_checktype(L, 1, LUA_TTABLE);
	if (fiber_of(L) == NULL)
		return luaL_error(L, "a program can be run by a step only, not inside a coroutine of the script's own");
	lua_settop(L, 1);
	struct exec_child *c = start_child(L, h, &err);
	if (c == NULL) {
		lua_createtable(L, 0, 1);
		lua_pushstring(L, err.what);
		lua_setfield(L, -2, "error");
		return 1;
	}
	lua_getfield(L, 1, "step");
	lua_getfield(L, 1, "direction");
	if (h->observer != NULL)
		observer_watch_command(h->observer, &(struct observer_command){c->pid, lua_tostring(L, -2), lua_tostring(L, -1)});
	lua_getfield(L, 1, "timeout_ns");
	int64_t timeout_ns = lua_tointeger(L, -1);
	c->fiber = fiber_of(L);
	c->deadline_ns = timeout_ns > 0 ? c->start_ns + timeout_ns : 0;
	c->io = (struct loop_io){.fd = c->fd, .events = EPOLLIN, .fn = on_output};
	if (loop_io_add(h->loop, &c->io, &err) != ST_OK) {
		close(c->fd); /* it may fill the pipe, and then ends with SIGPIPE */
		c->fd = -1;
	}
	return fiber_wait(L, after_exec, (lua_KContext)(intptr_t)c);
}

/* ---- programs that are held up by not reading what they write ---- */

/* The pipe is made as small as can be and filled, so that the program stops at the first that it writes. */
static void fill_pipe(struct exec_child *c)
{
	static const char PADDING[4096];
	char path[64];
	(void)fcntl(c->fd, F_SETPIPE_SZ, (int)sizeof PADDING);
	snprintf(path, sizeof path, "/proc/self/fd/%d", c->fd);
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	for (ssize_t n; fd >= 0 && (n = write(fd, PADDING, sizeof PADDING)) > 0;)
		c->padding += (size_t)n;
	if (fd >= 0)
		close(fd);
}

int exec_lua_hold(lua_State *L)
{
	struct error err;
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	struct exec_child *c = start_child(L, lua_touserdata(L, lua_upvalueindex(1)), &err);
	if (c == NULL) {
		lua_pushnil(L);
		lua_pushstring(L, err.what);
		return 2;
	}
	c->held = true;
	fill_pipe(c);
	lua_pushinteger(L, c->pid);
	return 1;
}

static struct exec_child *check_held(lua_State *L)
{
	const struct host *h = lua_touserdata(L, lua_upvalueindex(1));
	lua_Integer pid = luaL_checkinteger(L, 1);
	struct exec_child *c = h->children;
	while (c != NULL && (c->pid != pid || !c->held))
		c = c->next;
	if (c == NULL)
		luaL_error(L, "no program with pid %I is held", (LUAI_UACINT)pid);
	return c;
}

int exec_lua_held_read(lua_State *L)
{
	struct exec_child *c = check_held(L);
	if (lua_toboolean(L, 2) && !c->ended && c->fd >= 0)
		(void)read_output(c);
	lua_pushboolean(L, !c->ended);
	return 1;
}

int exec_lua_release(lua_State *L)
{
	struct exec_child *c = check_held(L);
	if (fiber_of(L) == NULL || c->fiber != NULL)
		return luaL_error(L, "a program is let go by one fiber");
	if (c->ended)
		return after_exec(L, LUA_OK, (lua_KContext)(intptr_t)c);
	c->fiber = fiber_of(L);
	ask_to_end(c, clock_now_ns());
	return fiber_wait(L, after_exec, (lua_KContext)(intptr_t)c);
}
