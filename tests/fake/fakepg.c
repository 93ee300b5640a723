/* A scripted PostgreSQL server: sockets, threads and the messages of protocol 3. */
#define _GNU_SOURCE
#include "fake/fakepg.h"

#include "base/buf.h"
#include "base/vec.h"
#include "fake/fakepg_script.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX (64 << 20)
#define CANCEL_CODE 80877102
#define ENCRYPTION_CODES 80877103 /* SSL, and GSS behind it */

enum { TYPE_INT8 = 20, TYPE_TEXT = 25 };

struct prepared {
	char *name, *sql;
};

struct connection {
	struct connection *next;
	struct fakepg *server;
	pthread_t thread;
	int fd;     /* closed under the server's lock; -1 then */
	int number; /* what clients take for the backend's pid */
	atomic_bool cancelled;
	struct buf in;  /* the body of the latest message */
	struct buf out; /* not yet sent */
	int64_t sent, cut, split;
	char status;   /* of the transaction: I, T, E */
	bool skipping; /* an error in the extended protocol: until Sync */
	bool ended;
	VEC(struct prepared) prepared;
	const char *portal;                /* SQL of the unnamed one */
	const struct fake_rule *described; /* its rule, found when it was described */
	bool is_described;
};

struct ran {
	char *sql;
	int count;
};

struct fakepg {
	char folder[64], socket[108], dsn[128];
	int listener;
	pthread_t thread;
	atomic_bool stopping;
	_Atomic int64_t cut, split, bytes_sent;
	atomic_int cancels, n_connections;

	pthread_mutex_t lock; /* of the members below */
	struct fake_script script;
	struct connection *connections;
	VEC(struct ran) runs;
};

/* ---- sending ---- */

static void send_bytes(struct connection *c, const char *data, size_t n)
{
	while (n > 0 && !c->ended) {
		c->server->bytes_sent = c->sent + (int64_t)n; /* before they leave: who has read them finds them counted */
		ssize_t done = send(c->fd, data, n, MSG_NOSIGNAL);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			c->ended = true;
			return;
		}
		data += done;
		n -= (size_t)done;
		c->sent += done;
		c->server->bytes_sent = c->sent;
	}
}

