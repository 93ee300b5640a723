#!/usr/bin/perl
# A rehearsal by a role that owns the objects of the database and is a member of pg_monitor, and nothing else: what it still sees.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(max);
use Rehearse;
use Test::More;

my $dsn = kept_shop('0.02');
ok($dsn, 'there is a server with the data') or BAIL_OUT('no server');
my ($said, $failed) = psql($dsn, q{
	CREATE ROLE app LOGIN; GRANT pg_monitor TO app;
	CREATE ROLE blind LOGIN;
	DO $$ DECLARE r record; BEGIN
		EXECUTE format('ALTER DATABASE %I OWNER TO app', current_database());
		FOR r IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace LOOP
			EXECUTE format('ALTER TABLE %s OWNER TO app', r.name);
		END LOOP;
	END $$;
	GRANT ALL ON SCHEMA public TO app});
is($failed, 0, '... and a role without privileges of its own') or diag $said;
(my $mine = $dsn) =~ s/user=\S+/user=app/;
is(psql($mine, 'SELECT rolsuper FROM pg_roles WHERE rolname = current_user'), 'f', 'it is no superuser');

my ($code, $text) = run('run', "$FindBin::Bin/lib/all_locks.lua", '--drill', 'forward', '--scale', '0.02', '--target', $mine, '--out', "$home/app");
my $dir = "$home/app/forward";
ok(-e "$dir/run.json" && record($dir)->{status} eq 'finished', 'a rehearsal is carried out with it') or diag $text;
my @events = lines($dir, 'events');
my @waits = lines($dir, 'waits');
my @victims = grep { $_->{waiter}{role} eq 'load' && ($_->{lock}{relation} // '') eq 'users' && $_->{blamed} } @waits;
cmp_ok(scalar @victims, '>', 0, 'lock waits are seen and blamed');
cmp_ok(max(map { $_->{length_ns} } @victims), '>=', 0.3e9, '... as long as they were');
is(scalar(grep { !$_->{root}{sql} } @victims), 0, '... with the statement that was in the way');
my ($rewrite) = grep { $_->{type} eq 'statement' && $_->{sql} =~ /varchar/ } @events;
ok((grep { $_->{what} eq 'rewrite' && $_->{by} eq 'both' } @{$rewrite->{work}}), 'work is seen');
my ($tx) = grep { $_->{type} eq 'transaction' } @events;
ok((grep { $_->{mode} eq 'AccessExclusiveLock' } @{$tx->{locks}}), 'locks held are seen');
ok((grep { $_->{type} eq 'lock' && $_->{relation} eq 'orders' } @events), '... those of a statement outside of transactions too');
is_deeply([map { $_->{phase}, $_->{error} ? 'refused' : 'made' } grep { $_->{type} eq 'checkpoint' } @events], ['baseline', 'refused'], 'a checkpoint that the role may not make is told once');
my %during = map { $_->{name} => $_ } grep { $_->{when} eq 'during' } @{record($dir)->{checks}};
ok($during{always_true}{ok} && $during{always_true}{times} >= 3, 'a check is repeated while the migration runs') or diag $text;
ok(!$during{sometimes_not}{ok} && $during{sometimes_not}{times_violated} < $during{sometimes_not}{times}, '... and one that does not hold all the time is found out');
is_deeply([map { $_->{ok} ? 1 : 0 } grep { $_->{type} eq 'check' && $_->{when} eq 'during' && $_->{name} eq 'sometimes_not' } @events], [0, 1], '... with when');
my @lags = map { @{$_->{lag}} } lines($dir, 'intervals');
ok((grep { defined $_->{replay_bytes} } @lags), 'replication is seen on the primary');
is_deeply([grep { $_->{text} =~ /permission denied|not a member/ } grep { $_->{type} eq 'warning' } @events], [], 'no probe was refused');
is(psql($dsn, q{SELECT count(*) FROM pg_namespace WHERE nspname = 'pgrehearse'}), '0', 'nothing is left on the server');

done_testing;
