#!/usr/bin/perl
# pgrehearse workload: what pgbench did becomes a workload that can be read and loaded, and asks for the same in the same shares.
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
my ($library) = `'$bin/pg_config' --pkglibdir 2>/dev/null` =~ /(.*)/;
my $statistics = defined $library && -e "$library/pg_stat_statements.so";
my $server = start_logging($bin, 'csvlog', $statistics ? "shared_preload_libraries = 'pg_stat_statements'" : ());

my $dsn = "host=$server user=postgres dbname=postgres";
is(quietly("$bin/pgbench", '-i', '-q', $dsn), 0, 'pgbench fills its tables');
psql($dsn, 'CREATE EXTENSION pg_stat_statements') if $statistics;
(my $clone = $dsn) =~ s/dbname=postgres/dbname=clone/;
psql($dsn, 'CREATE DATABASE clone TEMPLATE postgres');
run('clone', 'mark', $clone, '--yes', 'clone');
psql($dsn, 'VACUUM ANALYZE');
quietly('psql', '-Xq', '-c', "ALTER SYSTEM SET log_statement = 'all'", '-c', 'ALTER SYSTEM SET log_duration = on', '-c', 'SELECT pg_reload_conf()', $dsn);
ok(comes_true(sub { psql($dsn, "SELECT current_setting('log_statement') || current_setting('log_duration')") eq 'allon' }), 'everything is logged');

# What the comparison is about: two scripts, one of them with a loop and with words.
open my $script, '>', "$home/lines.pgbench" or die;
print $script "\\set a random_zipfian(1, 1000, 1.2)\n\\set d random(-50, 50)\nBEGIN;\nSELECT abalance FROM pgbench_accounts WHERE aid = :a /* from the shop */;\n",
	(map { "\\set n$_ random(1, 100000)\nUPDATE pgbench_accounts SET filler = 'it''s :client_id' WHERE aid = :n$_;\n" } 1 .. 3), "COMMIT;\n";
close $script;
is(quietly("$bin/pgbench", '-n', '-c', 2, '-t', 150, '-b', 'tpcb-like@3', '-f', "$home/lines.pgbench\@1", '-M', 'simple', "$dsn application_name=simple"), 0, 'pgbench, simple');
is(quietly("$bin/pgbench", '-n', '-c', 2, '-t', 100, '-R', 200, '-b', 'tpcb-like', '-M', 'prepared', "$dsn application_name=prepared"), 0, 'pgbench, prepared');
ok(all_is_logged($dsn, 'pgbench', "$server/data/log/server.csv"), 'all is written');
my $log = "$server/data/log/server.csv";
if ($> == 0) { system('cp', $log, "$home/copy.csv") == 0 or die; $log = "$home/copy.csv" }
my ($code, $said) = run('capture', $log, '--out', "$home/bench.trace");
is($code, 0, 'captured') or diag $said;

