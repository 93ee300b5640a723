#!/usr/bin/perl
# The drills: a migration that is right passes them, and each that is wrong is caught by the drill that is there for it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use List::Util qw(first);
use Rehearse;
use Test::More;

my $drills = "$FindBin::Bin/drills";

sub decode { my ($path) = @_; open my $in, '<', $path or return {drills => []}; local $/; return decode_json(<$in>); }
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
	my ($code, $text) = run('run', "$drills/good.lua", '--drill', 'all', '--scale', '0.3', '--out', $out);
	my @names = qw(forward rollback rollback-each crash failover failover-sync versions blocked-reader blocked-writer blocked-dump blocked-vacuum blocked-prepared);
	my $summary = decode("$out/summary.json");
	is(join(' ', map { $_->{drill} } @{$summary->{drills}}), "@names", 'all drills are performed, each with a record of its own') or diag $text;
	my %run = map { $_ => record("$out/$_") } @names;
	is($run{$_}{status}, 'finished', "$_ was carried out") for @names;
	for my $name (@names[2 .. $#names]) {
		is(opinion($run{$name}, 'drill.clean')->{verdict}, 'PASS', "$name: what it demands is so") or diag bad($run{$name});
		is(opinion($run{$name}, 'migration.completed')->{verdict}, 'PASS', "$name: every step was completed") or diag opinion($run{$name}, 'migration.completed')->{evidence};
	}
	for my $name (qw(crash failover failover-sync blocked-writer)) {
		is(opinion($run{$name}, 'checks.clean')->{verdict}, 'PASS', "$name: the scenario's checks hold afterwards");
	}
	like($text, qr/drill +verdict +took.*rollback-each.*blocked-prepared/s, 'what is printed ends with a table of them');
	my @told = $text =~ /^(?:PASS|FAIL)  .* · ([\w-]+) · /mg;
	my %passed = map { $_->{drill} => $_->{verdict} eq 'PASS' } @{$summary->{drills}};
	is("@told", join(' ', 'forward', grep { $_ ne 'forward' && !$passed{$_} } @names), '... and tells the first and those that did not pass in full') or diag $text;
	ok(-s "$out/report.html" && -s "$out/summary.md", '... and there is a page and a summary');

	my %broken = map { ($_->{step} // '') => $_->{detail} } @{$run{crash}{findings}};
	like($broken{'index it'}, qr/terminated.*completed/, 'crash: a build of an index is broken off in the middle') or diag explain \%broken;
	like($broken{'add state'}, qr/terminated, then cut; then it was completed/, 'crash: a transaction is broken off both ways');
	like($broken{'fill state'}, qr/terminated, then cut/, 'crash: so is a backfill');
	my @ends = grep { $_->{type} eq 'step' && $_->{edge} eq 'end' && $_->{interrupted} } lines("$out/crash", 'events');
	cmp_ok(scalar @ends, '>=', 7, 'crash: each of these attempts is in the record');
	like($run{crash}{findings}[-1]{what}, qr/where forward ends/, 'crash: the end is compared with that of forward');

	my $each = $run{'rollback-each'};
	like($each->{rollback}{verdict}, qr/^(identical|equivalent)$/, 'rollback-each: each way back is clean');
	my %ways;
	for (@{$each->{findings}}) { push @{$ways{$1}}, $2 if $_->{what} =~ /^back from "(.*)", (.*)$/ }
	is_deeply([map { join ', ', @{$ways{$_} // []} } 'add state', 'keep in step', 'fill state', 'index it', 'roll out', 'paint'],
		[('while no traffic wrote, under traffic') x 4, 'under traffic', 'while no traffic wrote, under traffic, after traffic wrote'],
		'rollback-each: from behind each step, with traffic and without, where that makes a difference') or diag explain \%ways;
	like($each->{findings}[-1]{detail}, qr/; [1-9]\d* rows that the traffic wrote before are there/, 'rollback-each: ... and once all that the traffic had written before the way back is looked for');
	ok((grep { $_->{table} eq 'public.notes' && $_->{method} eq 'whole' } @{$each->{rollback}{tables}}), 'rollback-each: tables that the traffic writes are compared, too');

	for my $name (qw(failover failover-sync)) {
		ok((grep { $_->{type} eq 'failover' && $_->{edge} eq 'end' && $_->{ok} } lines("$out/$name", 'events')), "$name: the standby took the primary's place");
		my $ledger = $run{$name}{totals}{ledger};
		cmp_ok($ledger->{acknowledged}, '>', 0, "$name: acknowledged commits are counted");
		is($ledger->{acknowledged}, $ledger->{found} + $ledger->{lost}, "$name: ... and each is looked for");
	}
	is(opinion($run{'failover-sync'}, 'ledger.clean')->{verdict}, 'PASS', 'failover-sync: none of them is lost');

	my %cell = map { ("$_->{state}/$_->{version}" => $_) } @{$run{versions}{versions}};
	is(scalar keys %cell, 12, 'versions: each version meets each schema');
	ok($cell{'the start/v2'}{transactions}{get}{errors}{42703}, 'versions: the new one does not work with the old schema, and the table says how');
	ok(!$cell{'the start/v2'}{serves} && $cell{'index it/v2'}{serves} && $cell{'index it/v1'}{serves}, 'versions: which of them serve where');

	for my $name (qw(blocked-reader blocked-writer blocked-dump blocked-vacuum blocked-prepared)) {
		my @behind = grep { $_->{waiter}{role} eq 'migration' } lines("$out/$name", 'waits');
		ok(scalar @behind, "$name: the migration waited for it");
		my ($actor) = map { $_->{name} } grep { $_->{type} eq 'actor' } lines("$out/$name", 'events');
		my ($code, $told) = run('report', "$out/$name", '--format', 'text');
		like($told, qr/\Q$actor\E(?:\s+\(a\s+stand-in\))?:\s+the\s+migration/, "$name: ... and it is named");
	}
	my @dumps = grep { $_->{type} eq 'actor' && $_->{edge} eq 'start' } lines("$out/blocked-dump", 'events');
	is(join('; ', map { $_->{stand_in} // () } @dumps), '', 'blocked-dump: it is a real pg_dump');
	ok((grep { $_->{root}{role} eq 'actor' && $_->{root}{sql} =~ /^COPY public\./ } lines("$out/blocked-dump", 'waits')), 'blocked-dump: ... in the middle of a table');
	my @vacuums = grep { $_->{type} eq 'actor' && $_->{edge} eq 'start' } lines("$out/blocked-vacuum", 'events');
	ok((grep { $_->{root}{sql} eq 'autovacuum: VACUUM public.notes (to prevent wraparound)' && $_->{waiter}{role} eq 'migration' } lines("$out/blocked-vacuum", 'waits')),
		'blocked-vacuum: it is a real autovacuum to prevent wraparound') or diag explain \@vacuums;
	like($vacuums[-1]{stand_in}, qr/pages of tags do not keep/, 'blocked-vacuum: ... where it would not be done at once, and a stand-in is named as one');
	like($run{'blocked-vacuum'}{findings}[-1]{detail}, qr/a stand-in stood there for [\d.]+ s: the \d+ pages of tags/, 'blocked-vacuum: ... also where it is found out how the step fared');
	ok(nothing_is_left(), 'nothing is left');
}

# ---- ways back that are wrong ----
{
	my ($code, $text) = run('run', "$drills/good.lua", '--drill', 'forward', '--scale', '0.1', '--keep', '--out', "$home/kept");
	my ($list_code, $list) = run('sandbox', 'list');
	my ($socket) = $list =~ m{host=([^\s']+)};
	my $dsn = "host=$socket user=postgres dbname=rehearsal";
	for my $case (['default', qr/column public\.tags\.color.*default 'red'/], ['data', qr/content of public\.notes/], ['rows', qr/content of public\.notes.*19\d rows and holds 19\d|content of public\.notes.*it held/],
		['trigger', qr/(function public\.f|trigger public\.notes\.t).*was not before/],
		['meanwhile', qr/content of public\.notes: \d+ of \d+ rows that the traffic changed before the way back hold again what they held before that \(in .*seen\): id \d/],
		['body', qr/content of public\.notes body, which the traffic does not write, holds something else than before in (\d+) of \1 rows/, 'rollback']) {
		my ($down, $why, $drill) = (@$case, 'rollback-each');
		($code, $text) = run('run', "$drills/broken.lua", '--drill', $drill, '--target', $dsn, '--scale', '0.1', '--set', "down=$down", '--out', "$home/$down");
		is($code, 1, "a way back that is wrong ($down) fails") or diag $text;
		my $run = record("$home/$down/$drill");
		like(bad($run) || join('; ', map { "$_->{object} $_->{detail}" } @{$run->{rollback}{differences}}), $why, '... for that reason');
		is($run->{rollback}{verdict}, 'dirty', '... and is dirty');
	}
	($code, $text) = run('run', "$drills/good.lua", '--drill', 'forward,rollback-each', '--target', $dsn);
	is($code, 2, 'a target that cannot be reset takes one drill');
	run('sandbox', 'down', '--all');
}

# ---- a way back to an old copy: rows that came meanwhile are gone, whatever their key is ----
for my $case (['copy', 'dirty'], ['keep', 'equivalent']) {
	my ($down, $verdict) = @$case;
	my ($code, $text) = run('run', "$drills/lost.lua", '--drill', 'rollback', '--standbys', '0', '--set', "down=$down", '--out', "$home/lost-$down");
	is($code, $verdict eq 'dirty' ? 1 : 0, "a table with a key of two columns ($down)") or diag $text;
	my $rollback = record("$home/lost-$down/rollback")->{rollback};
	is($rollback->{verdict}, $verdict, "... is $verdict") or diag explain $rollback->{differences};
	my @found = grep { $_->{object} eq 'content of public.visits' } @{$rollback->{differences}};
	next if $verdict ne 'dirty';
	like($found[0]{detail}, qr{^(\d+) of \1 rows that the traffic wrote before the way back are gone after it: shop, visitor \w+/[0-9a-f]{8}-}, '... with the keys') or diag explain \@found;
}

# ---- values that a transaction's locks do not tell of ----
for my $case (['alone', 'wrong', 'dirty'], ['program', 'wrong', 'dirty'], ['code', 'wrong', 'dirty'], ['alone', 'right', 'identical']) {
	my ($by, $down, $verdict) = @$case;
	my ($code, $text) = run('run', "$drills/outside.lua", '--drill', 'rollback', '--standbys', '0', '--scale', '0.1', '--set', "by=$by", '--set', "down=$down", '--out', "$home/outside-$by-$down");
	my $rollback = record("$home/outside-$by-$down/rollback")->{rollback};
	is($rollback->{verdict}, $verdict, "a table that was written outside of our transactions ($by, $down) is $verdict") or diag $text, explain $rollback;
	is_deeply([map { $_->{object} } @{$rollback->{differences}}], $verdict eq 'dirty' ? ['content of public.tags'] : [], '... for its content');
}

# ---- programs that steps run, and steps that ask the server for nothing: what a drill demands has been done, or it says that there was nothing ----
for my $case (['program', 'crash', qr/"widen" broken off and run again: its session was terminated; then it was completed/], ['program', 'failover', qr/"widen" is completed on the new primary: it is/],
	['program', 'blocked-reader', qr/"widen" gets past a long reader: in (?:[2-9]|\d\d)\.\d+ s/], ['traffic', 'failover', qr/the standby takes the primary's place: in [0-9.]+ s, before the first step/],
	['idle', 'failover', qr/"note it" is completed on the new primary: it is/], ['traffic', 'blocked-reader', qr/a long reader is in nobody's way: no step asks/]) {
	my ($steps, $drill, $what) = @$case;
	my ($code, $text) = run('run', "$drills/program.lua", '--drill', $drill, '--scale', '0.1', '--set', "steps=$steps", '--out', "$home/$steps-$drill");
	is($code, 0, "$drill of a $steps") or diag $text;
	my @found = map { "$_->{what}: $_->{detail}" } grep { $_->{type} eq 'finding' } lines("$home/$steps-$drill/$drill", 'events');
	ok((grep { $_ =~ $what } @found), '... was performed') or diag explain \@found;
}

done_testing;
