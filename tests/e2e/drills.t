#!/usr/bin/perl
# The drills: a migration that is right passes them, and each that is wrong is caught by the drill that is there for it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(first);
use Rehearse;
use Test::More;

my $drills = "$FindBin::Bin/drills";

sub opinion { my ($run, $criterion) = @_; my $o = first { $_->{criterion} eq $criterion } @{$run->{verdict}{criteria}}; return $o // {}; }
sub verdicts { my ($run) = @_; return join ' ', map { "$_->{criterion}=$_->{verdict}" } @{$run->{verdict}{criteria}}; }
sub bad { my ($run) = @_; return join '; ', map { "$_->{what}: $_->{detail}" } grep { !$_->{ok} } @{$run->{findings} // []}; }

# ---- names ----
{
	my ($code, $text) = run('run', "$drills/good.lua", '--drill', 'crush');
	is($code, 2, 'a drill that there is not: exit code 2');
	like($text, qr/crush.*rollback-each.*failover-sync/s, '... with those that there are');
	($code, $text) = run('run', "$drills/good.lua", '--drill', 'crash,crash');
	is($code, 2, 'one that is named twice: exit code 2');
}

# ---- one that is right ----
{
	my $out = "$home/good";
	my ($code, $text) = run('run', "$drills/good.lua", '--drill', 'crash,rollback-each', '--scale', '0.3', '--out', $out);
	my %run = map { $_ => record("$out/$_") } qw(forward crash rollback-each);
	is($run{crash}{status}, 'finished', 'crash brings forward along, to compare with') or diag $text;
	is(opinion($_, 'drill.clean')->{verdict}, 'PASS', "$_->{drill}: what it demands is so") or diag bad($_), $text for @run{qw(crash rollback-each)};
	is(opinion($run{crash}, 'migration.completed')->{verdict}, 'PASS', 'attempts that the drill broke off are no failures');
	is(opinion($run{crash}, 'checks.clean')->{verdict}, 'PASS', "the scenario's checks hold after all the crashes");
	my %broken = map { ($_->{step} // '') => $_->{detail} } @{$run{crash}{findings}};
	like($broken{'index it'}, qr/terminated.*completed/, 'a build of an index is broken off in the middle') or diag explain \%broken;
	like($broken{'add state'}, qr/terminated, then cut; then it was completed/, 'a transaction is broken off both ways');
	like($broken{'fill state'}, qr/terminated, then cut/, 'so is a backfill');
	my @ends = grep { $_->{type} eq 'step' && $_->{edge} eq 'end' && $_->{interrupted} } lines("$out/crash", 'events');
	cmp_ok(scalar @ends, '>=', 7, 'each of these attempts is in the record');
	like($run{crash}{findings}[-1]{what}, qr/where forward ends/, 'the end is compared with that of forward');
	like($run{'rollback-each'}{rollback}{verdict}, qr/^(identical|equivalent)$/, 'each way back is clean');
	my @rounds = @{$run{'rollback-each'}{findings}};
	is(scalar @rounds, 12, 'from behind each step, with traffic and without');
	ok((grep { $_->{table} eq 'public.notes' && $_->{method} eq 'whole' } @{$run{'rollback-each'}{rollback}{tables}}),
		'tables that the traffic writes are compared, too');
	ok(nothing_is_left(), 'nothing is left');
}

# ---- ways back that are wrong ----
{
	my ($code, $text) = run('run', "$drills/good.lua", '--drill', 'forward', '--scale', '0.1', '--keep', '--out', "$home/kept");
	my ($list_code, $list) = run('sandbox', 'list');
	my ($socket) = $list =~ m{host=([^\s']+)};
	my $dsn = "host=$socket user=postgres dbname=rehearsal";
	for my $case (['default', qr/column public\.tags\.color.*default 'red'/], ['data', qr/content of public\.notes/], ['rows', qr/content of public\.notes.*19\d rows and holds 19\d|content of public\.notes.*it held/],
		['trigger', qr/(function public\.f|trigger public\.notes\.t).*was not before/]) {
		my ($down, $why) = @$case;
		($code, $text) = run('run', "$drills/broken.lua", '--drill', 'rollback-each', '--target', $dsn, '--scale', '0.1', '--set', "down=$down", '--out', "$home/$down");
		is($code, 1, "a way back that is wrong ($down) fails") or diag $text;
		my $run = record("$home/$down/rollback-each");
		like(bad($run), $why, '... for that reason');
		is($run->{rollback}{verdict}, 'dirty', '... and is dirty');
	}
	($code, $text) = run('run', "$drills/good.lua", '--drill', 'forward,rollback-each', '--target', $dsn);
	is($code, 2, 'a target that cannot be reset takes one drill');
	run('sandbox', 'down', '--all');
}

done_testing;
