-- Performs scripts once without a server, to find what is certain to fail before any traffic: a variable that nobody sets, a constant
-- division by zero. It ends where an answer of the server or of a shell would be needed; after the first random number an error may be
-- one of this draw alone, so then only variables that do not exist count.

local functions = require "pgbench.functions"

local M = {}

local ENOUGH = {}

local function enough()
	error(ENOUGH, 0)
end

local function nothing() end

local function client()
	local random = { drawn = false }
	function random:int(lo)
		self.drawn = true
		return lo
	end
	function random:unit()
		self.drawn = true
		return 0.5
	end
	function random:gaussian()
		self.drawn = true
		return 0.0
	end
	function random:zipf()
		self.drawn = true
		return 1
	end
	return { number = 0, random = random, query = nothing, exec = nothing, sleep = nothing, start_pipeline = nothing, sync_pipeline = nothing,
		end_pipeline = nothing, keep_results = nothing, last_row = enough, kept_results = enough, shell = enough }
end

-- The first mistake of the scripts' functions, or nil. Variables go from one script to the next, as they do for a client.
function M.perform(runs)
	local c, write_debug = client(), functions.write_debug
	local mistake
	functions.write_debug = nothing
	for _, run in ipairs(runs) do
		local ok, problem = pcall(run, c)
		if not ok and problem == ENOUGH then
			break
		elseif not ok and (not c.random.drawn or tostring(problem):find("there is no variable", 1, true)) then
			mistake = problem
			break
		end
	end
	functions.write_debug = write_debug
	return mistake
end

return M
