#!/bin/sh
# How fast a log of pgbench is captured and how small its trace is, against pgreplay's parser on the csvlog of the same traffic where that is
# installed (Debian's package pgreplay), and how much memory eight times as much of it takes. One core.
set -eu
length=${LENGTH:-10}
program=${PGREHEARSE:-build/pgrehearse}
. tests/bench/lib/logging.sh
start_logging csvlog,jsonlog 'log_statement = all' 'log_duration = on'
"$bin/pgbench" -n -c 8 -T "$length" "$dsn" >/dev/null 2>&1
$as "$bin/pg_ctl" -D "$work/data" -m fast stop >/dev/null
$as chmod -R a+rX "$work/data" 2>/dev/null || true
$as cp "$work/data/log/server.csv" "$work/data/log/server.json" "$work/"

# MB of CPU seconds, the least of three.
cpu_of() { # command...
	for _ in 1 2 3; do
		( "$@" >"$work/out" 2>&1; times ) | tail -1
	done | tr 'ms' '  ' | awk '{t = $1 * 60 + $2 + $3 * 60 + $4; if (NR == 1 || t < least) least = t} END {print least}'
}
csv_bytes=$(stat -c %s "$work/server.csv")
theirs=
if command -v pgreplay >/dev/null; then theirs=$(cpu_of pgreplay -f -c -o "$work/replay" "$work/server.csv"); fi
for format in csv json; do
	bytes=$(stat -c %s "$work/server.$format")
	ours=$(cpu_of "$program" capture "$work/server.$format" --out "$work/$format.trace")
	trace=$(stat -c %s "$work/$format.trace")
	# Time a MB, so that less is better, as limits want it.
	echo "$bytes $ours $trace $format $csv_bytes $theirs" | awk '{
		printf "{\"name\": \"capture of %slog, throughput\", \"value\": %.0f, \"unit\": \"MB/s\"}\n", $4, $1 / 1e6 / $2
		if ($6 != "") printf "{\"name\": \"capture of %slog, CPU a MB\", \"value\": %.3f, \"unit\": \"ms\", \"peer\": \"pgreplay, csvlog\", \"peer_value\": %.3f, \"limit\": 0.1}\n", $4, 1e9 * $2 / $1, 1e9 * $6 / $5
		printf "{\"name\": \"trace of %slog\", \"value\": %.2f, \"unit\": \"%%\", \"peer\": \"of the csvlog\", \"peer_value\": 100, \"limit\": 0.03}\n", $4, 100 * $3 / $5
	}'
done

# The same log again and again, each time of another hour and other sessions; kB at the most.
memory_of() { # times
	i=0
	while [ "$i" -lt "$1" ]; do
		LC_ALL=C sed "s/^\(....-..-..\) ..:/\1 $(printf %02d "$i"):/; s/,6[0-9a-f]\{3\}\([0-9a-f]*\)\./,7$(printf %03x "$i")\1./" "$work/server.csv"
		i=$((i + 1))
	done | { exec 3<&0; "$program" capture - --out "$work/many.trace" <&3 >"$work/out" & pid=$!; most=0
		while [ -d "/proc/$pid" ] && now=$(awk '/VmHWM/ {print $2}' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do most=$now; sleep 0.02; done
		echo "$most"; }
}
one=$(memory_of 1) many=$(memory_of 8)
echo "$one $many" | awk '{printf "{\"name\": \"memory of capture, 8 times the log\", \"value\": %.1f, \"unit\": \"MB\", \"peer\": \"once\", \"peer_value\": %.1f, \"limit\": 1.5}\n", $2 / 1000, $1 / 1000}'
