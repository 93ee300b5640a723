#!/usr/bin/perl
# A server that logs in another language is captured as well: what its log gives back is what the same server's English log does, in each format.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse;
use Logged;
use JSON::PP;
use Test::More;

my $bin = newest_server();
plan skip_all => 'no PostgreSQL server is installed' if !$bin;
my ($major) = $bin =~ m{/(\d+)/bin};
my @languages = map { m{/(\w+)/LC_MESSAGES/} } glob "/usr/share/locale/*/LC_MESSAGES/postgres-$major.mo";
plan skip_all => 'no translations are installed' if !@languages;

# gettext looks at LANGUAGE wherever the locale is not C; no other locale need be installed for that.
my $prefix = '%m|%u|%d|%c|%l|%e|%a|';
my @formats = ('stderr', 'csvlog', $major >= 15 ? 'jsonlog' : ());
my $server = start_logging($bin, join(',', @formats), "log_line_prefix = '$prefix'", "lc_messages = 'C.UTF-8'");
my $dsn = "host=$server user=postgres dbname=postgres";
my %file = (stderr => "$server/data/log/server.log", csvlog => "$server/data/log/server.csv", jsonlog => "$server/data/log/server.json");
my @as = $> == 0 ? qw(setpriv --reuid=postgres --regid=postgres --clear-groups) : ();
psql($dsn, 'CREATE TABLE t (a int PRIMARY KEY, b text)');
my $script = write_file("$home/script.pgbench", "\\set a 10 + :client_id\nINSERT INTO t VALUES (:a, 'x');\nSELECT b FROM t WHERE a = :a;\nDELETE FROM t WHERE a = :a;\n");
my $sql = write_file("$home/script.sql", "INSERT INTO t VALUES (1, 'one');\nSELECT 1/0;\nSELEC 1;\nDELETE FROM t;\n");

# What it did in that language: by format, its statements, one a line.
sub told_in
{
	my ($language) = @_;
	quietly(@as, 'env', "LANGUAGE=$language", "$bin/pg_ctl", '-D', "$server/data", '-m', 'fast', '-l', "$server/start", '-w', 'restart') == 0 or die content("$server/start");
	my %from = map { ($_ => -s $file{$_}) } @formats;
	for my $how ('-c log_statement=all -c log_duration=on', '-c log_min_duration_statement=0') {
		local $ENV{PGOPTIONS} = $how;
		quietly('psql', '-XqAt', '-f', $sql, "$dsn application_name=psql");
		quietly("$bin/pgbench", '-n', '-c', 1, '-t', 2, '-M', $_, '-f', $script, "$dsn application_name=$_") == 0 or die content("$home/said") for qw(extended prepared);
	}
	ok(all_is_logged($dsn, $language, @file{@formats}), "$language is written");
	my %told;
	for my $format (@formats) {
		system("tail -c +" . ($from{$format} + 1) . " '$file{$format}' > '$home/log.$format'") == 0 or die;
		my ($code, $said) = run('capture', "$home/log.$format", '--out', "$home/$format.trace", $format eq 'stderr' ? ('--prefix', $prefix) : ());
		diag $said if $code;
		$told{said}{$format} = $said;
		my @events = map { decode_json($_) } split /\n/, (run('trace', 'cat', "$home/$format.trace", '--json'))[1];
		my %of = map { ($_->{session} => $_->{application}) } grep { $_->{kind} eq 'connect' } @events;
		$told{$format} = join "\n", map { join ' ', $_->{kind}, $_->{sqlstate}, defined $_->{duration_ms} ? 'timed' : '-', $_->{sql} =~ s/P_?\d+_?\d*//r, map { "'$_'" } @{$_->{params} // []} }
			grep { defined $_->{sql} && ($of{$_->{session}} // '') =~ /^(?:psql|extended|prepared)$/ } @events;
	}
	return \%told;
}
my $english = told_in('C');
like($english->{csvlog}, qr/^simple 22012 timed SELECT 1\/0;$/m, 'English has errors');
like($english->{csvlog}, qr/^execute 00000 timed INSERT INTO t VALUES \(\$1, 'x'\); '10'$/m, '... and parameters');
for my $language (@languages) {
	my $told = told_in($language);
	unlike(content("$home/log.csvlog"), qr/duration: |statement: /, "$language is no English");
	for my $format (@formats) {
		is($told->{$format}, $english->{$format}, "$language in $format tells the same") or diag $told->{said}{$format};
	}
}
done_testing();
