-- rehearse.directory: the migrations of another tool's folder as steps, read when the scenario is.
local fields = require "rehearse.fields"
local located = require "rehearse.located"
local migrations = require "rehearse.migrations"

local OURS = { path = true, layout = true, after = true, through = true }

-- sql: what makes a step. Fields beside path, layout, after and through go to each step, lock_timeout for instance.
return function(sql)
	return function(given)
		local owner = "rehearse.directory"
		if type(given) ~= "table" or type(given.path) ~= "string" then fields.fail(owner, "the field path is missing: the folder of the migrations") end
		local path = given.path:sub(1, 1) == "/" and given.path or located.folder() == "." and given.path or located.folder() .. "/" .. given.path
		local function text(field)
			if given[field] == nil then return nil end
			if type(given[field]) ~= "string" then fields.fail(owner, "%s = %s is not accepted; expected is text", field, fields.show(given[field])) end
			return given[field]
		end
		local ok, list, _, earlier = pcall(migrations.read, path:gsub("/$", ""), text("layout"), text("after"), text("through"))
		if ok then located.come_before(earlier) end
		local steps, sources = list, nil
		if ok then ok, steps, sources = pcall(migrations.all_steps, list) end
		if not ok then fields.fail(owner, "%s", steps) end
		for i, step in ipairs(steps) do
			for field, value in pairs(given) do if not OURS[field] then step[field] = value end end
			steps[i] = sql(step)
			located.remember(steps[i], sources[i])
		end
		return steps
	end
end
