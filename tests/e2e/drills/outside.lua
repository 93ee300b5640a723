-- A way back that leaves other values in tables that the traffic only reads, or does not know: written outside of a transaction, by a program, by code.
-- --set by=alone|program|code; --set down=right is one that does not.
local rehearse = require "rehearse"
local back = rehearse.setting("down", "wrong") == "right" and "red" or "green"
local function paint(color) return "UPDATE tags SET color = '" .. color .. "'" end
local BY = {
	alone = function() return rehearse.sql { name = "paint", transaction = false, up = paint "blue", down = paint(back) } end,
	program = function() return rehearse.exec { name = "paint", up = { "psql", "-Xqc", paint "blue" }, down = { "psql", "-Xqc", paint(back) } } end,
	code = function() return rehearse.sql { name = "paint", transaction = false, up = "DO $$BEGIN " .. paint "blue" .. "; END$$", down = "DO $$BEGIN " .. paint(back) .. "; END$$" } end,
}
return rehearse.scenario { title = "tags are painted", workload = "notes", load = { rate = 40, pods = 1, pool = 2 },
	phases = { warmup = "0", baseline = "500ms", settle = "500ms" }, criteria = { "rollback.clean" }, steps = { BY[rehearse.setting("by", "alone")]() },
}
