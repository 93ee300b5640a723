#!/usr/bin/perl
# A run's record and reports set what was expected of each statement beside what was observed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Rehearse;
use Test::More;

my $path = "$home/expected.lua";
open my $out, '>', $path or die "$path: $!";
print $out <<'END';
local rehearse = require "rehearse"
return rehearse.scenario {
  title = "what was expected", workload = "shop", load = { rate = 50, pods = 2, pool = 4 },
  phases = { warmup = "0", baseline = "1s", settle = "500ms" },
  steps = {
    rehearse.sql { name = "widen", down = false, up = {
      "ALTER TABLE users ADD COLUMN big int, ALTER COLUMN login_count TYPE bigint", "CREATE INDEX users_big ON users (big)" } },
    rehearse.sql { name = "hide", down = false, up = [[CREATE FUNCTION hide() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'ALTER TABLE users ADD ' || 'COLUMN hidden int'; END$$]] },
    rehearse.sql { name = "seek", down = false, up = "SELECT hide()" },
    rehearse.sql { name = "index", down = false, transaction = false, up = "CREATE INDEX CONCURRENTLY orders_placed_idx ON orders (placed_at, id)" },
    rehearse.sql { name = "names", down = false, up = { "ALTER TABLE page_views RENAME TO moved", "ALTER TABLE moved RENAME TO page_views" } },
    { name = "by a function", down = false, up = function(m) m:exec("ALTER TABLE users ADD CONSTRAINT c CHECK (big IS NULL)") end },
  },
}
END
close $out;
my ($code, $said) = run('run', $path, '--drill', 'forward', '--scale', '0.02', '--out', "$home/record");
like($said, qr/PASS +migration\.completed/, 'it runs') or diag $said;
my %of = map { ($_->{sql} => $_) } grep { $_->{type} eq 'statement' } lines("$home/record/forward", 'events');
my ($widen) = grep { $_->{sql} =~ /login_count/ } values %of;
is_deeply([map { $_->{id} } @{ $widen->{expected}{operations} }], ['add_column', 'type_rewrite'], 'a statement has its operations');
is_deeply($widen->{expected}{locks}, [{ relation => 'users', mode => 'AccessExclusiveLock' }], '... the locks expected');
is_deeply([grep { $_->{what} eq 'rewrite' } @{ $widen->{expected}{work} }], [{ what => 'rewrite', object => 'users' }], '... and the work');
my ($check) = grep { $_->{sql} =~ /CHECK/ } values %of;
is($check->{expected}{operations}[0]{id}, 'add_check', 'so has one that a function performs');

like($said, qr/Of 8 statements of the migration 1 did other than expected:\n +SELECT hide\(\): expected .*ACCESS EXCLUSIVE on users\s+as\s+well/, 'what did otherwise is told, with what it did');
($code, $said) = run('report', "$home/record", '--format', 'markdown');
like($said, qr/Expected and observed: 8 statements, 1 did otherwise/, 'all of them are in the report');
like($said, qr/ADD COLUMN big int.*\| ACCESS EXCLUSIVE on users; writes users anew; builds .* \| as expected \|/, '... side by side');
like($said, qr/users&#95;big ON users.*\| SHARE on users; builds users&#95;big \| .*as expected/, '... also within a transaction that has a stronger lock');
nothing_is_left();
done_testing;
