/* SQL text as PostgreSQL's own parser (libpg_query) sees it. No server is asked, so no name is looked up. */
#ifndef PGR_SQL_PARSE_H
#define PGR_SQL_PARSE_H

#include "base/error.h"

#include <jansson.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#define SQL_TEXT_MAX ((size_t)8 << 20)

/* The parse tree, as libpg_query writes it: {"version": 150001, "stmts": [{"stmt": {...}, "stmt_location", "stmt_len"}]}, positions
 * counting bytes. The caller owns *tree. ST_USAGE: it cannot be read, which may be because it is newer than the parser; *position
 * (may be NULL) is then the character of text, from 1, where it stopped, or 0. */
enum status sql_parse(const char *text, json_t **tree, int *position, struct error *err) MUST_CHECK;

/* libpg_query's fingerprint: equal for statements that differ in their literals alone. false: it cannot be parsed. */
bool sql_fingerprint(const char *text, uint64_t *fingerprint);

/* The major version of PostgreSQL that the parser is of. */
int sql_parser_version(void);

/* Lua's module `sql`: sql.parse(text) gives the tree as a table, or nil, the message and the position; sql.version is the parser's.
 * sql.plpgsql(text): the body of a CREATE FUNCTION or DO in PL/pgSQL as libpg_query writes it, a list of {"PLpgSQL_function": {...}}, or nil and the
 * message. sql.plpgsql_error(text): what is wrong with the body of a CREATE FUNCTION or DO in PL/pgSQL, or nothing. */
void sql_preload_lua(lua_State *L);

#endif
