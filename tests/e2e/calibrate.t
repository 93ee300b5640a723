#!/usr/bin/perl
# pgrehearse calibrate measures the generator on a server of its own, gives advice, and leaves nothing behind.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use Test::More;
use Time::HiRes qw(sleep);

my $pgrehearse = abs_path($ENV{PGREHEARSE} // 'build/pgrehearse');
my $home = tempdir('/tmp/pgr-e2e-XXXXXX');
chmod 0755, $home;
$ENV{TMPDIR} = $home;
delete @ENV{grep { /^PG(?!REHEARSE)/ } keys %ENV};

sub nothing_is_left
{
	for (1 .. 600) {
		return 1 unless grep { (readlink($_) // '') =~ m{^\Q$home\E/} } glob '/proc/[0-9]*/cwd';
		sleep 0.05;
	}
	return 0;
}

my $text = `'$pgrehearse' calibrate --duration 500ms --clients 4 --workers 3 2>&1`;
is($? >> 8, 0, 'it ends well') or diag $text;
like($text, qr{^\s+closed loop\s+1\s+\d+/s\s+\d+ %\s+[\d.]+ µs$}m, 'a closed loop is measured with one worker');
like($text, qr{^\s+closed loop\s+2\s}m, 'and with two');
like($text, qr{^\s+closed loop\s+2\s.*\n\s+closed loop\s+3\s.*\n(?!\s+closed)}m, 'and at last with as many as were asked for');
like($text, qr{^\s+100/s\s+[123]\s+(?:9|10|11)\d/s\s.*(?:µs|ms)\s}m, 'at 100/s it does 100/s, and says how late');
like($text, qr/µs of CPU for a transaction/, 'advice follows');
ok(nothing_is_left(), 'no server is left');

like(`'$pgrehearse' calibrate shop 2>&1`, qr/not shop/, 'it takes no workload');
is($? >> 8, 2, 'and says so by its exit code');

chdir '/';
remove_tree($home);
done_testing();