static void nap(int ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static void flush_out(struct connection *c)
{
	char *data = c->out.data;
	size_t n = c->out.len;
	bool cut = c->cut >= 0 && c->sent + (int64_t)n >= c->cut;
	if (cut)
		n = (size_t)(c->cut - c->sent);
	if (c->split == 0) {
		for (size_t i = 0; i < n; i++)
			send_bytes(c, data + i, 1);
	} else if (c->split > c->sent && c->split < c->sent + (int64_t)n) {
		size_t head = (size_t)(c->split - c->sent);
		send_bytes(c, data, head);
		nap(1);
		send_bytes(c, data + head, n - head);
	} else {
		send_bytes(c, data, n);
	}
	c->ended |= cut;
	buf_clear(&c->out);
}

static size_t open_message(struct connection *c, char type)
{
	buf_char(&c->out, type);
	buf_add(&c->out, "\0\0\0\0", 4);
	return c->out.len - 4;
}

static void close_message(struct connection *c, size_t at)
{
	uint32_t len = htonl((uint32_t)(c->out.len - at));
	memcpy(c->out.data + at, &len, 4);
	if (c->out.len > 1 << 16)
		flush_out(c);
}

static void add_int(struct connection *c, uint32_t n)
{
	n = htonl(n);
	buf_add(&c->out, &n, 4);
}

static void add_short(struct connection *c, uint16_t n)
{
	n = htons(n);
	buf_add(&c->out, &n, 2);
}

static void add_text(struct connection *c, const char *text)
{
	buf_add(&c->out, text, strlen(text) + 1);
}

static void send_empty(struct connection *c, char type)
{
	close_message(c, open_message(c, type));
}

static void send_text(struct connection *c, char type, const char *text)
{
	size_t at = open_message(c, type);
	add_text(c, text);
	close_message(c, at);
}

static void send_ready(struct connection *c)
{
	size_t at = open_message(c, 'Z');
	buf_char(&c->out, c->status);
	close_message(c, at);
	flush_out(c);
}

static void send_report(struct connection *c, char type, const char *severity, const char *code, const char *text)
{
	size_t at = open_message(c, type);
	buf_char(&c->out, 'S'), add_text(c, severity);
	buf_char(&c->out, 'V'), add_text(c, severity);
	buf_char(&c->out, 'C'), add_text(c, code);
	buf_char(&c->out, 'M'), add_text(c, text);
	buf_char(&c->out, '\0');
	close_message(c, at);
}

static void send_parameter(struct connection *c, const char *name, const char *value)
{
	size_t at = open_message(c, 'S');
	add_text(c, name);
	add_text(c, value);
	close_message(c, at);
}

/* ---- rows ---- */

static bool is_number(const char *text, size_t n)
{
	size_t digits = strspn(text, "0123456789");
	return n > 0 && n < 18 && digits >= n;
}

static void describe_columns(struct connection *c, const char *row)
{
	uint16_t n = 1;
	for (const char *p = row; *p != '\0'; p++)
		n = (uint16_t)(n + (*p == '|'));
	size_t at = open_message(c, 'T');
	add_short(c, n);
	for (uint16_t i = 1; i <= n; i++) {
		size_t len = strcspn(row, "|");
		char name[16];
		snprintf(name, sizeof name, "column%d", i);
		add_text(c, name);
		add_int(c, 0);
		add_short(c, 0);
		add_int(c, is_number(row, len) ? TYPE_INT8 : TYPE_TEXT);
		add_short(c, UINT16_MAX);
		add_int(c, UINT32_MAX);
		add_short(c, 0);
		row += len + (row[len] == '|');
	}
	close_message(c, at);
}

static void send_row(struct connection *c, const char *row)
{
	uint16_t n = 1;
	for (const char *p = row; *p != '\0'; p++)
		n = (uint16_t)(n + (*p == '|'));
	size_t at = open_message(c, 'D');
	add_short(c, n);
	for (uint16_t i = 0; i < n; i++) {
		size_t len = strcspn(row, "|");
		if (len == 2 && memcmp(row, "\\N", 2) == 0) {
			add_int(c, UINT32_MAX);
		} else {
			add_int(c, (uint32_t)len);
			buf_add(&c->out, row, len);
		}
		row += len + (row[len] == '|');
	}
	close_message(c, at);
}

static void send_many_rows(struct connection *c, int rows, int bytes)
{
	for (int i = 0; i < rows && !c->ended; i++) {
		size_t at = open_message(c, 'D');
		add_short(c, 1);
		add_int(c, (uint32_t)bytes);
		char *room = buf_reserve(&c->out, (size_t)bytes);
		if (room != NULL) {
			memset(room, 'x', (size_t)bytes);
			c->out.len += (size_t)bytes;
		}
		close_message(c, at);
	}
}

/* What describes the rows of a rule; NULL: it returns none. */
static const char *rule_columns(const struct fake_rule *rule)
{
	for (size_t i = 0; i < rule->n_actions; i++) {
		if (rule->actions[i].verb == FAKE_ROW)
			return rule->actions[i].text;
		if (rule->actions[i].verb == FAKE_ROWS)
			return "text";
	}
	return NULL;
}

/* ---- answering ---- */

static const struct fake_rule *find_rule(struct connection *c, enum fake_event event, const char *sql)
{
	pthread_mutex_lock(&c->server->lock);
	const struct fake_rule *rule = fake_script_find(&c->server->script, event, sql);
	pthread_mutex_unlock(&c->server->lock);
	return rule;
}

static void note_run(struct connection *c, const char *sql)
{
	struct fakepg *f = c->server;
	pthread_mutex_lock(&f->lock);
	size_t i = 0;
	while (i < f->runs.n && strcmp(f->runs.at[i].sql, sql) != 0)
		i++;
	if (i == f->runs.n)
		VEC_PUSH(&f->runs, (struct ran){.sql = strdup(sql)});
	f->runs.at[i].count++;
	pthread_mutex_unlock(&f->lock);
}

static void fail(struct connection *c, const char *severity, const char *code, const char *text)
{
	send_report(c, 'E', severity, code, text);
	if (c->status == 'T')
		c->status = 'E';
	if (strcmp(severity, "ERROR") != 0) {
		flush_out(c);
		c->ended = true;
	}
}

static void send_hex(struct connection *c, const char *hex)
{
	for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
		char pair[3] = {hex[0], hex[1], '\0'};
		buf_char(&c->out, (char)strtol(pair, NULL, 16));
		hex += hex[2] == ' ';
	}
}

