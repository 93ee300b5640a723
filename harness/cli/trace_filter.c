/* Options of the commands that read traces. */
#include "cli/trace_filter.h"

#include "base/units.h"

enum status trace_filter_take(struct capture_filter *filter, int c, const char *value, bool *taken, struct error *err)
{
	*taken = true;
	switch (c) {
	case OPTION_FROM:
		return units_parse_time(value, &filter->from_ns, err);
	case OPTION_TO:
		return units_parse_time(value, &filter->to_ns, err);
	case OPTION_USER:
		filter->user = value;
		return ST_OK;
	case OPTION_DATABASE:
		filter->database = value;
		return ST_OK;
	case OPTION_APPLICATION:
		filter->application = value;
		return ST_OK;
	case OPTION_CLASS:
		return capture_read_class(value, &filter->fingerprint, err);
	case OPTION_READ_ONLY:
		filter->read_only = true;
		return ST_OK;
	default:
		*taken = false;
		return ST_OK;
	}
}
