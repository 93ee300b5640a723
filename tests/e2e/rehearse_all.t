#!/usr/bin/perl
# scripts/rehearse-all: what it asks of pgrehearse, what it makes of the records, and that it goes on where it was. A stand-in writes the records.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;

my $root = abs_path(dirname(__FILE__) . '/../..');
my $home = tempdir(CLEANUP => 1);
sub content { my ($path) = @_; open my $in, '<', $path or return ''; local $/; return <$in>; }

# pgrehearse run SCENARIO --drill A,B --out DIR: all pass, but for what VERDICTS="drill=WORD" says.
open my $program, '>', "$home/pgrehearse" or die $!;
print $program <<'SH';
#!/bin/sh
echo "$2 $4 ${7:-}" >>"$ASKED"
for drill in $(echo "$4" | tr , ' '); do
	mkdir -p "$6/$drill"
	case " $VERDICTS " in *" $drill="*) word=${VERDICTS#*$drill=}; word=${word%% *} ;; *) word=PASS ;; esac
	printf '{"drill": "%s", "status": "complete", "duration_ns": 1000000000, "verdict": {"verdict": "%s", "criteria": [{"criterion": "errors.rate < 1%%", "verdict": "%s"}]}}' \
		"$drill" "$word" "$word" >"$6/$drill/run.json"
done
case $VERDICTS in *FAIL*) exit 1 ;; esac
SH
close $program;
chmod 0755, "$home/pgrehearse";
$ENV{PGREHEARSE} = "$home/pgrehearse";
$ENV{ASKED} = "$home/asked";

sub all
{
	my ($scenarios, $drills, $verdicts, @options) = @_;
	local %ENV = (%ENV, SCENARIOS => $scenarios, DRILLS => $drills, VERDICTS => $verdicts);
	unlink $ENV{ASKED};
	my $text = qx{'$root/scripts/rehearse-all' '$home/out' @options 2>&1};
	return ($? >> 8, $text, [ map { s{.*/}{}r } split /\n/, content($ENV{ASKED}) ]);
}

my ($code, $text, $asked) = all('not_null', 'forward blocked', 'blocked-dump=FAIL', '--brief');
is($code, 1, 'a drill that fails is the exit code');
is_deeply($asked, ['not_null.lua forward,blocked-reader,blocked-writer,blocked-dump,blocked-vacuum,blocked-prepared --brief'], 'a word before a hyphen is all drills of that name');
like($text, qr/^\| not_null \| PASS +\| - .*\| 4 of 5 +\| 6 s/m, 'how many of them passed');
like($text, qr/^- not_null, blocked-dump: errors\.rate < 1% is FAIL$/m, '... and what was broken');
is($text =~ s/.*(?=^\| scenario)//msr =~ s/\nWritten to .*//sr, content("$home/out/summary.md") =~ s/.*?(?=^\| scenario)//msr, 'the same is in the summary') or diag $text;

($code, $text, $asked) = all('not_null safe_index', 'forward blocked', '');
is($code, 0, 'once more, and they pass');
is_deeply($asked, ['not_null.lua blocked-dump ', 'safe_index.lua forward,blocked-reader,blocked-writer,blocked-dump,blocked-vacuum,blocked-prepared '], 'what had passed is not performed again');
like($text, qr/^\| not_null +\| PASS .*\| PASS +\| 7 s/m, '... and counts');

($code, $text, $asked) = all('foreign_key', 'forward', '');
like($text, qr/^\| foreign_key .*^\| not_null .*^\| safe_index /ms, 'the table has all that the folder holds');
is((all('no_such', 'forward', ''))[0], 2, 'a scenario that there is not') or diag $text;
is((all('not_null', 'backward', ''))[0], 2, 'a drill that there is not');
done_testing();