/* Whether it was cancelled. */
static bool stall(struct connection *c, int ms)
{
	flush_out(c);
	c->cancelled = false; /* one that came before hit nothing */
	for (int left = ms; left > 0 && !c->ended && !c->cancelled && !c->server->stopping; left -= 2)
		nap(left < 2 ? left : 2);
	c->ended |= c->server->stopping;
	return atomic_exchange(&c->cancelled, false);
}

/* False after an error. describe: the rows are described before the first one. */
static bool perform_actions(struct connection *c, const struct fake_rule *rule, bool describe)
{
	const char *tag = "SELECT 0";
	if (describe && rule_columns(rule) != NULL)
		describe_columns(c, rule_columns(rule));
	for (size_t i = 0; i < rule->n_actions && !c->ended; i++) {
		const struct fake_action *a = &rule->actions[i];
		switch (a->verb) {
		case FAKE_OK:
			break;
		case FAKE_ROW:
			send_row(c, a->text);
			break;
		case FAKE_ROWS:
			send_many_rows(c, a->n, a->bytes);
			break;
		case FAKE_COMPLETE:
			tag = a->text;
			break;
		case FAKE_ERROR:
			fail(c, a->severity, a->code, a->text);
			return false;
		case FAKE_NOTICE:
			send_report(c, 'N', "NOTICE", "00000", a->text);
			break;
		case FAKE_STALL:
			if (stall(c, a->n)) {
				fail(c, "ERROR", "57014", "canceling statement due to user request");
				return false;
			}
			break;
		case FAKE_DROP:
			flush_out(c);
			c->ended = true;
			break;
		case FAKE_RESET:
			c->ended = true;
			break;
		case FAKE_GARBAGE:
			for (int k = 0; k < a->n; k++)
				buf_char(&c->out, (char)(0x91 + k * 37));
			break;
		case FAKE_RAW:
			send_hex(c, a->text);
			break;
		}
	}
	if (rule->event == FAKE_RUN)
		send_text(c, 'C', tag);
	return true;
}

static bool begins(const char *sql, const char *word)
{
	return strncasecmp(sql, word, strlen(word)) == 0;
}

/* What a server says to the few statements that it knows. */
static void perform_plain(struct connection *c, const char *sql)
{
	if (begins(sql, "BEGIN") || begins(sql, "START")) {
		c->status = 'T';
		send_text(c, 'C', "BEGIN");
	} else if (begins(sql, "COMMIT") || begins(sql, "END") || begins(sql, "ROLLBACK")) {
		bool undone = c->status == 'E' || begins(sql, "ROLLBACK");
		c->status = 'I';
		send_text(c, 'C', undone ? "ROLLBACK" : "COMMIT");
	} else if (begins(sql, "SET") || begins(sql, "RESET")) {
		send_text(c, 'C', begins(sql, "SET") ? "SET" : "RESET");
	} else {
		send_row(c, "1");
		send_text(c, 'C', "SELECT 1");
	}
}

