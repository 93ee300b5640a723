#!/usr/bin/perl
# --target: rehearsals on data of one's own, from wherever they come; what cannot be used is refused before anything is started.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use File::Path qw(remove_tree);
use JSON::PP;
use Rehearse qw($home $program content write_file comes_true);
use Test::More;

mkdir "$home/$_", 0755 for qw(theirs ours);
chdir $home or die;

# Not again when it was INVALID: what is done to a target is counted here.
sub run { return Rehearse::run_once(@_); }

# The workload makes no schema: the data are there.
write_file('notes.lua', <<'LUA');
local workload = require "workload"
return workload {
	name = "notes",
	schema = "SELECT 1/0",
	statements = { get = "SELECT body FROM notes WHERE id = $1", mark = "UPDATE notes SET seen = seen + 1 WHERE id = $1" },
	transactions = {
		get = { weight = 3, read_only = true, args = function(r) return r:int(1, 500) end, run = function(c, id) c:exec("get", id) end },
		mark = { weight = 1, args = function(r) return r:int(1, 500) end, run = function(c, id) c:exec("mark", id) end },
	},
}
LUA
write_file('widen.lua', <<'LUA');
local rehearse = require "rehearse"
return rehearse.scenario {
	title = "widen", workload = "notes", load = { rate = 40, pods = 1, pool = 2 }, phases = { warmup = "0", baseline = "300ms", settle = "200ms" },
	steps = { rehearse.sql { name = "add state", up = "ALTER TABLE notes ADD COLUMN state text", down = "ALTER TABLE notes DROP COLUMN state" } },
	criteria = { "migration.completed" },
}
LUA

# A rehearsal on a target: what was said, and its record. A busy machine may make it INVALID (3), rightly, which is not looked at here.
sub rehearse
{
	my ($what, $target, @options) = @_;
	remove_tree('out');
	my ($code, $text) = run('run', 'widen.lua', '--drill', 'forward', '--standbys', '0', '--target', $target, '--out', 'out', '--no-availability', @options);
	ok($code == 0 || $code == 3, "$what can be rehearsed on") or diag "exit $code: $text";
	my $run = -e 'out/forward/run.json' ? decode_json(content('out/forward/run.json')) : {};
	is($run->{status}, 'finished', '... to the end');
	return ($run, $text);
}

# ---- somebody's database ----

$ENV{TMPDIR} = "$home/theirs";
mkdir "$home/$_" for qw(archive space mapped);
chmod 0777, "$home/archive", "$home/space";
my ($code, $text) = run('sandbox', 'up', 'theirs', '--standbys', '1', map { ('--setting', $_) } 'wal_level=logical', 'archive_mode=on',
	"archive_command=cp %p $home/archive/%f", 'shared_preload_libraries=pg_stat_statements,pg_prewarm', 'work_mem=9MB', 'log_connections=on',
	'max_logical_replication_workers=0');
is($code, 0, 'there is a server with data') or BAIL_OUT($text);
my ($theirs) = $text =~ /primary +(host=.*)/;
my $ask = sub { my ($sql, $dsn) = @_; my $answer = `psql -XAtqc "$sql" '@{[$dsn // $theirs]}' 2>&1`; chomp $answer; return $answer };
$ask->("CREATE ROLE app; CREATE ROLE \\\"odd one\\\"; CREATE TABLE notes (id bigint PRIMARY KEY, seen int NOT NULL DEFAULT 0, body text);"
	. "INSERT INTO notes (id, body) SELECT g, repeat('x', 60) FROM generate_series(1, 500) g; ALTER TABLE notes OWNER TO app; GRANT SELECT ON notes TO \\\"odd one\\\";"
	. "CREATE EXTENSION postgres_fdw; CREATE SERVER prod FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', dbname 'prod');"
	. "CREATE USER MAPPING FOR app SERVER prod OPTIONS (password 'hunter2'); CREATE FOREIGN TABLE far (id bigint) SERVER prod");
$ENV{TMPDIR} = "$home/ours";

