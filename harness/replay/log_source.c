/* Files are read() in large pieces, not mapped: a log may grow, shrink or be a pipe, and its readers unescape in place. */
#define _GNU_SOURCE
#include "replay/log_source.h"

#include "replay/log_entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define PIECE ((size_t)1 << 18)
#define INPUT ((size_t)1 << 17)

enum packing { PLAIN, GZIP, ZSTD };

struct log_source {
	struct log_source_view view; /* first: the header's inline functions look here */
	char *buffer;
	size_t size;
	const char *const *paths;
	size_t n_paths, file;
	bool begun;
	char *memory; /* instead of files */
	size_t memory_n;

	int fd;
	bool ended;    /* of this file: no more comes out */
	bool in_ended; /* no more is read from fd */
	enum packing packing;
	unsigned char *in; /* packed bytes */
	size_t in_at, in_n;
	z_stream gzip;
	bool gzip_open;
	ZSTD_DStream *zstd;
	bool between; /* of two gzip members or zstd frames: ending here is no truncation */
	char error[256];
	int64_t bytes;
};

struct log_source *log_source_create(const char *const *paths, size_t n)
{
	struct log_source *s = calloc(1, sizeof *s);
	char *buffer = malloc(PIECE);
	unsigned char *in = malloc(INPUT);
	if (s == NULL || buffer == NULL || in == NULL)
		abort();
	*s = (struct log_source){.paths = paths, .n_paths = n, .fd = -1, .ended = true, .buffer = buffer, .size = PIECE, .in = in};
	s->view.at = buffer;
	return s;
}

struct log_source *log_source_create_memory(const void *data, size_t size)
{
	static const char *const NAME[] = {"memory"};
	struct log_source *s = log_source_create(NAME, 1);
	s->memory = malloc(size + 1);
	if (s->memory == NULL)
		abort();
	memcpy(s->memory, data, size);
	s->memory_n = size;
	return s;
}

static void close_file(struct log_source *s)
{
	if (s->fd > STDIN_FILENO)
		close(s->fd);
	s->fd = -1;
	if (s->gzip_open)
		inflateEnd(&s->gzip);
	s->gzip_open = false;
	ZSTD_freeDStream(s->zstd);
	s->zstd = NULL;
	s->ended = true;
}

void log_source_free(struct log_source *s)
{
	if (s == NULL)
		return;
	close_file(s);
	free(s->memory);
	free(s->buffer);
	free(s->in);
	free(s);
}

/* Reads packed bytes. false: there are no more. */
static bool read_in(struct log_source *s)
{
	ssize_t n;
	if (s->in_ended)
		return false;
	if (s->in_at > 0 && s->in_at == s->in_n)
		s->in_at = s->in_n = 0;
	do
		n = read(s->fd, s->in + s->in_n, INPUT - s->in_n);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		snprintf(s->error, sizeof s->error, "it cannot be read further: %s", strerror(errno));
	if (n <= 0) {
		s->in_ended = true;
		return false;
	}
	s->in_n += (size_t)n;
	s->bytes += n;
	return true;
}

static void begin_unpacking(struct log_source *s)
{
	const unsigned char *in = s->in;
	s->packing = PLAIN;
	if (s->in_n >= 2 && in[0] == 0x1f && in[1] == 0x8b) {
		s->packing = GZIP;
		s->gzip = (z_stream){0};
		s->gzip_open = inflateInit2(&s->gzip, 15 + 32) == Z_OK;
	} else if (s->in_n >= 4 && in[0] == 0x28 && in[1] == 0xb5 && in[2] == 0x2f && in[3] == 0xfd) {
		s->packing = ZSTD;
		s->zstd = ZSTD_createDStream();
		if (s->zstd != NULL)
			ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, 27);
	}
}

bool log_source_next_file(struct log_source *s, struct error *err)
{
	*err = (struct error){0};
	close_file(s);
	if (s->begun)
		s->file++;
	s->begun = true;
	if (s->file >= s->n_paths)
		return false;
	s->view = (struct log_source_view){.at = s->buffer};
	s->ended = s->in_ended = s->between = false;
	s->in_at = s->in_n = 0;
	s->error[0] = '\0';
	const char *path = s->paths[s->file];
	if (s->memory != NULL) {
		s->in_ended = true;
		size_t n = s->memory_n < INPUT ? s->memory_n : INPUT;
		memcpy(s->in, s->memory, n);
		s->in_n = n;
		begin_unpacking(s);
		s->in_n = 0;
		return true;
	}
	s->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0) {
		(void)error_errno(err, ST_USAGE, "%s", path);
		s->ended = true;
		return true;
	}
	while (s->in_n < 4 && read_in(s))
		;
	begin_unpacking(s);
	return true;
}

