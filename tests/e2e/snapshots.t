#!/usr/bin/perl
# pgrehearse snapshot: data that were prepared once are what rehearsals start from, each time as they were.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Rehearse;
use Test::More;

sub read_json { my ($path) = @_; open my $in, '<', $path or die "$path: $!"; local $/; return decode_json(scalar <$in>); }
my @load = ('load', 'shop', '--duration', '1s', '--rate', '20', '--standbys', '0', '--no-availability');

my ($code, $text) = run('snapshot', 'make', 'small', '--scale', '0.02');
is($code, 0, 'a snapshot is made') or BAIL_OUT($text);
($code, $text) = run('snapshot', 'list');
like($text, qr/^small +\d+\.\d+ .*MB.*shop\.lua, scale 0\.02, seed 1$/m, '... and listed with what it is of') or diag $text;
($code, $text) = run('snapshot', 'make', 'small');
is($code, 2, 'its name is taken');
($code, $text) = run('snapshot', 'make', 'Small/../x');
is($code, 2, 'a name that is a path is none');

($code, $text) = run(@load, '--scale', '0.02', '--out', "$home/reused");
is($code, 0, 'traffic on the same data') or diag $text;
like($text, qr/from the snapshot/, '... starts from it');
is(read_json("$home/reused/run.json")->{target}{snapshot}, 'small', '... which the record says');
($code, $text) = run(@load, '--scale', '0.02', '--seed', '2', '--out', "$home/other");
unlike($text, qr/from the snapshot/, 'other data are generated') or diag $text;
# The share of the data's pages that the kernel holds after the run (fincore of util-linux, to compare with the record's, which is of before
# it), of the sandbox that is kept, which goes then. What a busy machine's kernel drops while the traffic runs is its own business.
sub share_cached
{
	my ($sandbox) = $_[0] =~ /sandbox down (\S+)/ or die $_[0];
	my @files = grep { -f $_ && -s $_ > 65536 } glob "$home/pgrehearse-*/$sandbox/servers/primary/base/*/*";
	my ($held, $all) = (0, 0);
	for (qx(fincore -b -n -o RES,SIZE @files)) { my ($r, $s) = split; $held += $r, $all += $s; }
	run('sandbox', 'down', $sandbox);
	return $held / ($all || 1);
}

