#!/usr/bin/perl
# A rehearsal on each server that scripts/more-servers has fetched: what is observed is the same on all versions, as far as they tell it.
# With PGREHEARSE_MATRIX (make test-matrix) on the installed server too, and a scenario of the library, each kind of target and a capture besides;
# the table goes to the file that it names.
use strict;
use warnings;
use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Path qw(remove_tree);
use List::Util qw(max);
use Rehearse;
use Test::More;

my $servers = "$FindBin::Bin/../../build/servers";
my $matrix = $ENV{PGREHEARSE_MATRIX};
$matrix = abs_path($matrix) if $matrix;
my %bin;
for my $postgres (glob("$servers/*/bin/postgres"), $matrix ? glob '/usr/lib/postgresql/*/bin/postgres' : ()) {
	my ($folder, $version) = $postgres =~ m{(.*/(\d+)/bin)/};
	$bin{$version} = abs_path($folder) if $version >= 12 && (!$ENV{PGREHEARSE_VERSIONS} || grep { $_ eq $version } split ' ', $ENV{PGREHEARSE_VERSIONS});
}
my @versions = sort { $a <=> $b } keys %bin;
plan skip_all => 'scripts/more-servers has fetched none' if !@versions;

# What is in the table: per version and column "ok", "FAIL", or why there is nothing.
my (%cells, @columns);
sub note_cell { my ($version, $column, $state) = @_; push @columns, $column if !grep { $_ eq $column } @columns; $cells{$version}{$column} = $state; }
sub cell
{
	my ($version, $column, $tests) = @_;
	my $good = subtest $column => $tests;
	note_cell($version, $column, $good ? 'ok' : 'FAIL');
}

