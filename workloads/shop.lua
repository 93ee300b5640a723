-- A web shop as it grew over the years: accounts with a boolean that product wants three states of, orders of 47 columns with
-- their line items as JSON beside the warehouse's order lines, counters whose int4 key nears its end, and events by month.
-- Scale 1 is 100,000 users: about 250 MB.

local workload = require "workload"

local USERS, PRODUCTS, ORDER_BLOCKS, COUNTERS, EVENTS = 100000, 5000, 18750, 50000, 240000

-- How many lines the 8 orders of a block have, so that line i belongs to a known order.
local LINES = { 1, 2, 3, 1, 4, 2, 6, 2 }
local BLOCK_LINES, BLOCK_ORDERS, ORDER_OF, LINE_OF = 0, #LINES, {}, {}
for order, lines in ipairs(LINES) do
	for line = 1, lines do
		BLOCK_LINES = BLOCK_LINES + 1
		ORDER_OF[BLOCK_LINES], LINE_OF[BLOCK_LINES] = order, line
	end
end

local FIRST_COUNTER = 1900000000   -- of 2,147,483,647

local function scaled(n)
	return function(scale)
		return math.max(1, math.floor(n * scale))
	end
end
local users_at, products_at, blocks_at = scaled(USERS), scaled(PRODUCTS), scaled(ORDER_BLOCKS)
local counters_at, events_at = scaled(COUNTERS), scaled(EVENTS)

---- what the rows are made of ----

local FIRST = { "Ada", "Amir", "Ana", "Bao", "Chloé", "Dana", "Elif", "Emeka", "Femi", "Greta", "Hana", "Ivan", "Jonas", "Kofi", "Lena", "Luca",
	"Maja", "Mei", "Nils", "Nour", "Olga", "Pavel", "Priya", "Rosa", "Sara", "Tomás", "Uma", "Viktor", "Wen", "Yara", "Zoë" }
local LAST = { "Abe", "Andersson", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "García", "Haddad", "Ito", "Jansen", "Kowalski", "Kumar",
	"Lindqvist", "Moreau", "Nguyen", "O'Brien", "Okafor", "Petrov", "Rossi", "Schmidt", "Silva", "Suzuki", "Tanaka", "Weber", "Yılmaz", "Zhang" }
local STREETS = { "High Street", "Station Road", "Mill Lane", "Rue de la Paix", "Lindenallee", "Via Roma", "Kungsgatan", "Church Street", "Park Avenue",
	"Calle Mayor", "Hauptstraße", "Main Street", "Bahnhofstraße", "Market Square" }
local CITIES = { "Aarhus", "Bologna", "Bristol", "Dresden", "Gdańsk", "Ghent", "Leeds", "Lyon", "Malmö", "Porto", "Utrecht", "Valencia", "Vienna", "Zürich" }
local COUNTRIES = { "DK", "IT", "GB", "DE", "PL", "BE", "GB", "FR", "SE", "PT", "NL", "ES", "AT", "CH" }
local LOCALES = { "en_GB", "de_DE", "fr_FR", "it_IT", "es_ES", "pl_PL", "sv_SE", "nl_NL" }
local AGENTS = {
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
	"ShopApp/8.12.1 (Android 14; Pixel 8)",
}
local THINGS = { "kettle", "lamp", "notebook", "teapot", "blanket", "backpack", "umbrella", "mug", "cushion", "clock", "vase", "candle", "bottle", "apron" }
local LOOKS = { "blue", "oak", "linen", "copper", "striped", "folding", "enamel", "woollen", "green", "glass", "slim", "large" }
local KINDS = { "page_view", "page_view", "page_view", "search", "add_to_cart", "add_to_cart", "wishlist", "login" }
local CHANNELS = { "web", "web", "web", "app", "app", "phone" }
local CARRIERS = { "PostNord", "DHL", "DPD", "UPS", "GLS" }
local PAYMENTS = { "card", "card", "card", "paypal", "invoice", "klarna" }

