#!/usr/bin/perl
# Every kind of step on a real server, there and back; the lock policy with somebody in the way; timeouts; programs that a step runs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse;
use Test::More;


write_file("$home/items.lua", <<'LUA');
return { name = "items",
	schema = [[CREATE TABLE items (id serial NOT NULL, name text); CREATE TABLE spare (LIKE items INCLUDING DEFAULTS); CREATE TABLE told (what text); CREATE ROLE reader;
		GRANT SELECT ON items TO reader; GRANT UPDATE (name) ON items TO reader]],
	generate = { { table = "items", columns = "id, name", rows = 1000, row = function(i) return i, "n" .. i end } },
	finish = { "ALTER TABLE items ADD PRIMARY KEY (id)", "ALTER TABLE spare ADD PRIMARY KEY (id)", "CREATE INDEX items_name_idx ON items (name)", "CREATE INDEX spare_name_idx ON spare (name)",
		"ALTER TABLE items ADD CONSTRAINT items_named CHECK (name <> '')", "CREATE INDEX items_odd ON items (name, id)", "CREATE INDEX spare_odd ON told (what)", "SELECT setval('items_id_seq', 1000)" },
	flags = { new_reads = false },
	statements = { get = "SELECT name FROM items WHERE id = $1" },
	transactions = { get = { args = function(r) return r:int(1, 1000) end, run = function(c, id) c:exec("get", id) end } },
	actors = { lunch = { begin = "SELECT 1 FROM items", hold = "60s", every = "60s" } },
}
LUA

sub scenario
{
	my ($name, $rest) = @_;
	write_file("$home/$name.lua", <<"LUA");
local rehearse = require "rehearse"
return rehearse.scenario { title = "$name", workload = "items", load = { rate = 40, pods = 1, pool = 3 },
	phases = { warmup = "0", baseline = "1s", settle = "200ms" },
	$rest
}
LUA
	return "$home/$name.lua";
}

