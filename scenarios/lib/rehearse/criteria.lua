-- Ready sets of criteria. A set is a list that scenarios take as it is, or call with more: playbook { "errors.rate < 0.1%" }. Some of
-- its sentences are about each backfill, whatever it is called.
local criteria = {}

local Set = {}

-- The set's sentences and those of `more`; lists by name of a drill are taken over.
function Set:__call(more)
	local out = setmetatable(table.move(self, 1, #self, 1, {}), getmetatable(self))
	for key, value in pairs(more) do
		if math.type(key) ~= "integer" then out[key] = value end
	end
	return table.move(more, 1, #more, #out + 1, out)
end

local function set(list, of_backfills)
	return setmetatable(list, { __call = Set.__call, of_backfills = of_backfills })
end

-- A team's table of checks before a release: every statement of the migration within 10 s on a clone of production's size; a backfill is
-- estimated to end within a day, or is to be split; standbys no further behind than half a minute; a clean way back.
criteria.playbook = set({
	"migration.statement.max < 10s",
	"replication.replay_lag.max < 30s",
	"rollback.clean",
}, { "eta <= 24h" })

-- The sentences of the list, with those that its set has for each backfill among the steps.
function criteria.expand(list, each_step)
	local out, meta = {}, getmetatable(list)
	for key, value in pairs(list) do out[key] = value end
	each_step(function(step)
		if step.kind ~= "backfill" then return end
		for _, sentence in ipairs(meta and meta.of_backfills or {}) do
			out[#out + 1] = string.format("step[%s].%s", step.name, sentence)
		end
	end)
	return out
end

return criteria
