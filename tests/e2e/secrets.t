#!/usr/bin/perl
# A password that a connection string or PGPASSWORD holds is nowhere in what a run says, leaves or shows in the process list, and still reaches programs.
use strict;
use warnings;
use File::Find;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse;
use Test::More;

# Not what grep finds in its own words.
my $secret = 'hunter2/' . 'x:' . 'Y';
my $url_secret = 'hunter2%2Fx%3AY';
my $pattern = qr/hunter2/;

my $dsn = kept_shop('0.02');
ok($dsn, 'there is a server') or BAIL_OUT('no server');
my ($socket) = $dsn =~ /host=(\S+)/;
my ($database) = $dsn =~ /dbname=(\S+)/;

psql($dsn, "ALTER SYSTEM SET archive_command = 'upload --key hunter2'");
psql($dsn, "ALTER DATABASE $database SET app.jwt_secret = 'hunter2'");
psql($dsn, 'SELECT pg_reload_conf()');

open my $out, '>', "$home/tells.lua" or die;
print $out <<'LUA';
local rehearse = require "rehearse"
return rehearse.scenario { title = "Tells all", workload = "shop", load = { rate = 10 }, phases = { warmup = "0s", baseline = "1s", settle = "0s" },
	steps = {
		rehearse.exec { name = "tell", down = false, up =
			"echo \"password: $PGPASSWORD, url: $DATABASE_URL.\"; psql -XAtc \"SELECT 'connected by a program as ' || current_user\"; sleep 1" },
		rehearse.sql { name = "a mistake", up = "SELECT 1", irreversible = "nothing" },
	} }
LUA
close $out;

sub found_in
{
	my ($dir) = @_;
	my @found;
	find({ no_chdir => 1, wanted => sub { push @found, $_ if -f && content($_) =~ $pattern } }, $dir);
	return join ' ', @found;
}

