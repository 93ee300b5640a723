#!/usr/bin/perl
# What the comparison of a rollback finds: every kind of difference, on one server. And the reconciliation of two forms of the same data.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(first);
use Rehearse;
use Test::More;

my $drills = "$FindBin::Bin/drills";

{
	my ($code, $text) = run('run', "$drills/clean_kinds.lua", '--drill', 'forward', '--scale', '0.05', '--out', "$home/kinds");
	is($code, 0, 'each kind of difference is found, and called by the right word') or diag $text;
	my ($sum) = map { $_->{sql} =~ /'(\d+) kinds'/ ? $1 : () } grep { $_->{type} eq 'statement' } lines("$home/kinds/forward", 'events');
	cmp_ok($sum // 0, '>=', 60, '... sixty of them and more');
}
{
	my ($code, $text) = run('run', "$drills/agree.lua", '--drill', 'forward', '--scale', '0.1', '--out', "$home/agree");
	is($code, 1, 'two forms that do not agree fail') or diag $text;
	my %result = map { $_->{name} => $_ } @{record("$home/agree/forward")->{reconcile}};
	is($result{columns}{mismatches}, 0, 'two columns that a trigger keeps in step agree under traffic');
	is($result{tables}{mismatches}, 0, 'two tables that are written one after the other agree at a second look');
	is($result{at_end}{mismatches}, 0, 'a reconciliation may be a check');
	is($result{spoilt}{mismatches}, 3, 'what differs is counted: another value, a row that is missing, one too many');
	is($result{spoilt}{sample}, "o'3/7, o'5/1, o'99/1", '... and listed by key');
	my ($missing) = grep { $_->{key} eq "o'5/1" } @{$result{spoilt}{differences}};
	is($missing->{new}, 'no row', '... with what either side holds');
	cmp_ok($result{spoilt}{rows}, '>=', 200, '... over all chunks');
	like($text, qr/FAIL +reconcile\[spoilt\]\.mismatches = 0/, 'the criterion comes with the step');
	my ($checks) = grep { $_->{criterion} eq 'checks.clean' } @{record("$home/agree/forward")->{verdict}{criteria}};
	is($checks->{verdict}, 'FAIL', 'checks are judged, also when no criterion asks for it');
	is($checks->{evidence}, 'violated: mistaken migration (relation "nowhere" does not exist)', '... one that cannot be asked is violated, and says why; a comment or a semicolon at the end is none of its business');
	ok(nothing_is_left(), 'nothing is left');
}

done_testing;
