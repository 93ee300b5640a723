#!/usr/bin/perl
# What the documentation shows works as shown: its scenarios can be rehearsed, its commands exist, an installed program finds its Lua files.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse;
use Test::More;

my $top = "$FindBin::Bin/../..";

sub text_of { my ($path) = @_; open my $in, '<', $path or die "$path: $!"; local $/; return scalar <$in>; }

for my $readme ('README.md', 'scenarios/README.md') {
	my @scenarios = text_of("$top/$readme") =~ /^```lua\n(local rehearse.*?)^```/msg;
	ok(@scenarios, "$readme shows a scenario") or next;
	for my $i (0 .. $#scenarios) {
		my $scenario = $scenarios[$i];
		$scenario =~ s/^\s*phases\s*=.*\n//m;
		$scenario =~ s/rehearse\.scenario \{/rehearse.scenario { phases = { warmup = "0", baseline = "1s", settle = "500ms" },/;
		my $path = "$home/shown.lua";
		open my $out, '>', $path or die "$path: $!";
		print $out $scenario;
		close $out;
		my ($code, $said) = run('run', $path, '--scale', '0.02', '--out', "$home/shown-$i-" . ($readme =~ tr{/.}{--}r));
		like($said, qr/PASS +migration\.completed.*PASS +migration\.completed/s, "... which can be rehearsed, there and back") or diag "exit $code: $said";
		like($said, qr/PASS +rollback\.clean/, '... and comes back clean') or diag $said;
		unlike($said, qr/FAIL +step\[/, "... and its steps' own criteria hold") or diag $said;
	}
}

my $readme = text_of("$top/README.md");
for my $command ($readme =~ /^    (build\/pgrehearse \w+)/mg) {
	my ($name) = $command =~ /(\w+)$/;
	my ($code, $said) = run($name, '--help');
	is($code, 0, "the README's `$command` exists");
	cmp_ok(scalar(split /\n/, $said), '<=', 24, '... its help fits a screen');
	like($said, qr/^Example: /m, '... and has an example');
}
for my $link ($readme =~ /\]\(([\w\/.]+)\)/g) { ok(-e "$top/$link", "the README's link to $link leads somewhere"); }

SKIP: {
	skip 'make install needs the whole checkout', 2 if !-e "$top/Makefile";
	my $said = `cd '$top' && make -s install PREFIX='$home/prefix' 2>&1`;
	is($?, 0, 'make install') or diag $said;
	chdir '/';
	$said = `'$home/prefix/bin/pgrehearse' load shop --rate 20 --duration 1s --scale 0.02 --out '$home/installed' 2>&1`;
	ok($? == 0 || $? >> 8 == 3, 'an installed program finds its workloads from anywhere') or diag $said;
}
done_testing;
