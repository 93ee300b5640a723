# To be read by a benchmark's script: a server that logs through its collector, with pgbench's tables in it. Stopped and removed at the end.
# Needs nothing; sets work, bin, as (words that make a command the server's user's) and dsn. Usage: start_logging DESTINATIONS [SETTING]...
start_logging() {
	work=$(mktemp -d) && chmod 777 "$work"
	bin=$(for b in /usr/lib/postgresql/*/bin; do echo "$b"; done | sort -V | tail -1)
	as=
	[ "$(id -u)" -ne 0 ] || as="setpriv --reuid=postgres --regid=postgres --clear-groups"
	(cd / && $as "$bin/initdb" -D "$work/data" -A trust -N -U postgres >/dev/null)
	trap '$as "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1; rm -rf "$work"' EXIT INT TERM
	printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$work'" 'fsync = off' 'logging_collector = on' \
		"log_filename = 'server.log'" 'log_rotation_size = 0' 'log_file_mode = 0644' "log_destination = '$1'" >>"$work/data/postgresql.conf"
	shift
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$work/data/postgresql.conf"
	$as "$bin/pg_ctl" -D "$work/data" -l "$work/start" -w start >/dev/null
	dsn="host=$work user=postgres dbname=postgres"
	"$bin/pgbench" -i -q -s 10 "$dsn" 2>/dev/null
}
