#!/usr/bin/perl
# The production guard from the command line: what is not known to be a clone is refused with exit code 4, untouched, by each of its rules.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use JSON::PP;
use Test::More;

my $pgrehearse = abs_path($ENV{PGREHEARSE} // 'build/pgrehearse');
my $home = tempdir('/tmp/pgr-guard-XXXXXX');
mkdir "$home/$_", 0755 for qw(theirs ours);
chmod 0755, $home;
delete @ENV{grep { /^PG(?!REHEARSE)/ } keys %ENV};

sub run
{
	my @words = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDERR, '>&', \*STDOUT;
		exec $pgrehearse, @words or die "$pgrehearse: $!";
	}
	my $text = do { local $/; <$out> } // '';
	close $out;
	return ($? >> 8, $text);
}

sub content { my ($path) = @_; open my $in, '<', $path or die "$path: $!"; local $/; return scalar <$in>; }
sub theirs_all { local $ENV{TMPDIR} = "$home/theirs"; return run(@_); }

# With another TMPDIR than ours the server is a stranger's to us, on this machine.
sub theirs { local $ENV{TMPDIR} = "$home/theirs"; return run('sandbox', @_); }
my ($code, $text) = theirs('up', 'stranger', '--standbys', '1');
is($code, 0, 'there is a server on this machine') or diag $text;
my ($socket) = $text =~ /host=(\S+)/;
$ENV{TMPDIR} = "$home/ours";
my $dsn = "host=$socket user=postgres dbname=postgres";

