/* The headers of all blocks are looked at first; then blocks are unpacked when their time comes and merged by arrival. Everything in a
 * file may be damaged: each length is checked against what is there. */
#define _GNU_SOURCE
#include "replay/trace.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/vec.h"
#include "replay/trace_format.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

/* Times are whole milliseconds, durations microseconds: what follows in a session may seem to begin so much before what it follows. */
#define ROUNDING_NS (2 * NS_PER_MS)
#define LOG_ORDER_NS (3 * NS_PER_MS)   /* by how much ends reckoned from two blocks may be out of order */
#define VALUES_MAX ((uint32_t)1 << 26) /* of a block */

struct block {
	int64_t offset;
	uint32_t rows, words_n, words_packed, columns_n, columns_packed, crc;
	int64_t first_ns, last_ns, unit;
};

struct known_session {
	struct trace_session shown;
	int64_t last_ns; /* arrival of its last event that was read */
};

struct row {
	int64_t arrival_ns, logged_ns, duration_ns, rows, line;
	uint32_t session, shape, name, portal, file; /* shape, name, portal: number + 1, or 0 */
	uint32_t literals, params, value;            /* value: the first one's number */
	uint8_t flags;
	char sqlstate[6];
};

struct loaded {
	struct row *rows;
	uint32_t *order, n, next;
	uint32_t number; /* of the block */
	int64_t end_ns;  /* of the next row, or of one before it that ended later; in the log's order */
	struct param *values;
	char *columns; /* unpacked; texts point here */
	char *digits;  /* integers as text */
};

struct trace {
	int fd;
	char *path;
	struct trace_summary summary;
	json_t *meta;
	VEC(struct block) blocks;
	uint32_t *by_first; /* blocks by first_ns */
	uint32_t next_block, words_read;
	VEC(struct known_session *) sessions;
	VEC(struct trace_shape *) shapes;
	VEC(char *) names;
	VEC(struct loaded *) open; /* a heap by arrival of the next row */
	int64_t from_ns;
	bool log_order;
	struct loaded *spent; /* whose row was told last, and which has no more */
};

static enum status damaged(const struct trace *t, const char *what, struct error *err)
{
	return error_set(err, ST_FAILED, "%s: the trace is damaged: %s", t->path, what);
}

/* ---- opening ---- */

static bool read_at(const struct trace *t, void *to, size_t n, int64_t offset)
{
	size_t got = 0;
	while (got < n) {
		ssize_t r = pread(t->fd, (char *)to + got, n - got, offset + (int64_t)got);
		if (r <= 0)
			return false;
		got += (size_t)r;
	}
	return true;
}

/* Unpacks n bytes of the file into fresh memory, with a NUL behind. NULL: they are damaged. */
static char *unpack(const struct trace *t, int64_t offset, uint32_t packed, uint32_t n)
{
	if (n > SECTION_MAX || packed > SECTION_MAX || offset + packed > t->summary.bytes)
		return NULL;
	char *from = malloc(packed + 1), *to = malloc((size_t)n + 1);
	if (from == NULL || to == NULL)
		abort();
	size_t got = 0;
	bool well = read_at(t, from, packed, offset);
	if (well && (n > 0 || packed > 0))
		got = ZSTD_decompress(to, n, from, packed);
	free(from);
	if (!well || ZSTD_isError(got) || got != n) {
		free(to);
		return NULL;
	}
	to[n] = '\0';
	return to;
}

static void read_meta(struct trace *t, const unsigned char *header, int64_t offset)
{
	uint32_t n = get_u32(header + 16);
	char *text = unpack(t, offset, get_u32(header + 20), n);
	struct error ignored;
	if (text != NULL && json_parse(text, n, t->path, &t->meta, &ignored) == ST_OK)
		t->summary.cut_off = false;
	free(text);
}