sub see_locks
{
	my ($version) = @_;
	my ($code, $text) = run('run', "$FindBin::Bin/lib/all_locks.lua", '--drill', 'forward', '--scale', '0.02', '--out', "$home/v$version");
	my $dir = "$home/v$version/forward";
	ok(-e "$dir/run.json" && record($dir)->{status} eq 'finished', 'a rehearsal is carried out') or diag($text), return;
	is(int(record($dir)->{server}{version_num} / 10000), $version, '... on that server');
	my @events = lines($dir, 'events');
	my @victims = grep { $_->{waiter}{role} eq 'load' && ($_->{lock}{relation} // '') eq 'users' && $_->{blamed} } lines($dir, 'waits');
	cmp_ok(scalar @victims, '>', 0, 'lock waits are seen and blamed');
	cmp_ok(max(0, map { $_->{length_ns} } @victims), '>=', 0.3e9, '... as long as they were');
	my $exact = grep { $_->{quality} eq 'exact' } @victims;
	if ($version >= 14) { cmp_ok($exact, '>', 0, '... exactly') } else { is($exact, 0, '... within bounds, which are told') }
	my ($rewrite) = grep { $_->{type} eq 'statement' && $_->{sql} =~ /varchar/ } @events;
	ok((grep { $_->{what} eq 'rewrite' && $_->{object} eq 'users' && $_->{by} eq 'both' } @{$rewrite->{work}}), 'a rewrite is seen in messages and files');
	my ($tx) = grep { $_->{type} eq 'transaction' } @events;
	is($tx->{wal_scope}, $version >= 18 ? 'session' : $version >= 15 ? 'server' : undef, 'WAL is counted as far as the server does');
	ok((grep { $_->{type} eq 'lock' && $_->{relation} eq 'orders' } @events), 'locks of a statement outside of transactions are followed');
	is_deeply([map { $_->{phase}, $_->{error} } grep { $_->{type} eq 'checkpoint' } @events], ['baseline', undef, 'migration', undef], 'phases begin with a checkpoint');
	is_deeply([map { $_->{text} } grep { $_->{type} eq 'warning' && $_->{text} =~ /^observer/ } @events], [], 'no query of the observer failed');
}

sub see_standby
{
	my ($version) = @_;
	my $dir = "$home/r$version/forward";
	my ($code, $text) = run('run', "$FindBin::Bin/lib/replication.lua", '--drill', 'forward', '--scale', '0.02', '--no-availability', '--out', "$home/r$version");
	ok(-e "$dir/run.json" && record($dir)->{status} eq 'finished', 'a rehearsal with a standby in trouble is carried out') or diag($text), return;
	my @intervals = lines($dir, 'intervals');
	my @lag = grep { $_->{standby} eq 'standby1' } map { @{$_->{lag}} } @intervals;
	my $most = sub { my ($figure) = @_; return max(-1, grep { defined } map { $_->{$figure} } @lag) };
	is_deeply([grep { my $figure = $_; !grep { defined $_->{$figure} && $_->{$figure} >= 0 } @lag } qw(sent_bytes write_bytes flush_bytes replay_bytes)], [], 'positions of the standby are followed');
	cmp_ok($most->('replay_bytes'), '>', 0, '... and how far it was behind');
	cmp_ok($most->('heartbeat_ns'), '>=', 0.9e9, 'a pause of replay is seen by the heartbeat');
	cmp_ok($most->('replay_lag_ns'), '>=', 0.5e9, '... and in the columns of the server');
	cmp_ok($most->('conflicts'), '>=', 1, 'a reader that replay cancelled is counted');
	my @slots = grep { $_->{slot} eq 'standby1' } map { @{$_->{slots} // []} } @intervals;
	ok(@slots && !(grep { !$_->{active} || !defined $_->{restart_bytes} || ($_->{wal_status} // 'unknown') ne ($version >= 13 ? 'reserved' : 'unknown') } @slots), 'its slot is followed');
	is_deeply([map { $_->{text} } grep { $_->{type} eq 'warning' && $_->{text} =~ /^observer/ } lines($dir, 'events')], [], 'no query of the observer failed');
}

# ---- what make test-matrix asks besides ----

my ($widen, $dump) = ("$home/widen.lua", "$home/dump.c");
my ($client) = `pg_dump --version` =~ / (\d+)/;

# Performed to its end, and whatever way back it has led back. That a busy machine makes a run unfit (3) says nothing about a version.
sub rehearsed
{
	my ($what, $version, $scenario, $drill, @options) = @_;
	remove_tree("$home/out");
	my ($code, $text) = run('run', $scenario, '--drill', $drill, '--brief', '--scale', '0.02', '--out', "$home/out", @options);
	ok($code == 0 || $code == 3, "$what can be rehearsed on") or diag "exit $code: $text";
	my ($dir) = map { m{(.*)/run\.json} } glob "$home/out/*/run.json";
	my $run = defined $dir ? record($dir) : {};
	is($run->{status}, 'finished', '... to the end');
	is(int(($run->{server}{version_num} // 0) / 10000), $version, '... on that server');
	is_deeply([map { $_->{text} } grep { $_->{type} eq 'warning' && $_->{text} =~ /^observer/ } (defined $dir ? lines($dir, 'events') : ())], [], 'no query of the observer failed');
	return $run;
}

# A server of the version with the shop in it, which is not ours: the guard sees it from another home.
sub with_theirs
{
	my ($version, $then) = @_;
	local $ENV{TMPDIR} = "$home/theirs";
	mkdir $ENV{TMPDIR} if !-d $ENV{TMPDIR};
	chmod 0755, $ENV{TMPDIR};
	# Once, also if it is INVALID: the sandbox of each try would be kept.
	my ($code, $text) = Rehearse::run_once('load', 'shop', '--scale', '0.02', '--duration', '1s', '--rate', '10', '--standbys', '0', '--no-availability', '--keep', '--out', "$home/theirs/record$version");
	my ($name) = $text =~ /sandbox (\S+) is kept/;
	my ($dsn) = defined $name ? `$program sandbox list` =~ /^\Q$name\E .*?(host=.*)$/m : ();
	ok(defined $dsn, 'there is a server with data') or diag($text), return;
	{ local $ENV{TMPDIR} = $home; $then->($dsn); }
	run('sandbox', 'down', $name);
}

sub captured
{
	my ($version, $dsn) = @_;
	my ($code, $text) = run('sandbox', 'up', "log$version", '--standbys', '0', map { ('--setting', $_) } 'log_min_duration_statement=0', 'log_line_prefix=%m|%u|%d|%c|%l|%e|%a|');
	my ($primary, $folder) = $text =~ /primary +(host=.*?)\n.*folder +(\S+)/s;
	ok(defined $primary, 'a server that logs') or diag($text), return;
	psql($primary, 'CREATE TABLE t (a int)');
	open my $in, '|-', 'psql', '-Xq', $primary or die;
	print $in "INSERT INTO t VALUES ($_);\n" for 1 .. 50;
	close $in;
	my $log = "$folder/servers/primary.log";
	ok(comes_true(sub { system("grep -q 'INSERT INTO t VALUES (50)' '$log'") == 0 }), '... has logged all') or diag(content($log));
	($code, $text) = run('capture', $log, '--prefix', '%m|%u|%d|%c|%l|%e|%a|', '--out', "$home/$version.trace");
	is($code, 0, '... and its log becomes a trace') or diag $text;
	my ($cat, $events) = run('trace', 'cat', "$home/$version.trace");
	is(scalar(() = $events =~ /INSERT INTO t VALUES/g), 50, '... that has every statement');
	run('sandbox', 'down', "log$version");
}

sub more_of
{
	my ($version) = @_;
	my @none = ('--standbys', '0', '--no-availability');
	cell($version, 'user_status', sub { rehearsed('generated data', $version, "$FindBin::Bin/../../scenarios/user_status.lua", 'rollback') });
	cell($version, 'snapshot', sub {
		my ($code, $text) = run('snapshot', 'make', "v$version", '--scale', '0.02');
		is($code, 0, 'a snapshot is made') or diag $text;
		rehearsed('it', $version, $widen, 'forward', @none, '--target', "snapshot:v$version");
	});
	cell($version, 'base', sub {
		my ($folder) = glob "$home/pgrehearse-*/.snapshots/v$version/data";
		rehearsed('a stopped data folder', $version, $widen, 'forward', @none, '--target', "base:$folder", '--server', $bin{$version});
	});
	run('snapshot', 'drop', "v$version");
	with_theirs($version, sub {
		my ($dsn) = @_;
		# A pg_dump reads servers of its own version and older ones; newer ones take what it wrote.
		system('pg_dump', '-Fc', '-f', $dump, $dsn) if $version <= $client;
		if (-e $dump) { cell($version, 'dump', sub { rehearsed('a dump', $version, $widen, 'forward', @none, '--target', "dump:$dump", '--server', $bin{$version}) }) }
		else { note_cell($version, 'dump', 'no pg_dump') }
		my ($code, $text) = run('clone', 'mark', $dsn, '--yes', 'rehearsal');
		is($code, 0, 'the database is marked') or diag $text;
		cell($version, 'template', sub { rehearsed('a template', $version, $widen, 'forward', @none, '--target', "template:$dsn") });
		cell($version, 'dsn', sub { rehearsed('a connection string', $version, $widen, 'rollback', @none, '--target', "dsn:$dsn") });
		cell($version, 'command', sub { rehearsed("a command's clone", $version, $widen, 'rollback', @none, '--target', "command:echo '$dsn',true") });
	});
	cell($version, 'capture', sub { captured($version) });
	cell($version, 'logs', sub {
		my $said = `prove '$FindBin::Bin/logs.t' 2>&1`;
		is($?, 0, 'what the shop, pgbench and a driver do is what each log gives back') or diag $said;
	});
}

if ($matrix) {
	write_file($widen, <<'LUA');
local rehearse = require "rehearse"
return rehearse.scenario {
	title = "widen", workload = "shop", load = { rate = 40, pods = 1, pool = 2 }, phases = { warmup = "0", baseline = "300ms", settle = "200ms" },
	steps = { rehearse.sql { name = "add state", up = "ALTER TABLE users ADD COLUMN state text", down = "ALTER TABLE users DROP COLUMN state" } },
	criteria = { "migration.completed" },
}
LUA
}

for my $version (@versions) {
	subtest "PostgreSQL $version" => sub {
		local $ENV{PGREHEARSE_SERVER} = $bin{$version};
		cell($version, 'observation', sub { see_locks($version) });
		cell($version, 'standby', sub { see_standby($version) });
		more_of($version) if $matrix;
	};
}

if ($matrix) {
	my $table = sprintf("%-9s", 'server') . join('', map { sprintf '  %-*s', max(10, length), $_ } @columns) . "\n";
	for my $version (@versions) {
		$table .= sprintf("%-9s", $version) . join('', map { sprintf '  %-*s', max(10, length), $cells{$version}{$_} // '-' } @columns) . "\n";
	}
	$table =~ s/ +$//mg;
	open my $out, '>', $matrix or die "$matrix: $!";
	print $out $table;
	close $out;
}

done_testing;
