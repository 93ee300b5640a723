#!/bin/sh
# How fast a captured pgbench (tpcb-like, 8 sessions) is replayed by one worker, against pgreplay on the same csvlog where that is installed
# (Debian's package pgreplay; with select-only, where nobody waits for locks, the server is what limits both); what keeping the captured order
# costs; and how late statements are sent at 5,000/s while their session is idle.
set -eu
length=${LENGTH:-4}
program=${PGREHEARSE:-build/pgrehearse}
. tests/bench/lib/logging.sh
start_logging csvlog
"$program" clone mark "$dsn" --yes postgres >/dev/null

# What pgbench does goes to $work/NAME.csv and .trace.
record() { # name pgbench-options...
	name=$1 && shift
	from=$($as stat -c %s "$work/data/log/server.csv")
	PGOPTIONS='-c log_statement=all -c log_duration=on' "$bin/pgbench" -n "$@" "$dsn" >/dev/null 2>&1
	sleep 0.5
	$as tail -c "+$((from + 1))" "$work/data/log/server.csv" >"$work/$name.csv"
	"$program" capture "$work/$name.csv" --out "$work/$name.trace" >/dev/null
}
figure() { # name value unit [more]
	printf '{"name": "%s", "value": %s, "unit": "%s"%s}\n' "$1" "$2" "$3" "${4:-}"
}
rate_of() { # statements a second
	"$program" load --trace "$1" --target "$dsn" --pacing asap "$2" "$3" | sed -n 's/^planned.*: \([0-9]*\) a second$/\1/p'
}

record fast -c 8 -T "$length"
ours=$(rate_of "$work/fast.trace" --order none)
figure "replay as fast as possible, throughput" "$ours" "statements/s"
figure "replay in the order of commits, throughput" "$(rate_of "$work/fast.trace" --order commit)" "statements/s"
if command -v pgreplay >/dev/null; then
	# It sends in the log's order whatever waits for a lock, and may not get through: what it did in half a minute counts. Each transaction has
	# a row in the history.
	count() { psql -XqAt -c 'SELECT count(*) FROM pgbench_history' "$dsn"; }
	before=$(count) begin=$(date +%s.%N)
	timeout 30 pgreplay -c -j -s 1000 -h "$work" "$work/fast.csv" >/dev/null 2>&1 || true
	end=$(date +%s.%N)
	echo "$begin $end $ours $before $(count)" | awk '{
		theirs = ($5 - $4) * 7 / ($2 - $1)
		printf "{\"name\": \"replay, time a statement\", \"value\": %.2f, \"unit\": \"µs\", \"peer\": \"pgreplay\", \"peer_value\": %.2f, \"limit\": 0.1}\n", 1e6 / $3, 1e6 / (theirs > 0 ? theirs : 1)
	}'
fi

record paced -S -c 16 -R 2500 -T "$length"
# Twice the pace makes 5,000 a second.
"$program" load --trace "$work/paced.trace" --target "$dsn" --speed 2 >"$work/said" || [ $? = 3 ] # INVALID where it was late: how late is the figure
p99=$(sed -n 's/.*session was idle (ours).*p99 \([0-9.]*\) \([^,]*\),.*/\1 \2/p' "$work/said" |
	awk '{print $1 * ($2 == "ns" ? 1e-6 : $2 == "µs" ? 1e-3 : $2 == "ms" ? 1 : 1000)}')
figure "replay at 5,000/s, schedule error p99" "$p99" ms ', "peer": "the bar", "peer_value": 1, "limit": 1'
