/* The configuration that a data folder came with: what of it a rehearsal keeps, and what it must not. */
#ifndef PGR_CLONE_SOURCE_CONFIG_H
#define PGR_CLONE_SOURCE_CONFIG_H

#include "base/buf.h"
#include "base/error.h"
#include "clone/origin.h"

#include <jansson.h>

/* One line of postgresql.conf: NAME = VALUE, the equals sign optional, the value in single quotes or without blanks. NONE: it is blank, or a
 * comment. name and value are emptied first; a value may be "" in quotes. */
enum source_setting { SETTING_NONE, SETTING_READ, SETTING_MALFORMED };
enum source_setting source_read_setting(const char *line, struct buf *name, struct buf *value);

/* Reads the configuration files in the data folder, puts settings that change how statements are planned and carried out into data->found,
 * notes the others in facts, and replaces all files by ones that lead nowhere: no archive, no primary, no library but known ones, nobody
 * from outside. Then writes the sandbox's own settings, so that the server may be started in single-user mode. */
enum status source_take_config(struct origin_data *data, json_t *facts, struct error *err) MUST_CHECK;

#endif