# Command lines of all processes but of programs that we start with the secret in their words on purpose.
sub shown { return join ' ', grep { $_ =~ $pattern } map { words_of($_) } glob '/proc/[0-9]*/cmdline'; }
sub words_of { my ($path) = @_; open my $in, '<:raw', $path or return ''; local $/; return scalar(<$in>) // ''; }

my $n = 0;
for my $case (
	['as keywords', "$dsn password='$secret'", undef],
	['as a URI', "postgresql://postgres:$url_secret\@/$database?host=$socket", undef],
	['in the environment', $dsn, $secret],
) {
	my ($what, $target, $environment) = @$case;
	local $ENV{PGPASSWORD} = $environment if defined $environment;
	delete local $ENV{PGPASSWORD} if !defined $environment;
	my $dir = "$home/run-" . ++$n;
	my ($pid, $said) = start('run', "$home/tells.lua", '--drill', 'forward', '--scale', '0.02', '--target', $target, '--out', $dir);
	# Until the step runs; the first moment of a process cannot be helped.
	ok(comes_true(sub { -e "$dir/forward/events.jsonl" && content("$dir/forward/events.jsonl") =~ /"tell"/ || kill(0, $pid) == 0 }), "the password $what: a run begins");
	my $list = shown();
	is($list, '', '... the process list does not show it');
	my $text = do { local $/; <$said> } // '';
	close $said;
	unlike($text, $pattern, '... nor does what the run says');
	my ($told) = grep { defined $_->{output} } lines("$dir/forward", 'events');
	like($told->{output} // '', qr/^password: \*{11}, url: postgresql:.*\*\*\*.*\nconnected by a program as postgres$/s, '... a program is given it, but what it prints is not kept') or diag $text;
	is(found_in($dir), '', '... and nothing that the run left has it');
	my ($code, $report) = run('report', "$dir/forward", '--format', 'markdown');
	unlike($report, $pattern, '... nor has a report');
}

# What a transaction binds is data of somebody's. Neither its waits nor its errors take it into a record.
open $out, '>', "$home/binds.lua" or die;
print $out <<'LUA';
return { name = "binds", schema = "SELECT 1", statements = { bad = "SELECT $1::text::int", dup = "INSERT INTO users (id, email) VALUES (1, $1)", wait = "UPDATE users SET email = email || left($1, 0) WHERE id = 1" },
	transactions = { bad = { run = function(c) c:exec("bad", "hunter2-bad") end }, dup = { run = function(c) c:exec("dup", "hunter2-dup") end },
		wait = { weight = 3, run = function(c) c:exec("wait", "hunter2-wait") end } } }
LUA
close $out;
open $out, '>', "$home/locks.lua" or die;
print $out <<"LUA";
local rehearse = require "rehearse"
return rehearse.scenario { title = "Locks", workload = "$home/binds.lua", load = { rate = 60, pods = 1, pool = 4 }, phases = { warmup = "0s", baseline = "500ms", settle = "200ms" },
	steps = { rehearse.sql { name = "lock", up = { "LOCK TABLE users IN ACCESS EXCLUSIVE MODE", "SELECT pg_sleep(0.4)" }, irreversible = "nothing" } } }
LUA
close $out;
run('run', "$home/locks.lua", '--drill', 'forward', '--target', $dsn, '--out', "$home/binds");
my $errors = record("$home/binds/forward")->{totals}{errors};
ok($errors->{'22P02'} && $errors->{23502} + ($errors->{23505} // 0), 'statements fail with values in their messages') or diag explain $errors;
ok((grep { ($_->{waiter}{statement} // '') eq 'wait' || ($_->{waiter}{sql} // '') =~ /UPDATE users/ } lines("$home/binds/forward", 'waits')), '... others wait');
is(found_in("$home/binds"), '', '... and the record has no value that was bound');
run('run', "$home/locks.lua", '--drill', 'forward', '--target', $dsn, '--out', "$home/values", '--record-values');
my @failures = grep { $_->{type} eq 'failure' } lines("$home/values/forward", 'events');
my ($bad) = grep { $_->{statement} eq 'bad' } @failures;
is_deeply($bad && [@$bad{qw(version transaction sqlstate values)}], ['v1', 'bad', '22P02', ['hunter2-bad']], '... unless it is asked for them, of statements that failed');
ok(!(grep { $_->{statement} eq 'wait' } @failures), '... and of no others');

# Nor does a replay, of statements that ended otherwise than in the capture.
open $out, '>', "$home/binds.log" or die;
print $out "2026-11-21 18:11:3$_.608 UTC [23292] LOG:  duration: 0.123 ms  statement: SELECT 'hunter2-$_'::int\n" for 1 .. 3;
close $out;
run('capture', "$home/binds.log", '--out', "$home/binds.trace");
for my $values (0, 1) {
	my $dir = "$home/replay-$values";
	my (undef, $said) = run('load', '--trace', "$home/binds.trace", '--target', $dsn, '--speed', 'max', '--out', $dir, ('--record-values') x $values);
	ok(-e "$dir/run.json", 'a replay is recorded') or diag $said;
	my ($error) = @{record($dir)->{fidelity}{errors}};
	is("@$error{qw(captured replayed count)}", '00000 22P02 3', 'a replay whose statements fail') or diag $said;
	is($error->{message}, 'invalid input syntax for type integer: "' . ($values ? 'hunter2-1' : '...') . '"', $values ? '... has the values where that is wanted' : '... has none of their values');
	like($said, $values ? qr/such as SELECT 'hunter2-1'::int/ : qr/such as SELECT '\?'::int/, '... nor the text');
	($values ? \&isnt : \&is)->(found_in($dir) . ($said =~ $pattern ? 'told' : ''), '', '... anywhere');
}

my ($code, $text) = run('load', 'shop', '--duration', '1s', '--rate', '10', '--scale', '0.02', '--target', "host=$socket user=nobody-$$ dbname=$database password=$secret", '--out', "$home/load");
is($code, 5, 'a server that lets us not in is a failure') or diag $text;
unlike($text, $pattern, '... which is told without the password');
for my $words (['clone', 'show'], ['clone', 'mark'], ['clone', 'unmark']) {
	($code, $text) = run(@$words, "postgresql://postgres:$url_secret\@/$database?host=$socket");
	unlike($text, $pattern, "@$words does not show it");
}

done_testing;