sub step_of { my ($events, $name, $direction) = @_; my ($e) = grep { $_->{type} eq 'step' && $_->{name} eq $name && $_->{edge} eq 'end' && $_->{direction} eq ($direction // 'up') } @$events; return $e // {}; }
sub opinion { my ($dir, $criterion) = @_; my ($o) = grep { $_->{criterion} eq $criterion } @{record($dir)->{verdict}{criteria}}; return $o // {}; }

# ---- all kinds, there and back ----
my ($code, $text) = run('run', scenario('kinds', <<'LUA'), '--drill', 'rollback', '--out', "$home/kinds");
	steps = {
		rehearse.flag { name = "new reads", flag = "new_reads", from = false, to = true },
		rehearse.wait_until { name = "standby follows", replay_lag = "5s", every = "50ms" },
		rehearse.wait_until { name = "a moment", time = "100ms" },
		rehearse.parallel { name = "both", steps = {
			rehearse.sql { name = "one", up = "ALTER TABLE told ADD one int; SELECT pg_sleep(0.3)", down = "ALTER TABLE told DROP one", criteria = { "duration < 60s", "attempts <= 6" } },
			rehearse.exec { name = "two", up = "psql -Xqc \"INSERT INTO told (what) VALUES ('by hand'); SELECT pg_sleep(0.3)\" >/dev/null && { psql -Xc 'SELECT no_such' 2>&1 >/dev/null | grep -o 'ERROR: .*exist'; echo done $GREETING $PGAPPNAME && psql -XAtc 'SELECT 7' \"$DATABASE_URL\"; }",
				down = { "psql", "-Xqc", "DELETE FROM told" }, env = { GREETING = "hello" } },
		} },
		rehearse.wait_until { name = "told", query = "SELECT count(*) = 1 FROM told", timeout = "20s" },
		rehearse.sql { name = "copy", up = "INSERT INTO spare SELECT * FROM items", down = "DELETE FROM spare",
			check = function(m) return m:row("SELECT count(*) FROM spare") == 1000, "rows are missing" end },
		rehearse.swap_tables { name = "swap", tables = { items = "spare" }, check = "SELECT id FROM spare WHERE name IS NULL", timeout = "30s" },
		rehearse.sql { name = "drop the old", up = "INSERT INTO items (name) VALUES ('x')", down = "DELETE FROM items WHERE name = 'x'",
			check = function(m)
				local owned, reads, writes = m:row("SELECT pg_get_serial_sequence('items', 'id'), has_table_privilege('reader', 'items', 'SELECT'), has_column_privilege('reader', 'items', 'name', 'UPDATE')")
				local names = m:row("SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid IN ('items'::regclass, 'spare'::regclass)")
				local check = m:row("SELECT string_agg(conrelid::regclass || ' ' || conname, ' ') FROM pg_constraint WHERE conrelid IN ('items'::regclass, 'spare'::regclass) AND contype = 'c'")
				return owned == "public.items_id_seq" and reads and writes and names == "items_name_idx items_odd items_pkey spare_name_idx spare_pkey"
					and check == "spare spare_named", table.concat({ tostring(owned), names, check }, ", ")
			end },
	},
LUA
my $dir = "$home/kinds/rollback";
my @events = lines($dir, 'events');
is(record($dir)->{status}, 'finished', 'a scenario of all kinds of steps was performed') or diag $text;
for my $name ('new reads', 'standby follows', 'a moment', 'both', 'one', 'two', 'told', 'copy', 'swap', 'drop the old') {
	ok(step_of(\@events, $name, $_)->{ok}, "$name, $_") or diag(step_of(\@events, $name, $_)->{error} // 'did not end') for qw(up down);
}
is_deeply([map { $_->{flags}{new_reads} ? 1 : 0 } grep { $_->{type} eq 'load' } @events], [1, 0], 'the flag was set, and set back');
my ($exec) = grep { $_->{type} eq 'exec' } @events;
is($exec->{exit_code}, 0, 'the program ended well');
like($exec->{output}, qr/^ERROR:  column "no_such" does not exist\ndone hello exec by pgrehearse \d+\n7\n\z/, 'what it said is recorded; it knew the target by PG* and by its URL');
my ($one, $two) = map { my $name = $_; [map { $_->{t_ns} } grep { $_->{type} eq 'step' && $_->{name} eq $name && $_->{direction} eq 'up' } @events] } qw(one two);
ok($one->[0] < $two->[1] && $two->[0] < $one->[1], 'parallel steps ran side by side');
like($text, qr/Warning:\s+step\s+"two":\s+the\s+command\s+ended\s+with\s+exit\s+code\s+0,\s+but\s+said ERROR:\s+column "no_such"\s+does\s+not\s+exist/, 'an error that it went on after is a warning');
ok((grep { $_->{type} eq 'statement' && $_->{external} && $_->{sql} =~ /by hand/ } @events), "the program's statements are traced");
is(opinion($dir, 'step[one].duration < 60s')->{verdict}, 'PASS', "a step's own criterion is judged") or diag $text;
is(opinion($dir, 'rollback.clean')->{verdict} // 'none', 'PASS', 'that the way back is clean is demanded unasked') or diag $text;
is(record($dir)->{rollback}{verdict}, 'equivalent', '... and the privileges that a swap lent are taken back') or diag explain record($dir)->{rollback};

# ---- who is in the way ----
($code, $text) = run('run', scenario('wait', <<'LUA'), '--drill', 'forward', '--out', "$home/wait");
	actors = { "lunch" },
	steps = {
		rehearse.sql { name = "patient", up = "ALTER TABLE items ADD a int", down = false, lock_timeout = "150ms", retries = 2, backoff = "20ms", drain = "2s",
			long_transactions = { action = "wait", older_than = "300ms", longest = "600ms" } },
	},
LUA
@events = lines("$home/wait/forward", 'events');
my ($found) = grep { $_->{type} eq 'precheck' } @events;
is($found->{transactions}[0]{application_name}, 'pgrehearse actor lunch', 'a long transaction is named before the first try') or diag $text;
like($found->{transactions}[0]{sql}, qr/FROM items/, '... with its statement');
cmp_ok($found->{transactions}[0]{age_ns}, '>', 300e6, '... and its age');
ok(!$found->{gone} && $found->{waited_ns} >= 600e6, '... after it was waited for');
is_deeply([map { $_->{attempt} } grep { $_->{type} eq 'retry' } @events], [1, 2], 'then each try is recorded');
is_deeply([map { $_->{sqlstate} } grep { $_->{type} eq 'retry' } @events], ['55P03', '55P03'], '... with how it ended');
is_deeply([map { $_->{attempt} } grep { $_->{type} eq 'statement' } @events], [1, 2, 3], '... three in all');
like(step_of(\@events, 'patient')->{error}, qr/55P03/, 'and the step fails with the last');
my ($page) = map { content($_) } glob "$home/wait/*.html";
like($page // '', qr/who was in the way.*pgrehearse actor lunch.*55P03 in ALTER TABLE items/s, 'the report tells both');

($code, $text) = run('run', scenario('fail', <<'LUA'), '--drill', 'forward', '--out', "$home/fail");
	actors = { "lunch" },
	steps = {
		rehearse.sql { name = "strict", up = "ALTER TABLE items ADD a int", down = false, long_transactions = { action = "fail", older_than = "300ms", longest = "100ms" } },
	},
LUA
@events = lines("$home/fail/forward", 'events');
like(step_of(\@events, 'strict')->{error}, qr/open for longer than 0\.3 s: pid \d+ \(pgrehearse actor lunch, .*FROM items/, 'a policy may fail with who is in the way') or diag $text;
is(scalar(grep { $_->{type} eq 'statement' } @events), 0, '... without a try');
is($code, 1, '... which is a FAIL');

# An autovacuum that takes its time, and the last for a while, gives way after a second; meanwhile nobody waits behind the migration, unless its policy has it so.
# Beside it one on a materialized view whose name the statement seems to have in it: nobody may lock that, and nobody has to.
write_file("$home/vacuums.conf", "autovacuum_naptime = 1s\n");
my $SLOW_VACUUM = <<'LUA';
	criteria = { "lock_wait.max < 500ms" },
	steps = {
		rehearse.sql { name = "dead rows", down = false, up = { "ALTER TABLE items SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0)",
			"CREATE MATERIALIZED VIEW item WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_insert_threshold = 0, autovacuum_vacuum_insert_scale_factor = 0) AS SELECT * FROM items, generate_series(1, 10) AS more",
			"UPDATE items SET name = name || 'x'" } },
		rehearse.wait_until { name = "vacuums", every = "50ms", timeout = "60s", query = "SELECT count(*) = 2 FROM pg_stat_progress_vacuum WHERE relid IN ('items'::regclass, 'item'::regclass)" },
		rehearse.sql { name = "no other", down = false, transaction = false, up = { "ALTER SYSTEM SET autovacuum_naptime = '1h'", "SELECT pg_reload_conf()" } },
		rehearse.sql { name = "promise", down = false, PROMISE up = "ALTER TABLE items ADD CONSTRAINT items_short CHECK (length(name) < 100) NOT VALID" },
LUA
# In a transaction or not.
sub promising { my ($name, $policy) = @_; (my $steps = "$SLOW_VACUUM },") =~ s/PROMISE/$policy/; return scenario($name, $steps); }
my @vacuum = ('--drill', 'forward', '--standbys', '0', '--no-availability', '--pg-config', "$home/vacuums.conf");
my $asks = 'LOCK TABLE ONLY public\.items IN SHARE UPDATE EXCLUSIVE MODE';
for my $case (['vacuum', '', qr/^$asks$/], ['outside', 'transaction = false,', qr/^DO \$lock\$BEGIN $asks; END\$lock\$$/]) {
	my ($name, $policy, $sql) = @$case;
	($code, $text) = run('run', promising($name, $policy), @vacuum, '--out', "$home/$name");
	is($code, 0, "$name: an autovacuum is made to give way") or diag $text;
	@events = lines("$home/$name/forward", 'events');
	my @asked = grep { $_->{type} eq 'precheck' } @events;
	is(scalar @asked, 1, '... and no other');
	$found = $asked[0];
	is($found->{action}, 'interrupt', '... which is told');
	like($found->{transactions}[0]{sql}, qr/autovacuum: VACUUM.*items/, '... with what it did');
	cmp_ok($found->{waited_ns}, '>', 900e6, '... after deadlock_timeout');
	my ($lock) = grep { $_->{type} eq 'statement' && $_->{sql} =~ $sql } @events;
	is($lock->{step}, 'promise', '... by a lock that nobody else waits for');
}
($code, $text) = run('run', promising('ignoring', 'autovacuum = "ignore",'), @vacuum, '--out', "$home/ignoring");
is(opinion("$home/ignoring/forward", 'lock_wait.max < 500ms')->{verdict}, 'FAIL', 'otherwise the application waits behind the migration') or diag $text;

# ---- time that is up ----
for my $case (
	['statement', 'rehearse.sql { name = "slow", up = "SELECT pg_sleep(60)", down = false, timeout = "500ms" }'],
	['function', 'rehearse.step { name = "slow", up = function(m) m.host.sleep(0.6) m:exec("SELECT 1") end, down = false, timeout = "500ms" }'],
	['program', 'rehearse.exec { name = "slow", up = [[psql -Xqc "BEGIN; LOCK TABLE items; SELECT pg_sleep(61.5)" & sleep 61.5]], down = false, timeout = "500ms" }'],
	['neighbour', 'rehearse.parallel { name = "neighbours", steps = {
		rehearse.exec { name = "slow", up = [[psql -Xqc "SELECT pg_sleep(61.5)"]], down = false, timeout = "500ms" },
		rehearse.exec { name = "steady", up = [[psql -XAtc "SELECT 6 * 7 FROM pg_sleep(3)"]], down = false } } }'],
	['wait', 'rehearse.parallel { name = "side by side", timeout = "500ms", steps = { rehearse.wait_until { name = "slow", query = "SELECT false" }, rehearse.exec { name = "bad", up = "echo oh; exit 3", down = false } } }'],
	) {
	my ($name, $step) = @$case;
	($code, $text) = run('run', scenario("late_$name", "steps = { $step }, "), '--drill', 'forward', '--out', "$home/late_$name");
	@events = lines("$home/late_$name/forward", 'events');
	is($code, 1, "a $name that takes too long is a FAIL") or diag $text;
	like(step_of(\@events, 'slow')->{error}, qr/took longer than its timeout of 0\.5 s/, '... and says so');
	cmp_ok(step_of(\@events, 'slow')->{duration_ns}, '<', 30e9, '... when it is up');
	like((grep { $_->{type} eq 'exec' && $_->{step} eq 'steady' } @events)[0]{output}, qr/^42$/m, '... and ends no session of another program') if $name eq 'neighbour';
}
like(step_of(\@events, 'bad')->{error}, qr/exit code 3: oh/, 'a program that fails is quoted');
like(step_of(\@events, 'side by side')->{error}, qr/step "slow": .*; step "bad": /, 'parallel steps fail with all that failed');
is(record("$home/late_program/forward")->{totals}{unfinished}, 0, 'what a program that was stopped had locked is free again');
is(scalar(grep { /sleep\x{0}61\.5/ } map { -r "$_/cmdline" ? do { open my $in, '<', "$_/cmdline"; local $/; <$in> // '' } : '' } glob '/proc/[0-9]*'), 0, 'no program is left behind');

# ---- the drill versions where flags and a deploy stand behind the last change of the schema ----
for my $case (['SELECT name FROM items WHERE id = $1', 0], ['SELECT no_such FROM items WHERE id = $1', 1]) {
	my ($select, $expected) = @$case;
	($code, $text) = run('run', scenario('flagged', qq{versions = { v2 = { get = function(c, id) c:exec(c.flags.new_reads and "get_new" or "get", id) end, statements = { get_new = "$select" } } },
		steps = { rehearse.sql { name = "widen", up = "ALTER TABLE items ADD note text", down = "ALTER TABLE items DROP note" },
			rehearse.deploy { name = "roll out", from = "v1", to = "v2" }, rehearse.flag { name = "read anew", flag = "new_reads", from = false, to = true } },}),
		'--drill', 'versions', '--standbys', '0', '--out', "$home/flagged$expected");
	is($code, $expected, "a version that $select with a flag on") or diag $text;
	my @findings = map { $_->{ok} ? () : $_->{what} } grep { $_->{type} eq 'finding' } lines("$home/flagged$expected/versions", 'events');
	is_deeply(\@findings, $expected ? ['v2 works with the schema after "read anew"'] : [], '... is judged with the flag on');
}

# ---- what is refused before anything starts ----
my $refused = 0;
for my $case (
	['rehearse.sql { name = "s", up = "SELECT 1", irreversible = true }', qr/step "s": irreversible = true needs a reason/],
	['rehearse.flag { name = "f", flag = "old_reads", from = false, to = true }', qr/step "f".*old_reads/s],
	['rehearse.flag { name = "f", flag = "new_reads", from = true, to = false }', qr/step "f".*from = true, but the flag new_reads is false when it begins/s],
	['rehearse.flag { name = "f", flag = "new_reads", from = false, to = true }, rehearse.flag { name = "g", flag = "new_reads", from = false, to = true }',
		qr/step "g".*from = false, but the flag new_reads is true when it begins/s],
	['rehearse.parallel { name = "p", steps = { rehearse.flag { name = "f", flag = "no", from = false, to = true }, rehearse.wait_until { name = "w", time = "1s" } } }', qr/step "f"/],
	['rehearse.wait_until { name = "w", query = "SELECT true", time = "1s" }', qr/bad\.lua:4.*step "w": one of query, replay_lag and time/s],
	['rehearse.swap_tables { name = "s", tables = { a = "b", b = "c" } }', qr/bad\.lua:4.*step "s".*"b" stands in it twice/s],
	['rehearse.swap_tables { name = "s", tables = { items = "itemz" } }', qr/step "s": there is no table itemz, and no step before makes one/],
	['rehearse.reconcile { name = "r", table = "itemz", key = "id", old = "s.a", new = "s.b" }', qr/step "r": there is no table itemz/],
	['rehearse.deploy { name = "there", from = "v1", to = "v2" }, rehearse.deploy { name = "and back", from = "v2", to = "v1" } }, versions = { v2 = {}', qr/step "and back": to = "v1", which was replaced before: the deploys go in a circle/],
	['rehearse.sql { name = "s", up = "SELECT 1", down = false, criteria = { "lock_wait[itemz].max < 1s" } }', qr/criterion "lock_wait\[itemz\].max < 1s": there is no table itemz, and no step makes one/],
	['rehearse.sql { name = "s", up = "SELECT 1", down = false, criteria = { "step[t].duration < 1s" } }', qr/criterion "step\[s\].*no step|no step has the name "t"/],
	['rehearse.sql { name = "s", up = "SELECT 1", down = false, criteria = { "latency[get].max during migratoin < 1s" } }', qr/there is no phase migratoin; there are warmup, baseline/],
	['rehearse.sql { name = "s", up = "SELECT 1", down = false, lock_timeout = "1000h" }', qr/from 1ms to 24 days/],
	['rehearse.sql { name = "s", up = "SELECT 1", down = false, criteria = { "lock_wait.max < 1s" } }', qr/step "s".*"lock_wait.max < 1s" is about the whole run/],
	['rehearse.sql { name = "s", up = "SELECT 1", down = false, long_transactions = "kill" }', qr/step "s".*"kill".*"wait", "fail" or "ignore"/],
	) {
	my ($step, $message) = @$case;
	($code, $text) = run('run', scenario('bad', "steps = { $step }, "), '--drill', 'forward', '--out', "$home/bad" . ++$refused);
	is($code, 2, "refused: $step");
	like($text, $message, '... with what is wrong');
	unlike($text, qr/stack traceback/, '... and no word on where our own code noticed it');
}

# ---- a server that goes away by itself ----
# One of its processes dies, so it ends all sessions and starts anew. Why would be gone with it.
($code, $text) = run('run', scenario('fallen', <<'LUA'), '--drill', 'forward', '--standbys', '0', '--out', "$home/fallen");
	steps = { rehearse.exec { name = "kill", up = [[psql -XAtqc "SELECT pg_sleep(30), 'a secret'" & kill -9 $(psql -XAtc "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"); wait $!]], down = false } },
LUA
my $said = -e "$home/fallen/forward/server-primary.log" ? content("$home/fallen/forward/server-primary.log") : '';
like($said, qr/LOG:  WAL writer process \(PID \d+\) was terminated by signal 9/, 'the record keeps what the server said of its own processes') or diag $text;
unlike($said, qr/secret|STATEMENT|DETAIL/, '... and nothing of its sessions');
(my $unwrapped = $text) =~ s/\s+/ /g;
like($unwrapped, qr/the server primary did not run through: "LOG: WAL writer process \(PID \d+\) was terminated by signal 9: Killed"/, '... and tells where it is') or diag $text;
ok(nothing_is_left(), 'nothing is left behind');
done_testing;
