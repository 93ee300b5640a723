-- A rehearsal that changes nothing: what it leaves with --keep is a server with the data of the shop.
local rehearse = require "rehearse"
return rehearse.scenario { title = "Nothing", workload = "shop", load = { rate = 10 },
phases = { warmup = "0s", baseline = "1s", settle = "0s" }, steps = { rehearse.sql { name = "a", up = "SELECT 1", irreversible = "nothing" } } }
