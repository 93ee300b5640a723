/* Reading a time costs a comparison and the seconds: the minute and the zone are mostly those of the line before. */
#include "replay/log_time.h"

#include "base/clock.h"

#include <string.h>

/* Where two zones share an abbreviation it is the one that PostgreSQL's own default list has. */
static const struct {
	char name[6];
	int minutes;
} ZONES[] = {
	{"UTC", 0},
	{"GMT", 0},
	{"Z", 0},
	{"UCT", 0},
	{"WET", 0},
	{"WEST", 60},
	{"BST", 60},
	{"CET", 60},
	{"CEST", 120},
	{"EET", 120},
	{"EEST", 180},
	{"MSK", 180},
	{"IST", 330},
	{"SAST", 120},
	{"JST", 540},
	{"KST", 540},
	{"CST", -360},
	{"CDT", -300},
	{"EST", -300},
	{"EDT", -240},
	{"MST", -420},
	{"MDT", -360},
	{"PST", -480},
	{"PDT", -420},
	{"AKST", -540},
	{"AKDT", -480},
	{"HST", -600},
	{"AEST", 600},
	{"AEDT", 660},
	{"ACST", 570},
	{"ACDT", 630},
	{"AWST", 480},
	{"NZST", 720},
	{"NZDT", 780},
	{"HKT", 480},
	{"NST", -210},
	{"NDT", -150},
	{"AST", -240},
	{"ADT", -180},
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int two(const char *s)
{
	return (s[0] - '0') * 10 + (s[1] - '0');
}

/* Days since 1970-01-01 in the Gregorian calendar: years are taken to begin in March, so that the leap day is their last. */
static int64_t days_of(int year, int month, int day)
{
	int y = month <= 2 ? year - 1 : year;
	int era = y / 400, of_era = y - era * 400;
	int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return (int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool read_minute(struct log_clock *clock, const char *text)
{
	static const char SHAPE[] = "dddd-dd-dd dd:dd";
	for (size_t i = 0; i < sizeof SHAPE - 1; i++)
		if (SHAPE[i] == 'd' ? !is_digit(text[i]) : text[i] != SHAPE[i])
			return false;
	int year = two(text) * 100 + two(text + 2), month = two(text + 5), day = two(text + 8);
	int hour = two(text + 11), minute = two(text + 14);
	if (year < 1970 || year > 2200 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59)
		return false;
	memcpy(clock->minute, text, sizeof clock->minute);
	clock->minute_ns = ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 * NS_PER_S;
	clock->has_minute = true;
	return true;
}

static void read_zone(struct log_clock *clock, const char *zone, size_t n)
{
	memcpy(clock->zone, zone, n);
	clock->zone_n = n;
	clock->zone_ns = 0;
	if (n >= 3 && (zone[0] == '+' || zone[0] == '-')) {
		int minutes = is_digit(zone[1]) && is_digit(zone[2]) ? two(zone + 1) * 60 : 0;
		const char *rest = zone + 3;
		if (n >= 6 && rest[0] == ':')
			rest++;
		if (rest + 2 <= zone + n && is_digit(rest[0]) && is_digit(rest[1]))
			minutes += two(rest);
		clock->zone_ns = (zone[0] == '-' ? -minutes : minutes) * 60 * NS_PER_S;
		return;
	}
	for (size_t i = 0; i < sizeof ZONES / sizeof ZONES[0]; i++) {
		if (strlen(ZONES[i].name) == n && memcmp(ZONES[i].name, zone, n) == 0) {
			clock->zone_ns = ZONES[i].minutes * 60 * NS_PER_S;
			return;
		}
	}
	if (!clock->unknown_zone)
		memcpy(clock->unknown_name, zone, n);
	clock->unknown_zone = true;
}

static size_t zone_length(const char *zone, size_t n)
{
	size_t i = 0;
	if (n > 0 && (zone[0] == '+' || zone[0] == '-')) {
		for (i = 1; i < n && (is_digit(zone[i]) || zone[i] == ':'); i++)
			;
		return i >= 3 ? i : 0;
	}
	for (; i < n && ((zone[i] >= 'A' && zone[i] <= 'Z') || (zone[i] >= 'a' && zone[i] <= 'z')); i++)
		;
	return i;
}

int64_t log_clock_read(struct log_clock *clock, const char *text, size_t n, size_t *used)
{
	*used = 0;
	if (n < 19 || text[16] != ':' || !is_digit(text[17]) || !is_digit(text[18]))
		return INT64_MIN;
	if (!(clock->has_minute && memcmp(clock->minute, text, sizeof clock->minute) == 0) && !read_minute(clock, text))
		return INT64_MIN;
	int64_t ns = clock->minute_ns + two(text + 17) * NS_PER_S;
	size_t i = 19;
	if (n > 23 && text[19] == '.' && is_digit(text[20]) && is_digit(text[21]) && is_digit(text[22]) && text[23] == ' ') {
		ns += (two(text + 20) * 10 + (text[22] - '0')) * NS_PER_MS;
		i = 23;
	} else if (i < n && text[i] == '.') {
		int64_t unit = NS_PER_S / 10;
		for (i++; i < n && is_digit(text[i]); i++, unit /= 10)
			ns += (text[i] - '0') * unit;
	}
	if (i < n && text[i] == ' ' && i + 1 < n) {
		const char *zone = text + i + 1;
		/* A field of a csvlog or jsonlog ends with its zone. */
		if (n - i - 1 == clock->zone_n && memcmp(zone, clock->zone, clock->zone_n) == 0) {
			*used = n;
			return ns - clock->zone_ns;
		}
		size_t zone_n = zone_length(zone, n - i - 1);
		if (zone_n > 0 && zone_n < sizeof clock->zone) {
			if (clock->zone_n != zone_n || memcmp(clock->zone, zone, zone_n) != 0)
				read_zone(clock, zone, zone_n);
			ns -= clock->zone_ns;
			i += 1 + zone_n;
		}
	}
	*used = i;
	return ns;
}
