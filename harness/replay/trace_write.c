/* Rows go into columns as they come; a block is packed and written when it is full. Rows that arrived long before their neighbours (a
 * statement that took minutes is told at its end) have blocks of their own, so that a reader need not open many blocks for a few of them. */
#define _GNU_SOURCE
#include "replay/trace.h"

#include "base/clock.h"
#include "replay/trace_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define LATE_NS (5 * NS_PER_S)
#define LATE_ROWS 4096
#define LEVEL 3 /* 6 makes a trace 2 % smaller and takes a tenth more of the whole CPU */
#define LOCALS (BLOCK_ROWS * 2)

struct local {
	uint32_t session, block; /* block: of which this entry is; others are free */
	uint32_t number;         /* from 0 */
};

struct builder {
	struct buf columns[COLUMNS_ALL];
	struct local *locals; /* open addressing, by session */
	uint32_t *last_shape; /* [local]: number + 1 */
	struct again *again;  /* [local] */
	uint32_t n_locals, block;
	uint32_t *successor; /* [shape + 1]: number + 1 */
	uint32_t *successor_block;
	size_t n_successors;
	int64_t *stamps;
	uint32_t rows, rows_max;
	size_t bytes;
	int64_t first_ns, last_ns;
};

struct name {
	struct name *next;
	uint32_t number;
	size_t n;
	char text[];
};
#define NAME_BUCKETS 4096
#define NAMES_MAX ((size_t)1 << 20)

struct trace_writer {
	char *path; /* what symbolic links lead to */
	char *part; /* what is written until it is whole; NULL: a pipe or a device, written as it comes */
	FILE *file;
	struct shapes *shapes;
	struct name *names[NAME_BUCKETS];
	size_t n_names;
	struct buf words; /* sessions, shapes and names since the last block */
	struct builder main, late;
	ZSTD_CCtx *zstd;
	struct buf packed;
	struct buf raw;
	int64_t newest_ns, events;
	struct error error;
};

static void begin_builder(struct builder *b, uint32_t rows_max)
{
	for (size_t i = 0; i < COLUMNS_ALL; i++)
		buf_init(&b->columns[i], SECTION_MAX / 4);
	b->locals = calloc(LOCALS, sizeof *b->locals);
	b->last_shape = calloc(BLOCK_ROWS, sizeof *b->last_shape);
	b->again = calloc(BLOCK_ROWS, sizeof *b->again);
	b->stamps = calloc(BLOCK_ROWS, sizeof *b->stamps);
	if (b->locals == NULL || b->last_shape == NULL || b->again == NULL || b->stamps == NULL)
		abort();
	b->rows_max = rows_max;
	b->block = 1;
}

static void free_builder(struct builder *b)
{
	for (size_t i = 0; i < COLUMNS_ALL; i++)
		buf_free(&b->columns[i]);
	free(b->locals);
	free(b->last_shape);
	free(b->again);
	free(b->successor);
	free(b->successor_block);
	free(b->stamps);
}

/* ---- the file ---- */

static bool stat_out(const char *path, struct stat *s)
{
	return (strcmp(path, "-") == 0 ? fstat(STDOUT_FILENO, s) : stat(path, s)) == 0;
}

enum status trace_check_out(const char *path, const char *const *inputs, size_t n, struct error *err)
{
	struct stat out, in;
	if (!stat_out(path, &out) || !S_ISREG(out.st_mode))
		return ST_OK;
	for (size_t i = 0; i < n; i++) {
		bool known = (strcmp(inputs[i], "-") == 0 ? fstat(STDIN_FILENO, &in) : stat(inputs[i], &in)) == 0;
		if (!known || in.st_dev != out.st_dev || in.st_ino != out.st_ino)
			continue;
		(void)error_set(err, ST_USAGE, "--out %s is the file that is read, %s", path, inputs[i]);
		error_hint(err, "name another one");
		return err->status;
	}
	return ST_OK;
}

