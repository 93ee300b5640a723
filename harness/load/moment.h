/* Points in time as workloads write them, in UTC: text to microseconds since 1970 and back. Years 1 to 9999. */
#ifndef PGR_LOAD_MOMENT_H
#define PGR_LOAD_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

/* "2026-07-01 12:30:00.000000+00" */
#define MOMENT_LEN 29

/* "2026-07-01", "2026-07-01 12:30", "2026-07-01 12:30:00", with T for the blank, and with up to six digits of a second. */
bool moment_parse(const char *text, int64_t *us);

/* us must be within years 1 to 9999. Writes MOMENT_LEN characters and a terminator. */
void moment_format(int64_t us, char out[static MOMENT_LEN + 1]);

#endif
