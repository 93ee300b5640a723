-- order_lines gets a column that is computed and stored. Adding it in place would write the table anew behind a lock; here a second table is
-- filled beside the first, kept current, and takes over its name in an instant. Then the old one is kept current, for the way back.
local rehearse = require "rehearse"

-- On both tables: whichever bears the live name when a row changes hands it on to the other.
local COPY = [[CREATE FUNCTION copy_order_line() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_TABLE_NAME <> 'order_lines' THEN
			RETURN NULL;
		ELSIF TG_OP = 'DELETE' THEN
			DELETE FROM order_lines_beside WHERE order_id = OLD.order_id AND line_no = OLD.line_no;
			RETURN NULL;
		ELSIF TG_OP = 'UPDATE' AND (NEW.order_id, NEW.line_no) <> (OLD.order_id, OLD.line_no) THEN
			DELETE FROM order_lines_beside WHERE order_id = OLD.order_id AND line_no = OLD.line_no;
		END IF;
		INSERT INTO order_lines_beside (order_id, line_no, product_id, qty, price_cents, picked)
			VALUES (NEW.order_id, NEW.line_no, NEW.product_id, NEW.qty, NEW.price_cents, NEW.picked)
			ON CONFLICT (order_id, line_no) DO UPDATE SET product_id = EXCLUDED.product_id, qty = EXCLUDED.qty,
				price_cents = EXCLUDED.price_cents, picked = EXCLUDED.picked;
		RETURN NULL;
	END $$]]
local TRIGGER = "CREATE TRIGGER copy_order_line AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION copy_order_line()"

return rehearse.scenario {
	title = "order_lines is replaced by a table with a stored amount",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },
	rollback_after = "5s",

	versions = {
		v2 = {
			statements = {
				get_lines = [[SELECT l.line_no, l.qty, l.price_cents, l.amount_cents, p.sku, p.name FROM order_lines l JOIN products p ON p.id = l.product_id
					WHERE l.order_id = $1 ORDER BY l.line_no]],
			},
		},
	},

	steps = {
		-- Columns that there were keep their types: sessions have statements prepared whose results must not change.
		rehearse.sql { name = "create the other",
			up = [[CREATE TABLE order_lines_beside (
				order_id bigint NOT NULL REFERENCES orders (id),
				line_no integer NOT NULL,
				product_id bigint NOT NULL REFERENCES products (id),
				qty integer NOT NULL CHECK (qty > 0),
				price_cents integer NOT NULL,
				picked integer NOT NULL DEFAULT 0,
				amount_cents integer NOT NULL GENERATED ALWAYS AS (qty * price_cents) STORED,
				PRIMARY KEY (order_id, line_no))]],
			down = "DROP TABLE order_lines_beside" },

		rehearse.sql { name = "hand on what changes",
			up = { COPY, TRIGGER:format("order_lines"), TRIGGER:format("order_lines_beside") },
			down = { "DROP TRIGGER copy_order_line ON order_lines", "DROP TRIGGER copy_order_line ON order_lines_beside", "DROP FUNCTION copy_order_line()" } },

		-- FOR KEY SHARE: a row that is deleted meanwhile is not brought back; one that is changed meanwhile is there already, or its trigger waits.
		rehearse.backfill { name = "copy the rows", table = "order_lines", key = "order_id, line_no",
			statement = [[INSERT INTO order_lines_beside (order_id, line_no, product_id, qty, price_cents, picked)
				SELECT order_id, line_no, product_id, qty, price_cents, picked FROM order_lines WHERE :range FOR KEY SHARE
				ON CONFLICT DO NOTHING]],
			where = "NOT EXISTS (SELECT FROM order_lines_beside b WHERE b.order_id = order_lines.order_id AND b.line_no = order_lines.line_no)",
			batch = rehearse.setting("batch", 10000), pause = rehearse.setting("pause", "100ms"),
			throttle = { replay_lag = "10s", p99 = "1s" } },

		rehearse.sql { name = "statistics", up = "ANALYZE order_lines_beside", down = false },

		rehearse.reconcile { name = "compare both", key = { "order_id", "line_no" }, columns = { "product_id", "qty", "price_cents", "picked" },
			old = "order_lines", new = "order_lines_beside" },

		rehearse.swap_tables { name = "change places", tables = { order_lines = "order_lines_beside" }, criteria = { "duration < 1s" } },

		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },
	},

	checks = {
		nothing_missing = { after = "copy the rows", sql = [[SELECT order_id, line_no, product_id, qty, price_cents, picked FROM order_lines
			EXCEPT SELECT order_id, line_no, product_id, qty, price_cents, picked FROM order_lines_beside]] },
		both_agree = [[(SELECT order_id, line_no, product_id, qty, price_cents, picked FROM order_lines
			EXCEPT SELECT order_id, line_no, product_id, qty, price_cents, picked FROM order_lines_beside)
			UNION ALL (SELECT order_id, line_no, product_id, qty, price_cents, picked FROM order_lines_beside
			EXCEPT SELECT order_id, line_no, product_id, qty, price_cents, picked FROM order_lines)]],
		amounts = "SELECT order_id, line_no FROM order_lines WHERE amount_cents <> qty * price_cents",
	},

	criteria = {
		"migration.statement.max < 10s",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"latency.p99 during rollback < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 30s",
		"checks.clean",
		"rollback.clean",
	},
}
