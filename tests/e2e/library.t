#!/usr/bin/perl
# Every scenario of the library passes every drill: small data, hardly any pauses, several side by side. What is about time is not judged
# here, since others use this machine, too; so nobody asks every few milliseconds whether tables can be read and written.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Rehearse;
use Test::More;
use Time::HiRes qw(time);

my $SIDE_BY_SIDE = 4;
my $SCALE = 0.005;
my @DRILLS = qw(forward rollback rollback-each crash failover failover-sync versions blocked-reader blocked-writer blocked-dump blocked-vacuum blocked-prepared);
my $ABOUT_TIME = qr/^(?:latency|service|lock_wait|throughput|backlog|reads_blocked|writes_blocked|replication|wal|step\[.*\]\.(?:duration|eta|longest_wait)|migration\.(?:statement|duration))/;

sub slurp { my ($path) = @_; open my $in, '<', $path or return ''; local $/; return scalar <$in> // ''; }

# Those that say rehearse.scenario; other files of the folder are data. With LIBRARY="a b" only these.
my %only = map { $_ => 1 } split ' ', $ENV{LIBRARY} // '';
my @names = grep { !%only || $only{$_} } map { m{([^/]+)\.lua$} } grep { slurp($_) =~ /rehearse\.scenario\b/ } sort glob "$FindBin::Bin/../../scenarios/*.lua";
cmp_ok(scalar @names, '>=', %only ? 1 : 7, 'the library is there');

my (%name_of, %code, %took);
sub start_one
{
	my ($name) = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setpgrp;
		open STDOUT, '>', "$home/$name.out" or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		exec $program, 'run', "$FindBin::Bin/../../scenarios/$name.lua", '--drill', 'all', '--brief', '--no-availability', '--scale', $SCALE, '--out', "$home/$name" or die "$program: $!";
	}
	($name_of{$pid}, $took{$name}) = ($name, time);
}

sub await_one
{
	my $pid = wait;
	my $name = delete $name_of{$pid} or return;
	($code{$name}, $took{$name}) = ($? & 127 ? 128 + ($? & 127) : $? >> 8, time - $took{$name});
}

# What a scenario's drill failed by, as text.
sub wrong_with
{
	my ($name, $drill) = @_;
	my $run = eval { record("$home/$name/$drill") } or return 'it has no record';
	my @wrong;
	push @wrong, "it ended as $run->{status}: " . ($run->{error} // '') if $run->{status} ne 'finished';
	for my $c (@{ $run->{verdict}{criteria} }) {
		next if $c->{verdict} eq 'PASS' || $c->{verdict} eq 'SKIPPED' || $c->{criterion} =~ $ABOUT_TIME;
		push @wrong, "$c->{criterion} is $c->{verdict}: " . ($c->{evidence} // '');
	}
	push @wrong, map { "$_->{what}: $_->{detail}" } grep { !$_->{ok} } @{ $run->{findings} // [] };
	push @wrong, map { "$_->{name}: " . ($_->{error} // $_->{sample} // '') } grep { !$_->{ok} } @{ $run->{checks} // [] };
	push @wrong, map { "$_->{object} $_->{detail}" } grep { $_->{class} eq 'dirty' } @{ $run->{rollback}{differences} // [] };
	return join "\n", @wrong;
}

my @waiting = @names;
while (@waiting || %name_of) {
	if (@waiting && keys %name_of < $SIDE_BY_SIDE) { start_one(shift @waiting); next; }
	await_one();
}

for my $name (@names) {
	note sprintf '%s took %.0f s', $name, $took{$name};
	ok($code{$name} =~ /^[013]$/, "$name: carried out") or diag substr slurp("$home/$name.out"), -3000;
	for my $drill (@DRILLS) {
		my $wrong = wrong_with($name, $drill);
		is($wrong, '', "$name passes $drill");
	}
}
ok(nothing_is_left(), 'nothing is left');

done_testing;
