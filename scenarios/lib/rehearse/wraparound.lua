-- A real autovacuum against wraparound, made to come to a table of a server that is ours and to stay: the table wants one after as few
-- transaction ids as the server allows, so many are used up beforehand, and it goes as slowly as it can. All of it is put back afterwards.
local IDS = 100000                  -- the least that autovacuum_freeze_max_age can be
local SPARE_IDS = 1000
local ARRIVES_NS = 5000000000       -- a database is looked at once a second
local LOOK_S, KEEP_AWAY_S = 0.02, 0.05
local PAGE_NS = 100000000           -- the least that a page takes it

-- Aggressive, or the server leaves it out; a page costs at least 1, and 1 is as much as may be spent before a pause of the longest kind.
local OPTIONS = { "autovacuum_enabled = true", "autovacuum_freeze_max_age = " .. IDS, "autovacuum_freeze_table_age = 0", "autovacuum_freeze_min_age = 0",
	"autovacuum_vacuum_cost_delay = 100", "autovacuum_vacuum_cost_limit = 1" }
local SETTINGS = { { "autovacuum", "on" }, { "autovacuum_naptime", "1s" } }

local KEPT = "SELECT name, setting FROM pg_catalog.pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf' AND name IN ('autovacuum', 'autovacuum_naptime')"

local ABOUT = [[SELECT c.oid::int8, pg_catalog.age(c.relfrozenxid), pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8,
	(SELECT pg_catalog.string_agg(pg_catalog.format('%I = %L', o.option_name, o.option_value), ', ') FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
		WHERE o.option_name LIKE 'autovacuum%') FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.regclass]]

local WORKERS = [[SELECT a.pid FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_locks l ON l.pid = a.pid AND l.relation = $1::pg_catalog.oid
	AND l.mode = 'ShareUpdateExclusiveLock' WHERE a.backend_type = 'autovacuum worker' AND a.query LIKE 'autovacuum: VACUUM %(to prevent wraparound)']]

-- Transaction ids are what subtransactions that write take; all of them end with one transaction.
local USE_UP = [[DO $$ BEGIN CREATE TEMPORARY TABLE pgrehearse_ids (i int) ON COMMIT DROP;
	FOR i IN 1..%d LOOP BEGIN INSERT INTO pg_temp.pgrehearse_ids VALUES (i); EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$]]

local Wraparound = {}
Wraparound.__index = Wraparound

-- Statements in order, up to the first that fails: nil, or what it said.
local function all(session, list)
	for _, sql in ipairs(list) do
		local out = session:query(sql)
		if not out.ok then return out.message end
	end
end

local function use_up_ids(session) return all(session, { USE_UP:format(IDS + SPARE_IDS) }) end

-- Before there is traffic: how the server runs, and ids. Returns it; or nil and why it is not possible.
function Wraparound.open(host)
	if not host.is_ours() then return nil, "the server is none of ours" end
	local self = setmetatable({ host = host, session = host.session("pgrehearse actor autovacuum"), kept = {} }, Wraparound)
	local list = {}
	for _, row in ipairs(self.session:query(KEPT).values) do self.kept[row[1]] = row[2] end
	for i, s in ipairs(SETTINGS) do list[i] = string.format("ALTER SYSTEM SET %s = '%s'", s[1], s[2]) end
	list[#list + 1] = "SELECT pg_catalog.pg_reload_conf()"
	local why = all(self.session, list) or use_up_ids(self.session)
	if not why then return self end
	self:close()
	return nil, why
end

-- For as long as the table is not put back: all who are on it, or want to be.
local function workers(self, oid) return self.session:query(WORKERS .. " AND l.granted", oid).values end

local function cancel(self, oid)
	self.session:query("SELECT pg_catalog.pg_cancel_backend(pid) FROM (" .. WORKERS .. ") AS w", oid)
end

local function put_back(self, oid, options)
	local row = self.session:query("SELECT $1::pg_catalog.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class WHERE oid = $1::pg_catalog.oid", oid).values[1]
	if not row then return end
	local names = {}
	for i, option in ipairs(OPTIONS) do names[i] = option:match("^[%w_]+") end
	all(self.session, { string.format("ALTER TABLE %s RESET (%s)", row[1], table.concat(names, ", ")) })
	if options then all(self.session, { string.format("ALTER TABLE %s SET (%s)", row[1], options) }) end
end

-- Has one come to the table and stay for hold_ns, if need be with further ids used up. Returns { pid, hold(until_ns), take_away(), keep_away(),
-- put_back() }; or nil and why there is none.
function Wraparound:stand(name, hold_ns, host)
	local session = self.session
	local out = session:query(ABOUT, name)
	if not out.ok or not out.values[1] then return nil, out.message end
	local oid, age, pages, options = table.unpack(out.values[1], 1, 4)
	if pages * PAGE_NS < hold_ns then return nil, string.format("the %d pages of %s do not keep an autovacuum busy for %.1f s", pages, name, hold_ns / 1e9) end
	local why = age <= IDS and use_up_ids(session) or nil
	why = why or all(session, { "SET lock_timeout = '2s'", string.format("ALTER TABLE %s SET (%s)", name, table.concat(OPTIONS, ", ")) })
	if why then return nil, why end
	local limit, found = host.now() + ARRIVES_NS, {}
	while #found == 0 and host.now() < limit do
		host.sleep(LOOK_S)
		found = workers(self, oid)
	end
	if #found == 0 then
		put_back(self, oid, options)
		return nil, string.format("no autovacuum came to %s within %.0f s", name, ARRIVES_NS / 1e9)
	end
	return {
		pid = found[1][1],
		hold = function(until_ns)
			while host.now() < until_ns and #workers(self, oid) > 0 do host.sleep(LOOK_S) end
		end,
		take_away = function() cancel(self, oid) end,
		-- The next comes within a second, until the table is put back.
		keep_away = function()
			host.sleep(KEEP_AWAY_S)
			cancel(self, oid)
		end,
		put_back = function() put_back(self, oid, options) end,
	}
end

function Wraparound:close()
	local list = {}
	for i, s in ipairs(SETTINGS) do
		local was = self.kept[s[1]]
		list[i] = was and string.format("ALTER SYSTEM SET %s = '%s'", s[1], was:gsub("'", "''")) or "ALTER SYSTEM RESET " .. s[1]
	end
	list[#list + 1] = "SELECT pg_catalog.pg_reload_conf()"
	all(self.session, list)
	self.session:close()
end

return Wraparound
