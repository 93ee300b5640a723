#!/usr/bin/perl
# pgrehearse new: what it writes can be read, is found good, and can be rehearsed; migrations of other tools are read as steps.
use strict;
use warnings;
use File::Path qw(make_path);
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Rehearse;
use Test::More;

chdir $home or die;

sub file { my ($path, $text) = @_; my ($dir) = $path =~ m{^(.*)/}; make_path($dir) if $dir; open my $out, '>', $path or die "$path: $!"; print $out $text; close $out; }
sub text { my ($path) = @_; open my $in, '<', $path or return ''; local $/; return scalar <$in>; }

# The statements of a scenario: step, direction, SQL.
sub statements_of {
	my ($path) = @_;
	my ($code, $said) = run('check', '--json', $path);
	my $result = eval { decode_json($said)->[0] };
	diag $said if !$result;
	return map { [$_->{step}, $_->{direction}, $_->{sql}] } @{ $result->{statements} // [] };
}

my ($code, $said) = run('new', 'first_try');
is($code, 0, 'a scenario to start from is written') or diag $said;
($code, $said) = run('check', 'first_try.lua');
is($code, 0, '... and found good') or diag $said;
unlike($said, qr/error:|warning:/, '... without a warning');
($code, $said) = run('new', 'first_try');
is($code, 2, 'a file that is there is not replaced');
like($said, qr/first_try\.lua is there already/, '... and that is said');

file('up.sql', <<'END');
-- what was written years ago
BEGIN;
ALTER TABLE users ADD COLUMN nickname text;
COMMENT ON COLUMN users.nickname IS 'it''s ]] what friends say; really';
COMMIT;
CREATE INDEX CONCURRENTLY users_nickname ON users (nickname);
END
file('down.sql', "DROP INDEX CONCURRENTLY users_nickname;\nCOMMENT ON COLUMN users.nickname IS NULL;\nALTER TABLE users DROP COLUMN nickname;\n");
($code, $said) = run('new', 'nickname', '--from-sql', 'up.sql', '--down', 'down.sql');
is($code, 0, 'a plain migration becomes a scenario') or diag $said;
is_deeply([statements_of('nickname.lua')], [
	['nickname, part 1', 'up', 'ALTER TABLE users ADD COLUMN nickname text'],
	['nickname, part 1', 'up', "COMMENT ON COLUMN users.nickname IS 'it''s ]] what friends say; really'"],
	['nickname, part 2', 'up', 'CREATE INDEX CONCURRENTLY users_nickname ON users (nickname)'],
	['nickname, part 2', 'down', 'DROP INDEX CONCURRENTLY users_nickname'],
	['nickname, part 1', 'down', 'COMMENT ON COLUMN users.nickname IS NULL'],
	['nickname, part 1', 'down', 'ALTER TABLE users DROP COLUMN nickname'],
], '... in steps of a transaction each, each with its part of the way back');
($code, $said) = run('check', 'nickname.lua');
is($code, 0, '... and found good') or diag $said;
($code, $said) = run('new', '--from-sql', 'up.sql');
is($code, 0, 'without a way back too') or diag $said;
like(text('up.lua'), qr/irreversible = "no way back was written"/, '... which it then says');
file('odd_down.sql', "ALTER TABLE users DROP COLUMN nickname;\n");
($code, $said) = run('new', 'odd', '--from-sql', 'up.sql', '--down', 'odd_down.sql');
is_deeply([map { $_->[0] } grep { $_->[1] eq 'down' } statements_of('odd.lua')], ['odd, the way back'], 'a way back that cannot be told apart comes last of all');
($code, $said) = run('check', 'odd.lua');
unlike($said, qr/nothing-undone/, '... and nobody says that there is none');

# The same two migrations, as each tool keeps them.
my $one_up = "ALTER TABLE users ADD COLUMN nickname text;\n";
my $one_down = "ALTER TABLE users DROP COLUMN nickname;\n";
my $two_up = "CREATE INDEX CONCURRENTLY users_nickname ON users (nickname);\n";
my $two_down = "DROP INDEX CONCURRENTLY users_nickname;\n";
file('flyway/V1__nickname.sql', $one_up);
file('flyway/U1__nickname.sql', $one_down);
file('flyway/V10__search_it.sql', $two_up);
file('flyway/V10__search_it.sql.conf', "executeInTransaction=false\n");
file('flyway/U10__search_it.sql', $two_down);
file('golang-migrate/1_nickname.up.sql', $one_up);
file('golang-migrate/1_nickname.down.sql', $one_down);
file('golang-migrate/10_search_it.up.sql', $two_up);
file('golang-migrate/10_search_it.down.sql', $two_down);
file('goose/00001_nickname.sql', "-- +goose Up\n-- +goose StatementBegin\n$one_up-- +goose StatementEnd\n\n-- +goose Down\n$one_down");
file('goose/00010_search_it.sql', "-- +goose NO TRANSACTION\n-- +goose Up\n$two_up\n-- +goose Down\n$two_down");
file('dbmate/1_nickname.sql', "-- migrate:up\n$one_up\n-- migrate:down\n$one_down");
file('dbmate/10_search_it.sql', "-- migrate:up transaction:false\n$two_up\n-- migrate:down transaction:false\n$two_down");
file('node-pg-migrate/1_nickname.sql', "-- Up Migration\n$one_up\n-- Down Migration\n$one_down");
file('node-pg-migrate/10_search-it.sql', "-- Up Migration\n$two_up\n-- Down Migration\n$two_down");
file('sqitch/sqitch.plan', "%syntax-version=1.0.0\n%project=shop\n\nnickname 2026-01-01T10:00:00Z Ada <ada\@example.com> # a name\n\@v1 2026-01-02T10:00:00Z Ada <ada\@example.com> # a tag\n"
	. "search_it [nickname] 2026-01-03T10:00:00Z Ada <ada\@example.com> # an index\n");
file("sqitch/deploy/nickname.sql", "-- Deploy shop:nickname to pg\n\nBEGIN;\n$one_up\nCOMMIT;\n");
file("sqitch/revert/nickname.sql", "-- Revert shop:nickname from pg\n\nBEGIN;\n$one_down\nCOMMIT;\n");
file("sqitch/verify/nickname.sql", "-- Verify\n\nBEGIN;\nSELECT nickname FROM users WHERE false;\nROLLBACK;\n");
file("sqitch/deploy/search_it.sql", "-- Deploy\n\n$two_up");
file("sqitch/revert/search_it.sql", "-- Revert\n\n$two_down");

for my $layout (qw(flyway golang-migrate goose dbmate node-pg-migrate sqitch)) {
	($code, $said) = run('new', "of_$layout", '--from-dir', $layout);
	is($code, 0, "a folder of $layout becomes a scenario") or diag $said;
	like(text("of_$layout.lua"), qr/layout = "$layout"/, '... its layout is recognised');
	my @sql = grep { $_->[2] !~ /^SELECT/ } statements_of("of_$layout.lua");
	is_deeply([map { "$_->[1] $_->[2]" } @sql], ['up ALTER TABLE users ADD COLUMN nickname text', 'up CREATE INDEX CONCURRENTLY users_nickname ON users (nickname)',
		'down DROP INDEX CONCURRENTLY users_nickname', 'down ALTER TABLE users DROP COLUMN nickname'], '... with its migrations in order, 10 after 1, and back');
	($code, $said) = run('check', "of_$layout.lua");
	is($code, 0, '... and found good') or diag $said;
}
is(scalar(grep { $_->[0] =~ /nickname, verified$/ } statements_of('of_sqitch.lua')), 1, "sqitch's verify is a step");

file('goose/00020_naive.sql', "-- +goose Up\n\nCREATE INDEX ON orders (placed_at);\n-- +goose Down\nSELECT 1;\n");
($code, $said) = run('check', 'of_goose.lua');
is($code, 1, 'a migration that comes later is in the scenario too');
like($said, qr{goose/00020_naive\.sql:3: error: index-not-concurrent}, '... and what is wrong with it is told with its own file and line');
unlink 'goose/00020_naive.sql';

# As they are found: placeholders, programs beside them, psql's own commands, the same text more than once, a change that was reworked.
file('golang-migrate/20_nothing.up.sql', "-- done by the application\n");
file('golang-migrate/20_nothing.down.sql', "-- likewise\n");
file('golang-migrate/30_age.up.sql', "\\set ON_ERROR_STOP on\nALTER TABLE users\n\tADD COLUMN age int;\nALTER TABLE users\n\tADD COLUMN born date NOT NULL;\n");
file('golang-migrate/30_age.down.sql', "ALTER TABLE users\n\tDROP COLUMN born;\nALTER TABLE users\n\tALTER COLUMN age TYPE bigint;\n");
($code, $said) = run('check', 'of_golang-migrate.lua');
like($said, qr{golang-migrate/30_age\.up\.sql:4: error: required-column}, 'a migration without statements is passed over, a first line that is not the only one of its kind is told apart');
like($said, qr{golang-migrate/30_age\.down\.sql:3: warning: table-rewrite}, '... and what is found in the way back is told with its own file');
file('golang-migrate/30_age.up.sql', "SELECT 1;\n\\copy users FROM 'users.csv'\n");
($code, $said) = run('new', 'psql', '--from-dir', 'golang-migrate');
is($code, 2, 'what only psql can do is refused');
is($said, "pgrehearse: golang-migrate/30_age.up.sql: it holds the psql command \\copy; only SQL is understood\n", '... with its file, and without more');
unlink glob 'golang-migrate/[23]0_*';
file('body.sql', "CREATE TABLE a (id int);\nCREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'REFRESH MATERIALIZED VIEW CONCURRENTLY v';\nALTER TABLE p DETACH PARTITION p1 CONCURRENTLY;\nCREATE TABLE b (id int);\n");
run('new', '--from-sql', 'body.sql');
is_deeply([map { $_->[0] } statements_of('body.lua')], ['body, part 1', 'body, part 1', 'body, part 2', 'body, part 3'], 'a function whose body says CONCURRENTLY is made in the transaction');
file('probe.sql', "BEGIN;\nINSERT INTO users (email) VALUES ('probe');\nSELECT 1;\nROLLBACK;\nALTER TABLE users ADD COLUMN age int;\n");
file('probe_down.sql', "ALTER TABLE users DROP COLUMN age;\n");
run('new', '--from-sql', 'probe.sql', '--down', 'probe_down.sql');
like(text('probe.lua'), qr/"probe, part 1", rollback = true, part = true,\n.*?down = false \},.*"probe, part 2",\n.*?down = "ALTER TABLE users DROP COLUMN age" \}/s, 'what a file rolls back is rolled back, and has no way back');
($code, $said) = run('check', 'probe.lua');
unlike($said, qr/nothing-undone/, '... nor needs one');
file('no_begin.sql', "ALTER TABLE users ADD COLUMN age int;\nROLLBACK;\n");
($code, $said) = run('new', '--from-sql', 'no_begin.sql');
is($code, 2, "what would end the tool's own transaction is refused");
like($said, qr/ROLLBACK without a BEGIN/, '... by name');
for my $case (['i ON shop.users (age)', 'shop.i'], ['IF NOT EXISTS "an index" ON ONLY "a shop" . users (age)', '"a shop"."an index"'], ["caf\xC3\xA9\$1 ON users (age)", "caf\xC3\xA9\$1"]) {
	my ($sql, $name) = @$case;
	file('index.sql', "CREATE UNIQUE INDEX CONCURRENTLY $sql;\n");
	run('new', '--from-sql', 'index.sql');
	my ($cleanup) = text('index.lua') =~ /on_retry = \[?\[?"?(.*?)(?:\]\]|",)/;
	is($cleanup, "DROP INDEX CONCURRENTLY IF EXISTS $name", "what a failed build leaves is dropped by its name ($sql)");
	unlink 'index.lua';
}
file('windows.sql', "\xEF\xBB\xBFALTER TABLE users\r\n\tADD COLUMN age int;\r\n");
run('new', '--from-sql', 'windows.sql');
is_deeply([map { $_->[2] } statements_of('windows.lua')], ['ALTER TABLE users ADD COLUMN age int'], 'the mark before UTF-8 is no part of a statement');
file('utf16.sql', "\xFF\xFES\0E\0L\0E\0C\0T\0 \x001\0");
($code, $said) = run('new', '--from-sql', 'utf16.sql');
is("$code $said", "2 pgrehearse: it is not in UTF-8\n", 'nor is UTF-16 taken for SQL');
file('goose/00003_in_go.go', "package migrations\n");
($code, $said) = run('new', 'with_go', '--from-dir', 'goose');
like(text('with_go.lua'), qr/Left out, because it is a program: 00003_in_go\.go\./, 'migrations that are programs are named');
unlink 'goose/00003_in_go.go';
file('sqitch/sqitch.plan', text('sqitch/sqitch.plan') . "\@v2 2026-01-04T10:00:00Z Ada <ada\@example.com> # a tag\nnickname [nickname\@v2] 2026-01-05T10:00:00Z Ada <ada\@example.com> # longer\n");
rename "sqitch/$_/nickname.sql", "sqitch/$_/nickname\@v2.sql" for qw(deploy revert verify);
file('sqitch/deploy/nickname.sql', "BEGIN;\nCOMMENT ON COLUMN users.nickname IS 'short';\nCOMMIT;\n");
file('sqitch/revert/nickname.sql', "BEGIN;\nCOMMENT ON COLUMN users.nickname IS NULL;\nCOMMIT;\n");
is_deeply([map { $_->[2] } grep { $_->[1] eq 'up' && $_->[2] !~ /^SELECT/ } statements_of('of_sqitch.lua')],
	['ALTER TABLE users ADD COLUMN nickname text', 'CREATE INDEX CONCURRENTLY users_nickname ON users (nickname)', "COMMENT ON COLUMN users.nickname IS 'short'"], 'a change that was reworked is read as it was, and as it is');


# What each tool reads in its own way.
sub steps_of {
	my ($layout, $text) = @_;
	file('own/1_try.sql', $text);
	unlink 'own.lua';
	($code, $said) = run('new', 'own', '--from-dir', 'own', '--layout', $layout);
	return "$code $said" if $code;
	file('own.lua', "local rehearse = require 'rehearse'\nfor _, step in ipairs(rehearse.directory { path = 'own', layout = '$layout' }) do\n"
		. "\tprint(step.up and table.concat(step.up, '; ') or '-', step.down and table.concat(step.down, '; ') or '-', step.transaction)\nend\n" . 'error("told")');
	($code, $said) = run('check', 'own.lua');
	return $said =~ s/\n[^\n]*told.*//sr =~ s/\t/ | /gr;
}
is(steps_of('node-pg-migrate', "SELECT 1;\n"), 'SELECT 1 | - | true', 'node-pg-migrate: a file without marks is the way there');
is(steps_of('node-pg-migrate', "--- UP  migration\nSELECT 1;\n  -- -- down migration to be sure\nSELECT 2;\n"), 'SELECT 1 | SELECT 2 | true', '... and its marks are written in more ways than one');
is(steps_of('node-pg-migrate', "-- Down Migration\nSELECT 2;\n-- Up Migration\nSELECT 1;\n"), 'SELECT 1 | SELECT 2 | true', '... in any order');
is(steps_of('node-pg-migrate', "-- No transaction\n-- Up Migration\nSELECT 1;\nSELECT 3;\n"), 'SELECT 1; SELECT 3 | - | false', '... one that says so is in no transaction');
is(steps_of('dbmate', "-- migrate:up\nSELECT 1;\nSELECT 3;\n-- migrate:down transaction:false\nSELECT 2;\nSELECT 4;\n"), "- | SELECT 2; SELECT 4 | false\nSELECT 1; SELECT 3 | - | true", 'dbmate: each way has its own options');
is(steps_of('dbmate', "-- migrate:up transaction:false\nSELECT 1;\nSELECT 3;\n-- migrate:down\nSELECT 2;\nSELECT 4;\n"), "- | SELECT 2; SELECT 4 | true\nSELECT 1; SELECT 3 | - | false", '... both ways round');
is(steps_of('dbmate', "SELECT 1;\n"), "2 pgrehearse: own/1_try.sql: it has no -- migrate:up, without which dbmate refuses it\n", '... a file without a mark is refused by name');
is(steps_of('dbmate', "CREATE TABLE x ();\n-- migrate:up\nSELECT 1;\n"), "2 pgrehearse: own/1_try.sql: it has SQL before -- migrate:up, and dbmate refuses it\n", '... and so is SQL before the first');
is(steps_of('goose', "-- +goose Up\nSELECT '\${HOME}';\n-- +goose Down\nSELECT \$\$2\$\$;\n"), "SELECT '\${HOME}' | SELECT \$\$2\$\$ | true", 'goose: a dollar is nothing special');
is(steps_of('goose', "-- +goose Up\n-- +goose ENVSUB ON\nSELECT 3;\nSELECT '\${HOME}';\n"), "2 pgrehearse: own/1_try.sql, line 4: goose puts something of its environment here (ENVSUB ON); only SQL that is written out is understood\n",
	'... but where goose would replace something it is refused by file and line');
is(steps_of('goose', "-- +goose Down\nSELECT 1;\n"), "2 pgrehearse: own/1_try.sql: its -- +goose Down stands before -- +goose Up, and goose refuses it\n", '... and so is a file that goose refuses');
is(steps_of('goose', "SELECT 1;\n"), "2 pgrehearse: own/1_try.sql: it has no -- +goose Up, without which goose refuses it\n", '... whyever it does');

($code, $said) = run('new', 'later', '--from-dir', 'goose', '--after', '1');
is_deeply([map { $_->[0] } grep { $_->[1] eq 'up' } statements_of('later.lua')], ['00010 search it'], 'migrations that the database has already are left out');
file('goose/00030_type.sql', "-- +goose Up\nALTER TABLE users ALTER COLUMN nickname TYPE varchar;\n-- +goose Down\nSELECT 1;\n");
($code, $said) = run('check', 'later.lua');
is($code, 0, '... but what they have made is known') or diag $said;
unlink 'goose/00030_type.sql';
($code, $said) = run('new', 'never', '--from-dir', 'goose', '--after', '7');
is($code, 2, 'a version that is not there is a mistake');
like($said, qr/goose has no version 7/, '... and told');
make_path('empty');
($code, $said) = run('new', 'nothing', '--from-dir', 'empty');
is($code, 2, 'so is a folder without migrations');
file('placeholder/1_later.up.sql', "-- nothing yet\n");
my ($none, $why) = run('new', 'nothing', '--from-dir', 'placeholder');
is("$none $why", "2 pgrehearse: placeholder/1_later.up.sql: there is no statement in any of the migrations\n", '... or without a statement');
like($said, qr/expected is a folder of dbmate, flyway, golang-migrate/, '... with what would be one');

# Drills of what was written: there and back, on small data.
for my $name (qw(first_try of_goose)) {
	my $small = text("$name.lua") =~ s/phases = \{[^}]*\}/phases = { warmup = "0", baseline = "1s", settle = "500ms" }/r =~ s/rate = 200/rate = 50/r =~ s/every = "1s"/every = "100ms"/r;
	file("$name.lua", $small);
	($code, $said) = run('run', "$name.lua", '--drill', 'rollback', '--scale', '0.02', '--out', "$home/record-$name");
	like($said, qr/PASS +migration\.completed/, "$name can be rehearsed, there and back") or diag "exit $code: $said";
	like($said, qr/PASS +rollback\.clean/, '... and comes back clean') or diag $said;
}