static bool is_plain_select(const char *sql)
{
	static const char *const WORDS[] = {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "SET", "RESET"};
	for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
		if (begins(sql, WORDS[i]))
			return false;
	return true;
}

static bool run(struct connection *c, const char *sql, const struct fake_rule *rule, bool describe)
{
	note_run(c, sql);
	if (c->status == 'E' && !begins(sql, "ROLLBACK") && !begins(sql, "COMMIT") && !begins(sql, "END")) {
		fail(c, "ERROR", "25P02", "current transaction is aborted");
		return false;
	}
	if (rule != NULL) {
		if (!perform_actions(c, rule, describe))
			return false;
		if (begins(sql, "BEGIN"))
			c->status = 'T';
		else if (begins(sql, "COMMIT") || begins(sql, "ROLLBACK"))
			c->status = 'I';
		return true;
	}
	if (describe && is_plain_select(sql))
		describe_columns(c, "1");
	perform_plain(c, sql);
	return true;
}

/* Statements end at any semicolon: scripts of tests hold none in quotes. */
static void answer_query(struct connection *c, char *sql)
{
	char *rest = sql, *part;
	bool any = false;
	while (!c->ended && (part = strsep(&rest, ";")) != NULL) {
		part += strspn(part, " \n\t");
		if (part[0] == '\0')
			continue;
		any = true;
		if (!run(c, part, find_rule(c, FAKE_RUN, part), true))
			break;
	}
	if (!any)
		send_empty(c, 'I');
	if (!c->ended)
		send_ready(c);
}

/* ---- the extended protocol ---- */

static struct prepared *find_prepared(struct connection *c, const char *name)
{
	for (size_t i = 0; i < c->prepared.n; i++)
		if (strcmp(c->prepared.at[i].name, name) == 0)
			return &c->prepared.at[i];
	return NULL;
}

static bool answer_parse(struct connection *c)
{
	const char *name = c->in.data, *sql = name + strlen(name) + 1;
	const struct fake_rule *rule = find_rule(c, FAKE_PARSE, sql);
	if (rule != NULL && !perform_actions(c, rule, false))
		return false;
	struct prepared *p = find_prepared(c, name);
	if (p == NULL) {
		VEC_PUSH(&c->prepared, (struct prepared){.name = strdup(name)});
		p = &c->prepared.at[c->prepared.n - 1];
	}
	free(p->sql);
	p->sql = strdup(sql);
	send_empty(c, '1');
	return true;
}

static bool answer_bind(struct connection *c)
{
	const char *name = c->in.data + strlen(c->in.data) + 1;
	const struct prepared *p = find_prepared(c, name);
	c->is_described = false;
	if (p == NULL) {
		fail(c, "ERROR", "26000", "prepared statement does not exist");
		return false;
	}
	c->portal = p->sql;
	send_empty(c, '2');
	return true;
}

static bool answer_describe(struct connection *c)
{
	if (c->in.data[0] != 'P' || c->portal == NULL) {
		send_empty(c, 'n');
		return true;
	}
	c->described = find_rule(c, FAKE_RUN, c->portal);
	c->is_described = true;
	const char *columns = c->described != NULL ? rule_columns(c->described) : is_plain_select(c->portal) ? "1" : NULL;
	if (columns != NULL)
		describe_columns(c, columns);
	else
		send_empty(c, 'n');
	return true;
}

static bool answer_execute(struct connection *c)
{
	if (c->portal == NULL)
		return true;
	bool ok = run(c, c->portal, c->is_described ? c->described : find_rule(c, FAKE_RUN, c->portal), false);
	c->is_described = false;
	return ok;
}