/* What a run that was killed has left is removed; what another one is writing is not. */
static enum status open_part(const char *part, int *fd, struct error *err)
{
	const int flags = O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC;
	*fd = open(part, flags, 0600);
	if (*fd < 0 && errno == EEXIST) {
		int old = open(part, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		bool is_free = old < 0 || flock(old, LOCK_EX | LOCK_NB) == 0;
		if (old >= 0)
			close(old);
		if (!is_free)
			return error_set(err, ST_USAGE, "%s is being written by another program", part);
		if (unlink(part) == 0)
			*fd = open(part, flags, 0600);
	}
	if (*fd < 0)
		return error_errno(err, ST_USAGE, "%s", part);
	(void)flock(*fd, LOCK_EX | LOCK_NB);
	return ST_OK;
}

/* Opens w->file, and says in w->path and w->part under which names. */
static enum status open_out(struct trace_writer *w, const char *path, struct error *err)
{
	struct stat s;
	int fd;
	bool direct = strcmp(path, "-") == 0 || strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0 ||
		(stat(path, &s) == 0 && !S_ISREG(s.st_mode));
	char *real = direct ? NULL : realpath(path, NULL);
	w->path = real != NULL ? real : strdup(path);
	if (w->path == NULL)
		abort();
	if (direct) {
		w->file = strcmp(path, "-") == 0 ? fdopen(dup(STDOUT_FILENO), "wb") : fopen(path, "wbe");
		return w->file != NULL ? ST_OK : error_errno(err, ST_USAGE, "%s", path);
	}
	if (asprintf(&w->part, "%s.part", w->path) < 0)
		abort();
	if (open_part(w->part, &fd, err) != ST_OK)
		return err->status;
	w->file = fdopen(fd, "wb");
	if (w->file == NULL)
		abort();
	return ST_OK;
}

enum status trace_create(const char *path, struct trace_writer **out, struct error *err)
{
	struct trace_writer *w = calloc(1, sizeof *w);
	if (w == NULL)
		abort();
	if (open_out(w, path, err) != ST_OK) {
		free(w->path);
		free(w->part);
		free(w);
		return err->status;
	}
	w->shapes = shapes_create();
	w->zstd = ZSTD_createCCtx();
	if (w->zstd == NULL)
		abort();
	ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, LEVEL);
	ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);
	buf_init(&w->words, SECTION_MAX);
	buf_init(&w->packed, SECTION_MAX);
	buf_init(&w->raw, SECTION_MAX);
	begin_builder(&w->main, BLOCK_ROWS);
	begin_builder(&w->late, LATE_ROWS);
	unsigned char header[TRACE_HEADER] = TRACE_MAGIC;
	put_u32(header + 8, TRACE_VERSION);
	put_u32(header + 12, 0);
	fwrite(header, 1, sizeof header, w->file);
	*out = w;
	return ST_OK;
}

/* ---- blocks ---- */

/* Appends bytes, packed, to w->packed. */
static uint32_t pack(struct trace_writer *w, const struct buf *raw)
{
	size_t room = ZSTD_compressBound(raw->len);
	char *to = buf_reserve(&w->packed, room);
	if (to == NULL)
		return 0;
	size_t n = ZSTD_compress2(w->zstd, to, room, raw->data, raw->len);
	if (ZSTD_isError(n)) {
		(void)error_set(&w->error, ST_FAILED, "%s: zstd: %s", w->path, ZSTD_getErrorName(n));
		return 0;
	}
	w->packed.len += n;
	w->packed.data[w->packed.len] = '\0';
	return (uint32_t)n;
}

static int64_t unit_of(const struct builder *b)
{
	int64_t unit = NS_PER_MS;
	for (uint32_t i = 0; i < b->rows; i++)
		if (b->stamps[i] % unit != 0)
			unit = b->stamps[i] % NS_PER_US == 0 ? NS_PER_US : 1;
	return unit;
}

