-- The blame table: lock waits summed by the migration statement that they stood behind and by who stood there.
-- Also keeps the longest waits one by one.
local blame = {}

blame.KEPT = 50
blame.DRAWN = 500 -- waits of a victim that are drawn, the longest
local OWN_KEPT = 20000

local function new_sum() return { n = 0, total_ns = 0, max_ns = 0, lengths = {}, ended = {}, bound_ns = 0 } end

local function add(sum, wait)
	local length = wait.length_ns or 0
	sum.n = sum.n + 1
	sum.total_ns = sum.total_ns + length
	sum.max_ns = math.max(sum.max_ns, length)
	sum.lengths[sum.n] = length
	sum.bound_ns = math.max(sum.bound_ns, wait.bound_ns or 0)
	local ended = wait.ended or "unknown"
	sum.ended[ended] = (sum.ended[ended] or 0) + 1
end

-- p99 by rank, as the histograms have it; how many did not get their lock.
local function finish(sum)
	local errors = {}
	for ended, code in pairs { timeout = "55P03", cancelled = "57014", deadlock = "40P01" } do errors[code] = sum.ended[ended] end
	sum.errors = next(errors) and errors or nil
	table.sort(sum.lengths)
	sum.p99_ns = sum.lengths[math.max(1, math.ceil(0.99 * sum.n))] or 0
	sum.lengths = nil
	sum.failed = sum.n - (sum.ended.granted or 0) - (sum.ended.unknown or 0)
end

-- Nanoseconds in which at least one of the spans {from, to} was going on.
local function union_ns(spans)
	table.sort(spans, function(a, b) return a[1] < b[1] end)
	local total, from, to = 0, nil, nil
	for _, s in ipairs(spans) do
		if to and s[1] <= to then
			to = math.max(to, s[2])
		else
			if to then total = total + to - from end
			from, to = s[1], s[2]
		end
	end
	return total + (to and to - from or 0)
end

