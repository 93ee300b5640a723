-- Changes of the traffic while it ran: another rate, another mix, other flags. Each has a letter, which pictures and tables share.
local words = require "lib.words"

local changes = {}

local function sorted(map)
	local names = {}
	for name in pairs(map) do names[#names + 1] = name end
	table.sort(names)
	return names
end

local function pairs_text(map)
	local out = {}
	for i, name in ipairs(sorted(map)) do
		if i > 8 then
			out[i] = "…"
			break
		end
		local value = map[name]
		out[i] = name .. " " .. (type(value) == "number" and words.plain(value) or tostring(value))
	end
	return table.concat(out, ", ")
end

-- "rate ramp(100, 400, 30s)", "weights checkout 0, view_user 30", "flags quick true": what one event of the type load changed.
function changes.text(e)
	local out = {}
	if e.program then
		out[1] = "rate " .. words.cut(e.program, 120)
	elseif e.rate then
		out[1] = "rate " .. words.number(e.rate) .. "/s"
	end
	if e.mix and next(e.mix) then out[#out + 1] = "weights " .. pairs_text(e.mix) end
	if e.flags and next(e.flags) then out[#out + 1] = "flags " .. pairs_text(e.flags) end
	return #out > 0 and table.concat(out, "; ") or "nothing"
end

-- The changes worth showing as { letter, t_ns, text }: what the traffic began with is no change.
function changes.gather(events, begins_ns)
	local out = {}
	for _, e in ipairs(events) do
		if (e.t_ns or 0) > (begins_ns or 0) then
			local n = #out
			out[n + 1] = { t_ns = e.t_ns, text = changes.text(e), letter = (n >= 26 and string.char(96 + n // 26 % 26) or "") .. string.char(97 + n % 26) }
		end
	end
	return out
end

return changes
