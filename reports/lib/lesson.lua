-- A scenario that shows a mistake says which of its criteria must fail, and why: did this run show it?
local lesson = {}

local function all(criteria, begin, is_so)
	local n = 0
	for _, c in ipairs(criteria) do
		if c.criterion:sub(1, #begin) == begin then
			if not is_so(c.verdict) then return false end
			n = n + 1
		end
	end
	return n > 0
end

-- A sentence, or nil: of the facts of a run that was carried out.
function lesson.sentence(f)
	local expect = f.run.scenario and f.run.scenario.expect
	if not expect or not expect.fails or #f.criteria == 0 then return nil end
	local because = (expect.because or "?"):gsub("%.?$", ".", 1)
	for _, begin in ipairs(expect.fails) do
		if not all(f.criteria, begin, function(word) return word == "FAIL" end) then return "This scenario shows a mistake, but not this time: " .. begin .. " should have failed. What it is about: " .. because end
	end
	for _, begin in ipairs(expect.holds or {}) do
		if not all(f.criteria, begin, function(word) return word ~= "FAIL" end) then return "This scenario shows a mistake, but " .. begin .. " should have held. What it is about: " .. because end
	end
	return "It fails on purpose, to show a mistake: " .. because
end

return lesson
