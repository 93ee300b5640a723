#!/usr/bin/perl
# kill -9 at any moment leaves nothing that the next start does not sweep, and a record that can be read; so does a full disk. KILLS says how often.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(min);
use Rehearse;
use Test::More;
use Time::HiRes qw(time sleep);

my $kills = $ENV{KILLS} // 5;
my $seed = $ENV{KILL_SEED} // time * 1000 % 1_000_000;
diag("KILL_SEED=$seed") if $kills > 5;
srand $seed;

open my $out, '>', "$home/change.lua" or die;
print $out <<'LUA';
local rehearse = require "rehearse"
return rehearse.scenario { title = "A change", workload = "shop", load = { rate = 20, pods = 1, pool = 4 },
	phases = { warmup = "0s", baseline = "500ms", settle = "200ms" },
	steps = {
		rehearse.sql { name = "add", up = "ALTER TABLE users ADD COLUMN status text; SELECT pg_sleep(0.3)", down = "ALTER TABLE users DROP COLUMN status" },
		rehearse.exec { name = "program", up = "sleep 0.31415", down = false },
	} }
LUA
close $out;

sub children { my ($of) = @_; return map { content_of($_) =~ /^(\d+) .*\) \S (\d+)/ && $2 == $of ? $1 : () } glob '/proc/[0-9]*/stat'; }
sub content_of { my ($path) = @_; open my $in, '<', $path or return ''; return scalar(<$in>) // ''; }
sub swept { my ($code, $text) = run('sandbox', 'sweep'); return $code == 0 ? $text : "exit $code: $text"; }
sub programs { return grep { (readlink("/proc/$_/exe") // '') eq $program && content_of("/proc/$_/environ") =~ /TMPDIR=\Q$home\E/ } map { m{/(\d+)/} } glob '/proc/[0-9]*/exe'; }

# How long one takes when nobody kills it: two drills, each of which makes servers.
my @words = ('run', "$home/change.lua", '--scale', '0.01', '--brief', '--seed', '7');
my $begun = time;
my ($code, $text) = run(@words, '--out', "$home/whole");
my $length = time - $begun;
ok($code == 0 || $code == 3, 'a rehearsal is carried out') or diag $text;
ok(nothing_is_left(), '... and leaves nothing');

for my $i (1 .. $kills) {
	my $moment = sprintf '%.2f', rand $length;
	my $everything = $i % 2;
	my ($pid, $said) = start(@words, '--out', "$home/killed-$i");
	sleep $moment;
	kill 'KILL', $everything ? (children($pid), $pid) : $pid;
	close $said;
	my $what = 'killed after ' . $moment . ' s' . ($everything ? ' together with what watches it' : '');
	my ($sandbox) = !$everything ? '' : swept();
	ok(nothing_is_left(), "$what: nothing is left" . ($everything ? ' once the next one has begun' : '')) or diag $sandbox, join ' ', sandbox_processes(), glob "$home/pgrehearse-*/*";
	ok(comes_true(sub { !programs() }), '... no process either');
	for my $dir (grep { -e "$_/run.json" } glob "$home/killed-$i/*") {
		($code, $text) = run('report', $dir, '--format', 'markdown');
		is($code, 0, '... and the record that there is can be read') or diag $text;
		like($text, qr/INTERRUPTED|PASS|INVALID|INCONCLUSIVE|FAIL/, '... and says how it ended') or diag $text;
	}
}

SKIP: {
	skip 'needs root, to mount a small file system', 6 if $> != 0 || system("unshare -m true 2>/dev/null") != 0;
	open my $big, '>', "$home/big.lua" or die;
	print $big <<'LUA';
local rehearse = require "rehearse"
return rehearse.scenario { title = "Too much", workload = "shop", load = { rate = 20, pods = 1, pool = 4 },
	phases = { warmup = "0s", baseline = "500ms", settle = "200ms" },
	steps = { rehearse.sql { name = "fill", up = "CREATE UNLOGGED TABLE big AS SELECT repeat(n::text, 100) AS t FROM generate_series(1, 10000000) n", down = "DROP TABLE big" } } }
LUA
	close $big;
	mkdir "$home/small";
	my $within = sub { my ($size, $command) = @_; return `unshare -m sh -c 'mount -t tmpfs -o size=$size,mode=0755 none "\$1" && { $command; echo "exit \$?"; ls -A "\$1"/pgrehearse-0 2>/dev/null; }' sh '$home/small' '$program' '$home' 2>&1`; };
	$text = $within->('640m', 'TMPDIR=$1 $2 run $3/big.lua --drill forward --scale 0.01 --brief --out $3/full');
	like($text, qr/^exit [135]\n\z/m, 'a disk that fills up during a step ends the rehearsal, and nothing is left on it') or diag $text;
	like(content("$home/full/forward/events.jsonl"), qr/No space left on device|53100/, '... the record says why');
	is((run('report', "$home/full/forward", '--format', 'markdown'))[0], 0, '... and can be read');

	$text = $within->('44k', '$2 ' . join(' ', @words) . ' --drill forward --out $1/record; code=$?; cp -r $1/record $3/short; (exit $code)');
	like($text, qr/No space left on device.*^exit 5\n\z/ms, 'a disk that is too small for the record ends the rehearsal, which says so') or diag $text;
	($code, $text) = run('report', "$home/short/forward", '--format', 'markdown');
	is($code, 0, '... and what fitted can be read') or diag $text;
	ok(nothing_is_left(), '... and nothing is left');
}

done_testing;
