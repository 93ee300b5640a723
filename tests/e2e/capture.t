#!/usr/bin/perl
# pgrehearse capture and trace: what psql and pgbench did on a real server is what its log gives back, in each format and with each setting.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse;
use Logged;
use JSON::PP;
use Test::More;

my $bin = newest_server();
plan skip_all => 'no PostgreSQL server is installed' if !$bin;
my ($major) = $bin =~ m{/(\d+)/bin};
my $json = $major >= 15;
my $server = start_logging($bin, 'stderr,csvlog' . ($json ? ',jsonlog' : ''), "log_line_prefix = '%m|%u|%d|%c|%l|%e|%a|'");

my $dsn = "host=$server user=postgres dbname=postgres";
psql($dsn, 'CREATE TABLE t (a int PRIMARY KEY, b text); CREATE ROLE bob LOGIN; GRANT ALL ON t TO bob');
my $log = "$server/data/log";

# All that each session did, in its order, by the time that it first did something.
sub captured
{
	my ($format, @words) = @_;
	my $file = $format eq 'stderr' ? "$log/server.log" : $format eq 'csv' ? "$log/server.csv" : "$log/server.json";
	if ($> == 0) { system('cp', $file, "$home/copy.$format") == 0 or die; $file = "$home/copy.$format" }
	my ($code, $said) = run('capture', $file, '--out', "$home/$format.trace", @words);
	diag $said if $code;
	my ($cat_code, $events) = run('trace', 'cat', "$home/$format.trace", '--json');
	my %sessions;
	for my $line (split /\n/, $events) {
		my $e = decode_json($line);
		push @{$sessions{$e->{session}}}, $e;
	}
	return ($code, $said, map { $sessions{$_} } sort { $a <=> $b } keys %sessions);
}
# The statements of those of an application, one a line.
sub told
{
	my ($application, @sessions) = @_;
	my @lines;
	for my $session (@sessions) {
		next if !grep { ($_->{application} // '') eq $application } @$session;
		for my $e (@$session) {
			next if !defined $e->{sql};
			push @lines, join ' ', $e->{kind}, $e->{sqlstate}, ($e->{name} // '') . '|' . $e->{sql}, map { defined $_ ? "'$_'" : 'NULL' } @{$e->{params} // []};
		}
	}
	return join "\n", @lines;
}
sub set_logging
{
	my ($statement, $duration, $min) = @_;
	quietly('psql', '-Xq', '-c', "ALTER SYSTEM SET log_statement = '$statement'", '-c', "ALTER SYSTEM SET log_duration = $duration",
		'-c', "ALTER SYSTEM SET log_min_duration_statement = $min", '-c', 'SELECT pg_reload_conf()', $dsn);
	ok(comes_true(sub { psql($dsn, "SELECT current_setting('log_statement') || current_setting('log_duration') || current_setting('log_min_duration_statement')") eq "$statement$duration$min" }), 'settings');
}

sub perform
{
	my ($application) = @_;
	open my $sql, '>', "$home/known.sql" or die;
	print $sql "INSERT INTO t VALUES (1, 'it''s'), (2, E'a\\tb');\nSELECT a,\n\t\"b\"\nFROM t -- note\nWHERE b = 'it''s';\nSELECT 1/0;\nSELEC 1;\n",
		"PREPARE p (int) AS SELECT \$1 + 1;\nEXECUTE p (41);\nDELETE FROM t;\n";
	close $sql;
	quietly('psql', '-XqAt', '-f', "$home/known.sql", "$dsn user=bob application_name=$application");
	open my $script, '>', "$home/known.pgbench" or die;
	print $script "\\set a 10 + :client_id\nINSERT INTO t VALUES (:a, 'x, y = ''z''');\nSELECT b FROM t WHERE a = :a AND b IS NOT NULL;\nDELETE FROM t WHERE a = :a;\n";
	close $script;
	for my $protocol (qw(extended prepared)) {
		is(quietly("$bin/pgbench", '-n', '-c', 1, '-t', 2, '-M', $protocol, '-f', "$home/known.pgbench", "$dsn user=bob application_name=$application-$protocol"), 0,
			"pgbench, $protocol");
	}
}

my $known = <<'END';
simple 00000 |INSERT INTO t VALUES (1, 'it''s'), (2, E'a\tb');
simple 00000 |SELECT a,
	"b"
FROM t -- note
WHERE b = 'it''s';
simple 22012 |SELECT 1/0;
simple 42601 |SELEC 1;
simple 00000 |PREPARE p (int) AS SELECT $1 + 1;
simple 00000 |EXECUTE p (41);
simple 00000 |DELETE FROM t;
END
my $once = <<'END';
execute 00000 NAME1|INSERT INTO t VALUES ($1, 'x, y = ''z'''); '10'
execute 00000 NAME2|SELECT b FROM t WHERE a = $1 AND b IS NOT NULL; '10'
execute 00000 NAME3|DELETE FROM t WHERE a = $1; '10'
END
chomp(my $expected = $known);
# psql leaves comments at the end of a line out, from some version on.
s/ -- note// for $expected;

for my $settings (['all', 'on', '-1', 'text at arrival, bare durations'], ['none', 'off', '0', 'all at the end'], ['all', 'off', '0', 'both']) {
	my ($statement, $duration, $min, $what) = @$settings;
	my $application = "known-$statement-$duration";
	set_logging($statement, $duration, $min);
	perform($application);
	ok(all_is_logged($dsn, $application, map { "$log/server.$_" } 'csv', 'log', $json ? 'json' : ()), 'all is written');
	for my $format ('csv', ($json ? 'json' : ()), 'stderr') {
		my ($code, $said, @sessions) = captured($format, $format eq 'stderr' ? ('--prefix', '%m|%u|%d|%c|%l|%e|%a|') : ());
		is($code, 0, "$what, $format: captured");
		unlike($said, qr/do not add up/, '... and the ledger adds up');
		(my $psql = told($application, @sessions)) =~ s/ -- note//;
		is($psql, $expected, '... the statements of psql');
		(my $prepared = $once x 2) =~ s/ NAME\d\|/ P|/g;
		(my $got = told("$application-prepared", @sessions) . "\n") =~ s/ P\w+\|/ P|/g;
		is($got, $prepared, '... those of pgbench, prepared, with their parameters');
		(my $unnamed = $once x 2) =~ s/ NAME\d\|/ |/g;
		is(told("$application-extended", @sessions) . "\n", $unnamed, '... and extended');
		my @timed = grep { defined $_->{sql} && $_->{sqlstate} eq '00000' && !defined $_->{duration_ms} } map { @$_ } grep { ($_->[0]{application} // '') =~ /^\Q$application/ } @sessions;
		is(scalar @timed, 0, '... each with its duration');
	}
}

my ($code, $said) = run('trace', 'info', "$home/csv.trace");
like($said, qr/^captured from csvlog/m, 'trace info says where it is from');
($code, $said) = run('trace', 'filter', "$home/csv.trace", '--user', 'bob', '--out', "$home/bob.trace");
is($code, 0, 'a part of it');
($code, $said) = run('trace', 'cat', "$home/bob.trace");
unlike($said, qr/ALTER SYSTEM/, '... has nobody else in it');
like($said, qr/INSERT INTO t/, '... but him');
($code, $said) = run('trace', 'anonymize', "$home/bob.trace", '--out', "$home/anon.trace", '--secret', 's');
($code, $said) = run('trace', 'cat', "$home/anon.trace");
unlike($said, qr/note/, 'anonymized it tells no comment');
like($said, qr/INSERT INTO t VALUES/, '... but the statements');
system("gzip -c '$home/copy.csv' > '$home/copy.csv.gz'") == 0 && -s "$home/copy.csv.gz" and do {
	my $pipe = `'$program' capture - < '$home/copy.csv.gz' 2>&1`;
	my ($plain) = (run('capture', "$home/copy.csv"))[1] =~ /: (\d+ statements)/;
	like($pipe, qr/^csvlog: $plain /, 'the same from a pipe, packed');
} if -e "$home/copy.csv";
# Errors were captured too, and have to come again.
psql($dsn, 'CREATE DATABASE clone');
(my $clone = $dsn) =~ s/dbname=postgres/dbname=clone/;
psql($clone, 'CREATE TABLE t (a int PRIMARY KEY, b text)');
($code, $said) = run('load', '--trace', "$home/csv.trace", '--target', $clone);
is($code, 4, 'no replay on a database without a mark');
run('clone', 'mark', $clone, '--yes', 'clone');
for my $application ('known-all-on', 'known-none-off-prepared') {
	($code, $said) = run('load', '--trace', "$home/csv.trace", '--target', $clone, '--application', $application, '--speed', 'max', '--max-diverged', '0%',
		'--out', "$home/$application.record");
	is($code, 0, "$application is replayed") or diag $said;
	my $n = $application =~ /prepared/ ? 6 : 7;
	like($said, qr/^planned $n, sent $n, .*^ended as captured $n, otherwise 0/ms, '... all of it, with the captured ends');
}
is(psql($clone, 'SELECT count(*) FROM t'), 0, '... and the same content');
($code, $said) = run('doctor', '--trace', "$home/csv.trace", '--target', $clone);
like($said, qr/^ok +trace .*csv\.trace: [1-4] sessions? at a time$/m, 'doctor tells how many sessions a replay needs') or diag $said;
like($said, qr/^ok +connections .*, (?:1[7-9]|20) are needed$/m, '... beside ours');
($code, $said) = run('capture', '--advise', $dsn);
is($code, 0, 'advise') or diag $said;
like($said, qr/log_duration +on.*Volume: /s, '... says what to set, and how much it would be');
($code, $said) = run('capture', "$home/csv.trace");
is($code, 2, 'a trace is no log');
($code, $said) = run('trace', 'info', "$home/known.sql");
is($code, 2, 'a script is no trace');
# A prefix that is not that of the log would give a trace of nothing.
{
	open my $log, '>', "$home/prefix.log" or die;
	print $log "2026-11-21 18:11:32.608 UTC [23292] LOG:  duration: 0.1 ms  statement: select $_\n" for 1 .. 3;
	close $log;
	my ($code, $said) = run('capture', "$home/prefix.log", '--prefix', '%m|%p|', '--out', "$home/prefix.trace");
	is($code, 3, 'a prefix that no line begins with') or diag $said;
	like($said, qr/Not one line begins as --prefix says.*SHOW log_line_prefix/, '... is told');
	ok(!-e "$home/prefix.trace", '... and leaves no trace');
	my $before = content("$home/csv.trace");
	($code) = run('capture', "$home/prefix.log", '--prefix', '%m|%p|', '--out', "$home/csv.trace");
	ok($code == 3 && content("$home/csv.trace") eq $before, '... nor does it harm an earlier one');
	($code, $said) = run('trace', 'cut', "$home/csv.trace", '--from', '1s', '--out', "$home/./csv.trace");
	is($code, 2, 'a trace is not cut into itself');
	like($said, qr/is the file that is read/, '... which is told');
	($code) = run('capture', "$home/prefix.log", '--out', "$home/prefix.log");
	is($code, 2, '... nor is a log captured into itself');
	ok(content("$home/csv.trace") eq $before && -s "$home/prefix.log" > 100, '... and both stay');
	is(sprintf('%o', (stat "$home/csv.trace")[2] & 0777), '600', 'a trace is for its owner alone');
	my $piped = substr `'$program' trace cut '$home/csv.trace' --out /dev/stdout | cat`, 0, 8;
	is($piped, 'PGRTRACE', 'a trace may go to a pipe');
}
done_testing;