# ---- a base backup of a busy server ----

$ask->("CREATE SUBSCRIPTION sub CONNECTION '$theirs' PUBLICATION p WITH (connect = false, slot_name = 'there', enabled = false)");
$ask->("ALTER SUBSCRIPTION sub ENABLE");
$ask->("CREATE PUBLICATION p FOR TABLE notes; SELECT pg_create_logical_replication_slot('reader', 'test_decoding')");
chown((getpwnam 'postgres')[2, 3], "$home/space") if $> == 0;
$ask->("CREATE TABLESPACE elsewhere LOCATION '$home/space'");
$ask->("CREATE TABLE attic TABLESPACE elsewhere AS SELECT 7 AS n");
my $writer = fork // die;
if (!$writer) { exec 'psql', '-Xqc', "SET application_name = 'busy'", '-c', 'INSERT INTO notes SELECT g, 0, repeat($$y$$, 600) FROM generate_series(1000, 60000) g', $theirs }
is(`pg_basebackup -D '$home/base' -T '$home/space=$home/mapped' -d '$theirs' -c fast 2>&1`, '', 'a base backup');
is(`pg_basebackup -Ft -z -D '$home/tar' -d '$theirs' -c fast 2>&1`, '', 'one in tar format');
waitpid $writer, 0;
$ask->('SELECT pg_switch_wal()');
my $log = (glob "$home/theirs/pgrehearse-$>/theirs/servers/primary.log")[0];
sub connections { my @seen = grep { /connection received|authorized/ } split /\n/, content($log); return scalar @seen }
comes_true(sub { $ask->('SELECT count(*) FROM pg_stat_archiver WHERE failed_count = 0 AND last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 1)') eq '1' });
my @archived = glob "$home/archive/*";
my ($before, $files) = (connections(), `cd '$home/base' && find . -type f | sort | xargs cat | cksum`);

