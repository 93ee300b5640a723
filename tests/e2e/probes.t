#!/usr/bin/perl
# What the report says about windows without reads or writes, the server by phase, long commands and settings: what the record holds.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Temp qw(tempdir);
use JSON::PP;
use SyntheticRecord;
use Test::More;

my $program = $ENV{PGREHEARSE} // "$FindBin::Bin/../../build/pgrehearse";
my $folder = tempdir(CLEANUP => 1);
my $json = JSON::PP->new->canonical->utf8;

sub content { my ($path) = @_; open my $f, '<:raw', $path or return ''; local $/; return scalar <$f>; }
sub put { my ($path, $text, $mode) = @_; open my $f, $mode // '>', $path or die "$path: $!"; print $f $text; close $f or die; }

my $dir = "$folder/forward";
SyntheticRecord::write_record($dir);
my $run = $json->decode(content("$dir/run.json"));
$run->{availability} = {period_ns => 10_000_000, blocked_period_ns => 5_000_000, tables => ['users', 'orders', 'Odd "<&>" name'], denied => [{table => 'orders', access => 'writes'}],
	rounds => 9000, missed => 3, windows => 4, held_ns => 40_000_000, delayed => 2, delayed_ns => 1_500_000};
$run->{phase_state} = [{phase => 'migration', profile_samples => 10, wait_events => {'Lock/relation' => 25, running => 5}, checkpoints_timed => 1, checkpoints_requested => 2, blocks_hit => 900, blocks_fetched => 1000,
	xmin => {age => 1234, kind => 'session', name => 'nightly report', pid => 77, state => 'idle in transaction'}, longest_xact => {application_name => 'nightly report', pid => 77, state => 'idle in transaction', age_ns => 42_000_000_000},
	idle_in_transaction => {n => 1, longest_ns => 41_000_000_000}, autovacuum => ['users'], locks => {n => 9000, fastpath => 12, room => 6400}, tables => [{table => 'users', bytes_start => 1048576, bytes_end => 3145728, live_end => 1000, dead_start => 10, dead_end => 510}]}];
$run->{criteria} = [];    # the record's own are not written as the judge reads them
$run->{migration_settings} = [{name => 'lock_timeout', value => '5s', source => 'database'}];
put("$dir/run.json", $json->encode($run));
put("$dir/windows.jsonl", join '', map { $json->encode($_) . "\n" } (
	{table => 'users', access => 'reads', start_ns => 30_000_000_000, length_ns => 812_000_000, bound_ns => 11_000_000, ended => 'free', blamed => 4, holders => [{pid => 9, role => 'migration', application_name => 'pgrehearse migration', mode => 'AccessExclusiveLock', queued => JSON::PP::true}]},
	{table => 'users', access => 'writes', start_ns => 30_000_000_000, length_ns => 812_000_000, bound_ns => 11_000_000, ended => 'free', blamed => 4, holders => []},
	{table => 'users', access => 'writes', start_ns => 40_000_000_000, length_ns => 100_000_000, bound_ns => 11_000_000, ended => 'free', blamed => undef, holders => [{pid => 12, role => 'foreign', application_name => '<psql> & co', mode => 'ShareLock', queued => JSON::PP::false}]},
	{table => 'Odd "<&>" name', access => 'row_locks', start_ns => 41_000_000_000, length_ns => 5_000_000, bound_ns => 5_000_000, ended => 'free'}));
put("$dir/events.jsonl", $json->encode({t_ns => 50_000_000_000 + $_, type => 'progress', pid => 9, application_name => 'pgrehearse migration', command => 'CREATE INDEX CONCURRENTLY', table => 'users',
	phase => 'waiting for writers before build', done => 0, total => 1, unit => 'transactions', eta_ns => undef, waiting_for => {pid => 77, application_name => 'nightly report', xact_age_ns => 33_000_000_000 + 1_000_000_000 * $_}}) . "\n", '>>') for 0 .. 2;

# Of a step that asked for nothing.
put("$dir/events.jsonl", $json->encode({t_ns => 51_000_000_000, type => 'transaction', step => 'asks nothing', start_ns => 50_500_000_000, ending_ns => 50_900_000_000, end_ns => 50_900_000_000, committed => JSON::PP::true, locks => []}) . "\n", '>>');
is(system("$program report $dir > $folder/said 2>&1"), 0, 'a report is made') or diag content("$folder/said");
my $html = content("$dir/report.html");
my ($windows) = $html =~ m{<h3 id="availability1">(.*?)<h3 }s;
ok($windows, 'it has a section on availability');
my $plain = sub { my ($text) = @_; $text =~ s/<svg.*?<\/svg>//gs; $text =~ s/<[^>]+>/ /g; $text =~ s/\s+/ /g; return $text };
like($plain->($windows), qr/users 812 ms 812 ms 0 912 ms 812 ms/, 'sums and longest by table: reads, row locks, writes');
like($plain->($windows), qr/orders 0 0 not measured/, 'what the role may not try is not called available');
like($plain->($windows), qr/30\.0 s users Reads 812 ms 11\.0 ms ACCESS EXCLUSIVE, queued/, 'a window with its bound and the lock in the way');
like($windows, qr/&lt;psql&gt; &amp; co \(pid 12\)/, 'a foreign session is named, and its name is only text');
like($windows, qr/Odd &quot;&lt;&amp;&gt;&quot; name/, '... as is a table\'s');
like($plain->($windows), qr/2 sessions waited behind an attempt, for 1\.50 ms in all/, 'the probes\' own effect is told');
my ($server) = $html =~ m{<h3 id="server1">(.*?)<h3 }s;
my $state = $plain->($server // '');
like($state, qr/migration 2\.50 Lock\/relation 0\.50* running 1 \+ 2 90\.00 %/, 'active sessions, checkpoints, share from cache');
like($state, qr/1,234 transactions: nightly report \(pid 77\), idle in transaction/, 'who held vacuum back');
like($state, qr/users 9,000 of 6,400/, 'how full the lock table was');
like($state, qr/users migration 3\.00 MB \+ 2\.00 MB 1,000 510 \+ 500/, 'what grew');
my ($commands) = $html =~ m{<h3 id="commands1">(.*?)<h3 }s;
like($plain->($commands // ''), qr/CREATE INDEX CONCURRENTLY users waiting for writers before build .* nightly report \(pid 77\), whose transaction was 35\.0 s old/, 'whom a command waited for, folded to one line');
like($plain->($html), qr/lock_timeout 5s database/, 'where a setting of the migration comes from');

# ---- the judge reads them too ----
my $said = `$program judge $dir --require 'reads_blocked[users].max < 500ms' --require 'writes_blocked[users].total < 2s' --require 'writes_blocked[orders].max < 1s'`;
like($said, qr/FAIL\s+reads_blocked\[users\]\.max < 500ms\s+812 ms/, 'reads that were blocked for too long');
like($said, qr/PASS\s+writes_blocked\[users\]\.total < 2s\s+912 ms/, 'writes that were not');
like($said, qr/FAIL\s+writes_blocked\[orders\]\.max < 1s.*lacks the privilege/, 'what was not measured fails');

# ---- the other formats ----
for my $format (qw(text markdown junit)) {
	my $text = qx("$program" report "$dir" --format $format);
	$text = content($text =~ s/\n.*//sr) if $text =~ m{^/\S+\n$};
	like($text, qr/could not be read for 812 ms, and not written for 912 ms/, "$format: the table that was closed longest");
	like($text, $format eq 'text' ? qr/users +812 ms +0 +912 ms/ : $format eq 'markdown' ? qr/\| users \| 812 ms \| 0 \| 912 ms \(longest 812 ms\) \|/ : qr/users: no reads for 812 ms, no writes for 912 ms/,
		"$format: a line for each table");
	like($text, qr/Observed with \S+ % of a core and \S+ statements\/s/, "$format: what looking cost");
}

# ---- a record from before there were windows ----
SyntheticRecord::write_record("$folder/old");
is(system("$program report $folder/old > $folder/said 2>&1"), 0, 'a record without all this has a report');
unlike(content("$folder/old/report.html"), qr/id="(?:availability|server|commands)1"/, '... without these sections');
done_testing;
