#!/usr/bin/perl
# pgrehearse run and load, on real servers: a drill from end to end, what is said when it cannot be, and that nothing stays behind.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep);

my $pgrehearse = abs_path($ENV{PGREHEARSE} // 'build/pgrehearse');
my $home = tempdir('/tmp/pgr-e2e-XXXXXX', CLEANUP => 1);
chmod 0755, $home;
$ENV{TMPDIR} = $home;
delete @ENV{grep { /^PG(?!REHEARSE)/ } keys %ENV};
my $root = "$home/pgrehearse-$>";
chdir $home or die;

sub write_file { my ($path, $text) = @_; open my $out, '>', $path or die "$path: $!"; print $out $text; close $out; }
sub read_json { my ($path) = @_; open my $in, '<', $path or die "$path: $!"; local $/; return decode_json(<$in>); }
sub read_lines { my ($path) = @_; open my $in, '<', $path or die "$path: $!"; return map { decode_json($_) } <$in>; }

sub start
{
	my @words = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";
	if (!$pid) {
		open STDERR, '>&', \*STDOUT;
		exec $pgrehearse, @words or die "$pgrehearse: $!";
	}
	return ($pid, $out);
}

sub finish { my ($out) = @_; my $text = do { local $/; <$out> } // ''; close $out; return ($? >> 8, $text); }
sub run { my ($pid, $out) = start(@_); return finish($out); }

# A run that is to be judged. On a machine that is busy with other things it may be INVALID (exit code 3), rightly; then once more.
sub run_judged
{
	my ($dir, @words) = @_;
	my ($code, $text);
	for my $try (1 .. 4) {
		remove_tree($dir);
		($code, $text) = run(@words, '--out', $dir);
		last if $code != 3;
	}
	return ($code, $text);
}

sub servers { return grep { (readlink $_ // '') =~ m{^\Q$root\E/} } glob '/proc/[0-9]*/cwd'; }

write_file("$home/notes.lua", <<'LUA');
local workload = require "workload"
local notes
return workload {
	name = "notes",
	schema = "CREATE TABLE notes (id bigint NOT NULL, seen int NOT NULL DEFAULT 0, body text); CREATE TABLE tags (name text)",
	generate = {
		{ table = "notes", columns = "id, body", rows = function(scale) return math.floor(2000 * scale) end,
			row = function(i, r) return i, r:text(60) end },
		{ table = "tags", columns = "name", rows = 50, row = function(i) return "tag" .. i end },
	},
	finish = { "ALTER TABLE notes ADD PRIMARY KEY (id)", "VACUUM (ANALYZE) notes" },
	setup = function(info) notes = info.rows.notes end,
	statements = { get = "SELECT body FROM notes WHERE id = $1", mark = "UPDATE notes SET seen = seen + 1 WHERE id = $1" },
	transactions = {
		get = { weight = 3, read_only = true, args = function(r) return r:int(1, notes) end, run = function(c, id) c:exec("get", id) end },
		mark = { weight = 1, args = function(r) return r:int(1, notes) end, run = function(c, id) c:exec("mark", id) end },
	},
	actors = { lunch = { begin = "UPDATE notes SET seen = seen WHERE id = 1", hold = "2500ms", every = "30s" } },
}
LUA

sub scenario
{
	my ($name, $rest) = @_;
	write_file("$home/$name.lua", <<"LUA");
local rehearse = require "rehearse"
return rehearse.scenario {
	title = "$name", workload = "notes", load = { rate = 150, pods = 2, pool = 3 }, phases = { warmup = "500ms", baseline = "1s", settle = "500ms" },
	$rest
}
LUA
	return "$name.lua";
}

# ---- what is wrong is said before anything is started ----

my ($code, $text) = run('run');
is($code, 2, 'without a scenario: exit code 2');
($code, $text) = run('run', 'nowhere.lua');
is($code, 2, 'a scenario that is not there: exit code 2');
like($text, qr/nowhere\.lua/, '... and it is named');
($code, $text) = run('run', '--speed', '3', 'x.lua');
is($code, 2, 'an unknown option: exit code 2');
like($text, qr/--speed/, '... and it is named');

scenario('bad', "steps = { rehearse.sql { name = 'a', up = 'SELECT 1', down = false, lock_timout = '1s' } }");
($code, $text) = run('run', 'bad.lua');
is($code, 2, 'a mistake in the scenario: exit code 2');
like($text, qr/bad\.lua:4.*step "a".*lock_timout.*lock_timeout/s, '... with file, line, step, field, and what is accepted');

my $simple = "steps = { rehearse.sql { name = 'a', up = 'SELECT 1', down = false } }";
scenario('criteria', "$simple, criteria = { 'latency.p99 < 5 apples' }");
($code, $text) = run('run', 'criteria.lua');
is($code, 2, 'a criterion that cannot be understood: exit code 2');
like($text, qr/apples/, '... and it is quoted');

scenario('settings', "$simple, scale = rehearse.setting('size', 1.0)");
($code, $text) = run('run', 'settings.lua', '--set', 'sise=2');
is($code, 2, 'a setting that the scenario does not have: exit code 2');
like($text, qr/sise.*size/s, '... with those that it has');
scenario('actors', "$simple, actors = { 'dinner' }");
($code, $text) = run('run', 'actors.lua', '--scale', '0.1');
is($code, 2, 'an actor that the workload does not have: exit code 2');
like($text, qr/dinner.*lunch/s, '... with one that it has');
mkdir "$home/taken" and mkdir "$home/taken/rollback" and write_file("$home/taken/rollback/notes", '');
($code, $text) = run('run', 'settings.lua', '--out', "$home/taken");
is($code, 2, 'a folder that holds something already: exit code 2');
like($text, qr{taken/rollback for the record is not empty: it holds notes}, '... with what it holds');
unlike($text, qr/preparing/, '... before anything is prepared');
ok(!glob("$home/rehearsals/*"), 'none of these left a record');

($code, $text) = run('run', 'settings.lua', '--target', 'host=192.0.2.1 dbname=x');
is($code, 4, 'a target that is not ours: refused with exit code 4');

# ---- both drills ----

scenario('whole', <<'LUA');
	actors = { "lunch" },
	versions = { v2 = { mark = function(c, id) c:exec("mark", id) c:exec("get", id) end } },
	steps = {
		rehearse.sql { name = "add state", lock_timeout = "300ms", retries = 20, backoff = "50ms",
			up = "LOCK TABLE notes IN ACCESS EXCLUSIVE MODE; ALTER TABLE notes ADD COLUMN state text", down = "ALTER TABLE notes DROP COLUMN state" },
		rehearse.backfill { name = "fill state", table = "notes", set = "state = 'new'", where = "state IS NULL", batch = 500, lock_timeout = "none" },
		rehearse.deploy { name = "roll out", from = "v1", to = "v2", every = "100ms" },
		{ name = "tags", up = function(m)
			local n = m:row("SELECT count(*) FROM tags")
			assert(n == 50)
			m:exec("INSERT INTO tags VALUES ($1)", "extra")
		end, down = function(m) m:exec("DELETE FROM tags WHERE name = $1", "extra") end },
	},
	checks = { filled = "SELECT id FROM notes WHERE state IS NULL", gone = { after = "rollback", sql = "SELECT * FROM tags WHERE name = 'extra'" } },
	criteria = { "errors.rate < 1%", "checks.clean", "rollback.clean", "step[add state].attempts > 1" },
LUA
($code, $text) = run_judged('out', 'run', 'whole.lua');
is($code, 0, 'both drills pass') or diag $text;
like($text, qr/PASS.*forward.*PASS.*rollback/s, 'the verdicts of both are printed');
like($text, qr{out/report\.html}, '... and where the report is');
ok(-s 'out/report.html', '... which is there');

my $run = read_json('out/rollback/run.json');
is($run->{status}, 'finished', 'the record is finished');
ok($run->{totals}{holds}, 'the books balance');
is(join(' ', map { $_->{name} } @{$run->{phases}}), 'warmup baseline migration rollback', 'the phases follow one another');
is_deeply([map { $run->{phases}[$_]{end_ns} - $run->{phases}[$_ + 1]{start_ns} } 0 .. 2], [0, 0, 0], '... without a gap');
is($run->{rollback}{verdict}, 'equivalent', 'the rollback is clean');
my %table = map { $_->{table} => $_ } @{$run->{rollback}{tables}};
is($table{'public.notes'}{method}, 'skipped', 'a table that the traffic writes is not compared, and listed as such');
ok($table{'public.tags'}{same}, 'one that only the migration writes is compared whole');

my @events = read_lines('out/rollback/events.jsonl');
my @adds = grep { $_->{type} eq 'statement' && ($_->{step} // '') eq 'add state' && $_->{direction} eq 'up' } @events;
ok((grep { $_->{sqlstate} eq '55P03' } @adds), 'attempts that did not get their lock are recorded');
is($adds[-1]{sqlstate}, '00000', '... and the one that did');
is_deeply([grep { $_->{relation} eq 'notes' } @{$adds[-1]{locks}}], [{ relation => 'notes', mode => 'AccessExclusiveLock', granted => JSON::PP::true }],
	'... with the locks that it held');
my @fills = grep { $_->{type} eq 'backfill' } @events;
is($fills[-1]{rows}, 2000, 'the backfill filled every row');
is(scalar(grep { $_->{type} eq 'deploy' } @events), 4, 'every pod was replaced, there and back');
ok((grep { $_->{type} eq 'actor' && $_->{name} eq 'lunch' } @events), 'the actor was there');
my $planned = 0;
$planned += $_->{planned} for read_lines('out/rollback/intervals.jsonl');
is($planned, $run->{totals}{planned}, 'the intervals add up to the totals');
my ($wait) = grep { $_->{waiter}{role} eq 'migration' } read_lines('out/rollback/waits.jsonl');
is($wait->{blockers}[0]{role}, 'actor', 'the migration waited behind the actor') if ok($wait, 'the wait of the migration is recorded');
is(scalar servers(), 0, 'no server is left');

# ---- a step that fails, a mistake in a step ----

scenario('fails', "steps = { rehearse.sql { name = 'no such table', up = 'ALTER TABLE nowhere ADD a int', down = false } }");
($code, $text) = run_judged('out-fails', 'run', 'fails.lua', '--drill', 'forward');
is($code, 1, 'a step that fails: exit code 1');
like($text, qr/FAIL.*migration\.completed.*no such table.*42P01/s, '... with the step and what the server said') or diag $text;

scenario('broken', "steps = { { name = 'broken', up = function(m) local nothing; return nothing.field end, down = false } }");
($code, $text) = run('run', 'broken.lua', '--drill', 'forward', '--out', 'out-broken');
is($code, 5, "a mistake in a step's own code: exit code 5");
like($text, qr/broken\.lua:4.*traceback/s, '... with file, line and traceback');
is(read_json('out-broken/forward/run.json')->{status}, 'failed', '... and the record says so');

# ---- Ctrl-C ----

scenario('long', "steps = { rehearse.sql { name = 'sleep', up = 'SELECT pg_sleep(60)', down = false } }");
my ($pid, $out) = start('run', 'long.lua', '--drill', 'forward', '--out', 'out-long');
for (1 .. 1200) { last if -s 'out-long/forward/events.jsonl' && grep { $_->{type} eq 'step' } read_lines('out-long/forward/events.jsonl'); sleep 0.05; }
kill INT => $pid;
($code, $text) = finish($out);
is($code, 130, 'Ctrl-C: exit code 130');
is(read_json('out-long/forward/run.json')->{status}, 'interrupted', '... the record says so');
is(scalar servers(), 0, '... and no server is left');
ok(!glob("$root/*"), '... and no folder');

# ---- traffic alone ----

($code, $text) = run_judged('out-load', 'load', 'notes.lua', '--rate', '100', '--duration', '2s');
is($code, 0, 'traffic without a migration') or diag $text;
$run = read_json('out-load/run.json');
ok($run->{totals}{holds} && $run->{totals}{ok} > 100, '... is counted');
($code, $text) = run_judged('out-closed', 'load', 'notes.lua', '--closed', '--clients', '2', '--duration', '1s');
is($code, 0, 'a closed loop too');
($code, $text) = run('load', 'notes.lua', '--closed', '--rate', '5');
is($code, 2, 'but not with a rate');

done_testing();
