-- The SQL that a body in PL/pgSQL holds: what it would do when it runs, as far as it is written out.
local plpgsql = {}

-- A body's statements are lists of { PLpgSQL_stmt_NAME = {...} }: for each kind where others are within it, and whether those are only done
-- when something holds.
local visit = {}

local function visit_list(list, found, where)
	for _, statement in ipairs(list or {}) do
		for kind, s in pairs(statement) do if visit[kind] then visit[kind](s, found, where) end end
	end
end

local function within(where, fields)
	local out = {}
	for field, value in pairs(where) do out[field] = value end
	for field, value in pairs(fields) do out[field] = value end
	return out
end

local function text_of(expression) return expression and expression.PLpgSQL_expr and expression.PLpgSQL_expr.query end

local function add(found, where, text)
	if text then found.statements[#found.statements + 1] = within(where, { sql = text }) end
end

-- EXECUTE of a text in quotes is known, of any other not.
local function add_dynamic(found, where, expression)
	local text = text_of(expression) or ""
	local quoted = text:match("^%s*'(.*)'%s*$")
	if quoted and not quoted:gsub("''", ""):find("'") then return add(found, where, (quoted:gsub("''", "'"))) end
	local tag, body = text:match("^%s*(%$[%w_]*%$)(.*)%$[%w_]*%$%s*$")
	if tag and not body:find(tag, 1, true) then return add(found, where, body) end
	found.dynamic = true
end

function visit.PLpgSQL_stmt_block(s, found, where)
	visit_list(s.body, found, where)
	for _, item in ipairs(s.exceptions and s.exceptions.PLpgSQL_exception_block and s.exceptions.PLpgSQL_exception_block.exc_list or {}) do
		visit_list(item.PLpgSQL_exception and item.PLpgSQL_exception.action, found, within(where, { conditional = true }))
	end
end
function visit.PLpgSQL_stmt_if(s, found, where)
	local inner = within(where, { conditional = true })
	visit_list(s.then_body, found, inner)
	for _, item in ipairs(s.elsif_list or {}) do visit_list(item.PLpgSQL_if_elsif and item.PLpgSQL_if_elsif.stmts, found, inner) end
	visit_list(s.else_body, found, inner)
end
function visit.PLpgSQL_stmt_case(s, found, where)
	local inner = within(where, { conditional = true })
	for _, item in ipairs(s.case_when_list or {}) do visit_list(item.PLpgSQL_case_when and item.PLpgSQL_case_when.stmts, found, inner) end
	visit_list(s.else_stmts, found, inner)
end
local function loop(s, found, where)
	add(found, where, text_of(s.query))
	visit_list(s.body, found, within(where, { loop = true, conditional = true }))
end
for _, kind in ipairs { "loop", "while", "fori", "fors", "forc", "foreach_a" } do visit["PLpgSQL_stmt_" .. kind] = loop end
function visit.PLpgSQL_stmt_dynfors(s, found, where)
	add_dynamic(found, where, s.query)
	visit_list(s.body, found, within(where, { loop = true, conditional = true }))
end
function visit.PLpgSQL_stmt_execsql(s, found, where) add(found, where, text_of(s.sqlstmt)) end
function visit.PLpgSQL_stmt_perform(s, found, where) add(found, where, text_of(s.expr)) end
function visit.PLpgSQL_stmt_call(s, found, where) add(found, where, text_of(s.expr)) end
function visit.PLpgSQL_stmt_dynexecute(s, found, where) add_dynamic(found, where, s.query) end
function visit.PLpgSQL_stmt_return_query(s, found, where)
	if s.dynquery then add_dynamic(found, where, s.dynquery) else add(found, where, text_of(s.query)) end
end

-- tree: of sql.plpgsql. Returns { statements = { { sql, conditional, loop } ... } in their order, dynamic: it also executes texts that it
-- puts together }.
function plpgsql.statements(tree)
	local found = { statements = {}, dynamic = false }
	for _, item in ipairs(tree or {}) do
		local action = item.PLpgSQL_function and item.PLpgSQL_function.action
		if action then visit_list({ action }, found, {}) end
	end
	return found
end

-- What the parser of bodies does not know of: RETURN NEXT in a function whose columns are its parameters.
function plpgsql.readable(text) return (text:gsub("([Rr][Ee][Tt][Uu][Rr][Nn]%s+[Nn][Ee][Xx][Tt])%s*;", "%1 NULL;")) end

return plpgsql
