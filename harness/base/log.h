/* Messages for the person at the terminal. Nothing below cli/ prints: it calls these, and cli/ says where they go. */
#ifndef PGR_BASE_LOG_H
#define PGR_BASE_LOG_H

#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING };

typedef void log_sink(enum log_level level, const char *text, void *arg);

/* Set once before threads start; NULL drops everything. The sink may be called by any thread, one call at a time. */
void log_set_sink(log_sink *sink, void *arg);

void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warning(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