static void read_headers(struct trace *t)
{
	int64_t offset = TRACE_HEADER;
	unsigned char header[BLOCK_HEADER];
	t->summary.cut_off = true;
	t->summary.first_ns = INT64_MAX;
	t->summary.last_ns = INT64_MIN;
	while (read_at(t, header, sizeof header, offset)) {
		if (get_u32(header + 52) != (uint32_t)crc32(0, header, BLOCK_HEADER - 4))
			return;
		offset += BLOCK_HEADER;
		if (get_u32(header) == META_MAGIC) {
			read_meta(t, header, offset);
			return;
		}
		struct block b = {.offset = offset,
			.rows = get_u32(header + 4),
			.words_n = get_u32(header + 8),
			.words_packed = get_u32(header + 12),
			.columns_n = get_u32(header + 16),
			.columns_packed = get_u32(header + 20),
			.first_ns = (int64_t)get_u64(header + 24),
			.last_ns = (int64_t)get_u64(header + 32),
			.unit = (int64_t)get_u64(header + 40),
			.crc = get_u32(header + 48)};
		offset += (int64_t)b.words_packed + b.columns_packed;
		if (get_u32(header) != BLOCK_MAGIC || offset > t->summary.bytes || b.rows > BLOCK_ROWS || b.unit <= 0 || b.unit > NS_PER_S)
			return;
		VEC_PUSH(&t->blocks, b);
		t->summary.blocks++;
		t->summary.events += b.rows;
		if (b.rows > 0 && b.first_ns < t->summary.first_ns)
			t->summary.first_ns = b.first_ns;
		if (b.rows > 0 && b.last_ns > t->summary.last_ns)
			t->summary.last_ns = b.last_ns;
	}
}

static int by_first(const void *a, const void *b, void *arg)
{
	const struct trace *t = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	int64_t fx = t->blocks.at[x].first_ns, fy = t->blocks.at[y].first_ns;
	return fx != fy ? (fx < fy ? -1 : 1) : (x < y ? -1 : 1);
}

enum status trace_open(const char *path, struct trace **out, struct error *err)
{
	unsigned char header[TRACE_HEADER];
	struct stat st;
	struct trace *t = calloc(1, sizeof *t);
	if (t == NULL || (t->path = strdup(path)) == NULL)
		abort();
	enum status result = ST_OK;
	t->fd = open(path, O_RDONLY | O_CLOEXEC);
	t->from_ns = INT64_MIN;
	if (t->fd < 0 || fstat(t->fd, &st) != 0) {
		result = error_errno(err, ST_USAGE, "%s", path);
	} else if (!S_ISREG(st.st_mode) || !read_at(t, header, sizeof header, 0) || memcmp(header, TRACE_MAGIC, 8) != 0) {
		result = error_set(err, ST_USAGE, "%s is no trace", path);
		error_hint(err, "pgrehearse capture LOG... -o TRACE makes one of a server's log");
	} else if (get_u32(header + 8) != TRACE_VERSION) {
		result = error_set(err, ST_USAGE, "%s is a trace of version %" PRIu32 "; this program reads version %d", path,
			get_u32(header + 8), TRACE_VERSION);
	}
	if (result != ST_OK) {
		trace_close(t);
		return result;
	}
	t->summary.bytes = st.st_size;
	read_headers(t);
	t->by_first = calloc(t->blocks.n + 1, sizeof *t->by_first);
	if (t->by_first == NULL)
		abort();
	for (uint32_t i = 0; i < t->blocks.n; i++)
		t->by_first[i] = i;
	if (t->blocks.n > 0)
		qsort_r(t->by_first, t->blocks.n, sizeof *t->by_first, by_first, t);
	*out = t;
	return ST_OK;
}

static void free_loaded(struct loaded *l)
{
	if (l == NULL)
		return;
	free(l->rows);
	free(l->order);
	free(l->values);
	free(l->columns);
	free(l->digits);
	free(l);
}

