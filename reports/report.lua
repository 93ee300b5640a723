-- The way in: reads the records and hands their facts to the writer of a format.
-- options: format ("html", "markdown", "junit", "text"), dirs (record folders, oldest first), dir (where the report belongs: plots
-- go to plots/ below it), home (folder of this file), version, colour (text only), width (columns, text only),
-- verdict_only (text: the verdict and why the run is unfit).
-- Returns the report as a string; or nil and a text when something outside stands in the way, such as a folder that cannot be written.
local facts = require "lib.facts"

local function write(options)
	local report = { options = options, runs = {} }
	for _, dir in ipairs(options.dirs) do report.runs[#report.runs + 1] = facts.gather(dir) end
	report.word = facts.worst_word(report.runs)
	report.title = report.runs[1].title
	return require(options.format)(report)
end

-- Tables are raised for what the user can mend; everything else is a mistake of ours and keeps its traceback.
local function handle(problem)
	if type(problem) == "table" then return problem end
	return debug.traceback(tostring(problem), 2)
end

return function(options)
	local ok, result = xpcall(write, handle, options)
	if ok then return result end
	if type(result) == "table" then return nil, result.message end
	error(result, 0)
end
