-- The cheapest transaction that there is, for measuring the generator itself (pgrehearse calibrate): one prepared statement, one row.
local workload = require "workload"

return workload {
	name = "calibrate",
	schema = "SELECT 1",
	generate = {},
	statements = { point = "SELECT 1" },
	transactions = { point = { read_only = true, run = function(c) c:exec("point") end } },
}
