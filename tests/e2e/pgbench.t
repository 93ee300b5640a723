#!/usr/bin/perl
# pgrehearse load --pgbench, on a real server: pgbench's own scripts on tables made by pgbench -i, and scripts that use all commands.
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

# Exit code, and both outputs together. A load that is INVALID since something else on this machine took the CPU is no news here: what was
# counted is there all the same.
sub run
{
	my @words = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";
	if (!$pid) {
		open STDERR, '>&', \*STDOUT;
		exec @words or die "$words[0]: $!";
	}
	my $text = do { local $/; <$out> } // '';
	close $out;
	my $code = $? >> 8;
	return ($code == 3 && ($words[1] // '') eq 'load' && $text =~ /^  unfit: the load generator /m ? 0 : $code, $text);
}

sub slurp { my ($path) = @_; open my $in, '<', $path or return ''; local $/; return <$in> // '' }
sub ask { my ($sql) = @_; my (undef, $text) = run($pgrehearse, 'sandbox', 'psql', 'bank', '--', '-XAtc', $sql); chomp $text; return $text; }

sub script
{
	my ($name, $text) = @_;
	open my $out, '>', "$home/$name" or die "$home/$name: $!";
	print $out $text;
	close $out;
	return "$home/$name";
}

my ($code, $text) = run($pgrehearse, 'sandbox', 'up', 'bank', '--standbys', 0);
is($code, 0, 'there is a server') or diag $text;
my ($dsn) = $text =~ /(host=\S+ port=\d+ user=\S+ dbname=\S+)/;
my ($pgbench) = sort { ($b =~ m{/(\d+)/})[0] <=> ($a =~ m{/(\d+)/})[0] } glob '/usr/lib/postgresql/*/bin/pgbench';

# Exit code, output, totals and warnings of a load of a second on it.
my $loads = 0;
sub load
{
	my @words = @_;
	my $dir = "$home/record" . ++$loads;
	my ($exit, $said) = run($pgrehearse, 'load', '--target', $dsn, '--duration', '1s', '--out', $dir, @words);
	my $run = decode_json(slurp("$dir/run.json") || '{}');
	my @warnings = map { $_->{text} // $_->{message} // '' } grep { $_->{type} eq 'warning' } map { decode_json($_) } split /\n/, slurp("$dir/events.jsonl");
	return ($exit, $said, $run->{totals}, "@warnings");
}

# ---- the built-ins ----

($code, $text) = load('--pgbench', 'tpcb-like');
is($code, 2, 'without the tables of pgbench -i it does not begin');
like($text, qr/no pgbench tables.*pgbench_branches/, 'and says so');

($code, $text) = run($pgbench, '-i', '-q', '-s', 2, $dsn);
is($code, 0, 'pgbench -i makes its tables') or diag $text;

# Columns, storage parameters and keys of its tables.
my $layout = "SELECT string_agg(concat_ws(' ', c.relname, c.reloptions, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull), E'\n' ORDER BY c.relname, a.attnum),
	(SELECT string_agg(indexdef, E'\n' ORDER BY indexdef) FROM pg_indexes WHERE tablename ~ '^pgbench_')
	FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relname ~ '^pgbench_' AND c.relkind = 'r' AND a.attnum > 0";
my $theirs = ask($layout);

my $history = 0;
for my $protocol (qw(simple extended prepared)) {
	my ($exit, $said, $totals) = load('--pgbench', 'tpcb-like', '--protocol', $protocol, '--rate', 150, '--workers', 2);
	is($exit, 0, "tpcb-like runs, $protocol") or diag $said;
	ok($totals->{holds} && $totals->{ok} > 100, 'the conservation law holds');
	is_deeply($totals->{errors}, {}, 'nothing fails');
	$history += $totals->{ok};
	is(ask('SELECT count(*) FROM pgbench_history'), $history, 'each transaction is in the history once');
}
my $sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = d AND (SELECT sum(tbalance) FROM pgbench_tellers) = d
	AND (SELECT sum(bbalance) FROM pgbench_branches) = d FROM (SELECT sum(delta) AS d FROM pgbench_history) AS h";
is(ask($sums), 't', 'accounts, tellers and branches have what the history says');
is(ask('SELECT count(DISTINCT bid), count(DISTINCT tid), max(aid) > 100000, max(aid) <= 200000, min(delta) >= -5000, max(delta) <= 5000 FROM pgbench_history'),
	'2|20|t|t|t|t', 'the scale is that of the tables');
run($pgbench, '-n', '-t', 20, $dsn);
is(ask($sums), 't', 'also after pgbench itself has run');
is(ask('SELECT count(*) FROM pgbench_history'), $history + 20, 'on the same tables');

(my $exit, my $said, my $totals) = load('--pgbench', 'simple', '--pgbench', 'se@3', '--pgbench', 'tpcb@0', '--closed', '--clients', 2);
is($exit, 0, 'several scripts run by their weights, named by how their names begin') or diag $said;
my $written = ask('SELECT count(*) FROM pgbench_history') - $history - 20;
cmp_ok(abs($written / $totals->{ok} - 0.25), '<', 0.1, 'simple-update has its quarter');
is(ask('SELECT (SELECT sum(abalance) FROM pgbench_accounts) = sum(delta) FROM pgbench_history'), 't', 'which does not touch tellers and branches');

# ---- all commands ----

ask('CREATE TABLE seen (what text, client int, n bigint, x text)');
my $commands = script('001-all commands.sql', <<'END');
-- what each client sees, counted by the client itself
\set n :n + 1
\if :n % 2 = 0 and :flag
INSERT INTO seen VALUES ('even', :client_id, :n, ':word');
\elif :n = 1
INSERT INTO seen VALUES ('first', :client_id, :n, NULL) \; INSERT INTO seen VALUES ('second', :client_id, :n, NULL);
\endif
SELECT 11 AS a, 'text' AS b, NULL AS c \gset got_
\set sum :got_a + 1
INSERT INTO seen VALUES ('gset', :client_id, :sum, ':got_b:got_c');
SELECT 6 AS i \; SELECT 7 AS j WHERE false \; SELECT 8 AS k UNION SELECT 9 ORDER BY 1 \aset
INSERT INTO seen VALUES ('aset', :client_id, :i * 10 + :k, NULL);
\setshell from_shell echo :n ; true
\sleep 1ms
INSERT INTO seen VALUES ('shell', :client_id, :from_shell, ':from_shell' = ':n');
END
($exit, $said, $totals, my $warnings) = load('--pgbench', $commands, '-D', 'n=0', '-D', 'flag=yes', '--define', 'word=a b', '--rate', 40, '--clients', 3);
is($exit, 0, 'a script with all commands runs') or diag $said;
is_deeply($totals->{errors}, {}, 'nothing in it fails') or diag $warnings;
is(ask("SELECT count(DISTINCT client), min(client), max(client) FROM seen WHERE what = 'shell'"), '3|0|2', 'clients are numbered');
is(ask("SELECT count(*), min(n), max(n) FROM seen WHERE what IN ('first', 'second')"), '6|1|1', 'each has variables of its own');
is(ask("SELECT bool_and(c = m AND f = 1) FROM (SELECT count(*) AS c, max(n) AS m, min(n) AS f FROM seen WHERE what = 'shell' GROUP BY client) AS s"), 't',
	'which last from one transaction to the next');
is(ask("SELECT bool_and(n % 2 = 0 AND x = 'a b') FROM seen WHERE what = 'even'"), 't', 'conditions and definitions hold');
is(ask("SELECT DISTINCT n, x FROM seen WHERE what = 'gset'"), '12|text', '\gset');
is(ask("SELECT DISTINCT n FROM seen WHERE what = 'aset'"), '69', '\aset');
is(ask("SELECT bool_and(x = 'true') FROM seen WHERE what = 'shell'"), 't', '\setshell');

ask('TRUNCATE seen');
my $piped = script('piped.sql', "\\set i :i + 1\n\\startpipeline\nBEGIN;\nINSERT INTO seen VALUES ('a', :client_id, :i);\n\\syncpipeline\n"
	. "INSERT INTO seen VALUES ('b', :client_id, :i);\nEND;\n\\endpipeline\nINSERT INTO seen VALUES ('c', :client_id, :i);\n");
($exit, $said, $totals) = load('--pgbench', $piped, '-M', 'prepared', '-D', 'i=0', '--closed', '--clients', 2);
is_deeply($totals->{errors}, {}, 'pipelines run') or diag $said;
is(ask('SELECT string_agg(what, NULL), bool_and(c = ' . $totals->{ok} . ') FROM (SELECT what, count(*) AS c FROM seen GROUP BY what ORDER BY what) AS s'),
	'abc|t', 'and do their work once');

ask('CREATE TABLE contended (n int); INSERT INTO contended VALUES (0)');
my $contended = script('contended.sql', "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT n FROM contended;\n\\sleep 2 ms\nUPDATE contended SET n = n + 1;\nEND;\n");
($exit, $said, $totals) = load('--pgbench', $contended, '--closed', '--clients', 4, '--max-tries', 1000);
is_deeply($totals->{errors}, {}, 'serialization failures are tried again') or diag $said;
is(ask('SELECT n FROM contended'), $totals->{ok}, 'until they are done, once each');
($exit, $said, $totals) = load('--pgbench', $contended, '--closed', '--clients', 4);
cmp_ok($totals->{errors}{40001} // 0, '>', 0, 'if that is asked for');

ask('TRUNCATE seen');
my $workload = script('piped.lua', <<'END');
return { name = "piped", statements = { put = "INSERT INTO seen VALUES ($1, 1, $2)" }, transactions = {
	twice = { run = function(c) c:start_pipeline("put") c:begin() c:exec("put", "twice", 1) c:exec("put", "twice", 2) c:commit() c:end_pipeline() end },
	fails = { run = function(c)
		c:start_pipeline("put") c:exec("put", "kept", 1) c:sync_pipeline() c:begin() c:exec("put", "lost", 1) c:exec("put", "lost", "x") c:end_pipeline() end },
} }
END
($exit, $said, $totals) = load($workload, '--rate', 100, '--workers', 2);
is_deeply([$exit, $totals->{errors}], [0, { '22P02' => $totals->{failed} }], 'transactions in Lua have pipelines too') or diag $said;
is(ask('SELECT string_agg(what || n || chr(32) || c, chr(44) ORDER BY what, n) FROM (SELECT what, n, count(*) AS c FROM seen GROUP BY what, n) AS s'),
	"kept1 $totals->{failed},twice1 $totals->{ok},twice2 $totals->{ok}", 'what came before a sync is kept, and all of it or nothing after');

# ---- what goes wrong ----

my $failing = script('failing.sql', "BEGIN;\nINSERT INTO seen VALUES ('failing', 1, 1);\nSELECT 1 / :zero;\nEND;\n");
for my $protocol (qw(simple prepared)) {
	($exit, $said, $totals) = load('--pgbench', $failing, '-M', $protocol, '-D', 'zero=0', '--rate', 50);
	is_deeply([$exit, $totals->{errors}, $totals->{holds}], [0, { '22012' => $totals->{started} }, JSON::PP::true], "errors of the server are counted, $protocol");
}
is(ask("SELECT count(*) FROM seen WHERE what = 'failing'"), '0', 'and the transaction is rolled back');

for my $case (
	['two rows', "SELECT 1 AS a UNION SELECT 2 \\gset\n", 'simple', qr/two rows\.sql:1: \\gset needs one row, but there were 2/],
	['no row', "SELECT 1 AS a;\nSELECT WHERE false \\gset\n", 'prepared', qr/no row\.sql:2: \\gset needs one row, but there were 0/],
	['bad column', "SELECT 1 \\gset\n", 'simple', qr/bad column\.sql:1: a column cannot become a variable called \?column\?/],
	['open block', "BEGIN;\nSELECT 1;\n", 'simple', qr/ended inside a transaction block/],
	['open pipeline', "\\startpipeline\nBEGIN;\n", 'prepared', qr/ended inside a pipeline/],
	['gset in a pipeline', "\\startpipeline\nSELECT 1 AS a \\gset\n\\endpipeline\n", 'prepared', qr/gset in a pipeline\.sql:2: .*no results yet/],
	['pipeline twice', "\\startpipeline\n\\startpipeline\n\\endpipeline\n", 'prepared', qr/pipeline twice\.sql:2: .*inside of another/],
	['no pipeline', "SELECT 1;\n\\endpipeline\n", 'prepared', qr/no pipeline\.sql:2: there is no pipeline/],
	['bad shell', "\\shell exit 3\n", 'simple', qr/bad shell\.sql:1: the shell command failed with status 3/],
	['no number', "\\setshell i echo one\n", 'simple', qr/no number\.sql:1: .*whole number, not "one"/],
	['late', "SELECT 0 AS zero \\gset\n\\set i 1 / :zero\n", 'simple', qr/late\.sql:2: 1 \/ 0: division by zero/],
) {
	my ($name, $sql, $protocol, $pattern) = @$case;
	($exit, $said, $totals, $warnings) = load('--pgbench', script("$name.sql", $sql), '-M', $protocol, '--rate', 30);
	is_deeply([$totals->{errors}, $totals->{holds}], [{ LUA => $totals->{started} }, JSON::PP::true], "$name: is counted") or diag $said;
	like($warnings, $pattern, '... and told once, with its line');
}

for my $case (
	[['--pgbench', script('bad.sql', "SELECT 1;\n\\set i 1 +\n")], qr/bad\.sql:2: the expression cannot go on/],
	[['--pgbench', script('unknown.sql', "\\nosuch\n")], qr/unknown\.sql:1: there is no command \\nosuch/],
	[['--pgbench', script('undefined.sql', "\\set a :nosuch\n")], qr/undefined\.sql:1: there is no variable nosuch/],
	[['--pgbench', "$home/missing.sql"], qr/missing\.sql/],
	[['--pgbench', 's'], qr/select-only or simple-update/],
	[['--pgbench', 'tpcb-like@x'], qr/weight \@x/],
	[['--pgbench', 'tpcb-like', '-M', 'fast'], qr/no protocol fast/],
	[['--pgbench', 'tpcb-like', '-D', 'foobla'], qr/--define foobla/],
	[['--pgbench', 'tpcb-like', 'shop'], qr/takes the place of the workload shop/],
	[['shop', '-D', 'a=1'], qr/belong to --pgbench/],
	[['--pgbench', 'tpcb-like', '--max-tries', 0], qr/--max-tries/],
	[['--pgbench', $piped, '-D', 'i=0'], qr/piped\.sql:2: pipelines need the extended query protocol/],
) {
	my ($words, $pattern) = @$case;
	($exit, $said) = load(@$words);
	is($exit, 2, "@$words is refused") or diag $said;
	like($said, $pattern, '... and says why');
}

# ---- tables of our own ----

script('beside.sql', "SELECT count(*) FROM pgbench_branches;\n");
my $scenario = script('scenario.lua', <<'END');
local rehearse = require "rehearse"
return rehearse.scenario { title = "an index on the history", workload = "pgbench:tpcb-like@2,beside.sql?protocol=prepared", load = { rate = 100 },
	phases = { warmup = "0s", baseline = "1s", settle = "1s" },
	steps = { rehearse.sql { name = "index", up = "CREATE INDEX by_aid ON pgbench_history (aid)", down = "DROP INDEX by_aid" } },
	criteria = { "errors.rate < 0.1%" } }
END
($code, $text) = run($pgrehearse, 'run', $scenario, '--drill', 'forward', '--out', "$home/rehearsed");
is($code, 0, 'a scenario can have pgbench scripts for traffic') or diag $text;

($code, $text) = run($pgrehearse, 'load', '--pgbench', 'tpcb-like', '--rate', 50, '--duration', '1s', '--keep', '--out', "$home/own");
is($code, 0, 'in a sandbox of its own the tables are made') or diag $text;
is_deeply(decode_json(slurp("$home/own/run.json"))->{totals}{errors}, {}, 'as the scripts need them');
my ($own) = $text =~ /sandbox (\S+) is kept/;
is((run($pgrehearse, 'sandbox', 'psql', $own // 'none', '--', '-XAtc', $layout))[1], "$theirs\n", 'and as pgbench -i makes them');

END {
	local $?;
	run($pgrehearse, 'sandbox', 'down', '--all');
	chdir '/';
	remove_tree($home);
}
done_testing();