void trace_close(struct trace *t)
{
	if (t == NULL)
		return;
	if (t->fd >= 0)
		close(t->fd);
	for (size_t i = 0; i < t->sessions.n; i++)
		free(t->sessions.at[i]);
	for (size_t i = 0; i < t->shapes.n; i++)
		free(t->shapes.at[i]);
	for (size_t i = 0; i < t->names.n; i++)
		free(t->names.at[i]);
	for (size_t i = 0; i < t->open.n; i++)
		free_loaded(t->open.at[i]);
	free_loaded(t->spent);
	VEC_FREE(&t->sessions);
	VEC_FREE(&t->shapes);
	VEC_FREE(&t->names);
	VEC_FREE(&t->open);
	VEC_FREE(&t->blocks);
	free(t->by_first);
	json_decref(t->meta);
	free(t->path);
	free(t);
}

const struct trace_summary *trace_summary(const struct trace *t)
{
	return &t->summary;
}

const json_t *trace_meta(const struct trace *t)
{
	return t->meta;
}

void trace_seek(struct trace *t, int64_t from_ns)
{
	t->from_ns = from_ns;
}

void trace_in_log_order(struct trace *t)
{
	t->log_order = true;
}

/* ---- words: sessions, shapes, names ---- */

/* Four strings behind one another in the session's own memory. */
static bool read_session(struct trace *t, struct cursor *c)
{
	struct trace_session s = {.number = (uint32_t)take_varint(c), .id = take_varint(c), .start_ns = (int64_t)take_varint(c)};
	const char *texts[4];
	size_t n[4], total = 4;
	for (int i = 0; i < 4; i++) {
		texts[i] = take_bytes(c, &n[i]);
		total += n[i];
	}
	if (c->bad || s.number != t->sessions.n)
		return false;
	struct known_session *known = malloc(sizeof *known + total);
	if (known == NULL)
		abort();
	char *to = (char *)(known + 1);
	const char **fields[] = {&s.user, &s.database, &s.application, &s.host};
	for (int i = 0; i < 4; i++) {
		memcpy(to, texts[i], n[i]);
		to[n[i]] = '\0';
		*fields[i] = to;
		to += n[i] + 1;
	}
	known->shown = s;
	known->last_ns = INT64_MIN;
	VEC_PUSH(&t->sessions, known);
	return true;
}

static bool read_shape(struct trace *t, struct cursor *c)
{
	size_t n;
	uint64_t fingerprint = take_varint(c);
	const char *text = take_bytes(c, &n);
	if (c->bad)
		return false;
	struct trace_shape *shape = malloc(sizeof *shape + n + 1);
	if (shape == NULL)
		abort();
	char *to = (char *)(shape + 1);
	memcpy(to, text, n);
	to[n] = '\0';
	*shape = (struct trace_shape){.fingerprint = fingerprint, .number = (uint32_t)t->shapes.n, .n = n, .text = to};
	for (size_t i = 0; i < n; i++)
		shape->literals += text[i] == SHAPE_MARK;
	VEC_PUSH(&t->shapes, shape);
	return shape->literals <= SHAPE_LITERALS_MAX;
}

static bool read_words(struct trace *t, uint32_t number)
{
	const struct block *b = &t->blocks.at[number];
	if (b->words_n == 0)
		return true;
	char *text = unpack(t, b->offset, b->words_packed, b->words_n);
	if (text == NULL)
		return false;
	struct cursor c = {(unsigned char *)text, (unsigned char *)text + b->words_n, false};
	bool well = true;
	while (well && c.at < c.end) {
		size_t n;
		const char *name;
		switch (*c.at++) {
		case 'S':
			well = read_session(t, &c);
			break;
		case 'T':
			well = read_shape(t, &c);
			break;
		case 'N':
			name = take_bytes(&c, &n);
			well = !c.bad;
			if (well)
				VEC_PUSH(&t->names, strndup(name, n));
			break;
		default:
			well = false;
		}
	}
	free(text);
	return well;
}

/* ---- rows ---- */

struct decoding {
	struct cursor columns[COLUMNS_ALL];
	uint32_t *locals, n_locals, *last_shape;
	struct again *again;
	uint32_t *successor; /* [shape + 1] */
	uint32_t n_values, cap_values;
	size_t digits_n, digits_cap;
	struct loaded *l;
};

