#!/bin/sh
# Memory of 5,000 open sessions in one process (SESSIONS: another number), against the fake server of the tests.
set -eu
build=${BUILD:-build}
make -s "$build/libharness.a" >&2
mkdir -p "$build/tests/bench"
# shellcheck disable=SC2046 # words
cc -std=c17 -O2 -Iharness -Itests -isystem /usr/include/postgresql -o "$build/tests/bench/sessions" tests/bench/sessions.c tests/fake/*.c \
	"$build/libharness.a" $(pkg-config --cflags --libs libpq lua5.4 jansson zlib) -lm -pthread
exec "$build/tests/bench/sessions"