for my $application ('simple', 'prepared') {
	my $file = "$home/$application.lua";
	($code, $said) = run('workload', 'from-trace', "$home/bench.trace", '--application', $application, '--target', $dsn, '--out', $file, '--max-difference', '1%');
	is($code, 0, "$application: a workload") or diag $said;
	my $told = $said;
	my $lua = content($file);
	like($lua, qr/UPDATE pgbench_tellers SET tbalance = tbalance \+ \$\d WHERE tid = \$\d/, '... with parameters');
	my ($tpcb) = $lua =~ /(t_update_pgbench_accounts\w* = .*?c:commit)/s;
	is(() = $tpcb =~ /local \w+ = /g, $application eq 'simple' ? 3 : 4, '... delta, aid, tid and bid are drawn once for tpcb-like; a literal that is always the same stays');
	like($tpcb, qr/aid = r:int\(1, 100000\)/, '... aid from the clone') if $application eq 'prepared';
	like($lua, qr/for _ = 1, 3 do\s+c:exec\("update_pgbench_accounts/, '... a loop') if $application eq 'simple';
	like($lua, qr/^-- Captured: [\d.]+ transactions a second for .* \d sessions/m, '... and its rate');

	($code, $said) = run('load', $file, '--target', $clone, '--rate', 300, '--duration', '3s', '--clients', 4, '--out', "$home/$application.record", '--no-availability');
	is($code, 0, '... is loaded') or diag $said;
	my $totals = record("$home/$application.record")->{totals};
	cmp_ok($totals->{ok}, '>', 500, '... and works');
	is_deeply($totals->{errors}, {}, '... without an error');
	my %executed = map { $_->{statement} => $_->{count} } grep { $_->{outcome} eq 'ok' } @{record("$home/$application.record")->{latency}{statements}};
	my %sql = $lua =~ /^    (\w+) = (?:"|\[\[)(.*?)(?:"|\]\]),  -- class [0-9a-f]{16}$/mg;
	my ($all) = (0); $all += $executed{$_} // 0 for keys %sql;
	for my $line (grep { /^  [0-9a-f]{16} / } split /\n/, $told) {
		my ($share, $text) = $line =~ /^  \w+ +\d+ +([\d.]+) %.* %\s+\S+  (.*)/ or die $line;
		my ($name) = grep { index($sql{$_}, $text) == 0 } keys %sql;
		$name //= 'one that is too rare';
		cmp_ok(abs(100 * ($executed{$name} // 0) / $all - $share), '<', 4, "... $name in the share captured, $share %");
	}
}

SKIP: {
	skip 'pg_stat_statements is not installed', 5 if !$statistics;
	($code, $said) = run('workload', 'from-stats', $dsn, '--out', "$home/stats.lua");
	is($code, 0, 'a workload from statistics') or diag $said;
	like($said, qr/note: BEGIN was executed \d+ times/, '... says what they do not know');
	like(content("$home/stats.lua"), qr/aid = r:int\(1, 100000\)/, '... takes keys from the columns');
	like(content("$home/stats.lua"), qr/tid = r:int\(1, 10\)  -- pgbench_history.tid/, '... also those of columns that are empty but named like a key');
	($code, $said) = run('load', "$home/stats.lua", '--target', $clone, '--rate', 200, '--duration', '2s', '--out', "$home/stats.record", '--no-availability');
	is($code, 0, '... and is loaded') or diag $said;
}

# Replayed it makes a record, with how true it was.
psql($dsn, 'CREATE DATABASE again TEMPLATE template0');
(my $again = $dsn) =~ s/dbname=postgres/dbname=again/;
quietly("$bin/pgbench", '-i', '-q', $again);
run('clone', 'mark', $again, '--yes', 'again');
($code, $said) = run('load', '--trace', "$home/bench.trace", '--application', 'prepared', '--target', $again, '--out', "$home/replay.record", '--limit', 'late=none');
is($code, 0, 'a replay is recorded') or diag $said;
my $run = record("$home/replay.record");
is_deeply($run->{invalid}, [], '... and is fit');
my $totals = $run->{totals};
is($totals->{planned}, 1402, '... with all that was captured: pgbench asks for its tables first');
is($totals->{ok}, 1402, '... which ended as captured');
ok($totals->{holds}, '... and the sums hold');
my ($class) = grep { $_->{name} =~ /^insert_pgbench_history_[0-9a-f]{4}$/ } @{$run->{fidelity}{classes}};
is($class->{captured} . '/' . $class->{replayed}, '200/200', '... by class');
ok((grep { $_->{transaction} eq $class->{name} && $_->{count} == 200 } @{$run->{latency}{transactions}}), '... whose latencies are there too');
like($said, qr/^  coverage +100\.00 % +≥ 99\.00 %/m, '... and the terminal tells the measures');
($code, $said) = run('report', "$home/replay.record");
is($code, 0, '... and a report can be made of it') or diag $said;
psql($again, 'DROP TABLE pgbench_history');
($code, $said) = run('load', '--trace', "$home/bench.trace", '--application', 'prepared', '--target', $again, '--out', "$home/broken.record", '--limit', 'late=none');
is($code, 3, 'a replay on another database than was captured is INVALID');
like($said, qr/^INVALID  .*unfit: the replay is not true to its capture: new_errors/ms, '... and says why');
ok((grep { $_->{replayed} eq '42P01' && $_->{kind} eq 'new' && $_->{class} =~ /history/ } @{record("$home/broken.record")->{fidelity}{errors}}), '... with the new errors by class');


# A drill with a trace as its traffic.
sub scenario
{
	my ($name, $text) = @_;
	open my $out, '>', "$home/$name.lua" or die;
	print $out "local rehearse = require 'rehearse'\nreturn rehearse.scenario { title = 'a column', phases = { warmup = '0', baseline = '1s', settle = '500ms' },\n$text,\n",
		"steps = { rehearse.sql { name = 'add', up = { 'ALTER TABLE pgbench_tellers ADD COLUMN note text' }, down = { 'ALTER TABLE pgbench_tellers DROP COLUMN note' } } },\n",
		"criteria = { 'errors.rate < 0.1%' } }\n";
	close $out;
	return "$home/$name.lua";
}
run('trace', 'filter', "$home/bench.trace", '--application', 'prepared', '--out', "$home/prepared.trace");
my $drill = scenario('drill', "workload = 'prepared.trace', load = { speed = 0.2, fidelity = { late = 'none', arrivals = 'none' } }");
($code, $said) = run('run', $drill, '--target', $clone, '--drill', 'forward', '--out', "$home/drill.record");
is($code, 0, 'a scenario runs with a trace as its workload') or diag $said;
$run = record("$home/drill.record/forward");
is($run->{load}{mode}, 'replay', '... replayed');
is_deeply($run->{totals}{errors}, {}, '... without an error');
ok($run->{totals}{holds}, '... and the sums hold');
ok((grep { $_->{name} eq 'migration' } @{$run->{phases}}), '... under a migration');
like($said, qr/How true the replay was to its capture:\s+coverage +100\.00 %/, '... and the report tells how true it was');
($code, $said) = run('doctor', $drill);
like($said, qr/^ok +trace .*prepared\.trace: \d+ sessions at a time$/m, '... which needs as many sessions as the trace has') or diag $said;
($code, $said) = run('run', scenario('short', "workload = 'prepared.trace', load = { speed = 20 }"), '--target', $clone, '--drill', 'forward', '--out', "$home/short.record");
is($code, 2, 'a trace that is shorter than the drill is refused') or diag $said;
like($said, qr/lasts .* baseline and settling alone take 1.50 s/, '... and says so');
($code, $said) = run('check', scenario('missing', "workload = 'nothing.trace'"));
is($code, 2, 'a missing trace is told by check');
($code, $said) = run('run', $drill, '--out', "$home/none.record");
like($said, qr/a trace, which has no data of its own/, 'a trace without a target is refused');

# Twice the traffic: the same statements, of other rows.
($code, $said) = run('trace', 'scale', "$home/prepared.trace", '--times', 2, '--target', $clone, '--out', "$home/twice.trace");
is($code, 0, 'more traffic') or diag $said;
my @updates = map { decode_json($_) } grep { /UPDATE pgbench_accounts/ } split /\n/, (run('trace', 'cat', "$home/twice.trace", '--json'))[1];
my %aid; $aid{$_->{params}[1]}++ for @updates;
is(scalar @updates, 400, '... twice as many');
cmp_ok(scalar(keys %aid), '>', 390, '... of other accounts');
is((grep { $_ < 1 || $_ > 100000 } keys %aid) + 0, 0, '... that there are');
($code, $said) = run('load', '--trace', "$home/prepared.trace", '--scale-traffic', '1.5', '--target', $clone, '--no-record', '--max-diverged', '0%');
is($code, 0, '... and it is replayed') or diag $said;

($code, $said) = run('workload', 'from-stats', "$dsn dbname=template1", '--out', "$home/none.lua");
is($code, 2, 'a database without pg_stat_statements is told');
($code, $said) = run('workload', 'from-trace', $log, '--out', "$home/none.lua");
is($code, 2, 'a log is no trace');
ok(!-e "$home/none.lua", '... and nothing is written');
done_testing;
