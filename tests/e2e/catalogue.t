#!/usr/bin/perl
# pgrehearse catalogue: the table of operations says what servers do; on every version that is there.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Rehearse;
use Test::More;

my $top = "$FindBin::Bin/../..";

sub performs_as_the_table_says {
	my ($name, @words) = @_;
	my ($code, $said) = run('catalogue', '--json', @words);
	my $result = eval { decode_json($said =~ s/\A.*?^\{/{/msr) } // {};
	is($code, 0, "on $name every operation can be performed") or diag $said;
	cmp_ok($result->{performed} // 0, '>=', 95, '... all of them are');
	my @differ = map { "$_->{id}: " . join('; ', map { "$_->{what}: expected $_->{expected}, observed $_->{observed}" } @{ $_->{differences} }) }
		grep { @{ $_->{differences} } } @{ $result->{operations} // [] };
	is("@differ", '', '... and locks, rewrites, scans, index builds and residue are as the table says');
	return $result;
}

performs_as_the_table_says('the newest server installed');
for my $major (13 .. 18) {
	performs_as_the_table_says("PostgreSQL $major", '--server', "$top/build/servers/$major/bin") if -x "$top/build/servers/$major/bin/postgres";
}

my ($code, $said) = run('catalogue', '--only', 'create_index_concurrently');
is($code, 0, 'some of the operations can be asked for');
like($said, qr/CREATE INDEX CONCURRENTLY +t SUE +index build t_b +identical +as expected/, '... and are shown with what is expected of them');
like($said, qr/: 3 operations performed, 0 differ/, '... and no others are performed');

($code, $said) = run('catalogue', '--only', 'nonsense');
is($code, 2, 'a word that no operation has is a mistake');
($code, $said) = run('catalogue', '--server', '99');
is($code, 2, 'so is a version that is not installed');
like($said, qr/PostgreSQL 99 is not installed/, '... which is said');
($code, $said) = run('catalogue', '--server', '15', '--target', 'host=/nowhere');
is($code, 2, 'and a target of two kinds');
run('sandbox', 'up', 'mine', '--standbys', '0');
my ($dsn) = (run('sandbox', 'list'))[1] =~ /(host=.*\S)/;
($code, $said) = run('catalogue', '--target', $dsn, '--only', 'grant');
is($code, 0, 'a server that is known to be a clone will do') or diag $said;
is(psql($dsn, "SELECT count(*) FROM pg_database WHERE datname LIKE 'pgrehearse%'"), 0, '... and has no database of ours afterwards');
run('sandbox', 'down', 'mine');
($code, $said) = run('catalogue', '--target', 'host=db.example.com dbname=shop');
is($code, 4, 'a server that is not known to be a clone is refused');
done_testing;
