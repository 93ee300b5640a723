-- The way in: reads the records and hands their facts to the writer of a format.
-- options: format ("html", "markdown", "junit", "text"), dirs (record folders, oldest first), dir (where the report belongs: plots
-- go to plots/ below it), home (folder of this file), version, colour (text only), width (columns, text only). Returns the report as a string.
local facts = require "lib.facts"

return function(options)
	local report = { options = options, runs = {} }
	for _, dir in ipairs(options.dirs) do report.runs[#report.runs + 1] = facts.gather(dir) end
	report.word = facts.worst_word(report.runs)
	report.title = report.runs[1] and report.runs[1].title or "No record"
	return require(options.format)(report)
end
