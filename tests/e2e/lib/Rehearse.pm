# Running pgrehearse in a home of its own, reading what it recorded, and seeing what it left behind.
package Rehearse;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use FindBin;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time sleep);

our @EXPORT = qw($home $program run start comes_true record lines content write_file sum_of nothing_is_left sandbox_processes psql kept_shop);

our $program = abs_path($ENV{PGREHEARSE} // "$FindBin::Bin/../../build/pgrehearse");
our $home = $^C ? '' : tempdir('/tmp/pgr-e2e-XXXXXX');    # perl -c runs this too, but no END
chmod 0755, $home if $home;
$ENV{TMPDIR} = $home;
delete @ENV{grep { /^PG(?!REHEARSE)/ } keys %ENV};

# Exit code, and both outputs together.
sub run
{
	my @words = @_;
	for my $again (1 .. 5) {
		my ($code, $text) = run_once(@words);
		my ($out) = map { $words[$_] eq '--out' ? $words[$_ + 1] : () } 0 .. $#words - 1;
		return ($code, $text) if $again == 5 || $code != 3 || !defined $out || $text !~ /unfit: the load generator /;
		# INVALID: something else on this machine took the CPU. What a user would do is what we do.
		rename $out, "$out.unfit$again" or die "$out: $!\n";
	}
}

sub run_once
{
	my @words = @_;
	my ($pid, $out) = start(@words);
	my $text = do { local $/; <$out> } // '';
	close $out;
	return ($? & 127 ? 128 + ($? & 127) : $? >> 8, $text);
}

# Starts it in a process group of its own, as a shell would; returns its pid and where its words can be read.
sub start
{
	my @words = @_;
	my $pid = open(my $out, '-|') // die "fork: $!";
	if (!$pid) {
		setpgrp;
		open STDERR, '>&', \*STDOUT;
		exec $program, @words or die "$program: $!";
	}
	return ($pid, $out);
}

# True as soon as the condition holds. The limit only ends a test that has failed.
sub comes_true { my ($condition) = @_; for (1 .. 1200) { return 1 if $condition->(); sleep 0.05; } return 0; }

sub content { my ($path) = @_; open my $in, '<:raw', $path or die "$path: $!"; local $/; return scalar <$in>; }

# Returns the path.
sub write_file { my ($path, $text) = @_; open my $out, '>', $path or die "$path: $!"; print $out $text; close $out or die "$path: $!"; return $path; }

# run.json of a record.
sub record { my ($dir) = @_; return decode_json(content("$dir/run.json")); }

# The whole lines of one of its series.
sub lines { my ($dir, $series) = @_; return map { decode_json($_) } grep { /\}$/ } split /\n/, content("$dir/$series.jsonl"); }

# What psql says to SQL, and its exit code.
sub psql { my ($dsn, $sql) = @_; open my $in, '-|', 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-c', $sql, $dsn or die; my $text = do { local $/; <$in> } // ''; close $in; chomp $text; return wantarray ? ($text, $? >> 8) : $text; }

# A sandbox that stays, with the shop's data in it; its dsn. A rehearsal that does nothing made it.
sub kept_shop
{
	my ($scale, @words) = @_;
	my ($code, $text) = run('run', "$FindBin::Bin/lib/nothing.lua", '--drill', 'forward', '--scale', $scale, '--keep', '--out', "$home/nothing", @words);
	diag $text if $code != 0 && $code != 3;
	my ($list_code, $list) = run('sandbox', 'list');
	my ($socket) = "$text$list" =~ m{host=([^\s']+)};
	my ($db) = "$text$list" =~ m{dbname=([^\s']+)};
	return defined $socket ? "host=$socket user=postgres dbname=" . ($db // 'postgres') : undef;
}

sub sum_of { my $sum = 0; $sum += $_ for @_; return $sum; }

# Servers whose data lies in our home, as pids.
sub sandbox_processes { return grep { (readlink("/proc/$_/cwd") // '') =~ m{^\Q$home\E/} } map { m{/(\d+)/} } glob '/proc/[0-9]*/cwd'; }

sub nothing_is_left { return comes_true(sub { !sandbox_processes() && !grep { -d } glob "$home/pgrehearse-*/*" }); }

END {
	local $?;
	system $program, 'sandbox', 'down', '--all' if $home;
	remove_tree($home) if $home;
}

1;
