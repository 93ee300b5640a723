// Statements of node-postgres, a driver that does not use libpq: what it sends is told as JSON lines, for logs.t to look for in the log.
// Usage: node driver.js HOST DATABASE APPLICATION
const { Client } = require("pg");
let Cursor = null;
try { Cursor = require("pg-cursor"); } catch { /* portals are left out then */ }

const [host, database, application_name] = process.argv.slice(2);
const told = (event) => console.log(JSON.stringify(event));
// A value as the server shows it in its log: as it would print it, whatever came.
const shown = (v) => v === null ? null : typeof v === "boolean" ? (v ? "t" : "f") : Buffer.isBuffer(v) ? "\\x" + v.toString("hex")
	: Array.isArray(v) ? "{" + v.map((x) => / /.test(x) ? `"${x}"` : x).join(",") + "}"
	: typeof v === "object" ? JSON.stringify(v).replace(/([:,])/g, "$1 ") : String(v);

async function simple(client, sql, sqlstate = "00000") {
	told({ kind: "simple", sql, sqlstate, params: [] });
	await client.query(sql).catch((e) => { if (e.code !== sqlstate) throw e; });
}
// What fails while it is parsed has not come to its parameters: they are not logged.
const UNBOUND = ["42703", "25P02"];
async function execute(client, sql, values, name = "", sqlstate = "00000") {
	told({ kind: "execute", sql, sqlstate, name, params: UNBOUND.includes(sqlstate) ? [] : values.map(shown) });
	await client.query({ text: sql, values, name: name || undefined }).catch((e) => { if (e.code !== sqlstate) throw e; });
}

async function main() {
	const client = new Client({ host, database, user: "postgres", application_name });
	await client.connect();
	await simple(client, "CREATE TABLE things (id serial PRIMARY KEY, name text, n bigint, ok boolean, tags text[], data jsonb, raw bytea, price numeric(10,2))");
	const insert = "INSERT INTO things (name, n, ok, tags, data, raw, price)\n\tVALUES ($1, $2, $3, $4, $5, $6, $7)\nRETURNING id";
	await execute(client, insert, ["it's, \"so\"", 42, true, ["a", "b c"], { k: [1, "é"] }, Buffer.from([0, 1, 255, 39, 92, 10]), "12.50"]);
	await execute(client, insert, ["line one\nline two\r\n\ttab \\ back\u0001", "9223372036854775807", false, [], null, null, null], "put");
	await execute(client, insert, ["", -1, null, null, { s: "ends in..." }, Buffer.alloc(0), "0.00"], "put");
	await execute(client, insert, ["日本語 ✓ $1 = 'x', $2 = NULL", 7, true, ["q"], [], Buffer.from("x"), "1.00"], "put");
	await execute(client, "SELECT * FROM things WHERE id = $1 -- $2\n", [1]);
	await execute(client, "SELECT $1::text || 'a ''quoted'' $2', $$ $3 $$, \"name\" FROM things", ["x".repeat(5000)]);
	await simple(client, "SELECT 1; UPDATE things SET n = n - 1 WHERE id = 2; SELECT 'two;'");
	await execute(client, "SELECT 1 / $1::int", [0], "", "22012");
	await execute(client, "SELECT nothing FROM things WHERE id = $1", [1], "", "42703");
	await simple(client, "SELEC 1", "42601");
	await simple(client, "BEGIN ISOLATION LEVEL REPEATABLE READ");
	await execute(client, "UPDATE things SET price = price * $1 WHERE ok", ["2"], "raise");
	await execute(client, "INSERT INTO things (id) VALUES ($1)", [1], "clash", "23505");
	await execute(client, "SELECT $1::int", [5], "", "25P02");
	await simple(client, "ROLLBACK");
	await simple(client, "BEGIN");
	for (let i = 0; i < 5; i++)
		await execute(client, "UPDATE things SET price = price + $1 WHERE id = $2", [i, i], "bump");
	await simple(client, "COMMIT");
	await simple(client, "SET search_path TO public, pg_catalog");
	await simple(client, "/* a comment */ SELECT E'\\t\\'x' AS \"Ünï\"");
	if (Cursor) {
		const sql = "SELECT g FROM generate_series(1, $1::int) AS g";
		told({ kind: "execute", sql, sqlstate: "00000", name: "", params: ["25"], fetches: 2 });
		const cursor = client.query(new Cursor(sql, [25]));
		for (let i = 0; i < 3; i++)
			await cursor.read(10);
		await cursor.close();
	}
	// Several at once: the driver queues them, and sends the next when one has ended.
	await Promise.all([1, 2, 3].map((id) => execute(client, "SELECT name FROM things WHERE id = $1", [id], "get")));
	await client.end();
}

main().catch((e) => { console.error(e); process.exit(1); });