sub ask_at { my ($at, $sql) = @_; open my $in, '-|', 'psql', '-XAtqc', $sql, $at or die; my $answer = do { local $/; <$in> } // ''; close $in; chomp $answer; return $answer; }
sub ask { return ask_at("$dsn application_name=pgrehearse-test", @_); }
my $position = "SELECT pg_current_wal_insert_lsn()::text || ' ' || (SELECT count(*) FROM pg_class)";
sub load_at { my ($at, @words) = @_; return run('load', 'shop', '--duration', '1s', '--scale', '0.01', '--out', "$home/record", '--target', $at, @words); }

# Every now and then the server itself logs which transactions run, once after each change: so a position that moved is looked at again.
sub refused_untouched
{
	my ($what, $pattern, @words) = @_;
	my ($code, $text, $before, $after);
	for (1 .. 3) {
		$before = ask($position);
		($code, $text) = @words ? run(@words) : load_at($dsn);
		$after = ask($position);
		last if $after eq $before;
	}
	is($code, 4, "$what is refused") or diag $text;
	like($text, $pattern, '... and it says which rule, why, and what to do');
	is($after, $before, '... and nothing was written to the server');
	ok(!-e "$home/record", '... nor to a record');
	return;
}

for my $case (
	['another machine', 'host=192.0.2.1 password=hunter2', qr/rule "host".*192\.0\.2\.1 is not this machine.*--allow-host 192\.0\.2\.1/s],
	['one of two hosts elsewhere', "host=$socket,192.0.2.1 password=hunter2", qr/rule "host".*192\.0\.2\.1 is not this machine/],
	['a database without the mark', "$dsn password=hunter2", qr/rule "mark".*"postgres" is not marked as a clone.*pgrehearse clone mark/s],
	['a standby', "host=$socket port=5433 user=postgres dbname=postgres password=hunter2", qr/rule "primary".*is a standby/],
) {
	my ($what, $at, $pattern) = @$case;
	refused_untouched($what, $pattern, 'load', 'shop', '--duration', '1s', '--out', "$home/record", '--target', $at);
	($code, $text) = load_at($at);
	unlike($text, qr/hunter2/, '... without the password');
}

refused_untouched('a mark that nobody confirms', qr/was not confirmed.*--yes postgres/s, 'clone', 'mark', $dsn, '--allow-standby', 'standby1');
refused_untouched('a mark with another name', qr/was not confirmed/, 'clone', 'mark', $dsn, '--yes', 'shop', '--allow-standby', 'standby*');
refused_untouched('a mark on a server with a standby', qr/rule "standbys".*replicated from by standby1.*--allow-standby standby1/s, 'clone', 'mark', $dsn, '--yes', 'postgres');
ask("COMMENT ON DATABASE postgres IS 'pgrehearse clone'");
refused_untouched('a comment that is not bound to the server', qr/rule "mark".*not of which server.*pgrehearse clone mark/s);

ask("COMMENT ON DATABASE postgres IS 'the shop''s'");
($code, $text) = run('clone', 'mark', $dsn, '--yes', 'postgres', '--allow-standby', 'standby1');
is($code, 0, 'a mark is written when the name is confirmed') or diag $text;
like(ask("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"), qr/^the shop's\npgrehearse clone \{.*"started":"20.*Z".*"directory":"\//s, '... into the comment, which keeps what it said');

refused_untouched('marked, a server with a standby', qr/rule "standbys".*standby1/);
ask("SELECT pg_create_physical_replication_slot('away')");
refused_untouched('... and a slot of one that is away', qr/rule "standbys".*keeps WAL for the slot away/, 'load', 'shop', '--duration', '1s', '--out', "$home/record", '--target', $dsn, '--allow-standby', 'standby1');
ask("SELECT pg_drop_replication_slot('away')");

{
	open my $client, '|-', 'psql', '-XqAt', '-o', '/dev/null', "$dsn application_name=billing" or die;
	$client->autoflush;
	print $client "SELECT 1;\n";
	for (1 .. 1200) { last if ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'billing'") eq '1'; select undef, undef, undef, 0.05; }
	my @standby = ('--allow-standby', 'standby1');
	refused_untouched('a server with a session of others', qr/rule "clients".*1 session of others uses the target: billing \(postgres\@local, database postgres.*--allow-client 'billing'/s,
		'load', 'shop', '--duration', '1s', '--out', "$home/record", '--target', $dsn, @standby);
	for my $pattern ('bill*', 'postgres@local') {
		($code, $text) = run('clone', 'show', $dsn, @standby, '--allow-client', $pattern);
		is($code, 0, "... unless $pattern is allowed") or diag $text;
	}
	like($text, qr/clients +ok +1 session of others, allowed/, '... which show tells');
	($code, $text) = run('clone', 'show', $dsn);
	is($code, 4, 'show goes on after a refusal') or diag $text;
	like($text, qr/mark +ok +marked by postgres.*standbys +refused.*clients +refused/s, '... to the last rule');
	close $client;
}

{
	open my $client, '|-', 'psql', '-XqAt', '-o', '/dev/null', "host=$socket user=postgres dbname=postgres application_name='pgrehearse load v1 pod 0'" or die;
	$client->autoflush;
	print $client "SELECT 1;\n";
	for (1 .. 1200) { last if ask("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgrehearse load%'") eq '1'; select undef, undef, undef, 0.05; }
	refused_untouched('a server with another rehearsal', qr/rule "clients".*pgrehearse load v1 pod 0/, 'load', 'shop', '--duration', '1s', '--out', "$home/record", '--target', $dsn, '--allow-standby', 'standby1');
	close $client;
}
refused_untouched('two hosts that are both this machine', qr/rule "host".*names 2 hosts/, 'load', 'shop', '--duration', '1s', '--out', "$home/record", '--target', "host=$socket,$socket port=5432,5433 user=postgres dbname=postgres");

my $system = ask('SELECT system_identifier FROM pg_control_system()');
mkdir "$home/$_" for '.config', '.config/pgrehearse';
for my $case (['PGREHEARSE_DENY', "host=$socket"], ['PGREHEARSE_DENY', 'database=post*'], ['deny', "system=$system"], ['deny', 'prod']) {
	my ($source, $rule) = @$case;
	local $ENV{HOME} = $home;
	local $ENV{PGREHEARSE_DENY} = $source eq 'deny' ? '' : $rule;
	open my $list, '>', "$home/.config/pgrehearse/deny" or die $!;
	print $list "# never\n$rule\n" if $source eq 'deny';
	close $list;
	if ($rule eq 'prod') {
		($code, $text) = load_at($dsn);
		is($code, 2, 'marked, and stopped by a deny list that cannot be read') or diag $text;
	} else {
		refused_untouched("marked, what the deny list's $rule matches", qr/$source: .*\Q$rule\E/);
	}
}

# ---- its standbys, which reads may go to ----

{
	my ($code, $said) = theirs('up', 'other', '--standbys', '1');
	is($code, 0, 'there is another server with a standby') or diag $said;
	my ($elsewhere) = $said =~ /host=(\S+)/;
	my ($bin, $data) = ((glob '/usr/lib/postgresql/*/bin')[-1], "$home/behind");
	my $as_they = $> == 0 ? 'setpriv --reuid=postgres --regid=postgres --clear-groups' : '';
	mkdir $data, 0700;
	chown((getpwnam 'postgres')[2, 3], $data) if $> == 0;
	is(system("cd /; $as_they pg_basebackup -D '$data' -d '$dsn' -c fast -X stream >'$home/backup.log' 2>&1"), 0, 'and a copy of the first') or diag content("$home/backup.log");
	open my $conf, '>>', "$data/postgresql.auto.conf" or die;
	print $conf "port = 5434\n";
	close $conf;
	is(system("cd /; $as_they $bin/pg_ctl -D '$data' -w -l '$data/said' start >/dev/null 2>&1"), 0, '... which runs') or diag content("$data/said");
	ask('SELECT pg_switch_wal()') && ask('SELECT pg_create_restore_point($$ahead$$)') for 1, 2;
	my ($copy, $standby) = map { "host=$socket port=$_ user=postgres dbname=postgres" } 5434, 5433;
	is((run('clone', 'mark', $copy, '--yes', 'postgres', '--allow-standby', '*'))[0], 0, '... and is a clone');
	for (1 .. 1200) { last if ask_at($standby, 'SELECT pg_last_wal_replay_lsn()') eq ask('SELECT pg_current_wal_insert_lsn()'); select undef, undef, undef, 0.05; }
	for my $case (
		['on another machine', $dsn, 'host=192.0.2.1 password=hunter2', '', qr/--standby: .*192\.0\.2\.1 is not this machine.*--allow-host 192\.0\.2\.1/s],
		['on the deny list', $dsn, $standby, "host=$socket:5433", qr/is on the deny list: host=\Q$socket\E:5433/],
		['of another server', $dsn, "host=$elsewhere port=5433 user=postgres dbname=postgres", '', qr/--standby: .*does not follow the target: its system identifier is another/],
		['of the server that the target is a copy of', $copy, $standby, '', qr/--standby: .*does not follow the target: it has WAL that the target has not/],
	) {
		my ($what, $target, $at, $denied, $pattern) = @$case;
		local $ENV{PGREHEARSE_DENY} = $denied;
		refused_untouched("a standby $what", $pattern, 'load', 'shop', '--duration', '1s', '--out', "$home/record", '--target', $target, '--allow-standby', '*', '--standby', $at);
	}
	system "cd /; $as_they $bin/pg_ctl -D '$data' -m immediate stop >/dev/null 2>&1";
	theirs('down', 'other');
}

# ---- a pooler before it ----

SKIP: {
	my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } qw(/usr/sbin /usr/bin /usr/local/bin);
	skip 'PgBouncer is not installed', 1 if !$pgbouncer;
	my $folder = "$home/pooler";
	mkdir $folder;
	chown((getpwnam 'postgres')[2, 3], $folder) if $> == 0;
	open my $lua, '>', "$home/calls.lua" or die;
	print $lua 'return { name = "calls", schema = "SELECT 1", statements = { get = "SELECT n FROM calls WHERE id = $1", put = "UPDATE calls SET n = n + 1 WHERE id = $1" },',
		' transactions = { get = { read_only = true, run = function(c) return c:row("get", 7) end }, put = { run = function(c) c:begin() c:exec("put", 1) c:exec("get", 1) c:commit() end },',
		' both = { run = function(c) c:pipeline(function(p) p:exec("get", 2) p:exec("put", 2) end) end } } }';
	close $lua;
	open $lua, '>', "$home/lock.lua" or die;
	print $lua 'local rehearse = require "rehearse" return rehearse.scenario { title = "lock", workload = "calls.lua", ledger = true, load = { rate = 60, pods = 1, pool = 6 },',
		' phases = { warmup = "0s", baseline = "500ms", settle = "200ms" }, steps = { rehearse.sql { name = "lock",',
		' up = { "LOCK TABLE calls IN ACCESS EXCLUSIVE MODE", "SELECT pg_sleep(0.4)" }, irreversible = "nothing" } }, criteria = { "migration.completed", "errors.rate < 0.1%" } }';
	close $lua;
	my $direct = "host=$socket user=postgres dbname=rehearsal";
	ask_at($direct, 'CREATE TABLE calls AS SELECT g AS id, 0 AS n FROM generate_series(1, 10) g');
	for my $mode (qw(session transaction statement)) {
		open my $conf, '>', "$home/pooler.ini" or die;
		print $conf "[databases]\nrehearsal = host=$socket port=5432 user=postgres\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = $folder\n",
			"auth_type = any\npool_mode = $mode\nlogfile = $folder/log\npidfile = $folder/pid\n";
		close $conf;
		my $pooler = fork // die;
		if (!$pooler) {
			open STDERR, '>', '/dev/null';
			exec(($> == 0 ? qw(setpriv --reuid=postgres --regid=postgres --clear-groups) : ()), $pgbouncer, '-q', "$home/pooler.ini") or die;
		}
		my $through = "host=$folder port=6432 user=postgres dbname=rehearsal";
		for (1 .. 1200) { last if ask_at("$through application_name=pgrehearse-test", 'SELECT 1') eq '1'; select undef, undef, undef, 0.05; }
		refused_untouched("a pooler in $mode mode", qr/rule "direct".*a connection pooler stands before the target.*name the server itself/s,
			'load', 'shop', '--duration', '1s', '--out', "$home/record", '--target', $through);
		($code, $text) = run('doctor', '--target', $through);
		is($code, 4, '... and by the doctor') or diag $text;
		like($text, qr/^refused +guard: direct +a connection pooler/m, '... in a line');

		# What goes through it, when the target is named as it should be.
		($code, $text) = theirs_all('run', "$home/lock.lua", '--drill', 'forward', '--target', $direct, '--pooler', $through, '--out', "$home/through-$mode");
		if ($mode eq 'statement') {
			is($code, 2, 'a load cannot go through it either') or diag $text;
			like($text, qr/knows no transaction blocks.*pool_mode = transaction/s, '... and is told why');
		} else {
			ok($code == 0 || $code == 3, 'a load can go through it') or diag $text;
			my $run = decode_json(content("$home/through-$mode/forward/run.json"));
			is_deeply($run->{target}{pooler}, { mode => $mode, prepared => $mode eq 'session' ? JSON::PP::true : JSON::PP::false }, '... whose mode is found out');
			is($run->{totals}{failed}, 0, '... and no statement fails') or diag explain $run->{totals}{errors};
			ok($run->{totals}{ledger}{acknowledged} > 0 && $run->{totals}{ledger}{lost} == 0, '... the ledger holds');
			my @waits = grep { $_->{waiter}{role} eq 'load' && $_->{blamed} && $_->{lock}{relation} eq 'calls' } map { decode_json($_) } split /\n/, content("$home/through-$mode/forward/waits.jsonl");
			ok(@waits > 0 && !(grep { $_->{length_ns} > 1.5e9 } @waits), '... lock waits are seen and blamed');
		}
		($code, $text) = theirs_all('load', "$home/calls.lua", '--duration', '1s', '--target', $dsn, '--pooler', $through, '--out', "$home/record");
		is($code, 4, '... not when it leads to another database') or diag $text;
		kill TERM => $pooler;
		waitpid $pooler, 0;
	}
}

# A base backup and a promoted standby share the system identifier and the comment.
my $promoted = "host=$socket port=5433 user=postgres dbname=postgres";
is(ask_at($promoted, 'SELECT pg_promote()'), 't', 'the standby is promoted');
my $said = ask_at($promoted, "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()");
like($said, qr/pgrehearse clone \{/, '... and has the comment');
($code, $text) = load_at($promoted);
is($code, 4, '... but the mark is void there') or diag $text;
like($text, qr/rule "mark".*is not of this server.*(?:data directory|timeline|port|start).* was .*, and is/s, '... which the refusal explains');

# The marked one goes on being one, until it is restarted.
for (1 .. 1200) { last if ask('SELECT count(*) FROM pg_stat_replication') eq '0'; select undef, undef, undef, 0.05; }
ask('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots');
($code, $text) = run('clone', 'show', $dsn);
is($code, 0, 'without standbys the marked server may be rehearsed on') or diag $text;
ask('CREATE SCHEMA pgrehearse');
ask("CREATE TABLE pgrehearse.$_ (x int)") for qw(heartbeat ledger);
($code, $text) = load_at($dsn);
isnt($code, 4, '... and is not refused') or diag $text;
like($text, qr/2 tables in the schema pgrehearse, left by a run that was killed, are gone/, '... what a killed run left there is removed');
is(ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'pgrehearse'"), '0', '... and nothing of ours is left');

remove_tree("$home/record");
{
	my $data = ask('SHOW data_directory');
	my ($bin) = glob '/usr/lib/postgresql/*/bin' or die;
	my @as = $> == 0 ? ('setpriv', '--reuid', (stat $data)[4], '--regid', (stat $data)[5], '--clear-groups') : ();
	chdir '/';
	is(system("@as $bin/pg_ctl -D '$data' -w -m fast restart > /dev/null 2>&1"), 0, 'the server is restarted');
	refused_untouched('a mark of before the restart', qr/rule "mark".*the start of the server was 20.*, and is 20/);
}
($code, $text) = run('clone', 'mark', $dsn, '--yes', 'postgres');
is($code, 0, 'it can be marked anew') or diag $text;
is((run('clone', 'show', $dsn))[0], 0, '... which holds');

# A trace names databases of its own, which the target's connection string need not.
{
	my %at = map { $_ => "host=$socket user=postgres dbname=$_" } qw(precious spare);
	for (sort keys %at) {
		ask("CREATE DATABASE $_");
		ask_at($at{$_}, 'CREATE TABLE t (a int)');
	}
	open my $log, '>', "$home/theirs.log" or die;
	printf $log "2026-01-01 00:00:%02d.000 UTC|postgres|precious|6650a1.1|%d|00000|app|LOG:  duration: 1.000 ms  statement: INSERT INTO t VALUES (%d)\n", $_ * 3, $_, $_ for 0, 1;
	close $log;
	($code, $text) = run('capture', "$home/theirs.log", '--prefix', '%m|%u|%d|%c|%l|%e|%a|', '--out', "$home/theirs.trace");
	is($code, 0, 'a trace of another database') or diag $text;
	my $rows = sub { join ' ', map { ask_at("$at{$_} application_name=pgrehearse-test", 'SELECT count(*) FROM t') } qw(precious spare) };
	my @replay = ('load', '--trace', "$home/theirs.trace", '--pacing', 'asap', '--max-diverged', '0%', '--no-record', '--target');
	my $unmarked = qr/rule "mark".*"precious" is not marked as a clone.*pgrehearse clone mark DSN; sessions of the trace are in the database precious/s;
	for my $named ("host=$socket user=postgres", "host=$socket user=postgres dbname=''", 'postgresql:///?host=' . $socket =~ s{/}{%2F}gr . '&user=postgres') {
		refused_untouched('where the target names no database, one of the trace without the mark', $unmarked, @replay, $named);
	}
	is((run('clone', 'mark', $at{spare}, '--yes', 'spare'))[0], 0, 'another database, marked');
	{
		local @ENV{qw(PGHOST PGUSER)} = ($socket, 'postgres');
		($code, $text) = run(@replay, 'spare');
		is($code, 0, 'a target may be the bare name of a database') or diag $text;
		is($rows->(), '0 2', '... and that is where the replay goes');
	}
	open my $lua, '>', "$home/traced.lua" or die;
	print $lua "return require('rehearse').scenario { title = 'traced', workload = '$home/theirs.trace', phases = { warmup = '0s', baseline = '1s', settle = '1s' },",
		" steps = { require('rehearse').sql { name = 'add', up = 'ALTER TABLE t ADD COLUMN b int', down = 'ALTER TABLE t DROP COLUMN b' } } }";
	close $lua;
	($code, $text) = run('run', "$home/traced.lua", '--target', "host=$socket user=postgres", '--out', "$home/record");
	is($code, 2, 'under a scenario the target has to name its database') or diag $text;
	like($text, qr/names no database.*add dbname=/s, '... which is said');
	is($rows->(), '0 2', '... and nothing went anywhere');
	remove_tree("$home/record");
	is((run('clone', 'mark', $at{precious}, '--yes', 'precious'))[0], 0, 'when the database of the trace is marked');
	($code, $text) = run(@replay, "host=$socket user=postgres");
	is($code, 0, '... its sessions go there') or diag $text;
	is($rows->(), '2 2', '... each statement of them');
}

($code, $text) = run('clone', 'unmark', $dsn);
is($code, 0, 'the mark can be taken away') or diag $text;
is(ask("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"), "the shop's", '... and the comment is what it was');
refused_untouched('what has no mark any more', qr/rule "mark".*its comment is "the shop's"/);

# A managed service: the owner of the database, without a superuser, without pg_monitor.
ask('CREATE ROLE app LOGIN');
ask('CREATE DATABASE shop OWNER app');
my $owned = "host=$socket user=app dbname=shop";
($code, $text) = run('clone', 'mark', $owned, '--yes', 'shop');
is($code, 0, 'the owner of a database may mark it') or diag $text;
unlike(ask("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop'"), qr/"directory"/, '... without what only a superuser is told');
($code, $text) = run('clone', 'show', $owned);
is($code, 0, '... and the mark holds') or diag $text;
ask('ALTER DATABASE shop RENAME TO store');
($code, $text) = run('clone', 'show', "host=$socket user=app dbname=store");
like($text, qr/mark +refused.*the database's name was shop, and is store/, '... until it is renamed');

END {
	local $?;
	theirs('down', '--all');
	remove_tree($home);
}
done_testing;
