#!/usr/bin/perl
# What a rehearsal records of the migration's statements: the work that they made the server do, and the locks that they held.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(max);
use Rehearse;
use Test::More;

# ---- work ----
{
	my ($code, $text) = run('run', "$FindBin::Bin/lib/every_work.lua", '--drill', 'forward', '--scale', '0.02', '--out', "$home/work");
	my @events = lines("$home/work/forward", 'events');
	my @statements = grep { $_->{type} eq 'statement' } @events;
	my $of = sub { my ($pattern) = @_; my ($s) = grep { $_->{sql} =~ $pattern } @statements; return $s // {} };
	my $works = sub { my ($s) = @_; return join ' ', sort map { "$_->{what}:$_->{object}" } @{$s->{work} // []} };
	like($works->($of->(qr/TYPE varchar/)), qr/\brewrite:users\b/, 'a change of type is seen to rewrite the table') or diag $text;
	is((grep { $_->{what} eq 'rewrite' } @{$of->(qr/TYPE varchar/)->{work}})[0]{by}, 'both', '... by what the server says and by its file');
	is($works->($of->(qr/ADD COLUMN flag/)), '', 'a new column is seen to do nothing');
	is($works->($of->(qr/NOT VALID/)), '', '... nor does a constraint that is not valid');
	is($works->($of->(qr/VALIDATE/)), 'scan:users', '... whose validation scans, although a statement before it turned the server\'s messages off');
	like($works->($of->(qr/INDEX CONCURRENTLY one/)), qr/index_build:one/, 'an index is built');
	is($of->(qr/INDEX CONCURRENTLY one/)->{invalid_indexes}, undef, '... and is valid');
	like($works->($of->(qr/VACUUM FULL/)), qr/rewrite:orders/, 'VACUUM FULL is seen by the file alone');
	is($of->(qr/RAISE WARNING/)->{notices}[0]{text}, 'careful', 'what the server says to people is kept');
	is_deeply($of->(qr/INDEX CONCURRENTLY broken/)->{invalid_indexes}, ['broken'], 'what a failed CREATE INDEX CONCURRENTLY leaves is told');
	like($works->($of->(qr/FOREIGN KEY/)), qr/fk_validation:owner/, 'a foreign key is validated');
	ok((grep { $_->{relation} eq 'users' && $_->{mode} eq 'ShareRowExclusiveLock' } @{$of->(qr/FOREIGN KEY/)->{locks}}), '... and locks the other table too');
	is($works->($of->(qr/ALTER a TYPE/)), '', 'the session\'s settings change the work: timestamp to timestamptz is nothing in UTC');
	like($works->($of->(qr/ALTER b TYPE/)), qr/rewrite:moment/, '... and a rewrite elsewhere');
	like($of->(qr/^SET LOCAL lock_timeout/)->{notices}[0]{text} // '', qr/transaction block/, 'SET LOCAL outside of a transaction is told to do nothing');
	my ($read) = grep { ($_->{step} // '') eq 'read' && $_->{type} eq 'transaction' } @events;
	is_deeply([sort map { $_->{mode} } grep { $_->{relation} =~ /^(users|orders)$/ } @{$read->{locks} // []}], [('AccessShareLock') x 2], 'what a serializable transaction has read is no lock of it');
	my ($first) = grep { $_->{type} eq 'transaction' } @events;
	ok($first->{committed} && $first->{first} < $first->{last}, 'a transaction is recorded as a whole');
	cmp_ok($first->{wal_records} // 1, '>', 0, '... with its WAL') if record("$home/work/forward")->{server}{version_num} >= 150000;
	my ($lock) = grep { $_->{relation} eq 'users' && $_->{mode} eq 'AccessExclusiveLock' } @{$first->{locks}};
	is($lock->{statement}, $first->{first}, 'its lock is the first statement\'s');
	cmp_ok($lock->{to_ns}, '==', $first->{end_ns}, '... to the end of the transaction, not of the statement');
	cmp_ok($lock->{to_ns}, '>=', $of->(qr/ADD COLUMN flag/)->{end_ns}, '... which came later');
	my @slots = map { @{$_->{slots} // []} } lines("$home/work/forward", 'intervals');
	ok(@slots && !(grep { !defined $_->{restart_bytes} || $_->{wal_status} ne 'reserved' } @slots), 'the slot of the standby is followed');
	my @conflicts = grep { defined } map { $_->{conflicts} } map { @{$_->{lag}} } lines("$home/work/forward", 'intervals');
	is(max(@conflicts), 0, '... and no query there was cancelled');
	my ($judge_code, $judged) = run('judge', "$home/work", '--require', 'replication.slot_bytes.max < 1GB', '--require', 'replication.slot_bytes[none].max < 1GB');
	like($judged, qr/PASS +replication\.slot_bytes\.max/, '... a criterion may ask for its WAL') or diag $judged;
	unlike($judged, qr/PASS +replication\.slot_bytes\[none\]/, '... but not pass for a slot that there is not');
	my ($report_code, $report) = run('report', "$home/work", '--format', 'html');
	my $html = do { local (@ARGV, $/) = glob("$home/work/*.html"); <> };
	like($html, qr/rewrites users/, 'the report says what was rewritten');
	like($html, qr/left invalid: broken/, '... and what was left behind');
	ok(nothing_is_left(), 'no server and no folder is left');
}

# ---- a tool of others, and a lock that was not had ----
{
	my ($code, $text) = run('run', "$FindBin::Bin/lib/foreign_tool.lua", '--drill', 'forward', '--scale', '0.02', '--out', "$home/tool");
	my $dir = "$home/tool/forward";
	my @events = lines($dir, 'events');
	my ($foreign) = grep { $_->{type} eq 'statement' && $_->{external} && $_->{sql} =~ /pg_sleep/ } @events;
	ok($foreign, 'a statement of a tool that is not ours is recorded') or diag $text;
	is($foreign->{application_name}, 'some tool 1.0', '... by its name');
	cmp_ok($foreign->{end_ns} - $foreign->{start_ns}, '>=', 1.4e9, '... as long as it lasted');
	my ($held) = grep { $_->{type} eq 'lock' && $_->{external} && $_->{relation} eq 'users' } @events;
	ok($held && $held->{granted}, 'the lock that it held is recorded');
	cmp_ok($held->{to_ns} - $held->{from_ns}, '>=', 1.4e9, '... from grant to release');
	my @victims = grep { $_->{waiter}{role} eq 'load' && ($_->{lock}{relation} // '') eq 'users' } lines($dir, 'waits');
	cmp_ok(scalar @victims, '>', 0, 'the application waited behind it');
	my ($locker) = grep { $_->{type} eq 'statement' && $_->{external} && $_->{sql} =~ /^LOCK TABLE users/ } @events;
	is(scalar(grep { ($_->{blamed} // 0) != ($locker // {id => -1})->{id} } @victims), 0, '... and its statement that took the lock is blamed, not the one that ran meanwhile');
	is($held->{statement}, $locker->{id}, '... to which the lock is recorded');
	is(scalar(grep { $_->{root}{role} ne 'migration' } @victims), 0, '... as the migration that it is');
	my ($late) = grep { $_->{type} eq 'statement' && $_->{sql} =~ /late int/ } @events;
	my ($refused) = grep { $_->{type} eq 'lock' && $_->{statement} == $late->{id} } @events;
	ok($refused && !$refused->{granted}, 'the lock that our statement did not get is recorded');
	cmp_ok($refused->{to_ns} - $refused->{asked_ns}, '>=', 0.25e9, '... with how long it was asked for');
	is($late->{sqlstate}, '55P03', '... until its lock_timeout');
	run('report', "$home/tool", '--format', 'html');
	my $html = do { local (@ARGV, $/) = glob("$home/tool/*.html"); <> };
	like($html, qr/Locks held.*session of some tool 1\.0/s, 'the report shows them');
}

done_testing;
