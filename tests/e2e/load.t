#!/usr/bin/perl
# pgrehearse load, on real servers: what it counts is what happened, also when transactions fail, and Ctrl-C leaves a record and no servers.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;
use Time::HiRes qw(time sleep);

my $pgrehearse = abs_path($ENV{PGREHEARSE} // 'build/pgrehearse');
my $home = tempdir('/tmp/pgr-e2e-XXXXXX');
chmod 0755, $home;
$ENV{TMPDIR} = $home;
delete @ENV{grep { /^PG(?!REHEARSE)/ } keys %ENV};

# Starts the program; both outputs go to a file.
sub start
{
	my @words = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDOUT, '>', "$home/output" or die "$home/output: $!";
		open STDERR, '>&', \*STDOUT;
		exec $pgrehearse, @words or die "$pgrehearse: $!";
	}
	return $pid;
}

sub slurp { my ($path) = @_; open my $in, '<', $path or return ''; local $/; return <$in> // '' }
sub run_raw { my $pid = start(@_); waitpid $pid, 0; return ($? >> 8, slurp("$home/output")) }

# INVALID since something else on this machine took the CPU is no news here: what was counted is there all the same.
sub run
{
	my ($code, $text) = run_raw(@_);
	return ($code == 3 && $text =~ /^  unfit: the load generator /m ? 0 : $code, $text);
}
sub run_text { return (run(@_))[1] }
sub record { my ($dir) = @_; return decode_json(slurp("$dir/run.json") || '{}') }
sub intervals { my ($dir) = @_; return map { decode_json($_) } split /\n/, slurp("$dir/intervals.jsonl") }

sub workload
{
	my ($name, $transactions) = @_;
	open my $out, '>', "$home/$name.lua" or die "$home/$name.lua: $!";
	print $out "return { name = '$name', schema = 'CREATE TABLE t (n int)', generate = {}, statements = {\n",
		"one = 'SELECT 1', divide = 'SELECT 1 / \$1::int', nap = 'SELECT pg_sleep(\$1)', ",
		"many = 'SELECT ' .. (function() local p = {} for i = 1, 1000 do p[i] = '\$' .. i .. '::int8' end return table.concat(p, '+') end)() }, transactions = {\n$transactions\n} }\n";
	close $out;
	return "$home/$name.lua";
}

sub nothing_is_left
{
	for (1 .. 600) {
		return 1 unless grep { (readlink($_) // '') =~ m{^\Q$home\E/} } glob '/proc/[0-9]*/cwd';
		sleep 0.05;
	}
	return 0;
}

my ($code, $text) = run('load', 'shop', '--rate', 200, '--duration', '3s', '--scale', '0.01', '--seed', 5, '--out', "$home/shop");
is($code, 0, 'the shop runs') or diag $text;
like($text, qr{^  \d\d:\d\d load +\d+/s of \d+/s  p50 \S+ \S+  p99 \S+ \S+  max \S+ \S+  errors 0  }m, 'and says how on a pipe');
my $run = record("$home/shop");
my $totals = $run->{totals};
is($run->{status}, 'finished', 'its record is finished');
ok($totals->{holds}, 'the conservation law holds');
is($totals->{planned}, $totals->{started} + $totals->{abandoned} + $totals->{never_started}, 'every planned arrival is accounted for');
is($totals->{started}, $totals->{ok} + $totals->{failed} + $totals->{unfinished}, 'every started transaction is accounted for');
cmp_ok(abs($totals->{planned} - 600), '<', 4 * sqrt(600) + 40, 'about 200 a second were planned');
is_deeply($totals->{errors}, {}, 'no transaction of the shop fails');
like($text, qr/^planned $totals->{planned}, succeeded $totals->{ok}, failed 0, /m, 'the summary says how many');
my ($phase) = grep { $_->{name} eq 'load' } @{$run->{phases}};
my ($speed, $length) = $text =~ /^(\d+\.\d) succeeded a second, in (\d+\.\d+) s$/m;
cmp_ok(abs(($speed // 0) - $totals->{ok} * 1e9 / ($phase->{end_ns} - $phase->{start_ns})), '<', 0.06, 'and how many a second');
cmp_ok(abs(($length // 0) * 1e9 - ($phase->{end_ns} - $phase->{start_ns})), '<', 6e6, 'over the time of the traffic');
for my $kind ('response', 'service') {
	my $times = $run->{latency}{$kind};
	my ($count, $values) = $text =~ /^$kind time: (\d+) transactions, (.*)$/m;
	is($count, $times->{count}, "and of how many it has $kind times");
	my %told = map { /(\S+) (\S+)(?: (ns|µs|ms|s))?/ ? ($1 => defined $3 ? $2 * { ns => 1, 'µs' => 1e3, ms => 1e6, s => 1e9 }->{$3} : undef) : () } split /, /, $values // '';
	is_deeply([sort keys %told], ['max', 'p50', 'p99', 'p99.9'], '... with percentiles');
	for (sort keys %told) {
		my $ns = $_ eq 'max' ? $times->{max_ns} : $times->{percentiles}{$_}{ns};
		ok(!defined $told{$_} ? !defined $ns : abs($told{$_} - $ns) <= 0.006 * $ns, "... $_ as in the record") or diag $text;
	}
}
my ($planned, $started) = (0, 0);
for (intervals("$home/shop")) { $planned += $_->{planned}; $started += $_->{versions}{v1}{started} // 0 }
is($planned, $totals->{planned}, 'planned of the intervals add up');
is($started, $totals->{started}, 'started of the intervals add up');

my $failing = workload('failing', "bad = { run = function(c) c:exec('divide', 0) end }, good = { run = function(c) c:exec('one') end }");
($code, $text) = run('load', $failing, '--rate', 200, '--duration', '2s', '--out', "$home/failing");
$totals = record("$home/failing")->{totals};
ok($totals->{holds}, 'the law holds when transactions fail') or diag $text;
cmp_ok($totals->{failed}, '>', 50, 'failures do not end the traffic');
is_deeply($totals->{errors}, { '22012' => $totals->{failed} }, 'they are counted by SQLSTATE');
like(slurp("$home/failing/latency.hlog"), qr{Tag=total/response/failed,}, 'and their latency is kept');

# Lua that takes the CPU for as long as nobody could be on time.
($code, $text) = run_raw('load', workload('slow', "burn = { run = function(c) c:exec('one') for _ = 1, 100000000 do end end }"), '--rate', 200, '--duration', '5s', '--out', "$home/slow");
is($code, 3, 'a rate beyond what the generator can do is INVALID') or diag $text;
like($text, qr/^INVALID  Traffic of slow · load · .*^  unfit: the load generator .*^planned /ms, 'and says why, before the summary');
$run = record("$home/slow");
is($run->{verdict}{verdict}, 'INVALID', 'so does the record');
like($run->{invalid}[0], qr/^the load generator /, 'with the reason');
is((run_raw('judge', "$home/slow"))[0], 3, 'and the judge');
($code, $text) = run_raw('report', "$home/slow", '--format', 'text');
is($code, 0, 'it can be reported');
like($text, qr/^INVALID .*unfit: the load generator .*transactions had no answer/s, 'with the reason, and the rest');
like(run_text('report', "$home/shop", '--format', 'text'), qr/^(?:MEASURED|INVALID)  Traffic of shop/, 'one that was on time has no criterion that could have held');

my $mistaken = workload('mistaken', "get = { args = function(r) return r:int(1, 9) end, run = function(c, n) if c:exec('one') == 1 then local x = nil .. n end end }");
run('load', $mistaken, '--rate', 50, '--duration', '1s', '--out', "$home/mistaken");
my $events = slurp("$home/mistaken/events.jsonl");
is(() = $events =~ /"type":"warning"/g, 1, 'a mistake of the script is one warning');
like($events, qr/mistaken\.lua:3/, 'which names file and line');
is((keys %{record("$home/mistaken")->{totals}{errors}})[0], 'LUA', 'and is counted as LUA');

($code, $text) = run('load', workload('broken', 'get = = 1'), '--duration', '1s', '--out', "$home/broken");
is($code, 2, 'a workload that is no Lua is refused');
like($text, qr/broken\.lua:3/, 'with file and line');
($code, $text) = run('load', workload('lost', "get = { run = function(c) c:exec('nowhere') end }"), '--duration', '1s', '--out', "$home/lost");
is($code, 2, 'a statement that does not exist is found before any traffic');
like($text, qr/nowhere/, 'and named');

($code, $text) = run('load', workload('closed', "get = { run = function(c) c:exec('one') end }"), '--closed', '--clients', 4, '--workers', 2, '--duration', '1s',
	'--out', "$home/closed");
$totals = record("$home/closed")->{totals};
is($code, 0, 'the closed loop runs') or diag $text;
ok($totals->{holds} && $totals->{ok} > 500, 'and is busy');

($code, $text) = run('load', workload('thinking', "get = { run = function(c) c:exec('one') end }"), '--closed', '--users', 20, '--think', 'uniform(50ms, 150ms)', '--clients', 4,
	'--duration', '2s', '--out', "$home/thinking");
$run = record("$home/thinking");
is($code, 0, 'users who think run') or diag $text;
ok($run->{totals}{holds}, 'the law holds for them');
cmp_ok(abs($run->{totals}{ok} - 400), '<', 100, 'and they ask as often as they think');

($code, $text) = run('load', workload('ramped', "nap = { run = function(c) c:exec('nap', 0.02) end }"), '--rate', 'ramp(0, 200, 1s) then 200', '--arrivals', 'even', '--clients', 2,
	'--acquire-timeout', '30ms', '--duration', '2s', '--out', "$home/ramped");
$run = record("$home/ramped");
is($code, 0, 'a ramp into overload runs') or diag $text;
cmp_ok(abs($run->{totals}{planned} - 300), '<', 30, 'its integral is what was planned');
is((keys %{$run->{totals}{errors}})[0], 'POOL', 'who got no session in time is an error of the pool');
is($run->{load}{program}, 'ramp(0, 200, 1s) then 200', 'the record says what was asked for');

($code, $text) = run('load', 'shop', '--rate', 'ramp(1, 2)', '--out', "$home/wrong");
is($code, 2, 'a rate that is none is refused');
like($text, qr/"ramp\(1, 2\)".*"\)"/, 'and shown with the place');

my $pid = start('load', workload('long', "nap = { run = function(c) c:exec('nap', 20) end }"), '--rate', 100, '--duration', '60s', '--out', "$home/long");
for (1 .. 600) { last if (intervals("$home/long"))[1]; sleep 0.05 }
kill 'INT', $pid;
waitpid $pid, 0;
is($? >> 8, 130, 'Ctrl-C ends it with 130') or diag slurp("$home/output");
$run = record("$home/long");
is($run->{status}, 'interrupted', 'the record says so');
ok($run->{totals}{holds}, 'the law holds in mid-flight');
cmp_ok($run->{totals}{unfinished}, '>', 0, 'what was under way is unfinished');
ok(nothing_is_left(), 'and no server is left');

($code, $text) = run('load', 'shop', '--rate', 200, '--duration', '2s', '--scale', '0.01', '--ledger', '--read-from', 'standby1', '--out', "$home/far");
is($code, 0, 'reads may run on the standby, and commits be numbered') or diag $text;
$run = record("$home/far");
$totals = $run->{totals};
is($totals->{failed}, 0, 'nothing fails there');
ok($totals->{targets}{standby1}{ok} > 50 && $totals->{targets}{standby1}{ok} < $totals->{ok}, 'reads ran on the standby, writes did not');
ok($totals->{ledger}{acknowledged} > 0 && $totals->{ledger}{lost} == 0, 'every acknowledged commit was found');
is($totals->{ledger}{found}, $totals->{ledger}{acknowledged}, 'and counted once');
like($text, qr/^ledger: \d+ acknowledged commits, \d+ found, 0 lost/m, 'the summary says so');
my ($statement) = grep { $_->{statement} eq 'COMMIT' } @{ $run->{latency}{statements} };
ok($statement && $statement->{count} > 0 && $statement->{percentiles}{p50}{ns} > 0, 'COMMIT has percentiles of its own');
open my $forged, '>', "$home/forged.lua" or die "$home/forged.lua: $!";
print $forged "return { name = 'forged', schema = 'CREATE TABLE t (n int)', generate = {}, statements = { add = 'INSERT INTO t VALUES (1)', forge = 'INSERT INTO pgrehearse.ledger VALUES (0, 1000000)' },\n",
	"transactions = { write = { run = function(c) c:begin() c:exec('add') c:exec('forge') c:commit() end } } }\n";
close $forged;
($code, $text) = run('load', "$home/forged.lua", '--rate', 20, '--duration', '1s', '--ledger', '--out', "$home/forged");
is($code, 1, 'rows of the ledger that nobody wrote are a failure') or diag $text;
like($text, qr/^ledger: \d+ rows are in it that nobody wrote, or twice$/m, 'and are told');
($code, $text) = run('load', 'shop', '--duration', '1s', '--scale', '0.01', '--read-from', 'nowhere', '--out', "$home/none");
is($code, 2, 'a standby that there is not is refused');
like($text, qr/standby1/, 'with the name of one that there is');
($code, $text) = run('load', workload('mixed', "bad = { run = function(c) c:exec('divide', 0) end }, good = { weight = 2, run = function(c) c:exec('one') end }"), '--mix', 'bad=0,good=1.5',
	'--rate', 100, '--duration', '1s', '--out', "$home/mixed");
$run = record("$home/mixed");
is($code, 0, 'other weights are given') or diag $text;
is($run->{totals}{failed}, 0, 'and followed');
is_deeply($run->{load}{mix}, { bad => 0, good => 1.5 }, 'and recorded');
($code, $text) = run('load', 'shop', '--mix', 'nobody=1', '--duration', '1s', '--scale', '0.01', '--out', "$home/none");
is($code, 2, 'a mix of transactions that there are not is refused');
like($text, qr/nobody/, 'and names them');
($code, $text) = run('load', 'shop', '--mix', 'view_user', '--duration', '1s', '--out', "$home/none");
is($code, 2, 'a mix without weights is refused');
like($text, qr/NAME=WEIGHT/, 'and told what is expected');

($code, $text) = run('load', 'shop', '--flag', 'quick=true', '--duration', '1s', '--scale', '0.01', '--out', "$home/none");
is($code, 2, 'a flag that there is not is refused');
like($text, qr/no flag quick/, 'by name');

for my $protocol ('prepared', 'simple') {
	($code, $text) = run('load', '--pgbench', 'tpcb-like@1', '--pgbench', 'simple-update@1', '--protocol', $protocol, '--ledger', '--closed', '--clients', 2, '--duration', '1s', '--out', "$home/bank-$protocol");
	$totals = record("$home/bank-$protocol")->{totals};
	is($code, 0, "commits of scripts are numbered, $protocol") or diag $text;
	cmp_ok($totals->{ledger}{acknowledged}, '>=', $totals->{ok}, 'all of them');
	is($totals->{ledger}{found}, $totals->{ledger}{acknowledged}, 'and found');
}
($code, $text) = run('load', workload('wide', "sum = { run = function(c) local v = {} for i = 1, 1000 do v[i] = i end assert(c:row('many', table.unpack(v)) == 500500 or not c.number) end }"), '--rate', 20,
	'--duration', '1s', '--out', "$home/wide");
is($code, 0, 'statements of many parameters run') or diag $text;
is_deeply(record("$home/wide")->{totals}{errors}, {}, 'and get all of their values');

chdir '/';
remove_tree($home);
done_testing();
