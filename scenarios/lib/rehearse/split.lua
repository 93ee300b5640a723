-- Splits SQL text into its statements, so that each is timed, traced and blamed by itself. Knows quotes, dollar quotes, nested
-- comments, E'' escapes and the bodies of BEGIN ATOMIC ... END. A psql command is a piece of its own, up to the end of its line, and the
-- rows behind COPY ... FROM stdin belong to the COPY: who performs SQL can then say that it does not understand them.

-- The position behind the quoted thing that starts at i, or behind i itself.
local function skip(sql, i)
	local c, two = sql:sub(i, i), sql:sub(i, i + 1)
	if two == "--" then
		return (sql:find("\n", i, true) or #sql) + 1, true
	elseif two == "/*" then
		local depth, at = 1, i + 2
		while depth > 0 do
			local p = sql:find("[/*][/*]", at)
			if not p then return #sql + 1, true end
			local pair = sql:sub(p, p + 1)
			if pair == "/*" then depth, at = depth + 1, p + 2
			elseif pair == "*/" then depth, at = depth - 1, p + 2
			else at = p + 1 end
		end
		return at, true
	elseif c == "'" or c == '"' then
		local escapes = c == "'" and sql:sub(i - 1, i - 1):lower() == "e" and not sql:sub(i - 2, i - 2):match("[%w_]")
		local at = i + 1
		while at <= #sql do
			local d = sql:sub(at, at)
			if escapes and d == "\\" then at = at + 2
			elseif d == c and sql:sub(at + 1, at + 1) == c then at = at + 2
			elseif d == c then return at + 1
			else at = at + 1 end
		end
		return at
	elseif c == "$" and not sql:sub(i - 1, i - 1):match("[%w_$]") then
		local tag = sql:match("^%$[%a_]?[%w_]*%$", i)
		if tag and not tag:match("^%$%d") then
			local _, last = sql:find(tag, i + #tag, true)
			return (last or #sql) + 1
		end
	end
	return i + 1
end

-- Array of statements without their semicolons; pieces that hold nothing but blanks and comments are left out.
return function(sql)
	local out, first, at, parens, atomic = {}, 1, 1, 0, 0
	local content, last_word = false, ""
	local copies = false
	local function close(last)
		if content then out[#out + 1] = sql:sub(first, last):match("^%s*(.-)%s*$") end
		first, content, parens, atomic, last_word, copies = last + 2, false, 0, 0, "", false
	end
	while at <= #sql do
		local c = sql:sub(at, at)
		local word = c:match("[%a_]") and sql:match("^[%w_$]+", at)
		if word and not (word:lower() == "e" and sql:sub(at + 1, at + 1) == "'") then
			local lower = word:lower()
			if lower == "atomic" and last_word == "begin" then atomic = 1
			elseif atomic > 0 and lower == "case" then atomic = atomic + 1
			elseif atomic > 0 and lower == "end" then atomic = atomic - 1 end
			if lower == "copy" and not content then copies = true end
			last_word, content, at = lower, true, at + #word
		elseif c == ";" and parens <= 0 and atomic == 0 then
			local rows = copies and last_word == "stdin" or copies and sql:sub(first, at):lower():find("%sfrom%s+stdin%f[%W]")
			close(at - 1)
			at = at + 1
			if rows and sql:find("^[ \t]*\n", at) then
				local _, last = sql:find("\n\\%.[ \t]*%f[\n\0]", at - 1)
				if last then at, first = last + 1, last + 1 end
			end
		elseif c == "\\" and not content then
			local line_end = sql:find("\n", at, true) or #sql + 1
			first, content = at, true
			close(line_end - 1)
			at = line_end
		else
			if c == "(" then parens = parens + 1 elseif c == ")" then parens = parens - 1 end
			local nxt, comment = skip(sql, at)
			if not comment and not c:match("%s") then content = true end
			at = nxt
		end
	end
	close(#sql)
	return out
end
