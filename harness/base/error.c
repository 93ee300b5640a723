/* The one error type: filling it and turning it into one line of text. */
#define _GNU_SOURCE
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#undef error_set
#undef error_errno

enum status error_set(struct error *err, enum status status, const char *fmt, ...)
{
	if (err == NULL)
		return status;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->what, sizeof err->what, fmt, ap);
	va_end(ap);
	err->status = status;
	err->where[0] = err->hint[0] = '\0';
	return status;
}

enum status error_errno(struct error *err, enum status status, const char *fmt, ...)
{
	int reason = errno;
	if (err == NULL)
		return status;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(err->what, sizeof err->what, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof err->what)
		snprintf(err->what + n, sizeof err->what - (size_t)n, ": %s", strerror(reason));
	err->status = status;
	err->where[0] = err->hint[0] = '\0';
	return status;
}

void error_where(struct error *err, const char *fmt, ...)
{
	if (err == NULL || err->where[0] != '\0')
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->where, sizeof err->where, fmt, ap);
	va_end(ap);
}

void error_hint(struct error *err, const char *fmt, ...)
{
	if (err == NULL)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof err->hint, fmt, ap);
	va_end(ap);
}

const char *error_text(const struct error *err, char *out, unsigned long size)
{
	snprintf(out, size, "%s%s%s%s%s%s", err->where, err->where[0] ? ": " : "", err->what, err->hint[0] ? " (" : "", err->hint,
		err->hint[0] ? ")" : "");
	return out;
}
