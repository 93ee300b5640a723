#!/bin/sh
# Client CPU per transaction, full measurement on, against pgbench (and sysbench where it is installed) on the same server: PAIRS
# interleaved runs of LENGTH seconds, median of the ratios' parts. What starting up costs is taken off both sides by a short run of each.
set -eu
pairs=${PAIRS:-5} length=${LENGTH:-10}
program=${PGREHEARSE:-build/pgrehearse}
work=$(mktemp -d) && chmod 755 "$work"
export TMPDIR="$work"
name=bench-cpu
"$program" sandbox up $name --standbys 0 --setting synchronous_commit=off --setting shared_buffers=512MB >"$work/up"
trap '"$program" sandbox down $name >/dev/null 2>&1; rm -rf "$work"' EXIT INT TERM
dsn=$(sed -n 's/^  primary *//p' "$work/up")
host=$(echo "$dsn" | sed 's/.*host=\([^ ]*\).*/\1/')
bin=$("$program" sandbox psql $name -- -XAtc "SELECT setting FROM pg_config WHERE name = 'BINDIR'")
pgbench=$bin/pgbench
"$pgbench" -i -q -s 10 "$dsn" 2>/dev/null

# CPU seconds of a command, all its threads, on the last line of its output.
cpu_of() {
	(
		"$@" >"$work/out" 2>"$work/err" || [ $? = 3 ] || { cat "$work/err" >&2; exit 1; } # 3: a closed loop may take all of a core
		times >"$work/times" # not in a pipe: that would be a shell without children
		tail -1 "$work/times" | tr 'ms' '  ' | awk '{printf "%.3f\n", $1 * 60 + $2 + $3 * 60 + $4}'
	)
}

# Each prints "CPU-seconds transactions".
ours() { # script clients seconds
	rm -rf "$work/record"
	cpu=$(cpu_of "$program" load --pgbench "$1" --protocol prepared --closed --clients "$2" --workers 1 --duration "$3s" --target "$dsn" --scale 10 --out "$work/record")
	echo "$cpu $(tr -d '\n' <"$work/record/run.json" | sed 's/.*"totals"[^}]*"ok": *\([0-9]*\).*/\1/')"
}
theirs() {
	case $1 in /*) script="-f $1" ;; *) script="-b $1" ;; esac
	# shellcheck disable=SC2086 # words
	cpu=$(cpu_of "$pgbench" -n -M prepared $script -c "$2" -j 1 -T "$3" "$dsn")
	echo "$cpu $(sed -n 's/.*actually processed: \([0-9]*\).*/\1/p' "$work/out")"
}
sysbench_runs() {
	cpu=$(cpu_of sysbench oltp_point_select --db-driver=pgsql --pgsql-host="$host" --pgsql-user=postgres --pgsql-db=rehearsal --tables=1 --table-size=100000 \
		--threads="$2" --time="$3" run)
	echo "$cpu $(sed -n 's/^ *transactions: *\([0-9]*\).*/\1/p' "$work/out")"
}

# Microseconds per transaction: run minus start-up.
per_transaction() { echo "$1 $2" | awk '{printf "%.4f\n", ($3 - $1) / ($4 - $2) * 1e6}'; }
median() { sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

compare() { # label peer peer-name limit script clients
	start_ours=$(ours "$5" "$6" 1)
	start_peer=$($2 "$5" "$6" 1)
	: >"$work/ours" && : >"$work/peer"
	for _ in $(seq "$pairs"); do
		per_transaction "$start_ours" "$(ours "$5" "$6" "$length")" >>"$work/ours"
		per_transaction "$start_peer" "$($2 "$5" "$6" "$length")" >>"$work/peer"
	done
	printf '{"name": "client CPU per transaction, %s, %s clients", "value": %s, "unit": "us", "peer": "%s", "peer_value": %s, "limit": %s}\n' \
		"$1" "$6" "$(median <"$work/ours")" "$3" "$(median <"$work/peer")" "$4"
}

pipelined=$work/pipelined.sql
cat >"$pipelined" <<'END'
\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
\endpipeline
END
chmod 644 "$pipelined"

for clients in 8 64; do
	compare 'select-only' theirs pgbench 1.0 select-only $clients
done
if command -v sysbench >/dev/null; then
	sysbench oltp_point_select --db-driver=pgsql --pgsql-host="$host" --pgsql-user=postgres --pgsql-db=rehearsal --tables=1 --table-size=100000 prepare >/dev/null
	compare 'point select' sysbench_runs sysbench 0.7 select-only 8
fi
for clients in 8 64; do
	compare 'tpcb-like' theirs pgbench 1.0 tpcb-like $clients
done
compare 'tpcb-like, pipelined' theirs pgbench 1.0 "$pipelined" 8