static void write_block(struct trace_writer *w, struct builder *b)
{
	if (b->rows == 0 && w->words.len == 0)
		return;
	int64_t unit = unit_of(b), last = 0;
	for (uint32_t i = 0; i < b->rows; i++) {
		int64_t stamp = b->stamps[i] / unit;
		add_varint(&b->columns[COLUMN_STAMP], zigzag(stamp - last));
		last = stamp;
	}
	buf_clear(&w->raw);
	buf_clear(&w->packed);
	size_t n = 0;
	for (size_t i = 0; i < COLUMNS_ALL; i++)
		n += b->columns[i].len > 0;
	add_varint(&w->raw, n);
	for (size_t i = 0; i < COLUMNS_ALL; i++)
		if (b->columns[i].len > 0) {
			add_varint(&w->raw, i);
			add_varint(&w->raw, b->columns[i].len);
		}
	for (size_t i = 0; i < COLUMNS_ALL; i++)
		buf_add(&w->raw, b->columns[i].data, b->columns[i].len);
	unsigned char header[BLOCK_HEADER];
	put_u32(header, BLOCK_MAGIC);
	put_u32(header + 4, b->rows);
	put_u32(header + 8, (uint32_t)w->words.len);
	put_u32(header + 12, pack(w, &w->words));
	put_u32(header + 16, (uint32_t)w->raw.len);
	put_u32(header + 20, pack(w, &w->raw));
	put_u64(header + 24, (uint64_t)b->first_ns);
	put_u64(header + 32, (uint64_t)b->last_ns);
	put_u64(header + 40, (uint64_t)unit);
	put_u32(header + 48, (uint32_t)crc32(0, (const unsigned char *)w->packed.data, (unsigned)w->packed.len));
	put_u32(header + 52, (uint32_t)crc32(0, header, BLOCK_HEADER - 4));
	if (w->raw.overflow || w->packed.overflow || w->words.overflow)
		(void)error_set(&w->error, ST_FAILED, "%s: a block grew over 256 MB", w->path);
	if (fwrite(header, 1, sizeof header, w->file) != sizeof header ||
		fwrite(w->packed.data, 1, w->packed.len, w->file) != w->packed.len)
		(void)error_errno(&w->error, ST_FAILED, "%s", w->path);
	buf_clear(&w->words);
	for (size_t i = 0; i < COLUMNS_ALL; i++)
		if (b->columns[i].len > 0)
			buf_clear(&b->columns[i]);
	b->rows = b->n_locals = 0;
	b->bytes = 0;
	b->block++;
}

/* ---- rows ---- */

static uint32_t local_of(struct builder *b, uint32_t session)
{
	for (uint32_t i = session * UINT32_C(2654435761) % LOCALS;; i = (i + 1) % LOCALS) {
		struct local *l = &b->locals[i];
		if (l->block != b->block) {
			*l = (struct local){.session = session, .block = b->block, .number = b->n_locals};
			b->last_shape[b->n_locals] = 0;
			b->again[b->n_locals] = (struct again){0};
			b->n_locals++;
			add_varint(&b->columns[COLUMN_SESSION], 0);
			add_varint(&b->columns[COLUMN_SESSIONS], session);
			return l->number;
		}
		if (l->session == session) {
			add_varint(&b->columns[COLUMN_SESSION], l->number + 1);
			return l->number;
		}
	}
}

static void add_shape(struct builder *b, uint32_t local, uint32_t shape)
{
	uint32_t last = b->last_shape[local];
	if ((size_t)shape + 1 >= b->n_successors) {
		size_t n = ((size_t)shape + 2) * 2;
		b->successor = realloc(b->successor, n * sizeof *b->successor);
		b->successor_block = realloc(b->successor_block, n * sizeof *b->successor_block);
		if (b->successor == NULL || b->successor_block == NULL)
			abort();
		memset(b->successor_block + b->n_successors, 0, (n - b->n_successors) * sizeof *b->successor_block);
		b->n_successors = n;
	}
	bool foreseen = b->successor_block[last] == b->block && b->successor[last] == shape + 1;
	add_varint(&b->columns[COLUMN_SHAPE], foreseen ? 0 : (uint64_t)shape + 1);
	b->successor[last] = shape + 1;
	b->successor_block[last] = b->block;
	b->last_shape[local] = shape + 1;
}

/* An integer that is written as its value is printed: "17", "-3"; not "017", "+5", "". */
static bool read_int(const struct log_text *t, int64_t *value)
{
	size_t i = t->n > 0 && t->at[0] == '-' ? 1 : 0;
	int64_t v = 0;
	if (t->n == i || t->n > 18 + i || (t->at[i] == '0' && (t->n > i + 1 || i == 1)))
		return false;
	for (size_t k = i; k < t->n; k++) {
		if (t->at[k] < '0' || t->at[k] > '9')
			return false;
		v = v * 10 + (t->at[k] - '0');
	}
	*value = i == 1 ? -v : v;
	return true;
}

