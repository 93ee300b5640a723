# A server of a test's own that logs what it does through the logging collector, as sandboxes do not: log/server.csv, .log and .json.
package Logged;
use strict;
use warnings;
use Exporter qw(import);
use Rehearse qw($home content comes_true);

our @EXPORT = qw(newest_server quietly start_logging all_is_logged);

my ($stop, @as);

# The folder of the newest installed server's programs, pgbench among them; undef when there is none.
sub newest_server
{
	my ($bin) = grep { -x "$_/initdb" && -x "$_/pgbench" } reverse sort { ($a =~ m{/(\d+)/bin})[0] <=> ($b =~ m{/(\d+)/bin})[0] } glob '/usr/lib/postgresql/*/bin';
	return $bin;
}

# Exit code of a command; what it says is in $home/said.
sub quietly
{
	my @words = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDOUT, '>', "$home/said" or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		chdir '/';
		exec @words or die "$words[0]: $!";
	}
	waitpid $pid, 0;
	return $? >> 8;
}

# Makes and starts a server of the programs in $bin with lines of settings besides; returns its folder, which has data/ and the socket.
sub start_logging
{
	my ($bin, $destinations, @settings) = @_;
	my $server = "$home/server";
	@as = qw(setpriv --reuid=postgres --regid=postgres --clear-groups) if $> == 0;
	mkdir $server or die "$server: $!";
	chown((getpwnam('postgres'))[2, 3], $server) if $> == 0;
	quietly(@as, "$bin/initdb", '-D', "$server/data", '-A', 'trust', '-N', '-U', 'postgres', '-E', 'UTF8', '--locale=C') == 0 or die content("$home/said");
	open my $conf, '>>', "$server/data/postgresql.conf" or die "$server: $!";
	print $conf map { "$_\n" } "listen_addresses = ''", "unix_socket_directories = '$server'", 'fsync = off', 'logging_collector = on', 'log_file_mode = 0644',
		"log_filename = 'server.log'", "log_destination = '$destinations'", 'log_rotation_size = 0', 'log_connections = on', 'log_disconnections = on', "lc_messages = 'C'", @settings;
	close $conf;
	$stop = ["$bin/pg_ctl", '-D', "$server/data", '-m', 'immediate', 'stop'];
	quietly(@as, "$bin/pg_ctl", '-D', "$server/data", '-l', "$server/start", '-w', 'start') == 0 or die content("$home/said"), content("$server/start");
	return $server;
}

# Waits until the files of a log have all that sessions did before this call, and returns whether they do: a session of its own does something last, whose
# end each file must show. The collector writes a file at a time, so that one can be behind another. $mark is a word that no log has yet.
sub all_is_logged
{
	my ($dsn, $mark, @files) = @_;
	local $ENV{PGOPTIONS} = '-c log_statement=none -c log_duration=off -c log_min_duration_statement=0';
	quietly('psql', '-Xq', '-c', "SELECT 'all is logged: $mark'", "$dsn application_name=mark") == 0 or die content("$home/said");
	return comes_true(sub { !grep { content($_) !~ /all is logged: \Q$mark\E'/ } @files });
}

END { my $code = $?; quietly(@as, @$stop) if $stop; $? = $code; }

1;
