-- What each statement of the migration is expected to lock and to make the server do, said before it runs: for the record, so that a
-- report can set it beside what was observed.
local expected = {}

local Expected = {}
Expected.__index = Expected

-- nil where SQL cannot be parsed. major: of the server.
function expected.open(host, major)
	if not package.loaded.sql and not package.preload.sql then return nil end
	local Predictor = require "catalogue.predict"
	local predictor = Predictor.new { parse = require("sql").parse, major = major }
	predictor:learn(host.schema and host.schema() or {})
	return setmetatable({ host = host, predictor = predictor, catalogue = require "catalogue", known = {} }, Expected)
end

-- The field `expected` of a statement's event. A statement that is tried again, or performed again by another part of a drill, is the same;
-- the batches of a backfill, of which there are many, have none. attempt: from 1.
function Expected:of(step, direction, sql, attempt)
	if step and step.kind == "backfill" then return nil end
	local key = table.concat({ step and step.name or "", direction or "", sql }, "\0")
	local known = self.known[key]
	if known then
		if attempt == 1 and not (step and step.rollback) then
			self.predictor:end_step()
			self.predictor:again(known.prediction)
		end
		return known.field
	end
	if step ~= self.step or direction ~= self.direction then
		self.step, self.direction = step, direction
		self.predictor:begin_step(step ~= nil and step.transaction ~= false and step.kind == "sql", step ~= nil and step.rollback)
	end
	local ok, prediction = pcall(self.predictor.statement, self.predictor, sql)
	local array = self.host.array
	local out = { operations = array {}, locks = array {}, work = array {} }
	self.known[key] = { field = out, prediction = ok and prediction or {} }
	if not ok or prediction.unread then
		out.unread = ok and prediction.unread or tostring(prediction)
		return out
	end
	out.risk = prediction.risk
	for i, op in ipairs(prediction.operations) do
		local table = type(op.table) == "string" and op.table or nil
		out.operations[i] = { id = op.id, title = op.title, table = table, maybe = op.maybe, made = op.made,
			becomes = op.id == "rename_table" and table and (table:match("^.*%.") or "") .. op.new_name or nil }
	end
	for name, short in pairs(prediction.locks) do out.locks[#out.locks + 1] = { relation = name, mode = self.catalogue.modes[short] } end
	table.sort(out.locks, function(a, b) return a.relation < b.relation end)
	for what, names in pairs(prediction.work) do for _, name in ipairs(names) do out.work[#out.work + 1] = { what = what, object = name } end end
	table.sort(out.work, function(a, b) return a.what .. "\0" .. a.object < b.what .. "\0" .. b.object end)
	return out
end

return expected