static void add_value(struct builder *b, uint32_t local, uint32_t shape, size_t position, const struct log_text *t, bool null)
{
	unsigned column = value_column(shape, position);
	struct buf *tags = &b->columns[COLUMNS_FIXED + 2 * column], *values = tags + 1;
	int64_t value;
	if (null) {
		add_byte(tags, VALUE_NULL);
	} else if (!read_int(t, &value)) {
		add_byte(tags, VALUE_TEXT);
		add_bytes(values, t->at, t->n);
		b->bytes += t->n;
	} else {
		if (value >= AGAIN_MIN || value <= -AGAIN_MIN) {
			struct again *a = &b->again[local];
			for (unsigned i = 0; i < AGAIN_RING; i++) {
				if (a->ring[(a->next - 1 - i) % AGAIN_RING] == value) {
					add_byte(tags, VALUE_AGAIN);
					add_byte(values, i);
					return;
				}
			}
			a->ring[a->next++ % AGAIN_RING] = value;
		}
		add_byte(tags, VALUE_INT);
		add_varint(values, zigzag(value));
	}
	b->bytes += 4;
}

static uint32_t name_number(struct trace_writer *w, const struct log_text *t)
{
	if (t->n == 0)
		return 0;
	struct name **bucket = &w->names[shape_hash(t->at, t->n) % NAME_BUCKETS];
	for (struct name *name = *bucket; name != NULL; name = name->next)
		if (name->n == t->n && memcmp(name->text, t->at, t->n) == 0)
			return name->number + 1;
	if (w->n_names >= NAMES_MAX || t->n > 1024)
		return 0;
	struct name *name = malloc(sizeof *name + t->n);
	if (name == NULL)
		abort();
	*name = (struct name){.next = *bucket, .number = (uint32_t)w->n_names++, .n = t->n};
	memcpy(name->text, t->at, t->n);
	*bucket = name;
	buf_char(&w->words, 'N');
	add_bytes(&w->words, t->at, t->n);
	return name->number + 1;
}

void trace_add_session(const struct captured_session *s, void *writer)
{
	struct trace_writer *w = writer;
	buf_char(&w->words, 'S');
	add_varint(&w->words, s->number);
	add_varint(&w->words, s->id);
	add_varint(&w->words, (uint64_t)s->start_ns);
	add_bytes(&w->words, s->user.at, s->user.n);
	add_bytes(&w->words, s->database.at, s->database.n);
	add_bytes(&w->words, s->application.at, s->application.n);
	add_bytes(&w->words, s->host.at, s->host.n);
}

static void add_statement(struct trace_writer *w, struct builder *b, uint32_t local, const struct captured *c)
{
	const struct log_text *literals;
	bool is_new;
	const struct shape *shape = shapes_find(w->shapes, c->text.n > 0 ? c->text.at : "", c->text.n, &literals, &is_new);
	if (is_new) {
		buf_char(&w->words, 'T');
		add_varint(&w->words, shape->fingerprint);
		add_bytes(&w->words, shape->text, shape->n);
	}
	add_shape(b, local, shape->number);
	size_t position = 0;
	for (uint32_t i = 0; i < shape->literals; i++)
		add_value(b, local, shape->number, position++, &literals[i], false);
	if (c->kind != CAPTURED_SIMPLE) {
		add_varint(&b->columns[COLUMN_PARAMS], c->n_params);
		for (size_t i = 0; i < c->n_params; i++)
			add_value(b, local, shape->number, position++, &c->params[i].value, c->params[i].null);
	}
}

