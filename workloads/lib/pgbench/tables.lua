-- The tables of pgbench -i: bank branches, ten tellers and 100,000 accounts a branch, and a history that begins empty.

local M = {}

local TELLERS, ACCOUNTS = 10, 100000
local WIDE = 20000   -- from so many branches on pgbench numbers accounts with a bigint
local TABLES = [[
CREATE TABLE pgbench_history (tid int, bid int, aid AID, delta int, mtime timestamp, filler char(22));
CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_accounts (aid AID NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor = 100)]]

-- A function of the scale. whole(scale): the number of branches.
function M.schema(whole)
	return function(scale) return (TABLES:gsub("AID", whole(scale) >= WIDE and "bigint" or "int")) end
end

M.finish = {
	{ "ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)", "ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid)" },
	"ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid)",
	"VACUUM (ANALYZE) pgbench_branches, pgbench_tellers, pgbench_accounts, pgbench_history",
}

function M.generate(whole)
	return {
		{ table = "pgbench_branches", columns = "bid, bbalance", rows = whole, row = function(i) return i, 0 end },
		{ table = "pgbench_tellers", columns = "tid, bid, tbalance", rows = function(scale) return TELLERS * whole(scale) end,
			row = function(i) return i, (i - 1) // TELLERS + 1, 0 end },
		{ table = "pgbench_accounts", columns = "aid, bid, abalance, filler", rows = function(scale) return ACCOUNTS * whole(scale) end,
			row = function(i) return i, (i - 1) // ACCOUNTS + 1, 0, "" end },
	}
end

return M