-- Statements that are repeated (a backfill's batches, the attempts of a retry) are one culprit: same step, direction and SQL.
function blame.key_of(statement)
	return table.concat({ statement.step or "", statement.direction or "", statement.sql or "" }, "\0")
end

-- A heap would do with less work than sorting now and then, and this is done once per wait that is long enough.
local function keep_longest(list, wait)
	list[#list + 1] = wait
	if #list >= 4 * blame.KEPT then
		table.sort(list, function(a, b) return a.length_ns > b.length_ns end)
		for i = #list, blame.KEPT + 1, -1 do list[i] = nil end
	end
end

local function keep_drawn(list, wait)
	list[#list + 1] = { wait.start_ns or 0, (wait.start_ns or 0) + (wait.length_ns or 0), wait.ended }
	if #list >= 4 * blame.DRAWN then
		table.sort(list, function(a, b) return a[2] - a[1] > b[2] - b[1] end)
		for i = #list, blame.DRAWN + 1, -1 do list[i] = nil end
	end
end

local function victim_of(group, waiter)
	local name = table.concat({ waiter.role or "", waiter.version or "", waiter.transaction or "" }, "\0")
	local victim = group.victims[name]
	if not victim then
		victim = new_sum()
		victim.role, victim.version, victim.transaction, victim.statements, victim.drawn = waiter.role or "unknown", waiter.version, waiter.transaction, {}, {}
		group.victims[name] = victim
		group.victims[#group.victims + 1] = victim
	end
	return victim
end

-- The part of a victim that one of its statements suffered; nil where the statement is not known.
local function part_of(victim, waiter)
	if not waiter.statement then return nil end
	local part = victim.statements[waiter.statement]
	if not part then
		part = new_sum()
		part.statement = waiter.statement
		victim.statements[waiter.statement] = part
		victim.statements[#victim.statements + 1] = part
	end
	return part
end

-- The part of a group that one attempt of its statement caused.
local function attempt_of(group, wait, statements)
	if not wait.blamed then return nil end
	local key = "#" .. wait.blamed
	local part = group.attempts[key]
	if not part then
		local s = statements[wait.blamed] or {}
		part = new_sum()
		part.id, part.attempt, part.sqlstate, part.start_ns = wait.blamed, s.attempt, s.sqlstate, s.start_ns
		group.attempts[key] = part
		group.attempts[#group.attempts + 1] = part
	end
	return part
end

local function group_for(groups, wait, statements)
	local key, group
	if wait.blamed then
		local s = statements[wait.blamed]
		key = s and blame.key_of(s) or "#" .. wait.blamed
		group = groups[key]
		if not group then
			local root = wait.root or {}
			group = { migration = true, statement = s, step = s and s.step, direction = s and s.direction, id = wait.blamed,
				sql = s and s.sql or root.role == "migration" and root.sql or nil }
		end
	else
		local root = wait.root or {}
		key = "role\0" .. (root.role or "unknown")
		group = groups[key] or { migration = false, role = root.role or "unknown" }
	end
	if not groups[key] then
		group.sum, group.victims, group.spans, group.relations, group.load, group.attempts = new_sum(), {}, {}, {}, new_sum(), {}
		groups[key] = group
		groups[#groups + 1] = group
	end
	return group
end

-- next_wait: iterator over the lines of waits.jsonl; statements: migration statements by id.
-- Returns { groups, all, longest, during }: groups with their victims, worst first, those of the migration before others; victims
-- have their statements, groups the attempts that caused the waits, each a sum of its own; victims of the migration have `drawn`,
-- {from, to, how it ended} of their longest waits, attempts first_ns and last_ns of the waits behind them;
-- all: the sum over every line; load: over those in which the application waited; longest: at most KEPT lines, longest first;
-- own: the waits of the migration itself;
-- phase_of(ns) names the phase of a wait; phases: sums of the application's waits by the phase in which they began.
function blame.gather(next_wait, statements, phase_of)
	local groups, all, load, longest, phases, own = {}, new_sum(), new_sum(), {}, {}, {}
	for wait in next_wait do
		local waiter = wait.waiter or {}
		local group = group_for(groups, wait, statements)
		local victim = victim_of(group, waiter)
		local part, attempt = part_of(victim, waiter), attempt_of(group, wait, statements)
		add(victim, wait)
		if part then add(part, wait) end
		if attempt then
			add(attempt, wait)
			attempt.first_ns = math.min(attempt.first_ns or math.huge, wait.start_ns or 0)
			attempt.last_ns = math.max(attempt.last_ns or 0, (wait.start_ns or 0) + (wait.length_ns or 0))
		end
		if group.migration then keep_drawn(victim.drawn, wait) end
		add(group.sum, wait)
		add(all, wait)
		if waiter.role == "load" then
			local phase = phase_of(wait.start_ns or 0)
			phases[phase] = phases[phase] or new_sum()
			add(phases[phase], wait)
			add(load, wait)
			add(group.load, wait)
			group.spans[#group.spans + 1] = { wait.start_ns or 0, (wait.start_ns or 0) + (wait.length_ns or 0) }
		end
		if waiter.role == "migration" and #own < OWN_KEPT then own[#own + 1] = wait end
		if wait.lock and wait.lock.relation then group.relations[wait.lock.relation] = true end
		keep_longest(longest, wait)
	end

	local by_total = function(a, b)
		return a.total_ns > b.total_ns or (a.total_ns == b.total_ns and a.max_ns > b.max_ns)
	end
	for _, group in ipairs(groups) do
		finish(group.sum)
		finish(group.load)
		for _, victim in ipairs(group.victims) do
			finish(victim)
			for _, part in ipairs(victim.statements) do finish(part) end
			table.sort(victim.statements, by_total)
		end
		for _, attempt in ipairs(group.attempts) do finish(attempt) end
		table.sort(group.attempts, function(a, b) return a.id < b.id end)
		table.sort(group.victims, by_total)
		group.held_up_ns = union_ns(group.spans)
		group.spans = nil
		local names = {}
		for relation in pairs(group.relations) do names[#names + 1] = relation end
		table.sort(names)
		group.relations = names
	end
	table.sort(groups, function(a, b)
		if a.migration ~= b.migration then return a.migration end
		return by_total(a.sum, b.sum)
	end)
	table.sort(longest, function(a, b) return a.length_ns > b.length_ns end)
	for i = #longest, blame.KEPT + 1, -1 do longest[i] = nil end
	finish(all)
	finish(load)
	for _, sum in pairs(phases) do finish(sum) end
	return { groups = groups, all = all, load = load, longest = longest, phases = phases, own = own }
end

return blame
