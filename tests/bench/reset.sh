#!/bin/sh
# Putting a snapshot back on a file system with reflinks (XFS in a file, which takes root), beside CREATE DATABASE ... TEMPLATE and pg_restore; plain
# copying beside cp -a. RESET_MB is the size of the data: 10000 for the bar of 1 s; the default is for machines in a hurry.
set -eu
megabytes=${RESET_MB:-1000}
build=${BUILD:-build}
if [ "$(id -u)" != 0 ] || ! command -v mkfs.xfs >/dev/null; then
	echo "reset: needs root and mkfs.xfs (package xfsprogs)" >&2
	exit 1
fi
make -s "$build/libharness.a" >&2
mkdir -p "$build/tests/bench"
# shellcheck disable=SC2046 # words
cc -std=c17 -O2 -Iharness -isystem /usr/include/postgresql -o "$build/tests/bench/reset" tests/bench/reset.c "$build/libharness.a" \
	$(pkg-config --cflags --libs libpq lua5.4 jansson zlib) -lm -pthread
folder=$(mktemp -d)
clean() {
	umount "$folder/xfs" 2>/dev/null || :
	rm -rf "$folder"
}
trap clean EXIT
trap 'exit 130' INT TERM
chmod 755 "$folder"
mkdir "$folder/xfs" "$folder/plain"
truncate -s "$((megabytes * 6 + 2000))M" "$folder/image"
mkfs.xfs -q -m reflink=1 "$folder/image"
mount -o loop "$folder/image" "$folder/xfs"
TMPDIR="$folder/xfs" "$build/tests/bench/reset" "$megabytes" "$folder/plain"
