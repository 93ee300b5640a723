-- Several things side by side, each in a fiber of its own, until all of them have ended.
local Session = require "rehearse.session"

local POLL_S = 0.01

local tasks = {}

-- Runs the functions of list and waits for them. Returns a list of { ok, problem }: problem is what a failed one raised; a
-- mistake in a script's own code carries its traceback.
function tasks.all(host, list)
	local ended, left = {}, #list
	for i, body in ipairs(list) do
		host.spawn(function()
			local ok, problem = xpcall(body, Session.describe)
			ended[i] = { ok = ok, problem = problem }
			left = left - 1
		end)
	end
	while left > 0 do host.sleep(POLL_S) end
	return ended
end

return tasks
