/* Values between Lua and SQL: what a script passes becomes text, what the server returns becomes what its type says. */
#define _GNU_SOURCE
#include "load/client.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- parameters ---- */

/* Faster than snprintf, which a short transaction would notice. */
static const char *format_integer(char out[32], lua_Integer n)
{
	char *p = out + 31;
	uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
	*p = '\0';
	do
		*--p = (char)('0' + left % 10);
	while ((left /= 10) > 0);
	if (n < 0)
		*--p = '-';
	return p;
}

static const char *format_float(char out[32], lua_Number x)
{
	if (isnan(x))
		return "NaN";
	if (isinf(x))
		return x > 0 ? "Infinity" : "-Infinity";
	snprintf(out, 32, "%.17g", x);
	return out;
}

const char *client_format_value(lua_State *L, struct client *c, int i, int arg)
{
	switch (lua_type(L, arg)) {
	case LUA_TNIL:
		return NULL;
	case LUA_TBOOLEAN:
		return lua_toboolean(L, arg) ? "t" : "f";
	case LUA_TNUMBER:
		return lua_isinteger(L, arg) ? format_integer(c->numbers[i], lua_tointeger(L, arg))
					     : format_float(c->numbers[i], lua_tonumber(L, arg));
	case LUA_TSTRING: {
		size_t len;
		const char *text = lua_tolstring(L, arg, &len);
		if (memchr(text, '\0', len) != NULL)
			luaL_error(L, "%s: parameter %d holds a zero byte, which text cannot: workload.bytea() makes bytes a parameter",
				c->statement, i + 1);
		return text;
	}
	default:
		luaL_error(L, "%s: parameter %d is a %s%s", c->statement, i + 1, luaL_typename(L, arg),
			lua_istable(L, arg) ? ": workload.array{} and workload.json{} make it one" : "");
		return NULL;
	}
}

/* ---- results ---- */

/* Types by their numbers in pg_type.dat. */
enum {
	TYPE_BOOL = 16,
	TYPE_BYTEA = 17,
	TYPE_INT8 = 20,
	TYPE_INT2 = 21,
	TYPE_INT4 = 23,
	TYPE_OID = 26,
	TYPE_FLOAT4 = 700,
	TYPE_FLOAT8 = 701,
	TYPE_NUMERIC = 1700
};

static void push_number(lua_State *L, const char *text)
{
	if (lua_stringtonumber(L, text) != 0)
		return;
	if (strcmp(text, "NaN") == 0)
		lua_pushnumber(L, (lua_Number)NAN);
	else if (strcmp(text, "Infinity") == 0)
		lua_pushnumber(L, (lua_Number)INFINITY);
	else
		lua_pushnumber(L, -(lua_Number)INFINITY);
}

static int hex_digit(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* bytea_output = hex, the server's default; the older form stays as it came. */
static void push_bytes(lua_State *L, const char *text, size_t len)
{
	if (len < 2 || text[0] != '\\' || text[1] != 'x') {
		lua_pushlstring(L, text, len);
		return;
	}
	luaL_Buffer b;
	char *out = luaL_buffinitsize(L, &b, len / 2);
	for (size_t i = 2; i + 1 < len; i += 2)
		out[i / 2 - 1] = (char)(hex_digit(text[i]) << 4 | hex_digit(text[i + 1]));
	luaL_pushresultsize(&b, (len - 2) / 2);
}

void client_push_column(lua_State *L, const PGresult *result, int row, int column)
{
	if (PQgetisnull(result, row, column)) {
		lua_pushnil(L);
		return;
	}
	const char *text = PQgetvalue(result, row, column);
	switch (PQftype(result, column)) {
	case TYPE_BOOL:
		lua_pushboolean(L, text[0] == 't');
		break;
	case TYPE_INT2:
	case TYPE_INT4:
	case TYPE_INT8:
	case TYPE_OID:
	case TYPE_FLOAT4:
	case TYPE_FLOAT8:
	case TYPE_NUMERIC:
		push_number(L, text);
		break;
	case TYPE_BYTEA:
		push_bytes(L, text, (size_t)PQgetlength(result, row, column));
		break;
	default:
		lua_pushlstring(L, text, (size_t)PQgetlength(result, row, column));
		break;
	}
}

void client_push_row(lua_State *L, const PGresult *result, int row)
{
	int columns = PQnfields(result);
	lua_createtable(L, columns, 0);
	for (int i = 0; i < columns; i++) {
		client_push_column(L, result, row, i);
		lua_rawseti(L, -2, i + 1);
	}
}

int64_t client_count_rows(const PGresult *result)
{
	return PQresultStatus(result) == PGRES_TUPLES_OK ? PQntuples(result)
							 : strtoll(PQcmdTuples((PGresult *)(uintptr_t)result), NULL, 10);
}

void client_push_rows(lua_State *L, const PGresult *result)
{
	int rows = PQntuples(result);
	lua_createtable(L, rows, 0);
	for (int r = 0; r < rows; r++) {
		client_push_row(L, result, r);
		lua_rawseti(L, -2, r + 1);
	}
}
