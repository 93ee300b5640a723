-- A workload like TPC-C (Standard Specification, revision 5.11; clause numbers below are its own). It is not an audited TPC result and
-- must not be compared with one: there are no terminals, so neither keying nor think times, and each arrival draws its warehouse anew.
-- Scale 1 is one warehouse; below 1, one warehouse with a smaller population in proportion.

local workload = require "workload"

local DISTRICTS = 10                       -- of a warehouse, 4.3.3.1
local ITEMS, CUSTOMERS = 100000, 3000      -- of all; of a district, 4.3.3.1
local UNUSED_ITEM = 1                      -- beyond the last, 2.4.1.5
local LOADED_AT = "2026-06-30 12:00:00+00" -- so that a seed means the same on any day

-- What a scale means. Customers are a multiple of 10, as 3 of 10 orders are not delivered yet.
local function size_of(scale)
	local part = math.min(scale, 1)
	if scale > 1 and scale % 1 ~= 0 then
		error(("scale %s: above 1 it is a whole number of warehouses"):format(scale), 0)
	end
	return { warehouses = scale > 1 and math.tointeger(scale) or 1, items = math.max(100, math.floor(ITEMS * part)),
		customers = math.max(1, math.floor(CUSTOMERS / 10 * part + 0.5)) * 10 }
end

local sizes = {}
local function size(scale)
	local s = sizes[scale]
	if not s then
		s = size_of(scale)
		sizes[scale] = s
	end
	return s
end

---- what the rows are made of ----

-- Of c_last at load time; the run's own is drawn in setup(), 2.1.6.1.
local C_LAST_LOAD = 100

local SYLLABLES = { [0] = "BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING" } -- 4.3.2.3

