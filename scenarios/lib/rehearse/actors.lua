-- Background sessions of the workload that a scenario switches on: a long report, a transaction left open.
local actors = {}

-- Runs until its fiber is cancelled. actor: { name, sql } or { name, begin, hold_ns }, and every_ns.
function actors.run(host, actor)
	local session = host.session("pgrehearse actor " .. actor.name)
	while true do
		local from = host.now()
		host.event { type = "actor", name = actor.name, edge = "start", pid = session:pid() }
		if actor.sql then
			session:query(actor.sql)
		else
			session:query("BEGIN")
			session:query(actor.begin)
			host.sleep(actor.hold_ns / 1e9)
			session:query("ROLLBACK")
		end
		host.event { type = "actor", name = actor.name, edge = "end", pid = session:pid() }
		host.sleep(math.max(0, actor.every_ns - (host.now() - from)) / 1e9)
		if not session:connected() then session = host.session("pgrehearse actor " .. actor.name) end
	end
end

return actors
