/* Dates by arithmetic alone: no time zone, no locale, no call of libc that has either. */
#include "load/moment.h"

#include "base/clock.h"

#define US_PER_S (NS_PER_S / NS_PER_US)
#define DAYS_TO_1970 719468 /* from 1 March of year 0 */
#define DAYS_OF_ERA 146097  /* 400 years */

/* A year that begins in March has its leap day at its end, so that months need no table: 153 days are five of them. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	year -= month <= 2;
	int64_t era = year / 400, of_era = year % 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	return era * DAYS_OF_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970;
}

static int64_t days_in_month(int64_t year, int64_t month)
{
	return month == 12 ? 31 : days_of(year, month + 1, 1) - days_of(year, month, 1);
}

/* A number of exactly `digits` digits at *p, or -1. */
static int64_t take_number(const char **p, int digits)
{
	int64_t n = 0;
	for (int i = 0; i < digits; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		n = n * 10 + (**p - '0');
	}
	return n;
}

/* Reads c and a number of two digits up to max; 0 when c does not stand there, -1 when what follows it is wrong. */
static int64_t take_part(const char **p, char c, int64_t max)
{
	if (**p != c)
		return 0;
	(*p)++;
	int64_t n = take_number(p, 2);
	return n > max ? -1 : n;
}

static int64_t take_fraction(const char **p)
{
	int64_t us = 0, unit = US_PER_S;
	if (**p != '.')
		return 0;
	for ((*p)++; **p >= '0' && **p <= '9' && unit > 1; (*p)++)
		us += (**p - '0') * (unit /= 10);
	return unit < US_PER_S ? us : -1;
}

bool moment_parse(const char *text, int64_t *us)
{
	const char *p = text;
	int64_t year = take_number(&p, 4);
	if (year < 1 || *p++ != '-')
		return false;
	int64_t month = take_number(&p, 2);
	if (month < 1 || month > 12 || *p++ != '-')
		return false;
	int64_t day = take_number(&p, 2);
	if (day < 1 || day > days_in_month(year, month))
		return false;
	int64_t hour = 0, minute = 0, second = 0, fraction = 0;
	if (*p == ' ' || *p == 'T') {
		hour = take_part(&p, *p, 23);
		if (*p != ':')
			return false;
		minute = take_part(&p, ':', 59);
		if (*p == ':') {
			second = take_part(&p, ':', 59);
			fraction = take_fraction(&p);
		}
	}
	*us = (((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * US_PER_S + fraction;
	return hour >= 0 && minute >= 0 && second >= 0 && fraction >= 0 && *p == '\0';
}

/* Writes `digits` digits of n at out, which moves on, and c behind them. */
static char *put_number(char *out, int64_t n, int digits, char c)
{
	for (int i = digits - 1; i >= 0; i--, n /= 10)
		out[i] = (char)('0' + n % 10);
	out[digits] = c;
	return out + digits + 1;
}

void moment_format(int64_t us, char out[static MOMENT_LEN + 1])
{
	int64_t second = us / US_PER_S - (us % US_PER_S < 0), fraction = us - second * US_PER_S;
	int64_t day = second / 86400 - (second % 86400 < 0), of_day = second - day * 86400;
	day += DAYS_TO_1970;
	int64_t era = day / DAYS_OF_ERA, of_era = day % DAYS_OF_ERA;
	int64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / (DAYS_OF_ERA - 1)) / 365;
	int64_t of_year = of_era - (365 * years + years / 4 - years / 100);
	int64_t march = (5 * of_year + 2) / 153;
	int64_t month = march < 10 ? march + 3 : march - 9;
	char *p = put_number(out, era * 400 + years + (month <= 2), 4, '-');
	p = put_number(p, month, 2, '-');
	p = put_number(p, of_year - (153 * march + 2) / 5 + 1, 2, ' ');
	p = put_number(p, of_day / 3600, 2, ':');
	p = put_number(p, of_day / 60 % 60, 2, ':');
	p = put_number(p, of_day % 60, 2, '.');
	p = put_number(p, fraction, 6, '+');
	put_number(p, 0, 2, '\0');
}
