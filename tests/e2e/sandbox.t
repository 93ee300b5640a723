#!/usr/bin/perl
# pgrehearse sandbox, on real servers: what it makes, what it leaves (nothing), what it says when it cannot.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse qw($home $program run start comes_true);
use Test::More;
use Time::HiRes qw(time sleep);

my $root = "$home/pgrehearse-$>";

sub ask { my ($name, $sql) = @_; my ($code, $text) = run('sandbox', 'psql', $name, '--', '-XAtc', $sql); chomp $text; return $text; }

# Processes that work in our folder, by pid.
sub servers
{
	my %found;
	for my $link (glob '/proc/[0-9]*/cwd') {
		my $dir = readlink $link // next;
		$found{$1} = $dir if $dir =~ m{^\Q$root\E/} && $link =~ m{/(\d+)/};
	}
	return \%found;
}

sub children
{
	my ($parent) = @_;
	my @found;
	for my $file (glob '/proc/[0-9]*/stat') {
		open my $in, '<', $file or next;
		my $line = <$in> // next;
		push @found, $1 if $line =~ /^(\d+) \(.*\) \S (\d+)/ && $2 == $parent;
	}
	return @found;
}

sub nothing_is_left { my ($name) = @_; return comes_true(sub { !-e "$root/$name" && !grep { m{^\Q$root/$name\E/} } values %{servers()} }); }

# A sandbox that belongs to a process of ours; returns its pid once it is up.
sub start_in_foreground
{
	my ($name, @more) = @_;
	my ($pid, $out) = start('sandbox', 'up', $name, '--foreground', @more);
	while (<$out>) { last if /^Remove it/; }
	return ($pid, $out);
}

my $start = time;
my ($code, $text) = run('sandbox', 'up', 'trial', '--setting', 'work_mem=7MB');
diag(sprintf 'up took %.1f s', time - $start);
is($code, 0, 'up makes a sandbox') or diag $text;
like($text, qr/^  primary   host=\Q$root\E\/trial\/run port=5432 user=postgres dbname=rehearsal$/m, 'it prints the connection string of the primary');
like($text, qr/pgrehearse sandbox down trial/, '... and how to remove it');
is(ask('trial', "SELECT application_name || '|' || state FROM pg_stat_replication"), 'standby1|streaming', 'the standby streams');
is(ask('trial', 'SHOW work_mem'), '7MB', 'a setting is taken');

ask('trial', 'CREATE TABLE t AS SELECT 1');
my ($standby) = $text =~ /^  standby1  (host=\S+ port=5433 .*)$/m;
ok(comes_true(sub { `psql -XAtc 'SELECT count(*) FROM t' '$standby' 2>&1` eq "1\n" }), 'what is written to the primary arrives at the standby');