static bool find_columns(struct decoding *d, const void *bytes, uint32_t n)
{
	struct cursor c = {bytes, (const unsigned char *)bytes + n, false};
	uint64_t count = take_varint(&c);
	uint32_t numbers[COLUMNS_ALL];
	uint64_t lengths[COLUMNS_ALL], total = 0;
	if (count > COLUMNS_ALL)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t number = take_varint(&c);
		lengths[i] = take_varint(&c);
		if (c.bad || number >= COLUMNS_ALL || lengths[i] > n)
			return false;
		numbers[i] = (uint32_t)number;
		total += lengths[i];
	}
	if (total != (uint64_t)(c.end - c.at))
		return false;
	for (uint64_t i = 0; i < count; i++) {
		d->columns[numbers[i]] = (struct cursor){c.at, c.at + lengths[i], false};
		c.at += lengths[i];
	}
	return true;
}

static unsigned char take_byte(struct cursor *c)
{
	if (c->at < c->end)
		return *c->at++;
	c->bad = true;
	return 0;
}

/* Values may move while the block is read, so texts of integers are kept as offsets until it is complete: at NULL, n the offset. */
static bool read_value(struct decoding *d, uint32_t local, uint32_t shape, size_t position)
{
	unsigned column = value_column(shape, position);
	struct cursor *tags = &d->columns[COLUMNS_FIXED + 2 * column], *values = tags + 1;
	struct param value = {0};
	int64_t number;
	size_t n;
	if (d->n_values == d->cap_values) {
		d->cap_values = d->cap_values > 0 ? d->cap_values * 2 : 65536;
		if (d->cap_values > VALUES_MAX)
			return false;
		d->l->values = realloc(d->l->values, d->cap_values * sizeof *d->l->values);
		if (d->l->values == NULL)
			abort();
	}
	switch (take_byte(tags)) {
	case VALUE_NULL:
		value.null = true;
		break;
	case VALUE_TEXT: {
		const char *text = take_bytes(values, &n);
		value.value = (struct log_text){(char *)(uintptr_t)text, n};
		break;
	}
	case VALUE_AGAIN: {
		const struct again *a = &d->again[local];
		number = a->ring[(a->next - 1 - take_byte(values)) % AGAIN_RING];
		goto as_text;
	}
	case VALUE_INT:
		number = unzigzag(take_varint(values));
		if (number >= AGAIN_MIN || number <= -AGAIN_MIN)
			d->again[local].ring[d->again[local].next++ % AGAIN_RING] = number;
as_text:
		if (d->digits_cap - d->digits_n < 24) {
			d->digits_cap = d->digits_cap * 2 + 65536;
			d->l->digits = realloc(d->l->digits, d->digits_cap);
			if (d->l->digits == NULL)
				abort();
		}
		value.value.n = d->digits_n;
		d->digits_n += (size_t)snprintf(d->l->digits + d->digits_n, 24, "%" PRId64, number) + 1;
		break;
	default:
		return false;
	}
	d->l->values[d->n_values++] = value;
	return !tags->bad && !values->bad;
}

static uint32_t read_local(struct decoding *d)
{
	uint64_t local = take_varint(&d->columns[COLUMN_SESSION]);
	if (local > 0)
		return local <= d->n_locals ? (uint32_t)local - 1 : UINT32_MAX;
	if (d->n_locals == BLOCK_ROWS)
		return UINT32_MAX;
	d->locals[d->n_locals] = (uint32_t)take_varint(&d->columns[COLUMN_SESSIONS]);
	return d->n_locals++;
}

