/* Values of a PostgreSQL result as Lua values. */
#include "scenario/value_lua.h"

#include <stdlib.h>

/* pg_type.dat: they never change. */
enum { OID_BOOL = 16, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_OID = 26, OID_FLOAT4 = 700, OID_FLOAT8 = 701 };
void value_push_lua(lua_State *L, const PGresult *r, int row, int col)
{
	if (PQgetisnull(r, row, col)) {
		lua_pushnil(L);
		return;
	}
	const char *text = PQgetvalue(r, row, col);
	switch (PQftype(r, col)) {
	case OID_BOOL:
		lua_pushboolean(L, text[0] == 't');
		break;
	case OID_INT2:
	case OID_INT4:
	case OID_INT8:
	case OID_OID:
		lua_pushinteger(L, strtoll(text, NULL, 10));
		break;
	case OID_FLOAT4:
	case OID_FLOAT8:
		lua_pushnumber(L, strtod(text, NULL));
		break;
	default:
		lua_pushlstring(L, text, (size_t)PQgetlength(r, row, col));
	}
}
