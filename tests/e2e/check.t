#!/usr/bin/perl
# pgrehearse check: what a scenario will lock and what is wrong with it, told without a server.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Rehearse;
use Test::More;

my $top = "$FindBin::Bin/../..";

sub scenario {
	my ($name, $steps) = @_;
	my $path = "$home/$name.lua";
	open my $out, '>', $path or die "$path: $!";
	print $out "local rehearse = require \"rehearse\"\nreturn rehearse.scenario {\n  title = \"t\", workload = \"shop\",\n  steps = {\n$steps  },\n}\n";
	close $out;
	return $path;
}

# No server, and nowhere to look for one.
$ENV{PATH} = '/usr/bin:/bin';
my ($code, $said) = run('check', "$top/scenarios/user_status.lua");
is($code, 0, 'a migration done well has no errors') or diag $said;
like($said, qr/^ +\d+  ALTER TABLE users ADD COLUMN status text\n +ACCESS EXCLUSIVE on users; risk low/m, '... each statement with its lock');
like($said, qr/VALIDATE CONSTRAINT users_status_check\n +SHARE UPDATE EXCLUSIVE on users; reads users whole/, '... and with what it makes the server do');
like($said, qr/ALTER COLUMN status SET NOT NULL\n +ACCESS EXCLUSIVE on users; saves a scan/, '... which depends on the statements before it');

($code, $said) = run('check', "$top/scenarios/naive/create_index.lua");
is($code, 1, 'a naive one has');
like($said, qr/naive\/create_index\.lua:14: error: index-not-concurrent\n  search orders by item: .*\n.*\n +Safer: CREATE INDEX CONCURRENTLY/, '... told with file, line, why and what is safer');
like($said, qr/error: lock-timeout-none/, '... also that it waits without a limit');

my $schema = scenario('schema', <<'END');
    rehearse.sql { name = "narrow", down = false,
      up = "ALTER TABLE users ALTER COLUMN last_login TYPE date" },
    -- check: allow scan-under-lock
    rehearse.sql { name = "allowed", up = "ALTER TABLE users ADD CONSTRAINT c CHECK (login_count >= 0)", down = "ALTER TABLE users DROP CONSTRAINT c" },
    rehearse.sql { name = "no way back", up = "ALTER TABLE users ADD COLUMN c int" },
    rehearse.sql { name = "newer", down = false, up = "ALTER TABLE users ADD CONSTRAINT n NOT NULL locale NOT VALID" },
    { name = "a function", down = false, up = function(m) m:exec("DROP TABLE users") end },
    rehearse.parallel { name = "both", steps = {
      rehearse.exec { name = "a command", down = false,
        up = { "flyway", "migrate" } },
      rehearse.step { name = "another", down = false,
        up = function(m) m:sleep("1ms") end } } },
END
($code, $said) = run('check', '--json', $schema);
is($code, 1, 'findings as JSON') or diag $said;
my $result = eval { decode_json($said)->[0] } // {};
my %found = map { ("$_->{step}: $_->{rule}" => $_) } @{ $result->{findings} };
is($found{'narrow: table-rewrite'}{line}, 6, 'the schema of the workload is known, and the line of a statement');
ok(!exists $found{'allowed: scan-under-lock'} && $result->{allowed} == 1, 'a comment allows what a rule finds there');
is($found{'no way back: missing-down'}{level}, 'error', 'a step without a way back is a finding');
is($found{'newer: not-read'}{level}, 'note', 'syntax newer than the parser is named, not refused');
is_deeply([map { $found{"$_: not-read"}{line} } 'a function', 'a command', 'another'], [11, 13, 16], '... and so are functions and commands, with their lines');
is($result->{unread}, 4, '... and how many there are');
is_deeply([map { $_->{unread} ? $_->{step} : () } @{ $result->{statements} }], ['newer', 'a function', 'a command', 'another'], '... each in its place among the statements');
my ($drop) = grep { $_->{sql} =~ /ADD COLUMN c/ } @{ $result->{statements} };
is_deeply($drop->{locks}, [{ relation => 'users', mode => 'AccessExclusiveLock' }], 'statements have their locks');

($code, $said) = run('check', $schema);
like($said, qr/^\S+: .*; 4 not read\n.*^  a command\n +13  \(the command flyway migrate\)\n +not read: what it locks.*schema\.lua:16: note: not-read\n  another: a Lua function/ms, 'what is not read is told to people, too');

($code, $said) = run('check', '--sarif', $schema, "$top/scenarios/naive/create_index.lua");
my $sarif = eval { decode_json($said) } // {};
is($sarif->{version}, '2.1.0', 'findings as SARIF');
my $run = $sarif->{runs}[0];
my $readme = do { open my $in, '<', "$top/scenarios/README.md" or die; local $/; <$in> };
is(join(' ', grep { $readme !~ /^\| `$_->{id}` \| $_->{defaultConfiguration}{level} \|/m } @{ $run->{tool}{driver}{rules} }), '', '... each of its rules is in scenarios/README.md');
my %rules = map { ($_->{id} => 1) } @{ $run->{tool}{driver}{rules} };
is(scalar(grep { !$rules{ $_->{ruleId} } || $_->{level} !~ /^(?:error|warning|note)$/ || $_->{locations}[0]{physicalLocation}{region}{startLine} < 1 } @{ $run->{results} }), 0,
	'... each with a rule that is described, a level and a place');
is_deeply([map { $_->{ruleId} eq 'not-read' ? $_->{locations}[0]{physicalLocation}{region}{startLine} : () } @{ $run->{results} }], [10, 11, 13, 16], '... what is not read among them');
is(scalar(grep { $_->{locations}[0]{physicalLocation}{artifactLocation}{uri} =~ /create_index/ } @{ $run->{results} }) > 0, 1, '... of all scenarios that were named');

($code, $said) = run('check', scenario('broken', "    rehearse.sql { name = \"x\", upp = 1 },\n"));
is($code, 2, 'a scenario that cannot be read is a mistake');
like($said, qr/broken\.lua:5: .*unknown field "upp"/, '... with its line');
($code, $said) = run('check');
is($code, 2, 'and so is none');
done_testing;