/* Memory is fed to the same unpacking piece by piece. */
static bool more_in(struct log_source *s)
{
	if (s->memory == NULL)
		return read_in(s);
	size_t n = s->memory_n < INPUT ? s->memory_n : INPUT;
	if (s->in_at < s->in_n || n == 0)
		return false;
	memcpy(s->in, s->memory, n);
	memmove(s->memory, s->memory + n, s->memory_n - n);
	s->memory_n -= n;
	s->in_at = 0;
	s->in_n = n;
	return true;
}

static size_t unpack_plain(struct log_source *s, char *to, size_t room)
{
	if (s->in_at == s->in_n && s->memory == NULL && !s->in_ended) {
		ssize_t n;
		do
			n = read(s->fd, to, room);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			snprintf(s->error, sizeof s->error, "it cannot be read further: %s", strerror(errno));
		if (n <= 0)
			s->in_ended = true;
		s->bytes += n > 0 ? n : 0;
		return n > 0 ? (size_t)n : 0;
	}
	if (s->in_at == s->in_n && !more_in(s))
		return 0;
	size_t n = s->in_n - s->in_at < room ? s->in_n - s->in_at : room;
	memcpy(to, s->in + s->in_at, n);
	s->in_at += n;
	return n;
}

static size_t unpack_gzip(struct log_source *s, void *to, size_t room)
{
	s->gzip.next_out = to;
	s->gzip.avail_out = (unsigned)room;
	while (s->gzip.avail_out == room && s->gzip_open) {
		if (s->in_at == s->in_n && !more_in(s)) {
			if (!s->between && s->error[0] == '\0')
				snprintf(s->error, sizeof s->error, "the gzip data is cut off");
			return 0;
		}
		if (s->between) {
			if (inflateReset(&s->gzip) != Z_OK)
				return 0;
			s->between = false;
		}
		s->gzip.next_in = s->in + s->in_at;
		s->gzip.avail_in = (unsigned)(s->in_n - s->in_at);
		int result = inflate(&s->gzip, Z_NO_FLUSH);
		s->in_at = s->in_n - s->gzip.avail_in;
		if (result == Z_STREAM_END) {
			s->between = true;
		} else if (result != Z_OK && result != Z_BUF_ERROR) {
			snprintf(s->error, sizeof s->error, "the gzip data is damaged: %s", s->gzip.msg != NULL ? s->gzip.msg : "");
			break;
		}
	}
	return room - s->gzip.avail_out;
}

static size_t unpack_zstd(struct log_source *s, void *to, size_t room)
{
	ZSTD_outBuffer out = {to, room, 0};
	while (out.pos == 0 && s->zstd != NULL) {
		if (s->in_at == s->in_n && !more_in(s)) {
			if (!s->between && s->error[0] == '\0')
				snprintf(s->error, sizeof s->error, "the zstd data is cut off");
			return 0;
		}
		ZSTD_inBuffer in = {s->in, s->in_n, s->in_at};
		size_t result = ZSTD_decompressStream(s->zstd, &out, &in);
		s->in_at = in.pos;
		if (ZSTD_isError(result)) {
			snprintf(s->error, sizeof s->error, "the zstd data is damaged: %s", ZSTD_getErrorName(result));
			break;
		}
		s->between = result == 0;
	}
	return out.pos;
}

bool log_source_fill(struct log_source *s)
{
	size_t n = s->view.n;
	if (s->ended || n >= LOG_RECORD_MAX)
		return false;
	if (n > s->size / 2) {
		size_t size = s->size * 2;
		char *buffer = malloc(size);
		if (buffer == NULL)
			abort();
		memcpy(buffer, s->view.at, n);
		free(s->buffer);
		s->buffer = buffer;
		s->size = size;
	} else {
		memmove(s->buffer, s->view.at, n);
	}
	s->view.at = s->buffer;
	char *to = s->buffer + n;
	size_t room = s->size - n, got = 0;
	switch (s->packing) {
	case PLAIN:
		got = unpack_plain(s, to, room);
		break;
	case GZIP:
		got = unpack_gzip(s, to, room);
		break;
	case ZSTD:
		got = unpack_zstd(s, to, room);
		break;
	}
	if (got == 0 || s->error[0] != '\0')
		s->ended = true;
	s->view.n += got;
	return got > 0;
}

const char *log_source_error(struct log_source *s)
{
	static _Thread_local char text[sizeof s->error];
	if (s->error[0] == '\0')
		return NULL;
	memcpy(text, s->error, sizeof text);
	s->error[0] = '\0';
	return text;
}

bool log_source_at_end(const struct log_source *s)
{
	return s->ended;
}

size_t log_source_file(const struct log_source *s)
{
	return s->file;
}

const char *log_source_path(const struct log_source *s, size_t file)
{
	return file < s->n_paths ? s->paths[file] : "";
}

int64_t log_source_bytes(const struct log_source *s)
{
	return s->bytes;
}

int64_t log_source_total(const struct log_source *s)
{
	int64_t total = 0;
	for (size_t i = 0; i < s->n_paths; i++) {
		struct stat st;
		if (stat(s->paths[i], &st) != 0 || !S_ISREG(st.st_mode))
			return 0;
		total += st.st_size;
	}
	return total;
}