for my $what (['base', 'a folder'], ['tar', 'tar archives']) {
	my ($folder, $name) = @$what;
	my ($run, $said) = rehearse("a base backup as $name", "base:$folder", '--standbys', $folder eq 'base' ? 1 : 0);
	my $target = $run->{target} // {};
	my %defused = map { ("$_->{what} $_->{name}" => 1) } @{$target->{defused} // []};
	ok($defused{$_}, "... without $_") or diag join ', ', sort keys %defused
		for 'subscription sub', 'foreign server prod (postgres_fdw)', 'user mapping app at prod', 'setting archive_command', 'preloaded library pg_prewarm';
	ok((grep { /tablespace/ } keys %defused), '... and with its tablespace inside');
	is_deeply([@{$run->{server}{settings} // {}}{qw(work_mem shared_preload_libraries)}], ['9MB', 'pg_stat_statements'], '... with the settings that matter');
	is($target->{isolated}, JSON::PP::true, '... and without a network');
	unlike(content('out/forward/run.json'), qr/hunter2/, '... and no password in the record');
}
is(connections(), $before, 'the server that was backed up saw no connection');
is_deeply([glob "$home/archive/*"], \@archived, '... its archive got no file');
is(`cd '$home/base' && find . -type f | sort | xargs cat | cksum`, $files, '... and the backup is what it was');

($code, $text) = run('load', 'notes.lua', '--target', 'base:base', '--standbys', '0', '--duration', '1s', '--rate', '20', '--out', 'kept', '--keep');
ok($code == 0 || $code == 3, 'traffic runs on a base backup') or diag $text;
my ($name) = $text =~ /sandbox (\S+) is kept/;
my $in = sub { my ($sql) = @_; my $answer = `'$program' sandbox psql $name -- -XAtc "$sql" 2>&1`; chomp $answer; return $answer };
is($in->('SELECT n FROM attic'), '7', 'a table in a tablespace that was elsewhere can be read');
like($in->('SELECT * FROM far'), qr/has no handler/, 'a foreign table cannot');
is($in->("SELECT subenabled, subslotname IS NULL, subconninfo FROM pg_subscription"), 'f|t|host=/nonexistent', 'a subscription leads nowhere');
is($in->('DROP SUBSCRIPTION sub'), 'DROP SUBSCRIPTION', '... and can be dropped');
$in->('CREATE EXTENSION dblink');
like($in->("SELECT * FROM dblink('host=127.0.0.1 dbname=x', 'SELECT 1') AS t(a int)"), qr/Network is unreachable/, 'and there is no network');
run('sandbox', 'down', '--all');

# Packed by hand: links in an archive lead to the folders of the original.
mkdir "packed_$_" for qw(spaces wal whole);
system 'cp', '-a', 'base', 'linked';
system 'cp', '-aL', 'base', 'whole';
write_file('linked/pg_wal/archive_status/kept.ready', '');
rename 'linked/pg_wal', 'wal' and symlink "$home/wal", 'linked/pg_wal' or die;
write_file('odd.conf', "work_mem = '1GB'\n");
symlink "$home/odd.conf", 'whole/odd.conf' or die;
my $outside = sub { return scalar `find '$home/mapped' '$home/wal' '$home/odd.conf' -printf '%p %T@ %s\n' | sort` };
my $original = $outside->();
system 'tar', '-C', $_->[0], '-cf', "packed_$_->[1]/base.tar", @$_[2 .. $#$_], '.' for ['base', 'spaces'], ['linked', 'wal', '--exclude', './pg_tblspc/*'], ['whole', 'whole'];
system 'tar', '-C', 'wal', '-cf', 'packed_wal/pg_wal.tar', '.';
for my $case (['spaces', qr{pg_tblspc/\d+ is a symbolic link}], ['wal', qr{pg_wal is a symbolic link}]) {
	($code, $text) = run('run', 'widen.lua', '--target', "base:packed_$case->[0]", '--drill', 'forward');
	is($code, 2, "an archive with a link where data should be ($case->[0]) is refused") or diag $text;
	like($text, qr/$case->[1] in it.*--dereference/s, '... and it says why');
}
my ($packed) = rehearse('an archive with another link', 'base:packed_whole');
ok((grep { "$_->{what} $_->{name}" eq 'link odd.conf' } @{$packed->{target}{defused} // []}), '... without the link');
is($outside->(), $original, 'what the links lead to is as it was');

$ENV{TMPDIR} = "$home/theirs";
my $folder = "$home/theirs/pgrehearse-$>/theirs/servers/primary";
$ENV{TMPDIR} = "$home/ours";
mkdir 'nothing';
system 'cp', '-a', 'base', 'torn';
unlink((glob 'torn/base/*/1259')[0]) or die;
system 'cp', '-a', 'tar', 'cut';
truncate 'cut/base.tar.gz', 100000 or die;
system 'cp', '-a', 'base', 'unclean';
unlink 'unclean/backup_label', 'unclean/backup_manifest' or die;
system 'cp', '-a', 'base', 'newer';
write_file('newer/PG_VERSION', "99\n");
for my $case (
	['the folder of a running server', $folder, qr/a server that runs.*pg_basebackup/s],
	['an empty folder', 'nothing', qr/not a data folder/],
	['a backup with a file less', 'torn', qr/not whole: base.*is missing/s],
	['a tar archive that is cut off', 'cut', qr/base\.tar\.gz cannot be unpacked.*cut off|PG_VERSION/s],
	['a folder whose server crashed', 'unclean', qr/not stopped cleanly/],
	['a backup of a version that is not here', 'newer', qr/PostgreSQL 99's.*--server/s],
) {
	my ($what, $path, $pattern) = @$case;
	($code, $text) = run('run', 'widen.lua', '--target', "base:$path", '--drill', 'forward');
	is($code, 2, "$what is refused");
	like($text, $pattern, '... and it says why') or diag $text;
}

# ---- dumps ----

$ask->("ALTER SUBSCRIPTION sub DISABLE");
$ask->("ALTER SUBSCRIPTION sub SET (slot_name = NONE)");
$ask->("DROP SUBSCRIPTION sub; DELETE FROM notes WHERE id > 500");
is(`pg_dump -F$_ -f '$home/dump.$_' '$theirs' 2>&1`, '', "pg_dump -F$_") for qw(c d t p);
is(`pg_dumpall --no-tablespaces -d '$theirs' -f '$home/all.sql' 2>&1`, '', 'pg_dumpall');
is(`pg_dumpall -d '$theirs' -f '$home/spaces.sql' 2>&1`, '', '... with tablespaces');

for my $format (qw(c d t p)) {
	my ($run) = rehearse("a dump of format $format", "dump:dump.$format");
	my $target = $run->{target} // {};
	is($target->{kind}, 'dump', '... as the record says');
	is_deeply([sort @{$target->{roles_made} // []}], ['app', 'odd one'], '... with the roles that it names');
	is($target->{normalised}, 'VACUUM (ANALYZE)', '... normalised');
	is_deeply([map { "$_->{what} $_->{name}" } @{$target->{defused} // []}], ['foreign server prod (postgres_fdw)', 'user mapping app at prod'],
		'... and cut off from the servers that it knew');
	unlike(content('out/forward/run.json'), qr/hunter2/, '... without its passwords in the record');
}
my ($run, $said) = rehearse('a pg_dumpall', 'dump:all.sql');
is_deeply($run->{target}{errors}, [], '... without an error');
like($said, qr/restoring: .* of /, 'a restore shows its progress');

my $broken = content('dump.p');
$broken =~ s/^(CREATE TABLE public\.notes)/CREATE EXTENSION not_there;\n$1/m or die;
write_file('broken.sql', $broken);
($code, $text) = run('run', 'widen.lua', '--target', 'dump:broken.sql', '--drill', 'forward');
is($code, 5, 'a dump with a statement that fails is not rehearsed on');
like($text, qr/1 statement failed.*line \d+.*not_there.*--accept-restore-errors/s, '... and it is said which, and how to go on') or diag $text;
($run) = rehearse('it', 'dump:broken.sql', '--accept-restore-errors');
like($run->{target}{errors}[0], qr/not_there/, '... with the error in the record');

my $whole = content('dump.c');
write_file('short.c', substr($whole, 0, length($whole) / 2));
write_file('newer.c', 'PGDMP' . "\x01\x7f\x00" . substr($whole, 8));
write_file('gz.sql', "\x1f\x8b\x08\x00" . 'x' x 50);
write_file('gpg.sql', "\x85\x02\x0c\x03" . "\x80\x01" x 50);
write_file('noise', "\x00\x01\x02" x 50);
write_file('empty', '');
mkdir 'folder';
for my $case (
	['a dump that is not there', 'dump:nowhere', qr/nowhere: there is no such file/],
	['an archive that is cut off', 'dump:short.c', qr/short\.c.*end of file|short\.c.*cut off/s],
	['an archive of a newer pg_dump', 'dump:newer.c', qr/unsupported version.*--server/s],
	['a script that makes tablespaces', 'dump:spaces.sql', qr/tablespace elsewhere.*--no-tablespaces/s],
	['a compressed script', 'dump:gz.sql', qr/compressed as a whole \(gzip\).*gunzip/s],
	['an encrypted one', 'dump:gpg.sql', qr/encrypted \(PGP\)/],
	['noise', 'dump:noise', qr/not a dump/],
	['an empty file', 'dump:empty', qr/it is empty/],
	['a folder without a dump', 'dump:folder', qr/toc\.dat/],
	['a base backup that is called a dump', 'dump:base', qr/name it base:PATH/],
	['a dump that is called a base backup', 'base:dump.d', qr/name it dump:PATH/],
	['a kind that there is not', 'zfs:pool/x', qr/no kind of target called "zfs".*dump:PATH/s],
	['a setting that is none', 'sandbox', qr/settings\.conf:2: "work_mem"/, '--pg-config', 'settings.conf'],
) {
	my ($what, $target, $pattern, @options) = @$case;
	write_file('settings.conf', "# ours\nwork_mem\n");
	($code, $text) = run('run', 'widen.lua', '--target', $target, '--drill', 'forward', @options);
	ok($code == 2 || $code == 5, "$what is refused") or diag "exit $code";
	like($text, $pattern, '... and it says why');
}
ok(!glob("$home/ours/pgrehearse-$>/*"), 'nothing of all that is left');

write_file('settings.conf', "# ours\nwork_mem = 7MB # more\n\nstatement_timeout '77s'\n");
($run) = rehearse('a dump with settings', 'dump:dump.c', '--pg-config', 'settings.conf');
is_deeply([@{$run->{server}{settings} // {}}{qw(work_mem statement_timeout)}], ['7MB', '77s'], '... which are in force');

# ---- what the doctor says of each ----

for my $case (
	['dump:dump.c', 0, qr/^ok +dump +a custom archive of .*^ok +contents of the dump +can be read.*^ok +space for the data/ms],
	['dump:dump.d', 0, qr/^ok +dump +a directory/m],
	['dump:all.sql', 0, qr/^ok +dump +a script/m],
	['dump:short.c', 2, qr/^missing +contents of the dump /m],
	['dump:gz.sql', 2, qr/^missing +dump .*compressed as a whole.*gunzip/ms],
	['base:base', 0, qr/^ok +base backup +PostgreSQL \d+'s, a folder of/m],
	['base:tar', 0, qr/^ok +base backup +PostgreSQL \d+'s, tar archives/m],
	["base:$folder", 2, qr/^missing +base backup .*a server that runs/m],
	["template:$theirs", 4, qr/^refused +guard: mark.*^ok +copying the template +allowed, of/ms],
	['command:touch called,touch called', 0, qr/^note +command +it is not called/m],
) {
	my ($target, $expected, $pattern) = @$case;
	($code, $text) = run('doctor', '--target', $target);
	is($code, $expected, 'the doctor on ' . ($target =~ /^(\w+:[^\/=]*)/)[0]) or diag $text;
	like($text, $pattern, '... says what it found');
}
ok(!-e 'called', '... and calls nothing');
ok(!glob("$home/ours/pgrehearse-$>/*"), '... and makes nothing');

# ---- servers of somebody's ----

($code, $text) = run('clone', 'mark', $theirs, '--yes', 'rehearsal', '--allow-standby', '*');
is($code, 0, 'their database is marked as a clone') or diag $text;
my $copies = sub { $ask->("SELECT count(*) FROM pg_database WHERE datname LIKE 'pgrehearse%'") };
my $changed = sub { $ask->("SELECT count(*) FROM pg_attribute WHERE attrelid = 'notes'::regclass AND attname = 'state'") };
sub both_drills
{
	my ($what, @options) = @_;
	remove_tree('out');
	my ($code, $text) = run('run', 'widen.lua', '--drill', 'forward,rollback', '--no-availability', '--allow-standby', '*', '--out', 'out', @options);
	ok($code == 0 || $code == 3, "$what can be rehearsed on, twice") or diag "exit $code: $text";
	return (decode_json(content('out/rollback/run.json')), $text);
}
($run, $said) = both_drills('a template', '--target', "template:$theirs");
is($run->{target}{kind}, 'template', '... as the record says');
like($said, qr/put back in/, '... and how long it took to make it again');
is($copies->() . $changed->(), '00', '... the copies are gone, and the template is as it was');
my $stale = fork // die;
if (!$stale) { exec "true" }
waitpid $stale, 0;
chomp(my $host = `hostname`);
$ask->('CREATE DATABASE pgrehearse_left');
$ask->("COMMENT ON DATABASE pgrehearse_left IS 'pgrehearse copy, pid $stale on $host'");
my $pid = fork // die;
if (!$pid) {
	open STDERR, '>', '/dev/null';
	open STDOUT, '>', '/dev/null';
	exec $program, 'load', 'notes.lua', '--target', "template:$theirs", '--allow-standby', '*', '--duration', '60s', '--rate', '5', '--out', 'killed';
}
comes_true(sub { -s 'killed/intervals.jsonl' });
is($copies->(), '1', 'what a dead run left is dropped by the next one');
my ($place) = $ask->("SELECT datname FROM pg_database WHERE datname LIKE 'pgrehearse%'") =~ /^pgrehearse_([0-9a-f]{8})_${pid}_[0-9a-f]{8}_/;
ok($place, '... and a copy is named after who makes it');
kill KILL => $pid;
waitpid $pid, 0;
comes_true(sub { $copies->() eq '0' });
is($copies->(), '0', '... and what is killed leaves nothing');

# ... by its name, where it was killed before it could say so in a comment; nobody else's.
my %left = ('of a dead run' => "pgrehearse_${place}_${stale}_01234567_x", 'of one that lives' => "pgrehearse_${place}_${$}_01234567_x",
	'of another machine' => "pgrehearse_00000000_${stale}_01234567_x", 'of another name' => "pgrehearse_${place}_${stale}_x",
	'with a comment of its own' => "pgrehearse_${place}_${stale}_89abcdef_x");
$ask->("CREATE DATABASE \\\"$_\\\"") for values %left;
$ask->(qq{COMMENT ON DATABASE \\"$left{'with a comment of its own'}\\" IS 'kept'});

# A session in the template lets CREATE DATABASE wait for some seconds, in which the run is killed.
open my $holder, '|-', 'psql', '-XqAt', '-o', '/dev/null', "$theirs application_name=holder" or die;
$holder->autoflush;
print $holder "SELECT 1;\n";
(my $beside = $theirs) =~ s/dbname=\S+/dbname=postgres/;
my $count = sub { my ($which) = @_; $ask->("SELECT count(*) FROM pg_stat_activity WHERE $which", $beside) };
comes_true(sub { $count->("application_name = 'holder'") eq '1' });
$pid = fork // die;
if (!$pid) {
	open STDERR, '>', '/dev/null';
	open STDOUT, '>', '/dev/null';
	exec $program, 'load', 'notes.lua', '--target', "template:$theirs", '--allow-standby', '*', '--allow-client', 'holder', '--duration', '60s', '--rate', '5', '--out', 'killed2';
}
ok(comes_true(sub { $count->("query LIKE 'CREATE DATABASE%' AND state = 'active'") eq '1' }), 'a copy is being made');
kill KILL => $pid;
waitpid $pid, 0;
close $holder;
comes_true(sub { $count->("query LIKE 'CREATE DATABASE%' AND state = 'active'") eq '0' });
comes_true(sub { $ask->("SELECT count(*) FROM pg_database WHERE datname LIKE 'pgrehearse\\_${place}\\_${pid}\\_%'", $beside) eq '0' });
for my $whose (sort keys %left) {
	is($ask->("SELECT count(*) FROM pg_database WHERE datname = '$left{$whose}'", $beside), $whose eq 'of a dead run' ? '0' : '1', "a database $whose " . ($whose eq 'of a dead run' ? 'is dropped' : 'stays'));
	$ask->("DROP DATABASE IF EXISTS \\\"$left{$whose}\\\"", $beside);
}
is($copies->(), '0', 'what is killed while it is copied leaves nothing either');

my ($standby) = map { s/port=5432/port=5433/r } $theirs;
($run) = both_drills('a connection string that a command resets', '--target', "dsn:$theirs", '--standby', $standby,
	'--reset-command', q{psql -Xqc 'ALTER TABLE notes DROP COLUMN IF EXISTS state' "$PGREHEARSE_DSN"});
is($run->{server}{standbys}, 1, '... with its standby');
ok((grep { @{$_->{lag} // []} && $_->{lag}[0]{standby} eq 'standby1' } map { decode_json($_) } split /\n/, content('out/rollback/intervals.jsonl')),
	'... which is watched under its own name');
is($run->{target}{source}, undef, '... whose password would not be in the record');
($code, $text) = run('run', 'widen.lua', '--target', $theirs, '--standby', $theirs, '--allow-standby', '*', '--drill', 'forward');
is($code, 2, 'a standby that is none is refused');

write_file('up', "#!/bin/sh\necho 'making one' >&2\necho up >> '$home/calls'\n[ ! -e '$home/broken' ] || { echo 'no room' >&2; exit 1; }\necho\necho \"$theirs\"\n");
write_file('down', "#!/bin/sh\necho \"down \$PGREHEARSE_DSN\" >> '$home/calls'\npsql -Xqc 'ALTER TABLE notes DROP COLUMN IF EXISTS state' '$theirs' >/dev/null 2>&1\n");
chmod 0755, 'up', 'down';
($run) = both_drills("a command's clone", '--target', "command:$home/up,$home/down");
is(content('calls'), "up\ndown $theirs\nup\ndown $theirs\n", '... which is made and removed once a drill');
unlink 'calls';
write_file('broken', '');
($code, $text) = run('run', 'widen.lua', '--drill', 'forward', '--target', "command:$home/up,$home/down");
is($code, 5, 'a command that fails: exit code 5');
like($text, qr/exit code 1: no room/, '... with what it said');
like(content('calls'), qr/^up\ndown/, '... and the other one is called');
unlink 'broken', 'calls';
write_file('half', "#!/bin/sh\necho 'postgresql://app:hunter2\@localhost/" . 'x' x 500 . "'\nexit 3\n");
chmod 0755, 'half';
($code, $text) = run('run', 'widen.lua', '--drill', 'forward', '--target', "command:$home/half,true");
like($text, qr/half ended with exit code 3: postgresql:\/\/app:\*{7}\@/, 'a command that fails with nothing but a connection string is quoted without the password') or diag $text;
for my $signal (qw(INT KILL)) {
	remove_tree('killed');
	$pid = fork // die;
	if (!$pid) {
		open STDERR, '>', '/dev/null';
		open STDOUT, '>', '/dev/null';
		exec $program, 'load', 'notes.lua', '--target', "command:$home/up,$home/down", '--allow-standby', '*', '--duration', '60s', '--rate', '5', '--out', 'killed';
	}
	comes_true(sub { -s 'killed/intervals.jsonl' });
	kill $signal => $pid;
	waitpid $pid, 0;
	comes_true(sub { -e 'calls' && content('calls') =~ /down/ });
	like(content('calls'), qr/down \Q$theirs\E/, "... also after SIG$signal");
	unlink 'calls';
}
# What UP has begun when it is cut off, DOWN knows only by what it has printed.
write_file('slow', "#!/bin/sh\necho '$theirs'\nsh -c 'echo \$\$ > $home/worker.new; mv $home/worker.new $home/worker; exec sleep 600'\necho up >> '$home/calls'\n");
chmod 0755, 'slow';
for my $signal (qw(INT KILL)) {
	unlink 'worker', 'calls';
	remove_tree('killed');
	$pid = fork // die;
	if (!$pid) {
		open STDERR, '>', '/dev/null';
		open STDOUT, '>', '/dev/null';
		exec $program, 'load', 'notes.lua', '--target', "command:$home/slow,$home/down", '--allow-standby', '*', '--out', 'killed';
	}
	ok(comes_true(sub { -e 'worker' }), 'a command at work');
	chomp(my $worker = content('worker'));
	kill $signal => $pid;
	waitpid $pid, 0;
	comes_true(sub { -e 'calls' });
	is(content('calls'), $signal eq 'INT' ? "down $theirs\n" : "down \n", "... is cut off by SIG$signal before the other one is called");
	ok(!kill(0, $worker), '... with all that it has started');
}
($code, $text) = run('run', 'widen.lua', '--target', 'command:up');
like($text, qr/command:UP,DOWN/, 'two commands are asked for');

END {
	local $?;
	for my $folder (qw(theirs ours)) {
		$ENV{TMPDIR} = "$home/$folder";
		run('sandbox', 'down', '--all');
	}
	chdir '/';
}
done_testing;