# An index that is made in a transaction and dropped outside of one, and a test that takes back what it has inserted.
file('mixed/sqitch.plan', "%project=shop\n\nnickname 2026-01-01T10:00:00Z Ada <ada\@example.com> # a name\n");
file('mixed/deploy/nickname.sql', "BEGIN;\nALTER TABLE users ADD COLUMN nickname text;\nCREATE INDEX users_nickname ON users (nickname);\nCOMMIT;\n");
file('mixed/revert/nickname.sql', "DROP INDEX CONCURRENTLY users_nickname;\nALTER TABLE users DROP COLUMN nickname;\n");
file('mixed/verify/nickname.sql', "BEGIN;\nINSERT INTO users (email, full_name, password_hash, nickname) VALUES ('probe', 'probe', '', 'probe');\nSELECT 1 / count(*) FROM users WHERE nickname = 'probe';\nROLLBACK;\n");
run('new', 'mixed', '--from-dir', 'mixed');
file('mixed.lua', text('mixed.lua') =~ s/phases = \{[^}]*\}/phases = { warmup = "0", baseline = "1s", settle = "500ms" }/r =~ s/rate = 200/rate = 50/r
	=~ s/criteria = \{.*?\n\t\}/checks = { none_left = "SELECT id FROM users WHERE email = 'probe'" }/sr);
($code, $said) = run('run', 'mixed.lua', '--drill', 'forward,rollback-each', '--scale', '0.02', '--out', "$home/record-mixed");
is($code, 0, 'nobody turns around within a migration, and what its test inserts is gone') or diag $said;
my @turned = map { $_->{what} =~ /back from "(.*)"/ } @{ record("$home/record-mixed/rollback-each")->{findings} };
is(join('; ', sort keys %{ { map { $_ => 1 } @turned } }), 'nickname; nickname, verified', '... but behind its last step, and behind the test');
chdir '/';
done_testing;