($code, $text) = run(@load, '--target', 'snapshot:small', '--cache', 'cold', '--keep', '--out', "$home/named");
is($code, 0, 'it can be named') or diag $text;
like($text, qr/\d % of the primary's \S+ MB are in the kernel's cache/, '... which is told');
my $cold = share_cached($text);
cmp_ok($cold, '<', 0.5, '... and start with nothing of it in memory');
cmp_ok(read_json("$home/named/run.json")->{target}{cache_held}, '<', 0.1, '... at all');
($code, $text) = run(@load, '--target', 'snapshot:small', '--cache', 'warm', '--keep', '--out', "$home/warm");
cmp_ok(read_json("$home/warm/run.json")->{target}{cache_held}, '>', 0.95, '... or with all of it');
cmp_ok(share_cached($text), '>', $cold + 0.3, '... most of which stays there');
my $run = read_json("$home/named/run.json");
is($run->{workload}{scale}, 0.02, '... and tells how much there is');
is($run->{target}{cache}, 'cold', '... and the record how the cache was');
is($run->{totals}{failed}, 0, '... the traffic fits');
($code, $text) = run('doctor', '--target', 'snapshot:small');
is($code, 0, 'the doctor finds nothing against it') or diag $text;
like($text, qr/^ok +snapshot +PostgreSQL \d+'s, [\d.]+ MB$/m, '... having looked at it');
($code, $text) = run('doctor', '--target', 'snapshot:smaller');
is($code, 2, 'but against one that there is not');

($code, $text) = run('sandbox', 'up', 'trial', '--from', 'snapshot:small');
is($code, 0, 'a sandbox can be made of it') or diag $text;
my ($primary, $standby) = $text =~ /primary +(host=.*)\n +standby1 +(host=.*)/;
is(psql($_, 'SELECT count(*) FROM users'), '2000', '... with its data') for $primary, $standby;
run('sandbox', 'down', 'trial');
($code, $text) = run('sandbox', 'up', 'trial', '--from', 'snapshot:smaller');
is($code, 2, '... and not of one that there is not') or diag $text;
($code, $text) = run('sandbox', 'up', 'trial', '--from', 'dsn:host=/tmp');
is($code, 2, '... nor of somebody\'s server') or diag $text;

# Commits wait for the standby: while it does not take any, nothing is answered.
($code, $text) = run(@load, '--target', 'snapshot:small', '--standbys', '1', '--sync-standby', '--out', "$home/synchronous");
is($code, 0, 'commits can wait for the standby') or diag $text;
is(read_json("$home/synchronous/run.json")->{server}{settings}{synchronous_standby_names}, 'FIRST 1 (standby1)', '... which the server is told to');

($code, $text) = run(@load, '--target', 'snapshot:smaller');
is($code, 2, 'one that there is not is refused');
like($text, qr/there are: small/, '... with those that there are');

# What lies beside a workload may be a part of it.
mkdir "$home/w" or die;
sub put { my ($name, $content) = @_; open my $out, '>', "$home/w/$name" or die; print $out $content; close $out; }
put('tiny.lua', 'return { name = "tiny", schema = "CREATE TABLE t (n int)", generate = {}, statements = { one = "SELECT 1" }, transactions = { one = { run = function(c) c:exec("one") end } } }');
my @tiny = ('load', "$home/w/tiny.lua", '--duration', '1s', '--rate', '20', '--standbys', '0', '--no-availability', '--out');
($code, $text) = run('snapshot', 'make', 'tiny', '--workload', "$home/w/tiny.lua");
is($code, 0, 'a snapshot of a workload of ours') or diag $text;
($code, $text) = run(@tiny, "$home/tiny-1");
like($text, qr/from the snapshot/, '... is used') or diag $text;
put('words.lua', 'return {}');
($code, $text) = run(@tiny, "$home/tiny-2");
is($code, 0, '... which runs') or diag $text;
unlike($text, qr/from the snapshot/, '... and not once a Lua file beside it has changed') or diag $text;
run('snapshot', 'drop', 'tiny');

# Making that is killed, three times, at other places: what was made before is not made again, and nothing is missing.
put('long.lua', <<'LUA');
return { name = "long", schema = "CREATE TABLE t (i int, n float8)", statements = { one = "SELECT 1" }, transactions = { one = { run = function(c) c:exec("one") end } },
	generate = { { table = "t", columns = "i, n", rows = 300000, row = function(i, r) for _ = 1, 300 do end return i, r:gaussian(0, 1) end } },
	finish = { "ALTER TABLE t ADD PRIMARY KEY (i)", "SELECT pg_sleep(4)", "VACUUM ANALYZE t" } }
LUA
my @long = ('snapshot', 'make', 'long', '--workload', "$home/w/long.lua");
my $known = sub { my ($sql) = @_; my ($dsn) = `'$program' sandbox list` =~ /(host=.*)/; return defined $dsn ? `psql -XAtqc "$sql" '$dsn' 2>/dev/null` : '' };
for my $case (['KILL', "'rows' AND part >= 4"], ['INT', "'rows' AND part >= 15"], ['KILL', "'finish'"]) {
	my ($signal, $until) = @$case;
	my ($pid, $out) = start(@long);
	ok(comes_true(sub { ($known->("SELECT count(*) > 0 FROM pgrehearse.generated WHERE step = $until") || '') =~ /t/ }), "data are made until $until");
	kill $signal => $pid;
	my $said = do { local $/; <$out> } // '';
	close $out;
	ok(comes_true(sub { !sandbox_processes() }), "... and after SIG$signal there is no server");
	like($said, qr/what is made so far stays/, '... it says how to go on') if $signal eq 'INT';
	like(`'$program' snapshot list`, qr/^long +not finished/m, '... the list has what is made');
}
($code, $text) = run(@long);
is($code, 0, 'the next making') or diag $text;
like($text, qr/going on from where it was cut off/, '... goes on');
like($text, qr/keys and indexes|generating t, 300000 of 300000/, '... at the end');
is_deeply([grep { !m{/(?:small|long)$} } glob "$home/pgrehearse-*/.snapshots/*"], [], '... and leaves nothing beside the snapshot');
($code, $text) = run('load', "$home/w/long.lua", '--target', 'snapshot:long', '--duration', '1s', '--standbys', '0', '--no-availability', '--keep', '--out', "$home/whole");
is($known->("SELECT count(*) || ' ' || count(DISTINCT i) || ' ' || min(i) || ' ' || max(i), to_regnamespace('pgrehearse') IS NULL FROM t"), "300000 300000 1 300000|t\n", '... which is whole') or diag $text;
my $whole = $known->("SELECT sum(hashfloat8extended(n, i)) FROM t");
run('sandbox', 'down', '--all');
run('snapshot', 'drop', 'long');
($code, $text) = run('load', "$home/w/long.lua", '--duration', '1s', '--standbys', '0', '--no-availability', '--keep', '--out', "$home/alike2");
unlike($text, qr/from the snapshot/, 'generated in one go');
is($known->("SELECT sum(hashfloat8extended(n, i)) FROM t"), $whole, '... the data are the same');
run('sandbox', 'down', '--all');

($code, $text) = run('snapshot', 'drop', 'small');
is($code, 0, 'it is dropped') or diag $text;
($code, $text) = run('snapshot', 'list');
like($text, qr/There is no snapshot/, '... and gone');
is(join(' ', glob "$home/pgrehearse-*/.snap*"), '', '... with the folder of all');
done_testing;
