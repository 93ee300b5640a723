#!/usr/bin/perl
# scripts/run-tests counts what went wrong, whatever way a test goes wrong: failures, crashes, broken plans, sanitizers, silence.
use strict;
use warnings;
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;

my $top = tempdir('pgrehearse-run-tests-XXXXXX', TMPDIR => 1, CLEANUP => 1);
make_path("$top/scripts", "$top/tests/e2e");
system("cp scripts/run-tests '$top/scripts/'") == 0 or die 'the copy failed';
delete @ENV{qw(BUILD MAKEFLAGS MFLAGS MAKELEVEL)};

sub write_file {
	my ($path, $text) = @_;
	open my $out, '>', "$top/$path" or die "$path: $!";
	print $out $text;
	close $out;
	chmod 0755, "$top/$path";
}
# Runs one test script; returns the exit code, the last line and everything.
sub run_one {
	my ($text) = @_;
	write_file('tests/e2e/one.t', $text);
	my $output = `cd '$top' && scripts/run-tests e2e 2>&1`;
	my ($last) = $output =~ /([^\n]*)\n\z/;
	return ($? >> 8, $last, $output);
}

write_file('Makefile', "build/%:\n\t\@:\n");
my @cases = (
	['two tests that pass', "#!/bin/sh\necho 1..2; echo ok 1; echo ok 2\n", 0, '2 passed, 0 failed'],
	['a perl script', "#!/usr/bin/perl\nuse Test::More tests => 1;\nok(1);\n", 0, '1 passed, 0 failed'],
	['a failure', "#!/bin/sh\necho 1..2; echo ok 1; echo not ok 2; exit 1\n", 1, '1 passed, 1 failed'],
	['a failure with exit status 0', "#!/bin/sh\necho 1..2; echo ok 1; echo not ok 2\n", 1, '1 passed, 1 failed'],
	['a skipped test', "#!/bin/sh\necho 1..2; echo ok 1; echo 'ok 2 # skip no such thing'\n", 0, '1 passed, 0 failed'],
	['a crash', "#!/bin/sh\necho 1..2; echo ok 1; kill -SEGV \$\$\n", 1, '1 passed, 1 failed'],
	['a bad exit status after good tests', "#!/bin/sh\necho 1..1; echo ok 1; exit 3\n", 1, '1 passed, 1 failed'],
	['fewer tests than planned', "#!/bin/sh\necho 1..3; echo ok 1\n", 1, '1 passed, 1 failed'],
	['more tests than planned', "#!/bin/sh\necho 1..1; echo ok 1; echo ok 2\n", 1, '1 passed, 1 failed'],
	['no plan', "#!/bin/sh\necho ok 1\n", 1, '1 passed, 1 failed'],
	['silence', "#!/bin/sh\nexit 0\n", 1, '0 passed, 1 failed'],
	['a sanitizer\'s report', "#!/bin/sh\necho 1..1; echo ok 1; echo '==1==ERROR: AddressSanitizer: heap-use-after-free' >&2\n", 1, '1 passed, 1 failed'],
	['undefined behaviour', "#!/bin/sh\necho 1..1; echo ok 1; echo 'a.c:1:2: runtime error: signed integer overflow' >&2\n", 1, '1 passed, 1 failed'],
);
for my $case (@cases) {
	my ($name, $text, $status, $last) = @$case;
	my @got = run_one($text);
	is("$got[0]: $got[1]", "$status: $last", $name) or diag($got[2]);
}

my ($status, $last, $output) = run_one("#!/bin/sh\necho 1..2; echo ok 1; echo 'ok 2 # skip no such thing'\n");
like($output, qr/^1 skipped\.\n1 passed, 0 failed\n\z/m, 'what was skipped is told before the last line');
($status, $last, $output) = run_one("#!/bin/sh\necho 1..1; echo '# the reason'; echo not ok 1\n");
like($output, qr/the reason/, 'a failed file is shown');
($status, $last, $output) = run_one("#!/bin/sh\necho 1..3; echo 'ok 1 - good'; echo 'not ok 2 - two of them'; echo '# the reason'; echo 'ok 3 - good too'; exit 1\n");
like($output, qr/^      \| not ok 2 - two of them\n      \| # the reason\n/m, '... without what held');
unlike($output, qr/good/, '... nowhere');
like($output, qr/^  e2e\/one\.t: 1 failed\n    not ok 2 - two of them\n2 passed/m, '... and the last words name what failed');
ok(-s "$top/build/test-output/e2e/one.tap", 'and its output is kept');
($status, $last, $output) = run_one("#!/bin/sh\necho 1..1; echo '# a detail'; echo ok 1\n");
unlike($output, qr/a detail/, 'a passed file is one line');

write_file('Makefile', "build/%:\n\t\@echo broken; false\n");
($status, $last) = run_one("#!/bin/sh\necho 1..1; echo ok 1\n");
is("$status: $last", '1: 0 passed, 1 failed', 'a build that fails is a failure, and no test of it runs');
done_testing();
