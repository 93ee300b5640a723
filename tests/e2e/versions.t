#!/usr/bin/perl
# A rehearsal on each server that scripts/more-servers has fetched: what is observed is the same on all versions, as far as they tell it.
use strict;
use warnings;
use Cwd qw(abs_path);
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(max);
use Rehearse;
use Test::More;

my $servers = "$FindBin::Bin/../../build/servers";
my @versions = sort { $a <=> $b } map { m{/(\d+)/bin/postgres$} } glob "$servers/*/bin/postgres";
plan skip_all => 'scripts/more-servers has fetched none' if !@versions;

my $from = kept_shop('0.02') or BAIL_OUT('no server with data');
my $dump = "$home/shop.sql";
system(qw(pg_dump --no-owner --exclude-schema=pgrehearse -f), $dump, $from) == 0 or BAIL_OUT('no dump');
chmod 0644, $dump;

for my $version (@versions) {
	subtest "PostgreSQL $version" => sub {
		my ($code, $text) = run('sandbox', 'up', "v$version", '--server', abs_path("$servers/$version/bin"), '--standbys', '0');
		is($code, 0, 'a server runs') or diag($text), return;
		my ($socket) = $text =~ m{host=([^\s']+)};
		my $dsn = "host=$socket user=postgres dbname=shop";
		psql("host=$socket user=postgres dbname=postgres", 'CREATE DATABASE shop');
		# Newer dumps begin with settings that older servers do not have.
		system('sh', '-c', "grep -v '^SET transaction_timeout' '$dump' | psql -Xq '$dsn' > /dev/null 2>&1");
		is(psql($dsn, 'SELECT count(*) > 0 FROM users'), 't', '... with the data');
		psql($dsn, q{COMMENT ON DATABASE shop IS 'pgrehearse clone'});
		($code, $text) = run('run', "$FindBin::Bin/lib/all_locks.lua", '--drill', 'forward', '--scale', '0.02', '--target', $dsn, '--out', "$home/v$version");
		my $dir = "$home/v$version/forward";
		ok(-e "$dir/run.json" && record($dir)->{status} eq 'finished', 'a rehearsal is carried out') or diag($text), return;
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
		is_deeply([map { $_->{text} } grep { $_->{type} eq 'warning' && $_->{text} =~ /^observer/ } @events], [], 'no query of the observer failed');
		run('sandbox', 'down', "v$version");
	};
}

done_testing;
