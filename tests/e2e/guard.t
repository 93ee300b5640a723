#!/usr/bin/perl
# The production guard from the command line: what is not known to be a clone is refused with exit code 4, untouched.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
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
		open STDERR, '>&', \*STDOUT;
		exec $pgrehearse, @words or die "$pgrehearse: $!";
	}
	my $text = do { local $/; <$out> } // '';
	close $out;
	return ($? >> 8, $text);
}

# With another TMPDIR than ours the server is a stranger's to us, on this machine.
$ENV{TMPDIR} = "$home/theirs";
my ($code, $text) = run('sandbox', 'up', 'stranger', '--standbys', '0');
is($code, 0, 'there is a server on this machine') or diag $text;
my ($socket) = $text =~ /host=(\S+)/;
my $ask = sub { my ($sql) = @_; my $answer = `psql -XAtc "$sql" 'host=$socket user=postgres dbname=postgres' 2>&1`; chomp $answer; return $answer };
$ENV{TMPDIR} = "$home/ours";

for my $case (
	['another machine', 'host=192.0.2.1 password=hunter2', qr/192\.0\.2\.1 is not this machine/],
	['one of two hosts elsewhere', "host=$socket,192.0.2.1 password=hunter2", qr/192\.0\.2\.1 is not this machine/],
	['a database without the mark', "host=$socket user=postgres dbname=postgres password=hunter2", qr/COMMENT ON DATABASE "postgres" IS 'pgrehearse clone'/],
) {
	my ($what, $dsn, $pattern) = @$case;
	($code, $text) = run('load', 'shop', '--duration', '1s', '--scale', '0.01', '--out', "$home/record", '--target', $dsn);
	is($code, 4, "$what is refused") or diag $text;
	like($text, $pattern, '... and it says why, or what to do');
	unlike($text, qr/hunter2/, '... without the password');
}
is($ask->("SELECT count(*) FROM pg_class WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)"),
	'0', 'nothing was written to it');

$ask->("COMMENT ON DATABASE postgres IS 'pgrehearse clone'");
my $system = $ask->('SELECT system_identifier FROM pg_control_system()');
mkdir "$home/$_" for '.config', '.config/pgrehearse';
for my $case (['PGREHEARSE_DENY', "host=$socket"], ['PGREHEARSE_DENY', 'database=post*'], ['deny', "system=$system"], ['deny', 'prod']) {
	my ($source, $rule) = @$case;
	local $ENV{HOME} = $home;
	local $ENV{PGREHEARSE_DENY} = $source eq 'deny' ? '' : $rule;
	open my $list, '>', "$home/.config/pgrehearse/deny" or die $!;
	print $list "# never\n$rule\n" if $source eq 'deny';
	close $list;
	($code, $text) = run('load', 'shop', '--duration', '1s', '--scale', '0.01', '--out', "$home/record", '--target', "host=$socket user=postgres dbname=postgres");
	is($code, $rule eq 'prod' ? 2 : 4, "marked, and stopped by the deny list's $rule") or diag $text;
	like($text, qr/$source: .*\Q$rule\E/, '... which says where the rule is');
}
is($ask->("SELECT count(*) FROM pg_class WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)"),
	'0', 'nothing was written to it by then');

($code, $text) = run('load', 'shop', '--duration', '1s', '--scale', '0.01', '--out', "$home/record", '--target', "host=$socket user=postgres dbname=postgres");
isnt($code, 4, 'once marked it is not refused') or diag $text;

END {
	local $?;
	$ENV{TMPDIR} = "$home/theirs";
	run('sandbox', 'down', '--all');
	remove_tree($home);
}
done_testing;