static bool read_statement(const struct trace *t, struct decoding *d, struct row *r, uint32_t local)
{
	uint64_t duration = take_varint(&d->columns[COLUMN_DURATION]), shape = take_varint(&d->columns[COLUMN_SHAPE]);
	uint32_t last = d->last_shape[local];
	if (shape == 0)
		shape = d->successor[last];
	if (shape == 0 || shape > t->shapes.n || duration > INT64_MAX / NS_PER_US)
		return false;
	d->successor[last] = d->last_shape[local] = r->shape = (uint32_t)shape;
	r->duration_ns = duration > 0 ? (int64_t)(duration - 1) * NS_PER_US : -1;
	r->value = d->n_values;
	r->literals = t->shapes.at[shape - 1]->literals;
	size_t position = 0;
	for (uint32_t i = 0; i < r->literals; i++)
		if (!read_value(d, local, r->shape - 1, position++))
			return false;
	if ((r->flags & ROW_KIND) == CAPTURED_SIMPLE)
		return true;
	uint64_t params = take_varint(&d->columns[COLUMN_PARAMS]);
	if (params > PARAMS_MAX)
		return false;
	r->params = (uint32_t)params;
	for (uint32_t i = 0; i < r->params; i++)
		if (!read_value(d, local, r->shape - 1, position++))
			return false;
	return true;
}

static bool read_row(struct trace *t, struct decoding *d, struct row *r, int64_t *stamp, int64_t unit)
{
	*r = (struct row){.flags = take_byte(&d->columns[COLUMN_KIND]), .duration_ns = -1, .rows = -1, .sqlstate = "00000"};
	uint32_t local = read_local(d);
	unsigned kind = r->flags & ROW_KIND;
	if (local == UINT32_MAX || kind >= CAPTURED_KINDS || d->locals[local] >= t->sessions.n)
		return false;
	r->session = d->locals[local];
	*stamp = (int64_t)((uint64_t)*stamp + (uint64_t)unzigzag(take_varint(&d->columns[COLUMN_STAMP])));
	if (__builtin_mul_overflow(*stamp, unit, &r->arrival_ns))
		return false;
	if ((r->flags & ROW_ERROR) != 0) {
		struct cursor *c = &d->columns[COLUMN_ERROR];
		for (int i = 0; i < 5; i++)
			r->sqlstate[i] = (char)take_byte(c);
		r->file = (uint32_t)take_varint(c);
		r->line = (int64_t)take_varint(c);
	}
	if ((r->flags & ROW_NAMED) != 0) {
		r->name = (uint32_t)take_varint(&d->columns[COLUMN_NAME]);
		r->portal = (uint32_t)take_varint(&d->columns[COLUMN_PORTAL]);
		if (r->name > t->names.n || r->portal > t->names.n)
			return false;
	}
	if ((r->flags & ROW_ROWS) != 0)
		r->rows = (int64_t)take_varint(&d->columns[COLUMN_ROWS]);
	if (kind > CAPTURED_DISCONNECT && !read_statement(t, d, r, local))
		return false;
	if ((r->flags & ROW_FROM_END) != 0 && r->duration_ns > 0 && __builtin_sub_overflow(r->arrival_ns, r->duration_ns, &r->arrival_ns))
		return false;
	r->logged_ns = r->arrival_ns;
	struct known_session *s = t->sessions.at[r->session];
	if (s->last_ns != INT64_MIN && r->arrival_ns < s->last_ns && s->last_ns - ROUNDING_NS <= r->arrival_ns)
		r->arrival_ns = s->last_ns;
	s->last_ns = r->arrival_ns;
	for (int i = 0; i < COLUMNS_FIXED; i++)
		if (d->columns[i].bad)
			return false;
	return true;
}

static int by_arrival(const void *a, const void *b, void *arg)
{
	const struct row *rows = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	if (rows[x].arrival_ns != rows[y].arrival_ns)
		return rows[x].arrival_ns < rows[y].arrival_ns ? -1 : 1;
	return x < y ? -1 : x > y;
}