static void answer_message(struct connection *c, char type)
{
	bool ok = true;
	if (type == 'S') {
		c->skipping = false;
		send_ready(c);
		return;
	}
	if (c->skipping && strchr("PBDECH", type) != NULL)
		return;
	switch (type) {
	case 'Q':
		answer_query(c, c->in.data);
		break;
	case 'P':
		ok = answer_parse(c);
		break;
	case 'B':
		ok = answer_bind(c);
		break;
	case 'D':
		ok = answer_describe(c);
		break;
	case 'E':
		ok = answer_execute(c);
		break;
	case 'C':
		send_empty(c, '3');
		break;
	case 'H':
		flush_out(c);
		break;
	default: /* Terminate, or what no client of ours sends */
		c->ended = true;
	}
	c->skipping = !ok;
}

/* ---- receiving ---- */

static bool receive(struct connection *c, void *into, size_t n)
{
	char *p = into;
	while (n > 0) {
		ssize_t got = recv(c->fd, p, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		p += got;
		n -= (size_t)got;
	}
	return true;
}

static bool receive_body(struct connection *c)
{
	uint32_t len;
	if (!receive(c, &len, 4) || (len = ntohl(len)) < 4 || len > MESSAGE_MAX)
		return false;
	buf_clear(&c->in);
	char *room = buf_reserve(&c->in, len - 4);
	if (room == NULL || !receive(c, room, len - 4))
		return false;
	c->in.len = len - 4;
	room[c->in.len] = '\0';
	return true;
}

static uint32_t body_int(const struct connection *c, size_t at)
{
	uint32_t n = 0;
	if (c->in.len >= at + 4)
		memcpy(&n, c->in.data + at, 4);
	return ntohl(n);
}

static void cancel(struct connection *c)
{
	struct fakepg *f = c->server;
	f->cancels++;
	pthread_mutex_lock(&f->lock);
	for (struct connection *other = f->connections; other != NULL; other = other->next)
		if ((uint32_t)other->number == body_int(c, 4))
			other->cancelled = true;
	pthread_mutex_unlock(&f->lock);
	c->ended = true;
}

static void start_up(struct connection *c)
{
	while (!c->ended) {
		if (!receive_body(c)) {
			c->ended = true;
			return;
		}
		uint32_t code = body_int(c, 0);
		if (code == CANCEL_CODE) {
			cancel(c);
			return;
		}
		if (code != ENCRYPTION_CODES && code != ENCRYPTION_CODES + 1)
			break;
		send_bytes(c, "N", 1);
	}
	c->server->n_connections++;
	const struct fake_rule *rule = find_rule(c, FAKE_STARTUP, "");
	if (rule != NULL && !perform_actions(c, rule, false)) {
		flush_out(c);
		c->ended = true;
	}
	if (c->ended)
		return;
	size_t at = open_message(c, 'R');
	add_int(c, 0);
	close_message(c, at);
	send_parameter(c, "server_version", "15.0 (fake)");
	send_parameter(c, "server_encoding", "UTF8");
	send_parameter(c, "client_encoding", "UTF8");
	send_parameter(c, "standard_conforming_strings", "on");
	send_parameter(c, "integer_datetimes", "on");
	at = open_message(c, 'K');
	add_int(c, (uint32_t)c->number);
	add_int(c, 4711);
	close_message(c, at);
	send_ready(c);
}

static void *serve(void *arg)
{
	struct connection *c = arg;
	start_up(c);
	char type;
	while (!c->ended && receive(c, &type, 1) && receive_body(c))
		answer_message(c, type);
	pthread_mutex_lock(&c->server->lock);
	close(c->fd);
	c->fd = -1;
	pthread_mutex_unlock(&c->server->lock);
	return NULL;
}

/* ---- the server ---- */

static void accept_one(struct fakepg *f)
{
	int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct connection *c = calloc(1, sizeof *c);
	if (c == NULL)
		abort();
	c->server = f;
	c->fd = fd;
	c->status = 'I';
	c->cut = f->cut;
	c->split = f->split;
	buf_init(&c->in, MESSAGE_MAX);
	buf_init(&c->out, MESSAGE_MAX);
	pthread_mutex_lock(&f->lock);
	c->number = f->connections != NULL ? f->connections->number + 1 : 1000;
	c->next = f->connections;
	f->connections = c;
	pthread_mutex_unlock(&f->lock);
	if (pthread_create(&c->thread, NULL, serve, c) != 0)
		abort();
}

static void *accept_all(void *arg)
{
	struct fakepg *f = arg;
	while (!f->stopping) {
		struct pollfd p = {.fd = f->listener, .events = POLLIN};
		if (poll(&p, 1, 20) > 0)
			accept_one(f);
	}
	return NULL;
}

enum status fakepg_start(const char *script, struct fakepg **out, struct error *err)
{
	*out = NULL;
	struct fakepg *f = calloc(1, sizeof *f);
	if (f == NULL)
		return error_set(err, ST_FAILED, "out of memory");
	enum status st = fake_script_read(script, &f->script, err);
	if (st != ST_OK) {
		free(f);
		return st;
	}
	f->cut = f->split = -1;
	pthread_mutex_init(&f->lock, NULL);
	snprintf(f->folder, sizeof f->folder, "/tmp/pgr-fake-XXXXXX");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (mkdtemp(f->folder) != NULL) {
		snprintf(f->socket, sizeof f->socket, "%s/.s.PGSQL.5432", f->folder);
		memcpy(address.sun_path, f->socket, sizeof address.sun_path);
		snprintf(f->dsn, sizeof f->dsn, "host=%s user=fake dbname=fake", f->folder);
	}
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(f->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(f->listener, 512) != 0 ||
		pthread_create(&f->thread, NULL, accept_all, f) != 0) {
		st = error_errno(err, ST_FAILED, "cannot serve on %s", f->socket);
		close(f->listener);
		fake_script_free(&f->script);
		free(f);
		return st;
	}
	*out = f;
	return ST_OK;
}

static void free_connection(struct connection *c)
{
	buf_free(&c->in);
	buf_free(&c->out);
	for (size_t i = 0; i < c->prepared.n; i++) {
		free(c->prepared.at[i].name);
		free(c->prepared.at[i].sql);
	}
	VEC_FREE(&c->prepared);
	free(c);
}

void fakepg_stop(struct fakepg *f)
{
	if (f == NULL)
		return;
	f->stopping = true;
	pthread_join(f->thread, NULL);
	for (struct connection *c = f->connections; c != NULL; c = c->next) {
		pthread_mutex_lock(&f->lock);
		if (c->fd >= 0)
			shutdown(c->fd, SHUT_RDWR);
		pthread_mutex_unlock(&f->lock);
		pthread_join(c->thread, NULL);
	}
	while (f->connections != NULL) {
		struct connection *c = f->connections;
		f->connections = c->next;
		free_connection(c);
	}
	close(f->listener);
	unlink(f->socket);
	rmdir(f->folder);
	for (size_t i = 0; i < f->runs.n; i++)
		free(f->runs.at[i].sql);
	VEC_FREE(&f->runs);
	fake_script_free(&f->script);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

const char *fakepg_dsn(const struct fakepg *f)
{
	return f->dsn;
}

void fakepg_cut_after(struct fakepg *f, int64_t bytes)
{
	f->cut = bytes;
}

void fakepg_split_at(struct fakepg *f, int64_t bytes)
{
	f->split = bytes;
}

int64_t fakepg_bytes_sent(struct fakepg *f)
{
	return f->bytes_sent;
}

int fakepg_connections(struct fakepg *f)
{
	return f->n_connections;
}

int fakepg_cancels(struct fakepg *f)
{
	return f->cancels;
}

int fakepg_runs(struct fakepg *f, const char *glob)
{
	int n = 0;
	pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < f->runs.n; i++)
		n += fnmatch(glob, f->runs.at[i].sql, 0) == 0 ? f->runs.at[i].count : 0;
	pthread_mutex_unlock(&f->lock);
	return n;
}
