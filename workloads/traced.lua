-- What a replayed trace stands on where no workload says what the database holds: no data, and no traffic of its own.
local workload = require "workload"

return workload { name = "trace", statements = {}, transactions = { nothing = { run = function() end } } }
