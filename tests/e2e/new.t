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

($code, $said) = run('new', 'later', '--from-dir', 'goose', '--after', '1');
is_deeply([map { $_->[0] } grep { $_->[1] eq 'up' } statements_of('later.lua')], ['00010 search it'], 'migrations that the database has already are left out');
($code, $said) = run('new', 'never', '--from-dir', 'goose', '--after', '7');
is($code, 2, 'a version that is not there is a mistake');
like($said, qr/goose has no version 7/, '... and told');
make_path('empty');
($code, $said) = run('new', 'nothing', '--from-dir', 'empty');
is($code, 2, 'so is a folder without migrations');
like($said, qr/expected is a folder of dbmate, flyway, golang-migrate/, '... with what would be one');

# Drills of what was written: there and back, on small data.
for my $name (qw(first_try of_goose)) {
	my $small = text("$name.lua") =~ s/phases = \{[^}]*\}/phases = { warmup = "0", baseline = "1s", settle = "500ms" }/r =~ s/rate = 200/rate = 50/r =~ s/every = "1s"/every = "100ms"/r;
	file("$name.lua", $small);
	($code, $said) = run('run', "$name.lua", '--drill', 'rollback', '--scale', '0.02', '--out', "$home/record-$name");
	like($said, qr/PASS +migration\.completed/, "$name can be rehearsed, there and back") or diag "exit $code: $said";
	like($said, qr/PASS +rollback\.clean/, '... and comes back clean') or diag $said;
}
chdir '/';
done_testing;
