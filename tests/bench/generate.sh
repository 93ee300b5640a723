#!/bin/sh
# Rows a second of the data generator beside pgbench -i.
set -eu
build=${BUILD:-build}
make -s "$build/libharness.a" >&2
mkdir -p "$build/tests/bench"
# shellcheck disable=SC2046 # words
cc -std=c17 -O2 -Iharness -isystem /usr/include/postgresql -o "$build/tests/bench/generate" tests/bench/generate.c "$build/libharness.a" \
	$(pkg-config --cflags --libs libpq lua5.4 jansson zlib) -lm -pthread
exec "$build/tests/bench/generate"