{
	my %listening;
	for my $file (qw(/proc/net/tcp /proc/net/tcp6)) {
		open my $in, '<', $file or next;
		while (<$in>) { my @f = split; $listening{$f[9]} = $f[1] if $f[3] eq '0A'; }
	}
	my @ports = grep { defined } map { (readlink($_) // '') =~ /^socket:\[(\d+)\]/ ? $listening{$1} : undef } map { glob "/proc/$_/fd/*" } keys %{servers()};
	is("@ports", '', 'no server listens on a TCP port');
	cmp_ok(scalar(keys %{servers()}), '>', 5, '... and they were looked at');
}
SKIP: {
	skip 'servers run as another user only under root', 1 if $> != 0;
	my %uids = map { ((stat "/proc/$_")[4] // 0) => 1 } keys %{servers()};
	ok(!$uids{0}, 'no server runs as root');
}
is((stat "$root/trial/run")[2] & 077, 0, "the sockets' folder is closed to others");

($code, $text) = run('sandbox', 'up', 'trial');
is($code, 2, 'a name that is taken is refused');
like($text, qr/there is a sandbox called trial already/, '... by name');
{
	local $ENV{PGHOSTADDR} = '192.0.2.1';
	local $ENV{PGOPTIONS} = '-c work_mem=9MB';
	($code, $text) = run('sandbox', 'up', 'second', '--standbys', '0');
	is($code, 0, 'two sandboxes run at once, whatever the environment says to libpq') or diag $text;
}
($code, $text) = run('sandbox', 'list');
like($text, qr/^second +kept .*\n^trial +kept +\d+\.\d+ +1 /m, 'list shows both');
is((run('sandbox', 'psql'))[0], 2, 'psql without a name asks which of two');
($code, $text) = run('sandbox', 'down', 'trial', 'second');
is($code, 0, 'down removes both') or diag $text;
ok(nothing_is_left('trial') && nothing_is_left('second'), 'no folder and no process is left');
is((run('sandbox', 'down', 'trial'))[0], 2, 'down of what is not there is an error');

{
	my ($pid, $out) = start_in_foreground('brief');
	is((run('sandbox', 'down', 'brief'))[0], 2, 'down leaves what a living process uses');
	kill 'INT', -$pid;
	close $out;
	is($?, 0, 'Ctrl-C ends a sandbox in the foreground');
	ok(!-e "$root/brief" && nothing_is_left('brief'), 'nothing is left when the command has ended');
}
{
	my ($pid, $out) = start_in_foreground('orphan', '--standby-delay', '400ms', '--standbys', '2');
	ask('orphan', 'CREATE TABLE t AS SELECT 1');
	my $lag = q{SELECT count(*) FROM pg_stat_replication WHERE replay_lag >= '400ms' AND flush_lag >= '400ms'};
	ok(comes_true(sub { ask('orphan', $lag) eq '2' }), 'standbys behind a delayed link are as far behind');
	is((run('sandbox', 'psql', 'orphan', '--', '-XAtc', 'SET synchronous_commit = remote_apply', '-c', 'DROP TABLE t'))[0], 0, '... and stream all the same');
	ok(comes_true(sub { grep { $_ eq "$root/orphan" } values %{servers()} }), '... by a process of ours');
	kill 'KILL', $pid;
	close $out;
	ok(nothing_is_left('orphan'), 'kill -9 of the owner leaves nothing');
}
{
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDOUT, '>', '/dev/null';
		exec $program, 'sandbox', 'up', 'halfway' or die "$program: $!";
	}
	ok(comes_true(sub { %{servers()} }), 'a sandbox is being made');
	kill 'KILL', $pid;
	waitpid $pid, 0;
	ok(nothing_is_left('halfway'), 'kill -9 while one is made leaves nothing, though it was to be kept');
}
{
	my ($pid, $out) = start_in_foreground('lost', '--standbys', '0');
	kill 'KILL', children($pid), $pid;
	close $out;
	ok(-e "$root/lost", 'owner and watcher killed together leave a sandbox');
	is((run('sandbox', 'up', 'next', '--standbys', '0'))[0], 0, 'the next sandbox is made');
	ok(nothing_is_left('lost'), '... which swept the lost one');
	is((run('sandbox', 'down', '--all'))[0], 0, 'down --all');
	ok(nothing_is_left('next'), '... removes what is there');
}

for my $case (
	[2, qr/one of up, down, list, psql, sweep/, 'sideways'], [2, qr/one of up, down, list, psql, sweep/],
	[2, qr/0 to 8/, 'up', '--standbys', '9'], [2, qr/standby-delay/, 'up', '--standby-delay', 'soon'], [2, qr/a-z/, 'up', 'Not A Name'], [2, qr/--bogus/, 'up', '--bogus'],
	[2, qr/install-deps/, 'up', '--server', '/nonexistent'], [2, qr/name=value/, 'up', '--setting', 'work_mem'],
	[2, qr/sandbox's own/, 'up', '--setting', 'listen_addresses=*'], [5, qr/work_mem/, 'up', '--setting', 'work_mem=lots'],
	[0, qr/Example: pgrehearse sandbox up/, '--help'],
) {
	my ($expected, $pattern, @words) = @$case;
	($code, $text) = run('sandbox', @words);
	ok($code == $expected && $text =~ $pattern, "sandbox @words: exit $expected, and it says what to do") or diag "exit $code: $text";
}
is_deeply([glob "$root/*"], [], 'failures leave nothing');

SKIP: {
	skip 'needs root', 2 if $> != 0;
	mkdir "$home/closed", 0700;
	local $ENV{TMPDIR} = "$home/closed";
	($code, $text) = run('sandbox', 'up');
	ok($code == 5 && $text =~ /cannot reach .*set TMPDIR/s, "a folder that the servers' user cannot enter is named") or diag "exit $code: $text";

	mkdir "$home/small", 0755;
	skip 'cannot mount a small file system', 2 if system("unshare -m mount -t tmpfs none '$home/small' 2>/dev/null") != 0;
	$text = `unshare -m sh -c 'mount -t tmpfs -o size=100m,mode=0755 none "\$1" && TMPDIR="\$1" "\$2" sandbox up; echo "exit \$?"; ls -A "\$1"/pgrehearse-0' sh '$home/small' '$program' 2>&1`;
	like($text, qr/the disk is full: .*exit 5\n$/s, 'a full disk is said so, and nothing is left on it');
	$text = `unshare -m sh -c 'mount -t tmpfs -o size=700m,mode=0755 none "\$1" && TMPDIR="\$1" "\$2" load shop --scale 100 --out "\$3/none"; echo "exit \$?"; ls -A "\$1"/pgrehearse-0' sh '$home/small' '$program' '$home' 2>&1`;
	like($text, qr/the disk is too small: at scale 100 the rows need about 16\.\d GB .*exit 5\n$/s, '... and one that the data will not fit on, before any of them is made') or diag $text;
}
{
	my $long = "$home/" . 'long' x 25;
	mkdir $long;
	chmod 0755, $long;
	local $ENV{TMPDIR} = $long;
	($code, $text) = run('sandbox', 'up', 'deep', '--standbys', '0');
	is($code, 0, 'a temporary folder too deep for sockets is no obstacle') or diag $text;
	is(ask('deep', 'SELECT 1'), '1', '... the sandbox can be reached');
	my ($sockets) = $text =~ /host=(\S+)/;
	run('sandbox', 'down', 'deep');
	ok(!-e $sockets, '... and its sockets go with it');
}

done_testing;