void trace_add_event(const struct captured *c, void *writer)
{
	struct trace_writer *w = writer;
	struct builder *b = &w->main;
	if (c->arrival_ns > w->newest_ns)
		w->newest_ns = c->arrival_ns;
	else if (w->newest_ns - c->arrival_ns > LATE_NS)
		b = &w->late;
	bool failed = memcmp(c->sqlstate, "00000", 5) != 0, named = c->name.n > 0 || c->portal.n > 0;
	int64_t duration_us = c->duration_ns < 0 ? -1 : c->duration_ns / NS_PER_US;
	int64_t stamp = c->from_end && duration_us >= 0 ? c->arrival_ns + duration_us * NS_PER_US : c->arrival_ns;
	add_byte(&b->columns[COLUMN_KIND],
		(unsigned)c->kind | (c->from_end ? ROW_FROM_END : 0u) | (c->no_end ? ROW_NO_END : 0u) | (failed ? ROW_ERROR : 0u) |
			(named ? ROW_NAMED : 0u) | (c->rows >= 0 ? ROW_ROWS : 0u));
	uint32_t local = local_of(b, c->session);
	b->stamps[b->rows] = stamp;
	if (b->rows == 0 || c->arrival_ns < b->first_ns)
		b->first_ns = c->arrival_ns;
	int64_t end_ns = c->arrival_ns + (duration_us > 0 ? duration_us * NS_PER_US : 0);
	if (b->rows == 0 || end_ns > b->last_ns)
		b->last_ns = end_ns;
	b->rows++;
	w->events++;
	if (failed) {
		buf_add(&b->columns[COLUMN_ERROR], c->sqlstate, 5);
		add_varint(&b->columns[COLUMN_ERROR], c->file);
		add_varint(&b->columns[COLUMN_ERROR], (uint64_t)c->line);
	}
	if (named) {
		add_varint(&b->columns[COLUMN_NAME], name_number(w, &c->name));
		add_varint(&b->columns[COLUMN_PORTAL], name_number(w, &c->portal));
	}
	if (c->rows >= 0)
		add_varint(&b->columns[COLUMN_ROWS], (uint64_t)c->rows);
	if (c->kind > CAPTURED_DISCONNECT) {
		add_varint(&b->columns[COLUMN_DURATION], (uint64_t)(duration_us + 1));
		add_statement(w, b, local, c);
	}
	if (b->rows == b->rows_max || b->bytes > BLOCK_BYTES)
		write_block(w, b);
}

int64_t trace_writer_events(const struct trace_writer *w)
{
	return w->events;
}

/* ---- the end ---- */

static void free_writer(struct trace_writer *w)
{
	for (size_t i = 0; i < NAME_BUCKETS; i++)
		for (struct name *name = w->names[i], *next; name != NULL; name = next) {
			next = name->next;
			free(name);
		}
	free_builder(&w->main);
	free_builder(&w->late);
	shapes_free(w->shapes);
	ZSTD_freeCCtx(w->zstd);
	buf_free(&w->words);
	buf_free(&w->packed);
	buf_free(&w->raw);
	free(w->path);
	free(w->part);
	free(w);
}

enum status trace_finish(struct trace_writer *w, const json_t *meta, struct error *err)
{
	write_block(w, &w->main);
	write_block(w, &w->late);
	char *text = json_dumps(meta, JSON_COMPACT);
	if (text == NULL)
		abort();
	size_t n = strlen(text);
	buf_clear(&w->raw);
	buf_clear(&w->packed);
	buf_add(&w->raw, text, n);
	free(text);
	unsigned char header[BLOCK_HEADER] = {0};
	put_u32(header, META_MAGIC);
	put_u32(header + 16, (uint32_t)n);
	put_u32(header + 20, pack(w, &w->raw));
	put_u32(header + 48, (uint32_t)crc32(0, (const unsigned char *)w->packed.data, (unsigned)w->packed.len));
	put_u32(header + 52, (uint32_t)crc32(0, header, BLOCK_HEADER - 4));
	fwrite(header, 1, sizeof header, w->file);
	fwrite(w->packed.data, 1, w->packed.len, w->file);
	bool failed = ferror(w->file) != 0 || fflush(w->file) != 0 || (w->part != NULL && fsync(fileno(w->file)) != 0);
	if ((fclose(w->file) != 0 || failed) && w->error.status == ST_OK)
		(void)error_errno(&w->error, ST_FAILED, "%s", w->path);
	if (w->part != NULL && w->error.status == ST_OK && rename(w->part, w->path) != 0)
		(void)error_errno(&w->error, ST_FAILED, "%s", w->path);
	if (w->part != NULL && w->error.status != ST_OK)
		(void)unlink(w->part);
	enum status st = w->error.status;
	if (st != ST_OK)
		*err = w->error;
	free_writer(w);
	return st;
}

void trace_abandon(struct trace_writer *w)
{
	if (w == NULL)
		return;
	if (w->part != NULL)
		(void)unlink(w->part);
	(void)fclose(w->file);
	free_writer(w);
}