static bool decode(struct trace *t, const struct block *b, struct loaded *l)
{
	struct decoding d = {.l = l};
	d.locals = calloc(BLOCK_ROWS, sizeof *d.locals);
	d.last_shape = calloc(BLOCK_ROWS, sizeof *d.last_shape);
	d.again = calloc(BLOCK_ROWS, sizeof *d.again);
	d.successor = calloc(t->shapes.n + 1, sizeof *d.successor);
	l->rows = calloc((size_t)b->rows + 1, sizeof *l->rows);
	l->order = calloc((size_t)b->rows + 1, sizeof *l->order);
	if (d.locals == NULL || d.last_shape == NULL || d.again == NULL || d.successor == NULL || l->rows == NULL || l->order == NULL)
		abort();
	bool well = find_columns(&d, l->columns, b->columns_n);
	int64_t stamp = 0;
	for (; well && l->n < b->rows; l->n++) {
		well = read_row(t, &d, &l->rows[l->n], &stamp, b->unit);
		l->order[l->n] = l->n;
	}
	for (uint32_t i = 0; i < d.n_values; i++) {
		struct param *p = &l->values[i];
		if (p->null || p->value.at != NULL)
			continue;
		p->value.at = l->digits + p->value.n;
		p->value.n = strlen(p->value.at);
	}
	free(d.locals);
	free(d.last_shape);
	free(d.again);
	free(d.successor);
	if (well && !t->log_order)
		qsort_r(l->order, l->n, sizeof *l->order, by_arrival, l->rows);
	return well;
}

/* ---- merging ---- */

static int64_t next_arrival(const struct loaded *l)
{
	return l->rows[l->order[l->next]].arrival_ns;
}

/* Blocks are in the log's order: so are two events of a session. */
static bool comes_first(const struct loaded *a, const struct loaded *b)
{
	int64_t x = next_arrival(a), y = next_arrival(b);
	return x != y ? x < y : a->number < b->number;
}

static void sift_up(struct trace *t, size_t i)
{
	struct loaded **heap = t->open.at;
	while (i > 0 && comes_first(heap[i], heap[(i - 1) / 2])) {
		struct loaded *other = heap[(i - 1) / 2];
		heap[(i - 1) / 2] = heap[i];
		heap[i] = other;
		i = (i - 1) / 2;
	}
}

static void sift_down(struct trace *t)
{
	struct loaded **heap = t->open.at;
	for (size_t i = 0;;) {
		size_t least = i;
		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < t->open.n; child++)
			if (comes_first(heap[child], heap[least]))
				least = child;
		if (least == i)
			return;
		struct loaded *other = heap[least];
		heap[least] = heap[i];
		heap[i] = other;
		i = least;
	}
}

/* Goes on to the next row that is wanted. */
static void pass_early(const struct trace *t, struct loaded *l)
{
	while (l->next < l->n && next_arrival(l) < t->from_ns)
		l->next++;
	if (l->next == l->n)
		return;
	const struct row *r = &l->rows[l->order[l->next]];
	int64_t end_ns = r->arrival_ns + (r->duration_ns > 0 ? r->duration_ns : 0);
	if (end_ns > l->end_ns)
		l->end_ns = end_ns;
}

static enum status load_block(struct trace *t, uint32_t number, struct error *err)
{
	const struct block *b = &t->blocks.at[number];
	for (; t->words_read <= number; t->words_read++)
		if (!read_words(t, t->words_read))
			return damaged(t, "sessions and statements of a block cannot be read", err);
	if (b->rows == 0 || b->last_ns < t->from_ns)
		return ST_OK;
	struct loaded *l = calloc(1, sizeof *l);
	if (l == NULL)
		abort();
	l->columns = unpack(t, b->offset + b->words_packed, b->columns_packed, b->columns_n);
	if (l->columns == NULL || !decode(t, b, l)) {
		free_loaded(l);
		return damaged(t, "the rows of a block cannot be read", err);
	}
	l->number = number;
	l->end_ns = INT64_MIN;
	pass_early(t, l);
	if (l->next == l->n) {
		free_loaded(l);
		return ST_OK;
	}
	VEC_PUSH(&t->open, l);
	if (!t->log_order)
		sift_up(t, t->open.n - 1);
	return ST_OK;
}

