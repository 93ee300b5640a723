-- Rows whose key is no number come in, and other rows go.
local workload = require "workload"
return workload {
	name = "visits",
	schema = "CREATE TABLE visits (shop text NOT NULL, visitor uuid NOT NULL, pages int NOT NULL); CREATE TABLE carts (id int PRIMARY KEY)",
	generate = { { table = "visits", columns = "shop, visitor, pages", rows = 500, row = function(i, r) return "shop" .. i % 7, r:uuid(), i end } },
	finish = { "ALTER TABLE visits ADD PRIMARY KEY (shop, visitor)", "VACUUM (ANALYZE) visits" },
	statements = { visit = "INSERT INTO visits (shop, visitor, pages) VALUES ($1, $2::uuid, 1)", clear = "DELETE FROM carts WHERE id = $1" },
	transactions = { visit = { args = function(r) return "shop" .. r:int(1, 7), r:uuid() end, run = function(c, shop, visitor) c:exec("visit", shop, visitor) end },
		clear = { args = function(r) return r:int(1, 9) end, run = function(c, id) c:exec("clear", id) end } },
}
