/* Messages for the person at the terminal, handed to the one sink. */
#define _GNU_SOURCE
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink *the_sink;
static void *the_sink_arg;

void log_set_sink(log_sink *sink, void *arg)
{
	pthread_mutex_lock(&sink_lock);
	the_sink = sink;
	the_sink_arg = arg;
	pthread_mutex_unlock(&sink_lock);
}

static void emit(enum log_level level, const char *fmt, va_list ap)
{
	char text[2048];
	vsnprintf(text, sizeof text, fmt, ap);
	pthread_mutex_lock(&sink_lock);
	if (the_sink != NULL)
		the_sink(level, text, the_sink_arg);
	pthread_mutex_unlock(&sink_lock);
}

#define EMIT(level)           \
	va_list ap;           \
	va_start(ap, fmt);    \
	emit(level, fmt, ap); \
	va_end(ap)

void log_debug(const char *fmt, ...)
{
	EMIT(LOG_DEBUG);
}

void log_info(const char *fmt, ...)
{
	EMIT(LOG_INFO);
}

void log_warning(const char *fmt, ...)
{
	EMIT(LOG_WARNING);
}
