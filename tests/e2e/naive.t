#!/usr/bin/perl
# Each scenario that shows a mistake fails, and for the reason that it states: the dangerous forms in scenarios/naive, the errors of
# articles in scenarios/traps. Several at a time: what they show is far above its bar on a busy machine, too.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse;
use Test::More;

my $scenarios = "$FindBin::Bin/../../scenarios";
my $AT_ONCE = 3;

# create_index needs a table that takes a second to index; its size here is enough for half a one.
my %words = (create_index => ['--scale', '0.4']);

# Runs them, $AT_ONCE side by side; what each said and its exit code, by name.
sub run_all
{
	my @todo = @_;
	my (%running, %said);
	while (@todo || %running) {
		while (@todo && keys %running < $AT_ONCE) {
			my $path = shift @todo;
			my ($folder, $name) = $path =~ m{(\w+)/(\w+)\.lua$};
			my $pid = fork // die "fork: $!";
			if (!$pid) {
				my ($code, $text) = Rehearse::run_once('run', $path, '--drill', 'forward', @{$words{$name} // []}, '--out', "$home/$folder-$name");
				open my $out, '>', "$home/$folder-$name.said" or die "$home: $!";
				print $out $text;
				close $out or die "$home: $!";
				require POSIX;
				POSIX::_exit($code);
			}
			$running{$pid} = "$folder-$name";
		}
		my $pid = waitpid -1, 0;
		my $who = delete $running{$pid} // next;
		$said{$who} = {code => $? >> 8, text => do { open my $in, '<', "$home/$who.said" or die "$who: $!"; local $/; <$in> }};
	}
	return \%said;
}

# Criteria of the verdict that begin so.
sub beginning { my ($run, $start) = @_; return grep { index($_->{criterion}, $start) == 0 } @{$run->{verdict}{criteria}}; }
sub verdicts { my ($run) = @_; return join "\n", map { "$_->{verdict} $_->{criterion}: " . ($_->{evidence} // '') } @{$run->{verdict}{criteria}}; }

my @paths = (glob("$scenarios/naive/*.lua"), glob("$scenarios/traps/*.lua"));
cmp_ok(scalar @paths, '>=', 20, 'there are mistakes to be shown');
my $said = run_all(@paths);
for my $who (sort keys %$said) {
	my $one = $said->{$who};
	my $run = eval { my ($dir) = grep { -e "$_/run.json" } "$home/$who", "$home/$who/forward"; record($dir) };
	subtest $who => sub {
		# With others beside it, the load generator may be called late (exit code 3); what must fail is said by its criteria.
		ok($one->{code} == 1 || $one->{code} == 3 && $one->{text} =~ /unfit: the load generator/, 'fails') or diag $one->{text};
		ok($run, 'leaves a record') or return;
		my $expect = $run->{scenario}{expect};
		ok($expect && $expect->{because}, 'says what must fail, and why') or return;
		for my $start (@{$expect->{fails}}) {
			my @found = beginning($run, $start);
			ok(@found && !(grep { $_->{verdict} ne 'FAIL' } @found), "$start FAILs") or diag verdicts($run);
		}
		for my $start (@{$expect->{holds} // []}) {
			my @found = beginning($run, $start);
			ok(@found && !(grep { $_->{verdict} eq 'FAIL' } @found), "$start does not") or diag verdicts($run);
		}
		like($one->{text}, qr/It\s+fails\s+on\s+purpose/, 'what it ends with says that it was meant to');
	};
}
ok(nothing_is_left(), 'nothing is left');
done_testing;
