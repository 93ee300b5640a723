#!/usr/bin/perl
# What a person sees during a run: lines that are drawn over on a terminal, plain ones on a pipe.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use Test::More;

my $pgrehearse = abs_path($ENV{PGREHEARSE} // 'build/pgrehearse');
plan skip_all => 'script(1), which makes a terminal, is not here' if system('script -qec true /dev/null >/dev/null 2>&1') != 0;
my $home = tempdir('/tmp/pgr-e2e-XXXXXX');
chmod 0755, $home;
$ENV{TMPDIR} = $home;
delete @ENV{grep { /^PG(?!REHEARSE)/ } keys %ENV};
delete $ENV{NO_COLOR};

open my $out, '>', "$home/slow.lua" or die "$home/slow.lua: $!";
print $out "return { name = 'slow', schema = 'CREATE TABLE t (n int)', generate = {}, statements = { divide = 'SELECT 1 / \$1::int', nap = 'SELECT pg_sleep(\$1)' }, transactions = {\n",
	"bad = { run = function(c) c:exec('divide', 0) end }, nap = { run = function(c) c:exec('nap', 0.05) end } } }\n";
close $out;

sub slurp { my ($path) = @_; open my $in, '<', $path or return ''; local $/; return <$in> // '' }

# On a terminal of so many columns and rows; returns what came there.
sub on_terminal
{
	my ($columns, $rows, %environment) = @_;
	local @ENV{keys %environment} = values %environment;
	remove_tree("$home/record");
	system('script', '-qec', "stty cols $columns rows $rows; '$pgrehearse' load '$home/slow.lua' --rate 100 --clients 2 --duration 3s --out '$home/record'", "$home/typescript");
	return slurp("$home/typescript");
}

open my $saved, '>&', \*STDOUT or die;
open STDOUT, '>', "$home/discarded" or die;
my $tall = on_terminal(100, 30, TERM => 'xterm');
my $low = on_terminal(60, 5, TERM => 'xterm');
my $plain = on_terminal(100, 30, TERM => 'xterm', NO_COLOR => 1);
my $dumb = on_terminal(100, 30, TERM => 'dumb');
open STDOUT, '>&', $saved or die;

like($tall, qr/\d\d:\d\d +load +\d+ s left/, 'a terminal shows the time and what is left');
like($tall, qr{traffic +\d+/s of \d+/s planned +backlog \d+, the oldest \d}, 'the rate, done and planned, and the backlog with its age');
like($tall, qr/response +p50 .* p99 .* max /, 'response times');
like($tall, qr/errors +\d+: \d+ × 22012/, 'errors by SQLSTATE');
like($tall, qr/locks +nobody waits +replication lag/, 'locks and lag');
like($tall, qr/\e\[4A/, 'and draws over what stood there');
like($tall, qr/\e\[31m  errors/, 'in colour where it is bad');
like($tall, qr/\e\[Jplanned \d+/, 'the result stands where the view was');
unlike($plain, qr/\e\[3\dm/, 'NO_COLOR is respected');
unlike($low, qr/\e\[\dA/, 'a terminal of five rows gets one line');
my ($longest) = sort { $b <=> $a } map { length } map { s/\e\[\w//gr } $low =~ /\r(  \d\d:\d\d load[^\r\n]*)/g;
cmp_ok($longest // 99, '<=', 64, 'that is cut to its width');
unlike($dumb, qr/\e/, 'a dumb one gets plain lines');
like($dumb, qr{^  \d\d:\d\d load .* errors \d+ \(\d+ × 22012\)}m, 'which say the same');

chdir '/';
remove_tree($home);
done_testing();
