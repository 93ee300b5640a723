#!/usr/bin/perl
# pgrehearse doctor: every precondition in a line, with the remedy, an exit code that says the worst, and nothing touched.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Rehearse;
use Test::More;

sub scenario
{
	my ($name, $pods) = @_;
	open my $out, '>', "$home/$name.lua" or die;
	print $out <<"LUA";
local rehearse = require "rehearse"
return rehearse.scenario { title = "$name", workload = "shop", load = { rate = 10, pods = $pods, pool = 10 },
	steps = { rehearse.sql { name = "a", up = "SELECT 1", irreversible = "nothing" } } }
LUA
	close $out;
	return "$home/$name.lua";
}

# { what => line }, and the exit code.
sub examined
{
	my ($code, $text) = run('doctor', '--json', @_);
	my $all = eval { decode_json($text) } or diag("$@$text"), return ({}, $code);
	is($all->{exit_code}, $code, 'what it says of itself is its exit code');
	is_deeply([grep { ($_->{state} eq 'ok') == defined $_->{remedy} && $_->{state} ne 'missing' } @{$all->{lines}}], [], '... what is not ok has a remedy');
	return ({ map { $_->{what} => $_ } @{$all->{lines}} }, $code);
}

my ($code, $text) = run('doctor', scenario('small', 2));
is($code, 0, 'a sandbox can be made here') or diag $text;
like($text, qr/^ok +scenario +small: 1 step, 2 pods of 10 sessions\nok +server programs +PostgreSQL \d+.*^ok +space for a sandbox .*^ok +open files .*^A rehearsal can be carried out\.$/ms, '... for what it tells');
($code, $text) = run('doctor', "$home/none.lua");
is($code, 2, 'a scenario that is not there is a mistake') or diag $text;
{
	local $ENV{TMPDIR} = "$home/nowhere";
	my ($lines, $code) = examined();
	is($code, 2, 'no folder for a sandbox: something is missing');
	is($lines->{'space for a sandbox'}{state}, 'missing', '... which it names');
	like($lines->{'space for a sandbox'}{remedy}, qr/TMPDIR/, '... with the remedy');
}

($code, $text) = run('sandbox', 'up', 'trial', '--setting', 'autovacuum=off');
is($code, 0, 'there is a server') or BAIL_OUT($text);
my ($socket) = $text =~ /host=(\S+)/;
my $dsn = "host=$socket user=postgres dbname=rehearsal";
sub position { return psql("$dsn application_name=pgrehearse-test", 'SELECT pg_current_wal_insert_lsn()'); }

my ($lines);
($lines, $code) = examined('--target', $dsn, scenario('small', 2));
is($code, 0, 'a sandbox of ours can be rehearsed on');
is($lines->{$_}{state}, 'ok', "... $_") for 'guard: host', 'guard: mark', 'server version', 'server clock', 'statistics of others', 'heartbeat and ledger', 'ownership', 'connections', 'wal_level', 'WAL senders and slots';
is($lines->{autovacuum}{state}, 'note', '... a setting that production hardly has is noted');
($lines, $code) = examined('--target', $dsn, scenario('large', 50));
is($code, 2, 'too many sessions for the server');
like($lines->{connections}{found}, qr/\d+ are free of max_connections = \d+, 516 are needed/, '... which it counts');

psql($dsn, 'CREATE ROLE blind LOGIN; CREATE TABLE t ()');
(my $blind = $dsn) =~ s/user=postgres/user=blind/;
($lines, $code) = examined('--target', $blind);
is($code, 2, 'a role without privileges');
is($lines->{$_}{state}, 'missing', "... $_") for 'statistics of others', 'heartbeat and ledger', 'ownership';
is($lines->{'statistics of others'}{remedy}, 'GRANT pg_monitor TO blind', '... with the remedy');
psql($dsn, 'GRANT pg_monitor TO blind; GRANT CREATE ON DATABASE rehearsal TO blind; ALTER TABLE t OWNER TO blind');
($lines, $code) = examined('--target', $blind);
is($code, 0, '... which does it');

# With another TMPDIR the server is a stranger's.
{
	mkdir "$home/ours";
	local $ENV{TMPDIR} = "$home/ours";
	my ($before, $after);
	for (1 .. 3) {
		$before = position();
		($lines, $code) = examined('--target', $dsn);
		$after = position();
		last if $after eq $before;    # or the server itself logged which transactions run, once
	}
	is($code, 4, 'what is not marked as a clone is refused');
	is($lines->{'guard: mark'}{state}, 'refused', '... by its rule');
	is($lines->{'guard: standbys'}{state}, 'refused', '... and by others, which are asked too');
	is($lines->{connections}{state}, 'ok', '... and the rest is told as well');
	is($after, $before, '... and nothing is written');
	($lines, $code) = examined('--target', 'host=192.0.2.1 dbname=shop password=hunter2');
	is($code, 4, 'another machine is refused');
	ok(!$lines->{'server version'} && !$lines->{'guard: connection'}, '... unasked');
}
($lines, $code) = examined('--target', 'host=/nonexistent dbname=shop');
is($code, 2, 'a server that is not there is missing');

done_testing;
