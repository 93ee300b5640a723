#!/usr/bin/perl
# pgrehearse load with a workload's checks: those of tpcc hold after concurrent traffic, and a violated one is told and counted.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;

my $pgrehearse = abs_path($ENV{PGREHEARSE} // 'build/pgrehearse');
my $home = tempdir('/tmp/pgr-e2e-XXXXXX');
chmod 0755, $home;
$ENV{TMPDIR} = $home;
delete @ENV{grep { /^PG(?!REHEARSE)/ } keys %ENV};

sub slurp { my ($path) = @_; open my $in, '<', $path or return ''; local $/; return <$in> // '' }
sub record { my ($dir) = @_; return decode_json(slurp("$dir/run.json") || '{}') }

# INVALID since something else on this machine took the CPU is no news here: what was counted is there all the same.
sub run
{
	my $text = '';
	open my $out, '-|', join(' ', map { "'$_'" } $pgrehearse, @_) . ' 2>&1' or die "$pgrehearse: $!";
	$text .= $_ while <$out>;
	close $out;
	my $code = $? >> 8;
	return ($code == 3 && $text =~ /^  unfit: the load generator /m ? 0 : $code, $text);
}

# One warehouse and no pause between transactions: everybody meets at its row.
my ($code, $text) = run('load', 'tpcc', '--closed', '--clients', 8, '--duration', '3s', '--scale', '0.05', '--seed', 3, '--out', "$home/tpcc");
is($code, 0, 'tpcc runs') or diag $text;
like($text, qr/^12 checks held before the traffic and after it$/m, 'its conditions hold, before and after');
my $run = record("$home/tpcc");
ok($run->{totals}{holds}, 'the conservation law holds');
cmp_ok($run->{totals}{ok}, '>', 100, 'there was traffic');
is_deeply($run->{totals}{errors}, {}, 'nobody failed: an unused item is no failure, and locks are taken in one order');
is_deeply([map { "$_->{name} $_->{when}" } @{$run->{checks}}],
	[(map { "condition_$_ before" } 1 .. 12), (map { "condition_$_ after" } 1 .. 12)], 'the record has them all, in order');
is(scalar(grep { $_->{ok} && $_->{rows} == 0 } @{$run->{checks}}), 24, 'with no row that violates one');
like(slurp("$home/tpcc/latency.hlog"), qr{Tag=$_/v1/response/ok,}, "$_ was performed") for qw(new_order payment order_status delivery stock_level);

open my $lua, '>', "$home/overdrawn.lua" or die "$home/overdrawn.lua: $!";
print $lua <<'LUA';
return { name = "overdrawn", schema = "CREATE TABLE account (id int, balance int); INSERT INTO account VALUES (1, 5), (2, 1000000)", generate = {},
	statements = { take = "UPDATE account SET balance = balance - 1 WHERE id = $1" },
	transactions = { take = { args = function(r) return r:int(1, 2) end, run = function(c, id) c:exec("take", id) end } },
	checks = { never_negative = "SELECT * FROM account WHERE balance < 0", mistaken = "SELECT nothing FROM account" } }
LUA
close $lua;
($code, $text) = run('load', "$home/overdrawn.lua", '--rate', 100, '--duration', '1s', '--out', "$home/overdrawn");
is($code, 1, 'a violated check is the exit code');
like($text, qr/^check never_negative, after the traffic: 1 row violates it, such as \(1,-\d+\)$/m, 'and told with a row');
unlike($text, qr/never_negative, before/, 'but not where it held');
like($text, qr/^check mistaken, before the traffic: it could not be run: .*nothing/m, 'so is one that could not be run');
my ($before, $after) = grep { $_->{name} eq 'never_negative' } @{record("$home/overdrawn")->{checks}};
ok($before->{ok} && !$after->{ok} && $after->{rows} == 1, 'the record says the same');

chdir '/';
remove_tree($home);
done_testing();
