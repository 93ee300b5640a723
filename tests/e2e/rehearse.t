#!/usr/bin/perl
# Whole rehearsals on real servers: what is recorded is what happened, what failed is said, and nothing is left behind.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(max min);
use Rehearse;
use Test::More;
use Time::HiRes qw(sleep);

my $scenarios = "$FindBin::Bin/../../scenarios";
my $lock_users = "$FindBin::Bin/lib/lock_users.lua";

sub opinion { my ($run, $criterion) = @_; my ($o) = grep { $_->{criterion} eq $criterion } @{$run->{verdict}{criteria}}; return $o // {}; }

# planned = started + abandoned + never started; started = ok + failed + unfinished; and the intervals sum up to the totals.
sub nothing_is_lost
{
	my ($dir, $name) = @_;
	my ($run, @intervals) = (record($dir), lines($dir, 'intervals'));
	my $t = $run->{totals};
	is($t->{planned}, $t->{started} + $t->{abandoned} + $t->{never_started}, "$name: planned work is accounted for");
	is($t->{started}, $t->{ok} + $t->{failed} + $t->{unfinished}, "$name: started work is accounted for");
	ok($t->{holds}, "$name: and the record says so");
	my %seen = (planned => sum_of(map { $_->{planned} } @intervals));
	for my $version (map { values %{$_->{versions}} } @intervals) {
		$seen{$_} += $version->{$_} for qw(started ok);
		$seen{failed} += sum_of(values %{$version->{failed}});
	}
	is_deeply(\%seen, {map { $_ => $t->{$_} } qw(planned started ok failed)}, "$name: the intervals sum up to the totals");
	cmp_ok($t->{ok}, '>', 0, "$name: there was traffic");
}

# ---- a lock of known length ----
{
	my ($code, $text) = run('run', $lock_users, '--drill', 'forward', '--scale', '0.02', '--out', "$home/lock");
	is($code, 1, 'a second behind a lock breaks a criterion of 100 ms: exit 1') or diag $text;
	like($text, qr/FAIL +lock_wait\[users\]\.max < 100ms/, 'the verdict table names it');
	my $dir = "$home/lock/forward";
	my ($run, @waits) = (record($dir), lines($dir, 'waits'));
	my @statements = grep { $_->{type} eq 'statement' } lines($dir, 'events');
	my ($lock) = grep { $_->{sql} =~ /^LOCK TABLE users/ } @statements;
	my ($sleep) = grep { $_->{sql} =~ /pg_sleep/ } @statements;
	ok($lock && $sleep, 'both statements of the migration are recorded');
	my @victims = grep { $_->{waiter}{role} eq 'load' && ($_->{lock}{relation} // '') eq 'users' } @waits;
	cmp_ok(scalar @victims, '>', 5, 'transactions of the load waited');
	my $held_ns = max(map { $_->{end_ns} } $lock, $sleep) - $lock->{start_ns};
	my $longest = max(map { $_->{length_ns} } @victims);
	cmp_ok($longest, '>=', 0.5e9, 'the longest wait is not shorter than the lock was held behind it');
	my @too_long = grep { $_->{length_ns} > $held_ns + 0.5e9 } @victims;
	is(scalar @too_long, 0, 'no wait is longer than the lock could have held it');
	my @stray = grep { ($_->{blamed} // 0) != $lock->{id} } @victims;
	is(scalar @stray, 0, 'every wait is blamed on the statement that took the lock, not on the one that ran meanwhile');
	is(scalar(grep { $_->{root}{role} ne 'migration' } @victims), 0, 'the root of each is the migration');
	is(scalar(grep { !$_->{waiter}{transaction} } @victims), 0, 'every victim has a name');
	ok((grep { $_->{relation} eq 'users' && $_->{mode} eq 'AccessExclusiveLock' && $_->{granted} } @{$lock->{locks}}), 'the lock that it held is recorded');
	my @seen = grep { ($_->{response}{max_ns} // 0) >= $longest } lines($dir, 'intervals');
	ok(@seen, 'the response times show the wait');
	nothing_is_lost($dir, 'behind a lock');
	my $sum_ms = sum_of(map { $_->{length_ns} } @victims) / 1e6;
	my ($report_code, $report) = run('report', "$home/lock", '--format', 'markdown');
	is($report_code, 0, 'the report can be written');
	like($report, qr/LOCK TABLE users/, '... and blames the statement');
	is((run('judge', "$home/lock", '--require', 'lock_wait.max < 1h'))[0], 1, 'judging again gives the same exit code');
	is((run('judge', "$home/lock", '--require', 'nonsense < 1h'))[0], 2, 'a criterion that is not understood is refused');
	ok(nothing_is_left(), 'no server and no folder is left');
}

# ---- the scenarios of the first two commands ----
{
	my ($code, $text) = run('run', "$scenarios/naive/create_index.lua", '--drill', 'forward', '--out', "$home/naive");
	# An index built by two processes beside two servers can leave the load generator too little of a small machine, every time.
	ok($code == 1 || $code == 3 && $text =~ /unfit: the load generator/, 'the naive CREATE INDEX fails') or diag "exit $code: $text";
	like($text, qr/FAIL +lock_wait\[orders\]\.max < 200ms/, '... for the time that others waited');
	my $dir = "$home/naive/forward";
	my @victims = grep { $_->{waiter}{role} eq 'load' && $_->{blamed} } lines($dir, 'waits');
	cmp_ok(scalar @victims, '>', 0, 'writers waited behind it');
	is_deeply([sort keys %{{map { $_->{lock}{mode} => 1 } @victims}}], ['RowExclusiveLock'], '... writers only');
	like($text, qr/CREATE INDEX orders_items_idx/, 'it is named in what is printed');
	nothing_is_lost($dir, 'naive');
}
{
	my ($code, $text) = run('run', "$scenarios/user_status.lua", '--scale', '0.1', '--out', "$home/status");
	my ($forward, $rollback) = map { record("$home/status/$_") } qw(forward rollback);
	ok($code == 0 || $code == 1 || $code == 3, 'user_status is carried out') or diag "exit $code: $text";
	is($_->{status}, 'finished', "$_->{drill} was performed to its end") for $forward, $rollback;
	# What does not depend on how fast this machine is.
	is(opinion($_, 'migration.completed')->{verdict}, 'PASS', "$_->{drill}: every step completed") or diag $text for $forward, $rollback;
	is(opinion($_, 'checks.clean')->{verdict}, 'PASS', "$_->{drill}: its checks hold") or diag $text for $forward, $rollback;
	is(opinion($forward, 'rollback.clean')->{verdict}, 'SKIPPED', 'forward does not roll back');
	is(opinion($rollback, 'rollback.clean')->{verdict}, 'PASS', 'the rollback is clean') or diag $text;
	like($rollback->{rollback}{verdict}, qr/^(identical|equivalent)$/, '... compared, in one of the words for it');
	my @compared = grep { $_->{method} eq 'whole' } @{$rollback->{rollback}{tables}};
	ok(@compared && !(grep { !$_->{same} } @compared), 'the content of tables that the load leaves alone was compared');
	is_deeply([sort keys %{$_->{totals}{versions}}], ['v1', 'v2'], "$_->{drill}: both app versions served") for $forward, $rollback;
	is_deeply([map { $_->{name} } @{$rollback->{phases}}], [qw(warmup baseline migration rollback)], 'the phases are in order');
	nothing_is_lost("$home/status/$_", $_) for qw(forward rollback);
	my @lags = map { @{$_->{lag}} } lines("$home/status/forward", 'intervals');
	ok((grep { defined $_->{heartbeat_ns} } @lags), 'replication lag was measured by heartbeat');
	ok(nothing_is_left(), 'no server and no folder is left');
	my ($report) = $text =~ /(\S+\.html)/;
	ok($report && -s $report, 'the report that it names is there');
}

# ---- ended from outside ----
sub rehearse_until_migration
{
	my ($dir) = @_;
	my ($pid, $out) = start('run', $lock_users, '--drill', 'forward', '--scale', '0.02', '--out', $dir);
	my $begun = comes_true(sub { -e "$dir/forward/run.json" && eval { scalar grep { $_->{name} eq 'baseline' } @{record("$dir/forward")->{phases}} } });
	ok($begun, 'a rehearsal is under way');
	return ($pid, $out);
}
{
	my ($pid, $out) = rehearse_until_migration("$home/interrupted");
	kill 'INT', -$pid;
	my $text = do { local $/; <$out> };
	close $out;
	is($? >> 8, 130, 'Ctrl-C: exit 130') or diag $text;
	is(record("$home/interrupted/forward")->{status}, 'interrupted', '... the record says interrupted');
	ok(nothing_is_left(), '... nothing is left');
}
{
	my ($pid, $out) = rehearse_until_migration("$home/killed");
	sleep 1;
	kill 'KILL', $pid;
	close $out;
	ok(nothing_is_left(), 'kill -9: nothing is left');
	my ($code, $text) = run('report', "$home/killed", '--format', 'text');
	is($code, 0, '... the record can still be reported') or diag $text;
	like($text, qr/interrupted/i, '... and says that it was interrupted');
	is((run('judge', "$home/killed"))[0], 3, '... its verdict is INVALID: exit 3');
}

# ---- the record does not grow with the traffic ----
{
	my %size;
	for my $rate (20, 400) {
		my ($code, $text) = run('load', 'shop', '--rate', $rate, '--duration', '4s', '--scale', '0.02', '--out', "$home/rate$rate");
		is($code, 0, "traffic without a migration at $rate/s") or diag $text;
		# Waits are written one by one: how many there are is a matter of who stopped whom, not of how much traffic there was.
		$size{$rate} = sum_of(map { -s } grep { !/waits/ } glob "$home/rate$rate/*.jsonl");
		nothing_is_lost("$home/rate$rate", "$rate/s");
	}
	cmp_ok($size{400}, '<', 3 * $size{20}, '20 times the traffic does not take 3 times the lines') or diag `wc -c $home/rate*/*.jsonl`;
}

done_testing;