static void tell(const struct trace *t, const struct loaded *l, const struct row *r, struct trace_event *e)
{
	*e = (struct trace_event){.kind = (enum captured_kind)(r->flags & ROW_KIND),
		.from_end = (r->flags & ROW_FROM_END) != 0,
		.no_end = (r->flags & ROW_NO_END) != 0,
		.session = &t->sessions.at[r->session]->shown,
		.arrival_ns = r->arrival_ns,
		.logged_ns = r->logged_ns,
		.duration_ns = r->duration_ns,
		.shape = r->shape > 0 ? t->shapes.at[r->shape - 1] : NULL,
		.n_literals = r->literals,
		.n_params = r->params,
		.name = r->name > 0 ? t->names.at[r->name - 1] : "",
		.portal = r->portal > 0 ? t->names.at[r->portal - 1] : "",
		.rows = r->rows,
		.file = r->file,
		.line = r->line};
	if (r->literals + r->params > 0) {
		e->literals = l->values + r->value;
		e->params = e->literals + r->literals;
	}
	memcpy(e->sqlstate, r->sqlstate, 6);
}

/* Of the open blocks the one whose next row comes first; blocks follow each other but for those of long statements. */
static size_t find_first(const struct trace *t)
{
	struct loaded *const *open = t->open.at;
	size_t first = 0;
	for (size_t i = 1; t->log_order && i < t->open.n; i++) {
		int64_t ahead_ns = open[first]->end_ns - open[i]->end_ns;
		if (open[i]->number < open[first]->number ? ahead_ns >= -LOG_ORDER_NS : ahead_ns > LOG_ORDER_NS)
			first = i;
	}
	return first;
}

bool trace_next(struct trace *t, struct trace_event *e, struct error *err)
{
	*err = (struct error){0};
	free_loaded(t->spent);
	t->spent = NULL;
	while (t->next_block < t->blocks.n) {
		uint32_t number = t->by_first[t->next_block];
		const struct loaded *next = t->open.n > 0 ? t->open.at[find_first(t)] : NULL;
		if (next != NULL && t->blocks.at[number].first_ns > (t->log_order ? next->end_ns : next_arrival(next)))
			break;
		t->next_block++;
		if (load_block(t, number, err) != ST_OK)
			return false;
	}
	size_t first = find_first(t);
	struct loaded *l = first < t->open.n ? t->open.at[first] : NULL;
	if (l == NULL)
		return false;
	tell(t, l, &l->rows[l->order[l->next++]], e);
	pass_early(t, l);
	if (l->next == l->n) {
		t->spent = l;
		t->open.at[first] = t->open.at[--t->open.n];
	}
	if (!t->log_order)
		sift_down(t);
	return true;
}

void trace_event_text(const struct trace_event *e, struct buf *out)
{
	if (e->shape == NULL)
		return;
	const char *p = e->shape->text, *end = p + e->shape->n;
	for (uint32_t i = 0; i < e->n_literals; i++) {
		const char *mark = memchr(p, SHAPE_MARK, (size_t)(end - p));
		if (mark == NULL)
			break;
		buf_add(out, p, (size_t)(mark - p));
		buf_add(out, e->literals[i].value.at, e->literals[i].value.n);
		p = mark + 1;
	}
	buf_add(out, p, (size_t)(end - p));
}

struct captured trace_event_captured(const struct trace_event *e, uint32_t number)
{
	struct captured c = {.kind = e->kind,
		.session = number,
		.arrival_ns = e->logged_ns,
		.duration_ns = e->duration_ns,
		.from_end = e->from_end,
		.no_end = e->no_end,
		.name = log_text_of(e->name),
		.portal = log_text_of(e->portal),
		.params = e->params,
		.n_params = e->n_params,
		.rows = e->rows,
		.file = e->file,
		.line = e->line};
	memcpy(c.sqlstate, e->sqlstate, sizeof c.sqlstate);
	return c;
}

struct captured_session trace_session_captured(const struct trace_session *s, uint32_t number)
{
	return (struct captured_session){.number = number,
		.id = s->id,
		.start_ns = s->start_ns,
		.user = log_text_of(s->user),
		.database = log_text_of(s->database),
		.application = log_text_of(s->application),
		.host = log_text_of(s->host)};
}
