#!/bin/sh
# kill -9 at 50 random moments of a rehearsal: how often something was left that the next start did not sweep. About five minutes; KILLS=N for another number.
set -eu
cd "$(dirname "$0")/../.."
kills=${KILLS:-50}
log=${BUILD:-build}/bench/kill.log
mkdir -p "$(dirname "$log")"
KILLS=$kills prove -v tests/e2e/kill.t >"$log" 2>&1 || true
left=$(grep -c '^not ok' "$log" || true)
done=$(grep -c '^ok .*killed after' "$log" || true)
echo "{\"name\": \"kill -9 at random moments\", \"value\": $done, \"unit\": \"moments after which nothing was left\", \"peer\": \"moments\", \"peer_value\": $kills}"
echo "{\"name\": \"what kill -9 left behind\", \"value\": $left, \"unit\": \"findings\"}"
[ "$left" -eq 0 ] && [ "$done" -eq "$kills" ]
