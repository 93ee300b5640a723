-- Pieces of an HTML page. Whatever comes in as plain text is escaped here; markup is passed as { html = "..." }.
local words = require "lib.words"

local page = {}

local E = words.escape

-- Markup of a value: text is escaped, { html = ... } is taken as it is, nil is a dash.
function page.of(value)
	if value == nil then return words.none end
	if type(value) == "table" then return value.html end
	return E(value)
end

function page.code(text) return { html = '<code class="sql">' .. E(text) .. "</code>" } end

-- Pieces of code, each on a line of its own.
function page.lines(list)
	local out = {}
	for i, text in ipairs(list) do out[i] = page.code(text).html end
	return { html = table.concat(out, "<br>") }
end

-- Several values one after the other.
function page.join(...)
	local out = {}
	for i, v in ipairs { ... } do out[i] = page.of(v) end
	return { html = table.concat(out) }
end

local kinds = { SKIPPED = "quiet", MEASURED = "quiet", PASS = "pass", FAIL = "fail", FAILED = "fail", INVALID = "unfit", identical = "pass", equivalent = "pass", dirty = "fail" }
function page.kind(word) return kinds[word] or "unsure" end
function page.tag(word) return { html = '<span class="tag ' .. page.kind(word) .. '">' .. E(word) .. "</span>" } end

-- columns: { {title, class}, ... }, class being "num", "tight", "sentence", "wide" or nil; rows: lists of values, with an optional field `class`.
function page.table(columns, rows, caption)
	local out = { '<div class="scroll"><table>' }
	local function add(text) out[#out + 1] = text end
	if caption then add("<caption>" .. page.of(caption) .. "</caption>") end
	add("<thead><tr>")
	for _, c in ipairs(columns) do add('<th scope="col"' .. (c[2] and ' class="' .. c[2] .. '"' or "") .. ">" .. E(c[1]) .. "</th>") end
	add("</tr></thead><tbody>\n")
	for _, r in ipairs(rows) do
		add("<tr" .. (r.class and ' class="' .. r.class .. '"' or "") .. ">")
		local i = 1
		while i <= #columns do
			local span = r.spans and r.spans[i] or 1
			local class = columns[i][2]
			add("<td" .. (class and span == 1 and ' class="' .. class .. '"' or "") .. (span > 1 and ' colspan="' .. span .. '"' or "") .. ">" .. page.of(r[i] == nil and "" or r[i]) .. "</td>")
			i = i + span
		end
		add("</tr>\n")
	end
	add("</tbody></table></div>\n")
	return table.concat(out)
end

-- pairs: { {term, value}, ... }; those without a value are left out.
function page.facts(list)
	local out = { '<dl class="facts">' }
	for _, p in ipairs(list) do
		if p[2] ~= nil and p[2] ~= "" then out[#out + 1] = "<dt>" .. E(p[1]) .. "</dt><dd>" .. page.of(p[2]) .. "</dd>" end
	end
	out[#out + 1] = "</dl>\n"
	return table.concat(out)
end

function page.details(summary, body) return "<details><summary>" .. E(summary) .. "</summary>" .. body .. "</details>\n" end

-- A picture, or why there is none, with its numbers below.
function page.figure(svg, reason, numbers)
	local picture = svg and '<div class="picture">' .. svg .. "</div>" or '<p class="note">' .. E(reason) .. "</p>"
	return "<figure>" .. picture .. "</figure>\n" .. (numbers or "")
end

return page