local function last_name(n)
	return SYLLABLES[n // 100] .. SYLLABLES[n // 10 % 10] .. SYLLABLES[n % 10]
end

-- Random letters and digits, of a random length, 4.3.2.2.
local function letters(r, shortest, longest)
	return r:alnum(r:int(shortest, longest))
end

local function state(r)
	return string.char(r:int(65, 90), r:int(65, 90))
end

-- 4.3.2.7
local function zip(r)
	return r:digits(4) .. "11111"
end

-- i_data and s_data: a tenth of the rows contain a word at a random place, 4.3.3.1.
local function data(r)
	local text = letters(r, 26, 50)
	if r:chance(0.1) then
		local at = r:int(1, #text - 7)
		text = text:sub(1, at - 1) .. "ORIGINAL" .. text:sub(at + 8)
	end
	return text
end

-- Warehouse, district and number in the district of row i, when each district has n.
local function place_of(i, n)
	local district = (i - 1) // n
	return district // DISTRICTS + 1, district % DISTRICTS + 1, (i - 1) % n + 1
end

local function mix(a, b)
	local h = (a * 31 + b) * 0x9e3779b97f4a7c15
	h = (h ~ (h >> 29)) * 0xbf58476d1ce4e5b9
	return (h ~ (h >> 32)) & 0xffffffff
end

-- A random order of the list, the same each time for the same number (Fisher and Yates).
local function shuffle(list, number)
	for i = #list, 2, -1 do
		local j = mix(number, i) % i + 1
		list[i], list[j] = list[j], list[i]
	end
	return list
end

-- Keeps what make(number, n) returned last: rows of one district come one after another.
local function remembering(make)
	local number, n, kept
	return function(new_number, new_n)
		if new_number ~= number or new_n ~= n then
			number, n, kept = new_number, new_n, make(new_number, new_n)
		end
		return kept
	end
end

-- o_c_id: a random permutation of the district's customers, 4.3.3.1.
local customers_in_order = remembering(function(district, n)
	local list = {}
	for i = 1, n do
		list[i] = i
	end
	return shuffle(list, district * 2)
end)

-- o_ol_cnt is 5..15, 4.3.3.1; drawn without replacement from equally many of each, so that a district has exactly ten lines
-- an order and the number of rows is known beforehand. order[at] and line[at]: what row `at` of the district's lines is.
local lines_in_order = remembering(function(district, n)
	local counts, left = {}, n % 11
	for i = 1, n - left do
		counts[i] = 5 + i % 11
	end
	if left % 2 == 1 then
		counts[#counts + 1] = 10
	end
	for p = 1, left // 2 do
		counts[#counts + 1], counts[#counts + 2] = 10 - p, 10 + p
	end
	shuffle(counts, district * 2 + 1)
	local out = { counts = counts, order = {}, line = {} }
	for o = 1, n do
		for l = 1, counts[o] do
			out.order[#out.order + 1], out.line[#out.line + 1] = o, l
		end
	end
	return out
end)

-- The newest 3 of 10 orders are not delivered, 4.3.3.1.
local function is_delivered(order, orders)
	return order <= orders // 10 * 7
end

---- rows, 4.3.3.1 ----

local function item(i, r)
	return i, r:int(1, 10000), letters(r, 14, 24), r:int(100, 10000) / 100, data(r)
end

local function warehouse(i, r, scale)
	return i, letters(r, 6, 10), letters(r, 10, 20), letters(r, 10, 20), letters(r, 10, 20), state(r), zip(r), r:int(0, 2000) / 10000,
		10 * DISTRICTS * size(scale).customers
end

local function stock(i, r, scale)
	local items = size(scale).items
	return (i - 1) % items + 1, (i - 1) // items + 1, r:int(10, 100),
		r:alnum(24), r:alnum(24), r:alnum(24), r:alnum(24), r:alnum(24), r:alnum(24), r:alnum(24), r:alnum(24), r:alnum(24), r:alnum(24),
		0, 0, 0, data(r)
end

local function district(i, r, scale)
	local w, d = place_of(i, 1)
	local customers = size(scale).customers
	return d, w, letters(r, 6, 10), letters(r, 10, 20), letters(r, 10, 20), letters(r, 10, 20), state(r), zip(r), r:int(0, 2000) / 10000,
		10 * customers, customers + 1
end

local function customer(i, r, scale)
	local w, d, c = place_of(i, size(scale).customers)
	local name = c <= 1000 and c - 1 or r:nurand(255, 0, 999, C_LAST_LOAD)
	return c, d, w, letters(r, 8, 16), "OE", last_name(name), letters(r, 10, 20), letters(r, 10, 20), letters(r, 10, 20), state(r), zip(r),
		r:digits(16), LOADED_AT, r:chance(0.1) and "BC" or "GC", 50000, r:int(0, 5000) / 10000, -10, 10, 1, 0, letters(r, 300, 500)
end

local function history(i, r, scale)
	local w, d, c = place_of(i, size(scale).customers)
	return c, d, w, d, w, LOADED_AT, 10, letters(r, 12, 24)
end

local function order(i, r, scale)
	local n = size(scale).customers
	local w, d, o = place_of(i, n)
	local number = w * DISTRICTS + d
	return o, d, w, customers_in_order(number, n)[o], LOADED_AT, is_delivered(o, n) and r:int(1, 10) or nil,
		lines_in_order(number, n).counts[o], 1
end

local function order_line(i, r, scale)
	local s = size(scale)
	local w, d, at = place_of(i, s.customers * 10)
	local lines = lines_in_order(w * DISTRICTS + d, s.customers)
	local o = lines.order[at]
	local delivered = is_delivered(o, s.customers)
	return o, d, w, lines.line[at], r:int(1, s.items), w, delivered and LOADED_AT or nil, 5, delivered and 0 or r:int(1, 999999) / 100,
		r:alnum(24)
end

local function new_order(i, _, scale)
	local n = size(scale).customers
	local w, d, k = place_of(i, n // 10 * 3)
	return n // 10 * 7 + k, d, w
end

---- schema, 1.3; foreign keys are left to a migration ----

local SCHEMA = [[
CREATE TABLE warehouse (
	w_id integer NOT NULL,
	w_name varchar(10) NOT NULL,
	w_street_1 varchar(20) NOT NULL,
	w_street_2 varchar(20) NOT NULL,
	w_city varchar(20) NOT NULL,
	w_state char(2) NOT NULL,
	w_zip char(9) NOT NULL,
	w_tax numeric(4, 4) NOT NULL,
	w_ytd numeric(12, 2) NOT NULL
) WITH (fillfactor = 20);

CREATE TABLE district (
	d_id integer NOT NULL,
	d_w_id integer NOT NULL,
	d_name varchar(10) NOT NULL,
	d_street_1 varchar(20) NOT NULL,
	d_street_2 varchar(20) NOT NULL,
	d_city varchar(20) NOT NULL,
	d_state char(2) NOT NULL,
	d_zip char(9) NOT NULL,
	d_tax numeric(4, 4) NOT NULL,
	d_ytd numeric(12, 2) NOT NULL,
	d_next_o_id integer NOT NULL
) WITH (fillfactor = 20);

CREATE TABLE customer (
	c_id integer NOT NULL,
	c_d_id integer NOT NULL,
	c_w_id integer NOT NULL,
	c_first varchar(16) NOT NULL,
	c_middle char(2) NOT NULL,
	c_last varchar(16) NOT NULL,
	c_street_1 varchar(20) NOT NULL,
	c_street_2 varchar(20) NOT NULL,
	c_city varchar(20) NOT NULL,
	c_state char(2) NOT NULL,
	c_zip char(9) NOT NULL,
	c_phone char(16) NOT NULL,
	c_since timestamptz NOT NULL,
	c_credit char(2) NOT NULL,
	c_credit_lim numeric(12, 2) NOT NULL,
	c_discount numeric(4, 4) NOT NULL,
	c_balance numeric(12, 2) NOT NULL,
	c_ytd_payment numeric(12, 2) NOT NULL,
	c_payment_cnt integer NOT NULL,
	c_delivery_cnt integer NOT NULL,
	c_data varchar(500) NOT NULL
) WITH (fillfactor = 90);

CREATE TABLE history (
	h_c_id integer NOT NULL,
	h_c_d_id integer NOT NULL,
	h_c_w_id integer NOT NULL,
	h_d_id integer NOT NULL,
	h_w_id integer NOT NULL,
	h_date timestamptz NOT NULL,
	h_amount numeric(6, 2) NOT NULL,
	h_data varchar(24) NOT NULL
);

CREATE TABLE new_order (
	no_o_id integer NOT NULL,
	no_d_id integer NOT NULL,
	no_w_id integer NOT NULL
);

CREATE TABLE orders (
	o_id integer NOT NULL,
	o_d_id integer NOT NULL,
	o_w_id integer NOT NULL,
	o_c_id integer NOT NULL,
	o_entry_d timestamptz NOT NULL,
	o_carrier_id integer,
	o_ol_cnt integer NOT NULL,
	o_all_local integer NOT NULL
) WITH (fillfactor = 90);

CREATE TABLE order_line (
	ol_o_id integer NOT NULL,
	ol_d_id integer NOT NULL,
	ol_w_id integer NOT NULL,
	ol_number integer NOT NULL,
	ol_i_id integer NOT NULL,
	ol_supply_w_id integer NOT NULL,
	ol_delivery_d timestamptz,
	ol_quantity integer NOT NULL,
	ol_amount numeric(6, 2) NOT NULL,
	ol_dist_info char(24) NOT NULL
) WITH (fillfactor = 90);

CREATE TABLE item (
	i_id integer NOT NULL,
	i_im_id integer NOT NULL,
	i_name varchar(24) NOT NULL,
	i_price numeric(5, 2) NOT NULL,
	i_data varchar(50) NOT NULL
);

CREATE TABLE stock (
	s_i_id integer NOT NULL,
	s_w_id integer NOT NULL,
	s_quantity integer NOT NULL,
	s_dist_01 char(24) NOT NULL,
	s_dist_02 char(24) NOT NULL,
	s_dist_03 char(24) NOT NULL,
	s_dist_04 char(24) NOT NULL,
	s_dist_05 char(24) NOT NULL,
	s_dist_06 char(24) NOT NULL,
	s_dist_07 char(24) NOT NULL,
	s_dist_08 char(24) NOT NULL,
	s_dist_09 char(24) NOT NULL,
	s_dist_10 char(24) NOT NULL,
	s_ytd integer NOT NULL,
	s_order_cnt integer NOT NULL,
	s_remote_cnt integer NOT NULL,
	s_data varchar(50) NOT NULL
) WITH (fillfactor = 90)]]

local function in_districts(n)
	return function(scale)
		local s = size(scale)
		return s.warehouses * DISTRICTS * n(s)
	end
end

local GENERATE = {
	{ table = "order_line", row = order_line, rows = in_districts(function(s) return s.customers * 10 end),
		columns = "ol_o_id, ol_d_id, ol_w_id, ol_number, ol_i_id, ol_supply_w_id, ol_delivery_d, ol_quantity, ol_amount, ol_dist_info" },
	{ table = "stock", row = stock, rows = function(scale) return size(scale).warehouses * size(scale).items end,
		columns = [[s_i_id, s_w_id, s_quantity, s_dist_01, s_dist_02, s_dist_03, s_dist_04, s_dist_05, s_dist_06, s_dist_07, s_dist_08,
			s_dist_09, s_dist_10, s_ytd, s_order_cnt, s_remote_cnt, s_data]] },
	{ table = "customer", row = customer, rows = in_districts(function(s) return s.customers end),
		columns = [[c_id, c_d_id, c_w_id, c_first, c_middle, c_last, c_street_1, c_street_2, c_city, c_state, c_zip, c_phone, c_since,
			c_credit, c_credit_lim, c_discount, c_balance, c_ytd_payment, c_payment_cnt, c_delivery_cnt, c_data]] },
	{ table = "orders", row = order, rows = in_districts(function(s) return s.customers end),
		columns = "o_id, o_d_id, o_w_id, o_c_id, o_entry_d, o_carrier_id, o_ol_cnt, o_all_local" },
	{ table = "history", row = history, rows = in_districts(function(s) return s.customers end),
		columns = "h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data" },
	{ table = "new_order", row = new_order, rows = in_districts(function(s) return s.customers // 10 * 3 end), columns = "no_o_id, no_d_id, no_w_id" },
	{ table = "item", row = item, rows = function(scale) return size(scale).items end, columns = "i_id, i_im_id, i_name, i_price, i_data" },
	{ table = "district", row = district, rows = in_districts(function() return 1 end),
		columns = "d_id, d_w_id, d_name, d_street_1, d_street_2, d_city, d_state, d_zip, d_tax, d_ytd, d_next_o_id" },
	{ table = "warehouse", row = warehouse, rows = function(scale) return size(scale).warehouses end,
		columns = "w_id, w_name, w_street_1, w_street_2, w_city, w_state, w_zip, w_tax, w_ytd" },
}

local FINISH = {
	{ "ALTER TABLE order_line ADD PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number)", "ALTER TABLE stock ADD PRIMARY KEY (s_w_id, s_i_id)" },
	{ [[ALTER TABLE customer ADD PRIMARY KEY (c_w_id, c_d_id, c_id);
		CREATE INDEX customer_name_idx ON customer (c_w_id, c_d_id, c_last, c_first)]],
		[[ALTER TABLE orders ADD PRIMARY KEY (o_w_id, o_d_id, o_id);
		CREATE UNIQUE INDEX orders_customer_idx ON orders (o_w_id, o_d_id, o_c_id, o_id);
		ALTER TABLE new_order ADD PRIMARY KEY (no_w_id, no_d_id, no_o_id);
		ALTER TABLE item ADD PRIMARY KEY (i_id);
		ALTER TABLE district ADD PRIMARY KEY (d_w_id, d_id);
		ALTER TABLE warehouse ADD PRIMARY KEY (w_id)]] },
	{ "VACUUM (ANALYZE) order_line", "VACUUM (ANALYZE) stock", "VACUUM (ANALYZE) customer", "VACUUM (ANALYZE) orders", "VACUUM (ANALYZE) history",
		"VACUUM (ANALYZE) new_order", "VACUUM (ANALYZE) item", "VACUUM (ANALYZE) district", "VACUUM (ANALYZE) warehouse" },
}

---- what arrivals ask for ----

local warehouses, items, customers         -- set by setup()
local c_last, c_customer, c_item           -- NURand's constants of this run

-- The run's constant for names is 65 to 119 away from the load's, but neither 96 nor 112, 2.1.6.1.
local function choose_constants(seed)
	local away = {}
	for delta = 65, 119 do
		if delta ~= 96 and delta ~= 112 then
			away[#away + 1] = delta
		end
	end
	c_last = C_LAST_LOAD + away[mix(seed, 1) % #away + 1]
	c_customer, c_item = mix(seed, 2) % 1024, mix(seed, 3) % 8192
end

local function any_district(r)
	return r:int(1, warehouses), r:int(1, DISTRICTS)
end

local function other_warehouse(r, w)
	local other = r:int(1, warehouses - 1)
	return other < w and other or other + 1
end

local function any_customer(r)
	return r:nurand(1023, 1, customers, c_customer)
end

-- A customer's number, or a last name in 60 of 100 cases: 2.5.1.2, 2.6.1.2.
local function customer_or_name(r)
	if r:int(1, 100) <= 60 then
		return nil, last_name(r:nurand(255, 0, math.min(customers, 1000) - 1, c_last))
	end
	return any_customer(r), nil
end

-- 2.4.1. Lines are sorted by stock, so that two orders take theirs in the same order and cannot deadlock; the item that does not
-- exist comes last, 2.4.1.5.
local function any_order(r)
	local w, d = any_district(r)
	local id, unused, all_local = any_customer(r), r:int(1, 100) == 1, 1
	local lines = {}
	for i = 1, r:int(5, 15) do
		local supply = w
		if warehouses > 1 and r:int(1, 100) == 1 then
			supply, all_local = other_warehouse(r, w), 0
		end
		lines[i] = { item = r:nurand(8191, 1, items, c_item), supply = supply, quantity = r:int(1, 10) }
	end
	table.sort(lines, function(a, b)
		if a.supply ~= b.supply then
			return a.supply < b.supply
		end
		return a.item < b.item
	end)
	if unused then
		lines[#lines].item = items + UNUSED_ITEM
	end
	return w, d, id, lines, all_local
end

-- 2.5.1: 15 of 100 customers pay at a warehouse that is not theirs.
local function any_payment(r)
	local w, d = any_district(r)
	local c_w, c_d = w, d
	if warehouses > 1 and r:int(1, 100) > 85 then
		c_w, c_d = other_warehouse(r, w), r:int(1, DISTRICTS)
	end
	local cents = r:int(100, 500000)
	return w, d, c_w, c_d, string.format("%d.%02d", cents // 100, cents % 100), customer_or_name(r)
end

-- 2.6.1
local function any_status(r)
	local w, d = any_district(r)
	return w, d, customer_or_name(r)
end

---- transactions ----

-- Of the customers of that name in the order of their first names, the one in the middle, rounded up: 2.5.2.2, 2.6.2.2.
local function find_customer(c, w, d, id, name)
	if id then
		return id
	end
	local found = c:rows("find_customers", w, d, name)
	local middle = found[(#found + 1) // 2]
	return middle and middle[1]
end

-- 2.4.2. The district's row comes first: it is what orders of one district wait for.
local function place_order(c, w, d, id, lines, all_local)
	c:begin()
	local o = c:row("take_order_number", w, d)
	c:row("get_warehouse", w)
	c:row("get_customer", w, d, id)
	c:exec("insert_order", o, d, w, id, #lines, all_local)
	c:exec("insert_new_order", o, d, w)
	for number, line in ipairs(lines) do
		local price = c:row("get_item", line.item)
		if not price then
			-- What was asked for: no failure, 2.4.2.3.
			c:rollback()
			return
		end
		local dist_info = c:row("take_stock", line.item, line.supply, line.quantity, line.supply ~= w and 1 or 0, d)
		c:exec("insert_line", o, d, w, number, line.item, line.supply, line.quantity, string.format("%.2f", price * line.quantity), dist_info)
	end
	c:commit()
end

-- 2.5.2. Warehouse, district, customer: all take locks in this order.
local function pay(c, w, d, c_w, c_d, amount, id, name)
	c:begin()
	local w_name = c:row("pay_warehouse", w, amount)
	local d_name = c:row("pay_district", w, d, amount)
	id = find_customer(c, c_w, c_d, id, name)
	local note = string.format("%s %d %d %d %d %s|", id, c_d, c_w, d, w, amount)
	c:row("pay_customer", c_w, c_d, id, amount, note)
	c:exec("insert_history", id, c_d, c_w, d, w, amount, (w_name or "") .. "    " .. (d_name or ""))
	c:commit()
end

-- 2.6.2
local function show_status(c, w, d, id, name)
	c:begin()
	id = find_customer(c, w, d, id, name)
	c:row("get_balance", w, d, id)
	local o = c:row("newest_order", w, d, id)
	c:rows("get_lines", w, d, o)
	c:commit()
end

-- 2.7.4, at once and not from a queue (2.7.2). A district without a new order is passed over, 2.7.4.2. A delivery that waits for another's
-- order gets the next one.
local function deliver(c, w, carrier)
	c:begin()
	for d = 1, DISTRICTS do
		local o = c:row("oldest_new_order", w, d)
		if o then
			c:exec("delete_new_order", w, d, o)
			local id = c:row("deliver_order", w, d, o, carrier)
			local amount = c:row("deliver_lines", w, d, o)
			c:exec("credit_customer", w, d, id, amount)
		end
	end
	c:commit()
end

-- 2.8.2: how many of the items of the district's last 20 orders are low in stock.
local function count_low_stock(c, w, d, threshold)
	c:begin()
	local next_order = c:row("get_order_number", w, d)
	c:row("count_low_stock", w, d, next_order, threshold)
	c:commit()
end

---- consistency, 3.3.2 ----

-- What was delivered, and what was paid, by customer.
local DELIVERED = [[(SELECT o_w_id, o_d_id, o_c_id, sum(ol_amount) AS amount
	FROM orders JOIN order_line ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
	WHERE ol_delivery_d IS NOT NULL GROUP BY 1, 2, 3) AS delivered ON o_w_id = c_w_id AND o_d_id = c_d_id AND o_c_id = c_id]]
local PAID = [[(SELECT h_c_w_id, h_c_d_id, h_c_id, sum(h_amount) AS amount FROM history GROUP BY 1, 2, 3) AS paid
	ON h_c_w_id = c_w_id AND h_c_d_id = c_d_id AND h_c_id = c_id]]

local CHECKS = {
	-- 3.3.2.1: a warehouse has taken what its districts have.
	condition_1 = [[SELECT w_id, w_ytd, sum(d_ytd) AS of_districts FROM warehouse LEFT JOIN district ON d_w_id = w_id
		GROUP BY w_id, w_ytd HAVING w_ytd IS DISTINCT FROM sum(d_ytd)]],
	-- 3.3.2.2: a district's next order number follows its last order and its last new order, when it has one.
	condition_2 = [[SELECT d_w_id, d_id, d_next_o_id, o.last AS last_order, n.last AS last_new_order FROM district
		LEFT JOIN (SELECT o_w_id, o_d_id, max(o_id) AS last FROM orders GROUP BY 1, 2) AS o ON o_w_id = d_w_id AND o_d_id = d_id
		LEFT JOIN (SELECT no_w_id, no_d_id, max(no_o_id) AS last FROM new_order GROUP BY 1, 2) AS n ON no_w_id = d_w_id AND no_d_id = d_id
		WHERE d_next_o_id - 1 IS DISTINCT FROM o.last OR d_next_o_id - 1 <> n.last]],
	-- 3.3.2.3: new orders are numbered without gaps.
	condition_3 = [[SELECT no_w_id, no_d_id, min(no_o_id), max(no_o_id), count(*) FROM new_order
		GROUP BY 1, 2 HAVING max(no_o_id) - min(no_o_id) + 1 <> count(*)]],
	-- 3.3.2.4: a district has as many order lines as its orders say.
	condition_4 = [[SELECT * FROM (SELECT o_w_id, o_d_id, sum(o_ol_cnt) AS said FROM orders GROUP BY 1, 2) AS o
		FULL JOIN (SELECT ol_w_id, ol_d_id, count(*) AS present FROM order_line GROUP BY 1, 2) AS l ON ol_w_id = o_w_id AND ol_d_id = o_d_id
		WHERE said IS DISTINCT FROM present]],
	-- 3.3.2.5: an order has no carrier exactly when it is a new one.
	condition_5 = [[SELECT o_w_id, o_d_id, o_id, o_carrier_id, no_o_id FROM orders
		LEFT JOIN new_order ON no_w_id = o_w_id AND no_d_id = o_d_id AND no_o_id = o_id
		WHERE (o_carrier_id IS NULL) <> (no_o_id IS NOT NULL)]],
	-- 3.3.2.6: each order has as many lines as it says.
	condition_6 = [[SELECT o_w_id, o_d_id, o_id, o_ol_cnt, present FROM orders
		LEFT JOIN (SELECT ol_w_id, ol_d_id, ol_o_id, count(*) AS present FROM order_line GROUP BY 1, 2, 3) AS l
			ON ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
		WHERE o_ol_cnt <> coalesce(present, 0)]],
	-- 3.3.2.7: a line has no delivery date exactly when its order has no carrier.
	condition_7 = [[SELECT ol_w_id, ol_d_id, ol_o_id, ol_number, ol_delivery_d, o_carrier_id FROM order_line
		LEFT JOIN orders ON o_w_id = ol_w_id AND o_d_id = ol_d_id AND o_id = ol_o_id
		WHERE (ol_delivery_d IS NULL) <> (o_carrier_id IS NULL)]],
	-- 3.3.2.8: a warehouse has taken what the history says.
	condition_8 = [[SELECT w_id, w_ytd, taken FROM warehouse
		LEFT JOIN (SELECT h_w_id, sum(h_amount) AS taken FROM history GROUP BY 1) AS h ON h_w_id = w_id
		WHERE w_ytd IS DISTINCT FROM taken]],
	-- 3.3.2.9: so has a district.
	condition_9 = [[SELECT d_w_id, d_id, d_ytd, taken FROM district
		LEFT JOIN (SELECT h_w_id, h_d_id, sum(h_amount) AS taken FROM history GROUP BY 1, 2) AS h ON h_w_id = d_w_id AND h_d_id = d_id
		WHERE d_ytd IS DISTINCT FROM taken]],
	-- 3.3.2.10: a customer owes what was delivered and not paid.
	condition_10 = "SELECT c_w_id, c_d_id, c_id, c_balance, delivered.amount AS delivered, paid.amount AS paid FROM customer LEFT JOIN " ..
		DELIVERED .. " LEFT JOIN " .. PAID .. " WHERE c_balance <> coalesce(delivered.amount, 0) - coalesce(paid.amount, 0)",
	-- 3.3.2.11: orders that are not new: 2,100 a district when loaded, that is 7 of 10 customers', and each delivery since then.
	condition_11 = [[SELECT d_w_id, d_id, o.n AS orders, n.n AS new_orders, c.loaded, c.delivered FROM district
		LEFT JOIN (SELECT o_w_id, o_d_id, count(*) AS n FROM orders GROUP BY 1, 2) AS o ON o_w_id = d_w_id AND o_d_id = d_id
		LEFT JOIN (SELECT no_w_id, no_d_id, count(*) AS n FROM new_order GROUP BY 1, 2) AS n ON no_w_id = d_w_id AND no_d_id = d_id
		LEFT JOIN (SELECT c_w_id, c_d_id, count(*) * 7 / 10 AS loaded, sum(c_delivery_cnt) AS delivered FROM customer GROUP BY 1, 2) AS c
			ON c_w_id = d_w_id AND c_d_id = d_id
		WHERE coalesce(o.n, 0) - coalesce(n.n, 0) IS DISTINCT FROM c.loaded + c.delivered]],
	-- 3.3.2.12: what a customer owes and has paid is what was delivered.
	condition_12 = "SELECT c_w_id, c_d_id, c_id, c_balance, c_ytd_payment, delivered.amount AS delivered FROM customer LEFT JOIN " .. DELIVERED ..
		" WHERE c_balance + c_ytd_payment <> coalesce(delivered.amount, 0)",
}

return workload {
	name = "tpcc",
	schema = SCHEMA,
	generate = GENERATE,
	finish = FINISH,
	checks = CHECKS,

	setup = function(info)
		local s = size(info.scale)
		warehouses, items, customers = s.warehouses, s.items, s.customers
		choose_constants(info.seed)
	end,

	statements = {
		take_order_number = [[UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = $1 AND d_id = $2
			RETURNING d_next_o_id - 1, d_tax]],
		get_warehouse = "SELECT w_tax FROM warehouse WHERE w_id = $1",
		get_customer = "SELECT c_discount, c_last, c_credit FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3",
		insert_order = "INSERT INTO orders (o_id, o_d_id, o_w_id, o_c_id, o_entry_d, o_ol_cnt, o_all_local) VALUES ($1, $2, $3, $4, now(), $5, $6)",
		insert_new_order = "INSERT INTO new_order (no_o_id, no_d_id, no_w_id) VALUES ($1, $2, $3)",
		get_item = "SELECT i_price, i_name, i_data FROM item WHERE i_id = $1",
		-- 2.4.2.2: what would leave less than 10 is filled up by 91.
		take_stock = [[UPDATE stock SET s_quantity = s_quantity - $3 + CASE WHEN s_quantity >= $3 + 10 THEN 0 ELSE 91 END,
			s_ytd = s_ytd + $3, s_order_cnt = s_order_cnt + 1, s_remote_cnt = s_remote_cnt + $4
			WHERE s_i_id = $1 AND s_w_id = $2
			RETURNING (ARRAY[s_dist_01, s_dist_02, s_dist_03, s_dist_04, s_dist_05, s_dist_06, s_dist_07, s_dist_08, s_dist_09, s_dist_10])[$5],
				s_quantity, s_data]],
		insert_line = [[INSERT INTO order_line
			(ol_o_id, ol_d_id, ol_w_id, ol_number, ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_dist_info)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)]],

		pay_warehouse = [[UPDATE warehouse SET w_ytd = w_ytd + $2 WHERE w_id = $1
			RETURNING w_name, w_street_1, w_street_2, w_city, w_state, w_zip]],
		pay_district = [[UPDATE district SET d_ytd = d_ytd + $3 WHERE d_w_id = $1 AND d_id = $2
			RETURNING d_name, d_street_1, d_street_2, d_city, d_state, d_zip]],
		find_customers = "SELECT c_id FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_last = $3 ORDER BY c_first",
		-- 2.5.2.2: bad credit has its payments noted.
		pay_customer = [[UPDATE customer SET c_balance = c_balance - $4, c_ytd_payment = c_ytd_payment + $4, c_payment_cnt = c_payment_cnt + 1,
			c_data = CASE WHEN c_credit = 'BC' THEN left($5::text || c_data, 500) ELSE c_data END
			WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3
			RETURNING c_first, c_middle, c_last, c_street_1, c_street_2, c_city, c_state, c_zip, c_phone, c_since, c_credit, c_credit_lim,
				c_discount, c_balance, CASE WHEN c_credit = 'BC' THEN left(c_data, 200) END]],
		insert_history = [[INSERT INTO history (h_c_id, h_c_d_id, h_c_w_id, h_d_id, h_w_id, h_date, h_amount, h_data)
			VALUES ($1, $2, $3, $4, $5, now(), $6, $7)]],

		get_balance = "SELECT c_balance, c_first, c_middle, c_last FROM customer WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3",
		newest_order = [[SELECT o_id, o_entry_d, o_carrier_id FROM orders WHERE o_w_id = $1 AND o_d_id = $2 AND o_c_id = $3
			ORDER BY o_id DESC LIMIT 1]],
		get_lines = [[SELECT ol_i_id, ol_supply_w_id, ol_quantity, ol_amount, ol_delivery_d FROM order_line
			WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3]],

		oldest_new_order = "SELECT no_o_id FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 ORDER BY no_o_id LIMIT 1 FOR UPDATE",
		delete_new_order = "DELETE FROM new_order WHERE no_w_id = $1 AND no_d_id = $2 AND no_o_id = $3",
		deliver_order = "UPDATE orders SET o_carrier_id = $4 WHERE o_w_id = $1 AND o_d_id = $2 AND o_id = $3 RETURNING o_c_id",
		deliver_lines = [[WITH delivered AS (UPDATE order_line SET ol_delivery_d = now() WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id = $3
			RETURNING ol_amount) SELECT sum(ol_amount)::text FROM delivered]],
		credit_customer = [[UPDATE customer SET c_balance = c_balance + $4, c_delivery_cnt = c_delivery_cnt + 1
			WHERE c_w_id = $1 AND c_d_id = $2 AND c_id = $3]],

		get_order_number = "SELECT d_next_o_id FROM district WHERE d_w_id = $1 AND d_id = $2",
		count_low_stock = [[SELECT count(DISTINCT s_i_id) FROM order_line JOIN stock ON s_w_id = ol_w_id AND s_i_id = ol_i_id
			WHERE ol_w_id = $1 AND ol_d_id = $2 AND ol_o_id >= $3 - 20 AND ol_o_id < $3 AND s_quantity < $4]],
	},

	-- 5.2.3; weights add up to 100.
	transactions = {
		new_order = { weight = 45, args = any_order, run = place_order },
		payment = { weight = 43, args = any_payment, run = pay },
		order_status = { weight = 4, read_only = true, args = any_status, run = show_status },
		delivery = { weight = 4, args = function(r) return r:int(1, warehouses), r:int(1, 10) end, run = deliver },
		stock_level = { weight = 4, read_only = true,
			args = function(r)
				local w, d = any_district(r)
				return w, d, r:int(10, 20)
			end,
			run = count_low_stock },
	},
}
