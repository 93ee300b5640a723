#!/usr/bin/perl
# What a scenario says of its traffic: a program, a mix, changes of both under way, and how long requests wait, by app version.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;

my $pgrehearse = abs_path($ENV{PGREHEARSE} // 'build/pgrehearse');
my $home = tempdir('/tmp/pgr-e2e-XXXXXX', CLEANUP => 1);
chmod 0755, $home;
$ENV{TMPDIR} = $home;
delete @ENV{grep { /^PG(?!REHEARSE)/ } keys %ENV};

sub write_file { my ($path, $text) = @_; open my $out, '>', $path or die "$path: $!"; print $out $text; close $out; }
sub lines { my ($path) = @_; open my $in, '<', $path or return (); return map { decode_json($_) } <$in>; }
sub slurp { my ($path) = @_; open my $in, '<', $path or return '{}'; local $/; return <$in>; }
sub run { my $text = `'$pgrehearse' @_ 2>&1`; return ($? >> 8, $text); }

write_file("$home/w.lua", <<'LUA');
return { name = "w", schema = "CREATE TABLE t (n int)", generate = {}, statements = { one = "SELECT 1", nap = "SELECT pg_sleep(0.05)" },
	transactions = { fast = { weight = 1, run = function(c) c:exec("one") end }, slow = { weight = 0.001, run = function(c) c:exec("nap") end } } }
LUA

sub scenario
{
	my ($load, $steps) = @_;
	write_file("$home/s.lua", <<"LUA");
local rehearse = require "rehearse"
local function wait(name, time) return rehearse.step { name = name, down = false, up = function(m) m:sleep(time) end } end
return rehearse.scenario { title = "traffic", workload = "w", versions = { v2 = { fast = function(c) c:exec("one") end } },
	phases = { warmup = "0", baseline = "2s", settle = "0" }, load = $load, steps = { $steps } }
LUA
}

scenario('{ rate = "steps(50/1s, 150/1s)", arrivals = "even", pods = 2, pool = 1, overload = { v2 = { acquire_timeout = "20ms" } }, patience = "100ms" }', <<'LUA');
	rehearse.load { name = "rush", rate = "ramp(0, 400, 1s)" }, wait("let it rise", "1s"),
	rehearse.load { name = "other mix", rate = 200, mix = { fast = 0, slow = 1 } }, wait("too much for v1", "1s"),
	rehearse.deploy { name = "roll out", from = "v1", to = "v2", every = "100ms" }, wait("too much for v2", "1s"),
LUA
my ($code, $text) = run('run', "$home/s.lua", '--drill', 'forward', '--out', "$home/out");
my $record = decode_json(slurp("$home/out/forward/run.json"));
is($record->{status}, 'finished', 'the rehearsal was performed') or diag $text;
my $totals = $record->{totals};
ok($totals->{holds}, 'the conservation law holds');
is($record->{load}{program}, 'steps(50/1s, 150/1s)', 'the record says by which program');
is($record->{load}{arrivals}, 'even', 'and how arrivals are spaced');
my @baseline = grep { $_->{phase} eq 'baseline' } lines("$home/out/forward/intervals.jsonl");
my $planned = 0;
$planned += $_->{planned} for @baseline;
cmp_ok(abs($planned - 200), '<', 30, 'the baseline had the arrivals of both steps');
my @changes = grep { $_->{type} eq 'load' } lines("$home/out/forward/events.jsonl");
is(@changes, 2, 'each change is an event');
is_deeply([@{$changes[0]}{qw(mode program rate)}], ['open', 'ramp(0, 400, 1s)', 0], 'with the program that began');
is_deeply($changes[1]{mix}, { fast => 0, slow => 1 }, 'and the mix');
cmp_ok($totals->{abandoned}, '>', 20, 'users of v1 lost their patience');
is($totals->{versions}{v1}{abandoned}, $totals->{abandoned}, 'of that version alone');
cmp_ok($totals->{errors}{POOL} // 0, '>', 20, 'the pool of v2 timed out');
cmp_ok(($record->{generator}{schedule_error}{count} // 0), '>', 100, 'the generator watches itself');
is(scalar @{$record->{generator}{workers}}, 1, 'each worker by itself');

scenario('{ closed = true, users = 20, think = "uniform(50ms, 150ms)", pods = 1, pool = 4 }', 'wait("a while", "1s")');
($code, $text) = run('run', "$home/s.lua", '--drill', 'forward', '--out', "$home/closed");
$record = decode_json(slurp("$home/closed/forward/run.json"));
is_deeply([@{$record->{load}}{qw(mode users think_mean_ns)}], ['closed', 20, 100000000], 'a closed loop of users who think') or diag $text;
cmp_ok(abs($record->{totals}{ok} - 600), '<', 200, 'which ask as often as they think');
($code, $text) = run('run', "$home/s.lua", '--rate', 5, '--out', "$home/none");
is($code, 2, 'it takes no rate');
like($text, qr/closed loop/, 'and says why');

scenario('{ rate = 100 }', 'rehearse.load { name = "rush", rate = "ramp(1, 2)" }');
($code, $text) = run('run', "$home/s.lua", '--out', "$home/none");
is($code, 2, 'a mistaken program is found before anything starts');
like($text, qr/s\.lua, step "rush": .*ramp\(1, 2\)/, 'and named by its step');
scenario('{ rate = 100 }', 'rehearse.load { name = "rush", mix = { quick = 2 } }');
($code, $text) = run('run', "$home/s.lua", '--drill', 'forward', '--out', "$home/none");
is($code, 2, 'so is an unknown transaction in a mix');
like($text, qr/quick/, 'by its name');

done_testing();
