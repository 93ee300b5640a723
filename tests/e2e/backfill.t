#!/usr/bin/perl
# The backfill engine on real servers: single and composite keys, several sessions, rows that are locked, inserts meanwhile, throttles with names,
# estimates, and going on after a crash. One database of ours takes all of it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse;
use Test::More;


write_file("$home/fill.lua", <<'LUA');
return { name = "fill",
	schema = [[CREATE TABLE t (id bigint NOT NULL, a int, b text); CREATE TABLE pairs (x int NOT NULL, y text NOT NULL, a int); CREATE TABLE loose (id bigint NOT NULL, a int);
		CREATE TABLE copies (id bigint NOT NULL, b text); CREATE SEQUENCE naps]],
	generate = {
		{ table = "t", columns = "id, b", rows = 4000, row = function(i) return i * 3, "row " .. i end },
		{ table = "pairs", columns = "x, y", rows = 1200, row = function(i) return i // 40, "it's \\ " .. i % 40 end },
		{ table = "loose", columns = "id", rows = 10, row = function(i) return i end },
	},
	finish = { "ALTER TABLE t ADD PRIMARY KEY (id)", "ALTER TABLE pairs ADD PRIMARY KEY (x, y)", "ALTER TABLE copies ADD PRIMARY KEY (id)", "VACUUM ANALYZE t" },
	statements = { add = "INSERT INTO t (id, a, b) VALUES ($1, 0, 'new') ON CONFLICT DO NOTHING" },
	transactions = { add = { args = function(r) return r:int(20000, 90000000) end, run = function(c, id) c:exec("add", id) end } },
}
LUA

sub scenario
{
	my ($name, $steps, $more) = @_;
	write_file("$home/$name.lua", <<"LUA");
local rehearse = require "rehearse"
return rehearse.scenario { title = "$name", workload = "fill", load = { rate = 60, pods = 1, pool = 3 }, phases = { warmup = "0", baseline = "1s", settle = "200ms" }, @{[$more // '']}
	steps = { $steps } }
LUA
	return "$home/$name.lua";
}

sub ended { my ($events, $name) = @_; my ($e) = grep { $_->{type} eq 'step' && $_->{name} eq $name && $_->{edge} eq 'end' } @$events; return $e // {}; }
sub of { my ($events, $type, $step) = @_; return grep { $_->{type} eq $type && ($_->{step} // '') eq $step } @$events; }
sub opinion { my ($dir, $criterion) = @_; my ($o) = grep { $_->{criterion} eq $criterion } @{record($dir)->{verdict}{criteria}}; return $o // {}; }

my ($code, $text) = run('run', scenario('all', <<'LUA', 'checks = { filled = { sql = "SELECT id FROM t WHERE a IS NULL", after = "one" } },'), '--drill', 'forward', '--out', "$home/all");
	rehearse.backfill { name = "one", table = "t", set = "a = 1", where = "a IS NULL", batch = 250, pause = "5ms", production_rows = 4000000,
		criteria = { "eta < 24h", "eta > 1s", "eta_error < 100000%", "duration < 5min", "victims >= 0" } },
	rehearse.backfill { name = "two columns", table = "pairs", set = "a = x", where = "a IS NULL", batch = 100, workers = 3 },
	rehearse.backfill { name = "insert", table = "t", where = "NOT EXISTS (SELECT 1 FROM copies WHERE copies.id = t.id)", batch = 1000,
		statement = "INSERT INTO copies (id, b) SELECT t.id, t.b FROM t WHERE :range ON CONFLICT DO NOTHING" },
	rehearse.sql { name = "again", up = "UPDATE t SET a = NULL", down = false },
	{ name = "somebody holds a row", down = false, up = function(m) m:exec("CREATE TABLE held AS SELECT 1") end },
	rehearse.parallel { name = "beside a lock", steps = {
		rehearse.exec { name = "lock", up = "psql -Xqc 'BEGIN' -c 'SELECT 1 FROM t WHERE id = 300 FOR UPDATE' -c 'DROP TABLE held' -c 'SELECT pg_sleep(1)' -c COMMIT > /dev/null", down = false },
		rehearse.backfill { name = "around it", table = "t", set = "a = 2", where = "a IS NULL", workers = 2, batch = 200, samples = 0, lock_timeout = "10s",
			throttle = { query = "SELECT 'the other is not there yet' WHERE NOT EXISTS (SELECT 1 FROM pg_locks WHERE relation = 't'::regclass AND mode = 'RowShareLock') AND EXISTS (SELECT 1 FROM t WHERE id = 3 AND a IS NULL)" } },
	} },
	rehearse.sql { name = "and again", up = "UPDATE t SET a = NULL", down = false },
	rehearse.backfill { name = "sampled", table = "t", set = "a = 3", where = "a IS NULL", batch = 50, sample = "10%" },
	rehearse.backfill { name = "throttled", table = "t", set = "a = 4", where = "a IS NULL", batch_time = "20ms", batch = 200, samples = 0,
		throttle = { wal_rate = "1GB", dead_tuples = 100000000, autovacuum = true, p99 = "1h", replay_lag = "1h",
			query = "SELECT CASE WHEN nextval('naps') < 3 THEN 'a nap' END" } },
	rehearse.backfill { name = "never ends", table = "t", set = "b = 'x'", where = "id > 0" },
LUA
my $dir = "$home/all/forward";
my @events = lines($dir, 'events');
for my $name ('one', 'two columns', 'insert', 'beside a lock', 'around it', 'sampled', 'throttled') {
	ok(ended(\@events, $name)->{ok}, "$name: was performed") or diag(ended(\@events, $name)->{error} // 'did not end', $text);
}
is((grep { $_->{name} eq 'filled' } @{record($dir)->{checks}})[0]{rows}, 0, 'no row was left out');
my @one = of(\@events, 'backfill', 'one');
is($one[-1]{rows}, 4000, 'each was filled once');
ok($one[-1]{done}, 'and the last event says so');
my ($guess, $truth) = of(\@events, 'eta', 'one');
is($guess->{samples}, 9, 'an estimate was made from nine places');
ok($guess->{low_ns} <= $guess->{eta_ns} && $guess->{eta_ns} <= $guess->{high_ns} && $guess->{production}, 'for the size of production, with an interval');
ok(defined $truth->{error} && $truth->{took_ns} > 0, 'and at the end it is said how far off it was');
is(opinion($dir, "step[one].$_")->{verdict}, 'PASS', "criterion $_") or diag opinion($dir, "step[one].$_")->{evidence} for 'eta < 24h', 'eta > 1s', 'eta_error < 100000%', 'victims >= 0';
like(opinion($dir, 'step[one].eta < 24h')->{evidence}, qr/9 batches.*4,000,000 rows of production.*between/, 'the evidence has the interval');
my @two = grep { $_->{sql} =~ /^WITH free/ } of(\@events, 'statement', 'two columns');
my %pids = map { $_->{pid} => 1 } @two;
cmp_ok(scalar(keys %pids), '>=', 3, 'several sessions worked side by side');
is_deeply([map { $_->{rows} } (of(\@events, 'backfill', 'two columns'))[-1]], [1200], 'keys of two columns, with quotes and backslashes, lose nothing');
is((of(\@events, 'backfill', 'around it'))[-1]{rows}, (of(\@events, 'backfill', 'one'))[-1]{rows} + (ended(\@events, 'around it')->{ok} ? (of(\@events, 'backfill', 'around it'))[-1]{rows} - 4000 : 0), 'rows beside a lock were all filled');
ok((grep { ($_->{phase} // '') eq 'rest' || $_->{done} } of(\@events, 'backfill', 'around it')), 'what was locked came last');
my @sampled = of(\@events, 'backfill', 'sampled');
ok($sampled[-1]{done} && (of(\@events, 'eta', 'sampled'))[0]{sampled_rows} >= 400 && (of(\@events, 'eta', 'sampled'))[0]{sampled_rows} < 1200, 'a sample is all that is done when that is asked for');
my ($pause) = of(\@events, 'pause', 'throttled');
is_deeply([@{$pause}{qw(reason detail)}], ['query', 'a nap'], 'a pause has the name of what caused it') or diag explain [of(\@events, 'backfill', 'throttled')];
cmp_ok($pause->{length_ns}, '>', 0, '... and its length');
ok((of(\@events, 'backfill', 'throttled'))[-1]{paused}{query} > 0, '... which are summed up');
cmp_ok((sort { $b <=> $a } map { $_->{batch} } of(\@events, 'backfill', 'throttled'))[0], '!=', 200, 'the size of batches follows the time that they take');
like(ended(\@events, 'never ends')->{error}, qr/\d+ of \d+ rows still match "id > 0" after they were filled/, 'what cannot end is ended at its first batch');
my ($page) = map { content($_) } glob "$home/all/*.html";
like($page // '', qr/Estimate of.*4,000,000 \(production\)/s, 'the report has the estimate');
like($page // '', qr/>query [\d.]+ /, '... and why it paused');

# ---- refused as soon as there is a server ----
my $refused = 1;
for my $case (
	['rehearse.backfill { name = "f", table = "loose", key = "id", set = "a = 1", where = "a IS NULL" }', qr/bad\.lua: step "f": the key \(id\) of loose is not unique/],
	['rehearse.backfill { name = "f", table = "loose", set = "a = 1", where = "a IS NULL" }', qr/step "f": loose has no primary key/],
	['rehearse.backfill { name = "f", table = "t", key = "a", set = "a = 1", where = "a IS NULL" }', qr/step "f": the column a of the key may be NULL/],
	['rehearse.backfill { name = "f", table = "tee", set = "a = 1", where = "a IS NULL" }', qr/step "f": there is no table tee/],
	) {
	my ($step, $message) = @$case;
	($code, $text) = run('run', scenario('bad', $step), '--drill', 'forward', '--out', "$home/bad" . $refused);
	is($code, 2, 'a key that cannot be walked is refused');
	like($text, $message, '... with the reason');
	is(scalar(grep { ($_->{name} // '') eq 'baseline' } map { @{record($_)->{phases}} } glob "$home/bad$refused/forward"), 0, '... before there is traffic');
	$refused++;
}

# ---- going on after a crash ----
my $dsn = kept_shop(0.02);
ok($dsn, 'a database that stays') or BAIL_OUT('no database');
write_file("$home/resume.lua", <<'LUA');
local rehearse = require "rehearse"
return rehearse.scenario { title = "resume", workload = "shop", load = { rate = 20, pods = 1, pool = 2 }, phases = { warmup = "0", baseline = "1s", settle = "0" },
	steps = { rehearse.backfill { name = "cut off", table = "users", set = "locale = 'xx'", where = "locale <> 'xx'", batch = 100, pause = rehearse.setting("pause", "0"), workers = 2, samples = 0 } } }
LUA
my ($pid, $out) = start('run', "$home/resume.lua", '--target', $dsn, '--drill', 'forward', '--out', "$home/first", '--set', 'pause=200ms', '--scale', '0.02');
ok(comes_true(sub { psql($dsn, "SELECT to_regclass('pgrehearse.backfill') IS NOT NULL") eq 't' }), 'what is done is kept');
ok(comes_true(sub { (psql($dsn, 'SELECT COALESCE(sum(batches), 0) FROM pgrehearse.backfill'))[0] =~ /^([4-9]|1\d)$/ }), 'a backfill is under way');
kill 'KILL', $pid;
close $out;
ok(comes_true(sub { psql($dsn, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgrehearse%'") eq '0' }), '... and was killed');
my ($before, $parts) = split /\|/, psql($dsn, 'SELECT sum(filled), count(*) FROM pgrehearse.backfill');
is($before, psql($dsn, 'SELECT count(*) FROM users WHERE locale = \'xx\''), 'what it kept is what it did') ;
is($parts, 2, '... by worker');
($code, $text) = run('run', "$home/resume.lua", '--target', $dsn, '--drill', 'forward', '--out', "$home/second", '--scale', '0.02');
@events = lines("$home/second/forward", 'events');
my ($resumed) = grep { $_->{resumed} } of(\@events, 'backfill', 'cut off');
is($resumed->{rows}, $before, 'the next run goes on where it was') or diag $text;
ok(ended(\@events, 'cut off')->{ok}, '... to the end');
my $batches = grep { $_->{rows} > 0 } of(\@events, 'statement', 'cut off');
cmp_ok($batches, '<=', 20 - int($before / 100) + 4, '... and does not do again what was done');
is(psql($dsn, "SELECT to_regclass('pgrehearse.backfill') IS NULL"), 't', 'nothing is left of it');
done_testing;