-- The shop's own calendar, so that a seed means the same on any day: a year of data, then the month that the traffic falls in.
local DAYS, MINUTES = {}, {}
for month = 0, 11 do
	local year, m = 2025 + (month + 6) // 12, (month + 6) % 12 + 1
	for day = 1, 30 do
		DAYS[#DAYS + 1] = string.format("%d-%02d-%02d", year, m, m == 2 and math.min(day, 28) or day)
	end
end
for minute = 0, 1439 do
	MINUTES[minute] = string.format(" %02d:%02d:%02d+00", minute // 60, minute % 60, minute * 7 % 60)
end

-- A time on day number d of the year; later days for later rows, so that keys and times grow together as they do.
local function day_of(i, n)
	return 1 + (i - 1) * #DAYS // n
end

local function time_on(d, r)
	return DAYS[math.min(d, #DAYS)] .. MINUTES[r:int(0, 1439)]
end

local function mix(a, b)
	local h = (a * 31 + b) * 0x9e3779b97f4a7c15
	h = (h ~ (h >> 29)) * 0xbf58476d1ce4e5b9
	return (h ~ (h >> 32)) & 0xffffffff
end

local function price_of(product)
	return 199 + mix(product, 7) % 9000
end

local function sku_of(product)
	return string.format("SKU-%06d", product)
end

local function name_of(product)
	return LOOKS[product % #LOOKS + 1] .. " " .. THINGS[product % #THINGS + 1]
end

-- Product, quantity and price of a line: both forms of an order's lines are made from it. Some products sell far more than others.
local function line_of(r, order, line, products)
	local h = mix(order, line)
	local u = (h >> 8) / 0x1000000
	local product = r:permute(1 + math.floor(products * u * u * u), products)
	return product, 1 + (h & 0xff) // 160, price_of(product)
end

local function email_of(i)
	return "user" .. i .. "@" .. (i % 3 == 0 and "example.com" or i % 3 == 1 and "mail.example.org" or "example.net")
end

---- rows ----

local function user(i, r, scale)
	local first, last = r:pick(FIRST), r:pick(LAST)
	local day = day_of(i, users_at(scale))
	return i, email_of(i), first .. " " .. last, r:unit() < 0.94, time_on(day, r), r:unit() < 0.8 and time_on(r:int(day, #DAYS), r) or nil,
		r:int(0, 400), r:pick(LOCALES), r:hex(60),
		'{"newsletter": ' .. (r:unit() < 0.3 and "true" or "false") .. ', "theme": "' .. (r:unit() < 0.2 and "dark" or "light") ..
		'", "interests": ["' .. r:pick(THINGS) .. '", "' .. r:pick(THINGS) .. '"], "referrer": "' .. r:text(24) .. '"}'
end

local function product(i, r)
	return i, sku_of(i), name_of(i), r:text(180), price_of(i), r:int(100000, 900000), i % 40 + 1, r:unit() < 0.95, "2025-06-01 00:00:00+00"
end

local function order(i, r, scale)
	local lines = LINES[(i - 1) % BLOCK_ORDERS + 1]
	local orders, products = blocks_at(scale) * BLOCK_ORDERS, products_at(scale)
	local items, subtotal, pieces = {}, 0, 0
	for line = 1, lines do
		local item, qty, price = line_of(r, i, line, products)
		items[line] = '{"sku": "' .. sku_of(item) .. '", "qty": ' .. qty .. ', "price_cents": ' .. price .. ', "name": "' .. name_of(item) .. '"}'
		subtotal, pieces = subtotal + qty * price, pieces + qty
	end
	local discount, shipping = r:unit() < 0.15 and subtotal // 10 or 0, subtotal > 5000 and 0 or 490
	local total = subtotal - discount + shipping
	local day = day_of(i, orders)
	local place = r:int(1, #CITIES)
	local name = FIRST[mix(i, 1) % #FIRST + 1] .. " " .. LAST[mix(i, 2) % #LAST + 1]
	local street = r:pick(STREETS) .. " " .. r:int(1, 140)
	local zip = tostring(r:int(10000, 99999))
	local fate = r:unit()
	local status = fate < 0.86 and "delivered" or fate < 0.92 and "shipped" or fate < 0.96 and "paid" or fate < 0.98 and "cancelled" or "new"
	local paid, shipped = fate < 0.96, fate < 0.92
	return i, "R" .. (10000000 + i), r:permute(r:zipf(users_at(scale), 0.6), users_at(scale)), status, "EUR", r:pick(CHANNELS), r:pick(LOCALES),
		"[" .. table.concat(items, ", ") .. "]", pieces, subtotal, discount, shipping, total * 19 // 119, total, paid and total or 0,
		fate < 0.02 and total or 0, discount > 0 and "WELCOME10" or nil,
		name, street, CITIES[place], zip, COUNTRIES[place], name, street, CITIES[place], zip, COUNTRIES[place], "+49 30 " .. r:int(1000000, 9999999),
		shipped and r:pick(CARRIERS) or nil, shipped and "TR" .. r:hex(16) or nil, r:int(1, 6), 300 * pieces, fate > 0.4 and fate < 0.44,
		fate > 0.4 and fate < 0.44 and r:text(40) or nil, fate > 0.5 and fate < 0.55 and r:text(80) or nil, nil,
		r:pick(PAYMENTS), paid and "pay_" .. r:hex(24) or nil, r:int(0, 99), "203.0.113." .. r:int(1, 254), r:pick(AGENTS),
		time_on(day, r), paid and time_on(day + 1, r) or nil, shipped and time_on(day + 2, r) or nil, fate < 0.86 and time_on(day + 4, r) or nil,
		fate >= 0.96 and fate < 0.98 and time_on(day + 1, r) or nil, time_on(day + 4, r)
end

local function order_line(i, r, scale)
	local block, at = (i - 1) // BLOCK_LINES, (i - 1) % BLOCK_LINES + 1
	local id, line = block * BLOCK_ORDERS + ORDER_OF[at], LINE_OF[at]
	local item, qty, price = line_of(r, id, line, products_at(scale))
	return id, line, item, qty, price, qty
end

local function counter(i, r, scale)
	return FIRST_COUNTER + i, r:int(1, products_at(scale)), DAYS[day_of(i, counters_at(scale))], r:int(1, 5000), DAYS[#DAYS] .. MINUTES[i % 1440]
end

local function event(i, r, scale)
	return i, r:permute(r:zipf(users_at(scale), 0.8), users_at(scale)), r:pick(KINDS),
		'{"product": ' .. r:int(1, products_at(scale)) .. ', "path": "/p/' .. r:hex(12) .. '"}', time_on(day_of(i, events_at(scale)), r)
end

---- schema ----

local months = {}
for month = 0, 13 do
	local function first_of(m)
		return string.format("%d-%02d-01", 2025 + (m + 6) // 12, (m + 6) % 12 + 1)
	end
	months[#months + 1] = string.format("CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM ('%s') TO ('%s');",
		first_of(month):sub(1, 7):gsub("-", "_"), first_of(month), first_of(month + 1))
end

local SCHEMA = [[
CREATE TABLE users (
	id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
	email text NOT NULL,
	full_name text NOT NULL,
	is_active boolean NOT NULL DEFAULT true,
	created_at timestamptz NOT NULL DEFAULT now(),
	last_login timestamptz,
	login_count integer NOT NULL DEFAULT 0,
	locale text NOT NULL DEFAULT 'en_GB',
	password_hash text NOT NULL,
	profile jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 85);

CREATE TABLE products (
	id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
	sku text NOT NULL,
	name text NOT NULL,
	description text NOT NULL,
	price_cents integer NOT NULL,
	stock integer NOT NULL,
	category_id integer NOT NULL,
	on_sale boolean NOT NULL DEFAULT true,
	created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE orders (
	id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
	order_no text NOT NULL,
	user_id bigint NOT NULL,
	status text NOT NULL DEFAULT 'new',
	currency text NOT NULL DEFAULT 'EUR',
	channel text NOT NULL DEFAULT 'web',
	locale text NOT NULL DEFAULT 'en_GB',
	items jsonb NOT NULL,
	item_count integer NOT NULL,
	subtotal_cents integer NOT NULL,
	discount_cents integer NOT NULL DEFAULT 0,
	shipping_cents integer NOT NULL DEFAULT 0,
	tax_cents integer NOT NULL DEFAULT 0,
	total_cents integer NOT NULL,
	paid_cents integer NOT NULL DEFAULT 0,
	refunded_cents integer NOT NULL DEFAULT 0,
	coupon_code text,
	ship_name text, ship_street text, ship_city text, ship_zip text, ship_country text,
	bill_name text, bill_street text, bill_city text, bill_zip text, bill_country text,
	phone text,
	carrier text,
	tracking_no text,
	warehouse smallint,
	weight_g integer,
	gift boolean NOT NULL DEFAULT false,
	gift_note text,
	customer_note text,
	internal_note text,
	payment_method text,
	payment_ref text,
	risk_score smallint,
	ip_address inet,
	user_agent text,
	placed_at timestamptz NOT NULL DEFAULT now(),
	paid_at timestamptz,
	shipped_at timestamptz,
	delivered_at timestamptz,
	cancelled_at timestamptz,
	updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 90);

CREATE TABLE order_lines (
	order_id bigint NOT NULL,
	line_no integer NOT NULL,
	product_id bigint NOT NULL,
	qty integer NOT NULL CHECK (qty > 0),
	price_cents integer NOT NULL,
	picked integer NOT NULL DEFAULT 0
);

CREATE TABLE page_views (
	id integer NOT NULL GENERATED BY DEFAULT AS IDENTITY (START WITH 1900000001),
	product_id bigint NOT NULL,
	day date NOT NULL,
	views bigint NOT NULL DEFAULT 1,
	updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

CREATE TABLE events (
	id bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
	user_id bigint NOT NULL,
	kind text NOT NULL,
	payload jsonb NOT NULL,
	occurred_at timestamptz NOT NULL
) PARTITION BY RANGE (occurred_at);
]] .. table.concat(months, "\n")

local ORDER_COLUMNS = [[id, order_no, user_id, status, currency, channel, locale, items, item_count, subtotal_cents, discount_cents,
	shipping_cents, tax_cents, total_cents, paid_cents, refunded_cents, coupon_code, ship_name, ship_street, ship_city, ship_zip, ship_country,
	bill_name, bill_street, bill_city, bill_zip, bill_country, phone, carrier, tracking_no, warehouse, weight_g, gift, gift_note, customer_note,
	internal_note, payment_method, payment_ref, risk_score, ip_address, user_agent, placed_at, paid_at, shipped_at, delivered_at, cancelled_at, updated_at]]

-- Each line in turn; what stands in one line's braces runs at once. VACUUM last, so that the traffic does not pay for it.
local FINISH = {
	{ "ALTER TABLE orders ADD PRIMARY KEY (id)", "ALTER TABLE users ADD PRIMARY KEY (id); CREATE UNIQUE INDEX users_email_idx ON users (email)" },
	{ "CREATE INDEX orders_user_id_idx ON orders (user_id, placed_at DESC)", "ALTER TABLE order_lines ADD PRIMARY KEY (order_id, line_no)" },
	{ "CREATE INDEX orders_placed_at_idx ON orders (placed_at)", "ALTER TABLE products ADD PRIMARY KEY (id); CREATE UNIQUE INDEX products_sku_idx ON products (sku)",
		"ALTER TABLE page_views ADD PRIMARY KEY (id); CREATE INDEX page_views_product_idx ON page_views (product_id, day)" },
	{ "CREATE UNIQUE INDEX orders_order_no_idx ON orders (order_no)",
		"ALTER TABLE events ADD PRIMARY KEY (id, occurred_at); CREATE INDEX events_user_id_idx ON events (user_id, occurred_at)" },
	"ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users (id)",
	"ALTER TABLE order_lines ADD FOREIGN KEY (order_id) REFERENCES orders (id), ADD FOREIGN KEY (product_id) REFERENCES products (id)",
	[[SELECT setval(pg_get_serial_sequence('users', 'id'), (SELECT max(id) FROM users)),
		setval(pg_get_serial_sequence('products', 'id'), (SELECT max(id) FROM products)),
		setval(pg_get_serial_sequence('orders', 'id'), (SELECT max(id) FROM orders)),
		setval(pg_get_serial_sequence('page_views', 'id'), (SELECT max(id) FROM page_views)),
		setval(pg_get_serial_sequence('events', 'id'), (SELECT max(id) FROM events))]],
	{ "VACUUM (ANALYZE) orders", "VACUUM (ANALYZE) users", "VACUUM (ANALYZE) order_lines", "VACUUM (ANALYZE) products",
		"VACUUM (ANALYZE) page_views", "VACUUM (ANALYZE) events" },
}

---- traffic ----

local users, products, orders, counters   -- how many the data has

local function any_user(r)
	return r:permute(r:zipf(users, 0.9), users)
end

local function any_product(r)
	return r:permute(r:zipf(products, 0.8), products)
end

-- The newest orders are asked for most.
local function recent_order(r)
	return orders + 1 - r:zipf(orders, 0.7)
end

local function any_counter(r)
	return FIRST_COUNTER + r:permute(r:zipf(counters, 0.8), counters)
end

-- When it happened on the customer's device: in the month after the data.
local function moment(r)
	return string.format("2026-07-%02d", r:int(1, 31)) .. MINUTES[r:int(0, 1439)]
end

-- Sorted by product, so that two checkouts take their stock in the same order and cannot deadlock.
local function any_cart(r)
	local lines, seen = {}, {}
	for _ = 1, r:pick(LINES) do
		local item = any_product(r)
		if not seen[item] then
			seen[item] = true
			lines[#lines + 1] = { product = item, qty = r:chance(0.3) and 2 or 1, price = price_of(item) }
		end
	end
	table.sort(lines, function(a, b) return a.product < b.product end)
	local items, total, pieces = {}, 0, 0
	for i, line in ipairs(lines) do
		items[i] = string.format('{"sku": "%s", "qty": %d, "price_cents": %d, "name": "%s"}', sku_of(line.product), line.qty, line.price, name_of(line.product))
		total, pieces = total + line.qty * line.price, pieces + line.qty
	end
	return { user = any_user(r), lines = lines, items = "[" .. table.concat(items, ", ") .. "]", total = total, pieces = pieces,
		order_no = "N" .. r:hex(16), address = r:pick(STREETS) .. " " .. r:int(1, 140), city = r:pick(CITIES), at = moment(r) }
end

return workload {
	name = "shop",
	-- For versions that know of an old place and a new one: which of them they read.
	flags = { read_new = false },
	schema = SCHEMA,
	generate = {
		{ table = "orders", columns = ORDER_COLUMNS, rows = function(scale) return blocks_at(scale) * BLOCK_ORDERS end, row = order },
		{ table = "users", columns = "id, email, full_name, is_active, created_at, last_login, login_count, locale, password_hash, profile",
			rows = users_at, row = user },
		{ table = "order_lines", columns = "order_id, line_no, product_id, qty, price_cents, picked",
			rows = function(scale) return blocks_at(scale) * BLOCK_LINES end, row = order_line },
		{ table = "events", columns = "id, user_id, kind, payload, occurred_at", rows = events_at, row = event },
		{ table = "page_views", columns = "id, product_id, day, views, updated_at", rows = counters_at, row = counter },
		{ table = "products", columns = "id, sku, name, description, price_cents, stock, category_id, on_sale, created_at",
			rows = products_at, row = product },
	},
	finish = FINISH,

	setup = function(info)
		users, products, orders, counters = info.rows.users, info.rows.products, info.rows.orders, info.rows.page_views
	end,

	statements = {
		get_user = "SELECT id, email, full_name, is_active, last_login, locale, profile FROM users WHERE id = $1",
		find_user = "SELECT id, full_name, is_active FROM users WHERE email = $1",
		touch_user = "UPDATE users SET last_login = now(), login_count = login_count + 1 WHERE id = $1 AND is_active",
		set_active = "UPDATE users SET is_active = $2 WHERE id = $1",
		list_orders = "SELECT id, order_no, status, total_cents, item_count, placed_at FROM orders WHERE user_id = $1 ORDER BY placed_at DESC LIMIT 20",
		get_order = "SELECT id, order_no, user_id, status, items, total_cents, ship_name, ship_city, carrier, tracking_no, placed_at FROM orders WHERE id = $1",
		get_lines = "SELECT l.line_no, l.qty, l.price_cents, p.sku, p.name FROM order_lines l JOIN products p ON p.id = l.product_id WHERE l.order_id = $1 ORDER BY l.line_no",
		pay_order = "UPDATE orders SET status = 'paid', paid_cents = total_cents, paid_at = now(), updated_at = now() WHERE id = $1",
		insert_order = [[INSERT INTO orders (order_no, user_id, items, item_count, subtotal_cents, total_cents, ship_street, ship_city, payment_method)
			VALUES ($1, $2, $3, $4, $5, $5, $6, $7, 'card') RETURNING id]],
		insert_line = "INSERT INTO order_lines (order_id, line_no, product_id, qty, price_cents) VALUES ($1, $2, $3, $4, $5)",
		take_stock = "UPDATE products SET stock = stock - $2 WHERE id = $1",
		get_product = "SELECT id, sku, name, description, price_cents, stock FROM products WHERE id = $1 AND on_sale",
		count_view = "UPDATE page_views SET views = views + 1, updated_at = now() WHERE id = $1",
		insert_counter = "INSERT INTO page_views (product_id, day) VALUES ($1, $2) RETURNING id",
		insert_event = "INSERT INTO events (user_id, kind, payload, occurred_at) VALUES ($1, $2, $3, $4)",
	},

	-- Weights add up to 100.
	transactions = {
		view_user = { weight = 22, read_only = true, args = any_user,
			run = function(c, id) c:exec("get_user", id) end },
		list_orders = { weight = 14, read_only = true, args = any_user,
			run = function(c, id) c:exec("list_orders", id) end },
		view_order = { weight = 14, read_only = true, args = recent_order,
			run = function(c, id)
				c:exec("get_order", id)
				c:exec("get_lines", id)
			end },
		view_product = { weight = 10, args = function(r) return any_product(r), any_counter(r) end,
			run = function(c, id, counter_id)
				c:exec("get_product", id)
				c:exec("count_view", counter_id)
			end },
		search_by_email = { weight = 8, read_only = true, args = function(r) return email_of(any_user(r)) end,
			run = function(c, email) c:exec("find_user", email) end },
		login = { weight = 8, args = function(r) return email_of(any_user(r)) end,
			run = function(c, email)
				local id = c:row("find_user", email)
				if id then
					c:exec("touch_user", id)
				end
			end },
		count_view = { weight = 6, args = any_counter,
			run = function(c, id) c:exec("count_view", id) end },
		add_event = { weight = 8,
			args = function(r) return any_user(r), r:pick(KINDS), '{"path": "/p/' .. r:hex(12) .. '"}', moment(r) end,
			run = function(c, ...) c:exec("insert_event", ...) end },
		checkout = { weight = 4, args = any_cart,
			run = function(c, cart)
				c:begin()
				local id = c:row("insert_order", cart.order_no, cart.user, cart.items, cart.pieces, cart.total, cart.address, cart.city)
				for i, line in ipairs(cart.lines) do
					c:exec("take_stock", line.product, line.qty)
					c:exec("insert_line", id, i, line.product, line.qty, line.price)
				end
				c:exec("insert_event", cart.user, "checkout", '{"total_cents": ' .. cart.total .. "}", cart.at)
				c:commit()
			end },
		pay_order = { weight = 3, args = recent_order,
			run = function(c, id) c:exec("pay_order", id) end },
		set_active = { weight = 2, args = function(r) return any_user(r), r:chance(0.9) end,
			run = function(c, id, on) c:exec("set_active", id, on) end },
		open_counter = { weight = 1, args = function(r) return any_product(r), string.format("2026-07-%02d", r:int(1, 31)) end,
			run = function(c, id, day) c:exec("insert_counter", id, day) end },
	},

	actors = {
		-- Revenue by country, product and month, out of the JSON: seconds, not milliseconds.
		report = { every = "5s", sql = [[SELECT o.ship_country, i.item ->> 'name' AS product, date_trunc('month', o.placed_at) AS month,
				count(DISTINCT u.email) AS buyers, sum((i.item ->> 'qty')::int * (i.item ->> 'price_cents')::int) AS revenue_cents,
				percentile_cont(0.5) WITHIN GROUP (ORDER BY o.total_cents) AS median_order_cents
			FROM orders o JOIN users u ON u.id = o.user_id CROSS JOIN LATERAL jsonb_array_elements(o.items) AS i (item)
			GROUP BY 1, 2, 3 ORDER BY revenue_cents DESC LIMIT 100]] },
		-- Someone's console: a row changed, and then lunch.
		idle_in_transaction = { begin = "UPDATE users SET locale = locale WHERE id = 1", hold = "10s", every = "15s" },
		-- The same at the order desk and in the catalogue's back office.
		open_order = { begin = "UPDATE orders SET internal_note = internal_note WHERE id = 1", hold = "5s", every = "20s" },
		open_product = { begin = "UPDATE products SET name = name WHERE id = 1", hold = "5s", every = "20s" },
	},
}
