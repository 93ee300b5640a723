#!/bin/sh
# How often the program's own code allocates for each transaction once traffic is steady: the difference between two rates, so that what
# is done once a second cancels out. And what Lua's collector costs.
set -eu
length=${LENGTH:-10}
program=${PGREHEARSE:-build/pgrehearse}
work=$(mktemp -d) && chmod 755 "$work"
export TMPDIR="$work"
name=bench-allocations
cc -std=gnu17 -O2 -shared -fPIC -o "$work/mallocs.so" tests/bench/mallocs.c -ldl
# All of Lua's allocations come from one file of it, whose functions lie together.
MALLOC_LUA=$(nm -n "$program" | awk '/ t luaM_/ && !from {from = $1} / t luaM_/ {seen = 1; next} seen && !to {to = $1} END {print from, to}')
export MALLOC_LUA
"$program" sandbox up $name --standbys 0 --setting synchronous_commit=off --setting shared_buffers=256MB >"$work/up"
trap '"$program" sandbox down $name >/dev/null 2>&1; rm -rf "$work"' EXIT INT TERM
dsn=$(sed -n 's/^  primary *//p' "$work/up")
bin=$("$program" sandbox psql $name -- -XAtc "SELECT setting FROM pg_config WHERE name = 'BINDIR'")
"$bin/pgbench" -i -q -s 2 "$dsn" 2>/dev/null

counts() { od -An -v -t u8 -N 24 -w24 "$work/counts"; }

# "ours lua others" allocations and transactions of LENGTH seconds at a rate, after five seconds of the same.
measure() { # options rate
	rm -rf "$work/record"
	dd if=/dev/zero of="$work/counts" bs=4096 count=1 2>/dev/null
	# shellcheck disable=SC2086 # words
	MALLOC_COUNTS="$work/counts" LD_PRELOAD="$work/mallocs.so" "$program" load $1 --rate "$2" --arrivals even --clients 8 \
		--no-availability --duration $((length + 8))s --target "$dsn" --scale 2 --out "$work/record" >"$work/out" 2>&1 &
	running=$!
	until [ -s "$work/record/intervals.jsonl" ]; do
		kill -0 $running 2>/dev/null || { cat "$work/out" >&2; exit 1; }
		sleep 0.1
	done
	sleep 4
	before=$(counts)
	sleep "$length"
	after=$(counts)
	wait $running || true # INVALID where the generator was late: what it allocated is asked here
	echo "$before $after $(($2 * length))" | awk '{print $4 - $1, $5 - $2, $6 - $3, $7}'
}

cat >"$work/rows.lua" <<'END'
return { name = "w", generate = {}, schema = "", statements = { get = "SELECT abalance FROM pgbench_accounts WHERE aid = $1" },
	transactions = { get = { args = function(r) return r:int(1, 200000) end, run = function(c, id) local rows, text = c:rows("get", id), "account " .. id return rows, text end } } }
END
# The same, but whole collections when the heap has doubled, as Lua paces them, so that their time can be taken. (Stopping the collector
# would not show what it costs: fresh memory costs more.)
cat >"$work/collected.lua" <<'END'
collectgarbage("stop")
local kept = collectgarbage("count")
local function collect(c)
	local before = os.clock()
	collectgarbage()
	kept = collectgarbage("count")
	c:count("collections")
	c:count("collector_us", math.floor((os.clock() - before) * 1e6 + 0.5))
end
return { name = "w", generate = {}, schema = "", statements = { get = "SELECT abalance FROM pgbench_accounts WHERE aid = $1" },
	transactions = { get = { args = function(r) return r:int(1, 200000) end, run = function(c, id)
		local rows, text = c:rows("get", id), "account " .. id
		if collectgarbage("count") > 2 * kept then collect(c) end
		return rows, text
	end } } }
END

# Scripts of pgbench make hardly any garbage; rows as tables and strings do.
for script in select-only tpcb-like rows; do
	options="--pgbench $script --protocol prepared"
	[ $script != rows ] || options=$work/rows.lua
	slow=$(measure "$options" 200)
	fast=$(measure "$options" 2000)
	echo "$slow $fast" | awk -v script=$script '{
		n = $8 - $4
		printf "{\"name\": \"allocations of ours per transaction, %s\", \"value\": %.4f, \"unit\": \"\", \"peer\": \"none but what happens once a second\", \"peer_value\": 0.01, \"limit\": 1}\n", script, ($5 - $1) / n
		printf "{\"name\": \"allocations of Lua per transaction, %s\", \"value\": %.2f, \"unit\": \"\"}\n", script, ($6 - $2) / n
		printf "{\"name\": \"allocations of libpq and others per transaction, %s\", \"value\": %.2f, \"unit\": \"\"}\n", script, ($7 - $3) / n
	}'
done

rm -rf "$work/record"
(
	"$program" load "$work/collected.lua" --closed --clients 8 --no-availability --duration "${length}s" --target "$dsn" --out "$work/record" >"$work/out" 2>&1 ||
		[ $? = 3 ] || { cat "$work/out" >&2; exit 1; } # 3: INVALID, since the generator was the bottleneck, as is meant
	times >"$work/times"
)
cpu=$(tail -1 "$work/times" | tr 'ms' '  ' | awk '{print $1 * 60 + $2 + $3 * 60 + $4}')
counter() { tr -d '\n' <"$work/record/run.json" | sed "s/.*\"$1\": *\([0-9]*\).*/\1/"; }
echo "$(counter collector_us) $(counter collections) $cpu" | awk '{
	printf "{\"name\": \"share of Lua'"'"'s collector in client CPU, rows\", \"value\": %.2f, \"unit\": \"%%\"}\n", $1 / 1e4 / $3
	printf "{\"name\": \"collections a second, rows\", \"value\": %.1f, \"unit\": \"/s\"}\n", $2 / '"$length"'
}'
