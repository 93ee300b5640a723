#!/bin/sh
# Whether memory stays where it is: a load of RATE transactions a second for LENGTH seconds, its resident memory after the first minute
# (the first half of a shorter run) and at the end.
set -eu
length=${LENGTH:-120} rate=${RATE:-20000}
program=${PGREHEARSE:-build/pgrehearse}
work=$(mktemp -d) && chmod 755 "$work"
export TMPDIR="$work"
name=bench-memory
"$program" sandbox up $name --standbys 0 --setting synchronous_commit=off >"$work/up"
trap '"$program" sandbox down $name >/dev/null 2>&1; rm -rf "$work"' EXIT INT TERM
dsn=$(sed -n 's/^  primary *//p' "$work/up")
cat >"$work/w.lua" <<'END'
return { name = "w", generate = {}, schema = "", statements = { one = "SELECT $1::int8" },
	transactions = { one = { args = function(r) return r:int(1, 1000000000) end, run = function(c, n) c:row("one", n) end } } }
END
chmod 644 "$work/w.lua"
"$program" load "$work/w.lua" --rate "$rate" --clients 16 --duration "${length}s" --target "$dsn" --out "$work/record" >"$work/out" 2>&1 &
running=$!
resident() { awk '/^VmRSS/ {print $2}' /proc/$running/status 2>/dev/null; }
until [ -s "$work/record/intervals.jsonl" ]; do
	kill -0 $running 2>/dev/null || { cat "$work/out" >&2; exit 1; }
	sleep 0.1
done
first=60
[ "$length" -gt 60 ] || first=$((length / 2))
sleep "$first"
early=$(resident)
late=$early
while now=$(resident) && [ -n "$now" ]; do # what it says when it ends, and frees what it had, is not wanted
	[ "$(tail -c 4000 "$work/record/events.jsonl" | grep -c '"edge": *"end"')" -eq 0 ] || break
	late=$now
	sleep 1
done
wait $running || true # a generator that was late, on a busy machine, makes the run INVALID: its memory is what is asked here
done=$(tr -d '\n' <"$work/record/run.json" | sed 's/.*"totals"[^}]*"ok": *\([0-9]*\).*/\1/')
printf '{"name": "transactions a second, %s s", "value": %s, "unit": "/s", "peer": "planned", "peer_value": %s}\n' "$length" $((done / length)) "$rate"
printf '{"name": "resident memory at the end, %s/s for %s s", "value": %s, "unit": "kB", "peer": "after the first %s s", "peer_value": %s, "limit": 1.02}\n' \
	"$rate" "$length" "$late" "$first" "$early"
