#!/usr/bin/perl
# scripts/lint sees what it is there to see: each kind of mistake, made in a copy of the code, is reported with its place.
use strict;
use warnings;
use File::Temp qw(tempdir);
use Test::More;

my $copy = tempdir('pgrehearse-lint-XXXXXX', TMPDIR => 1, CLEANUP => 1);
system("tar -c Makefile scripts harness tests .clang-format .clang-tidy | tar -x -C '$copy'") == 0 or die 'the copy failed';
delete @ENV{qw(BUILD MAKEFLAGS MFLAGS MAKELEVEL)};

sub lint {
	my ($check) = @_;
	my $output = `cd '$copy' && scripts/lint '$check' 2>&1`;
	return ($? >> 8, $output);
}

sub write_file {
	my ($path, $text) = @_;
	open my $out, '>', "$copy/$path" or die "$path: $!";
	print $out $text;
	close $out;
}

my ($status, $output) = lint('floors');
is($status, 0, 'the code as it is keeps to the floors') or diag($output);

# What is in the file, which check has to see it, and what it has to say.
my @mistakes = (
	['an include upwards is reported', 'harness/base/bad.c', qq(/* Bad. */\n#include "runtime/loop.h"\n), 'floors',
		qr{^# harness/base/bad\.c:2: base/ includes runtime/}m],
	['an include of another room on the same floor is reported', 'harness/measure/bad.c', qq(/* Bad. */\n#include "runtime/loop.h"\n), 'floors',
		qr{^# harness/measure/bad\.c:2: }m],
	['an include that names no room is reported', 'harness/base/bad.c', qq(/* Bad. */\n#include "error.h"\n), 'floors', qr{bad\.c:2: .*which room}],
	['a room without a floor is reported', 'harness/base/bad.c', qq(/* Bad. */\n#include "attic/box.h"\n), 'floors', qr{bad\.c:2: .*attic}],
	['printing below cli/ is reported', 'harness/base/bad.c', qq(/* Bad. */\nvoid f(void)\n{\n\tputs("x");\n}\n), 'prints', qr{bad\.c:4:}],
	['an exit outside main.c is reported', 'harness/base/bad.c', qq(/* Bad. */\nvoid f(void)\n{\n\texit(1);\n}\n), 'only main.c', qr{bad\.c:4:}],
	['a second clock is reported', 'harness/base/bad.c', qq(/* Bad. */\nlong f(void)\n{\n\treturn time(NULL);\n}\n), 'clock', qr{bad\.c:4:}],
	['strcpy is reported', 'harness/base/bad.c', qq(/* Bad. */\nvoid f(char *a)\n{\n\tstrcpy(a, "b");\n}\n), 'unsafe', qr{bad\.c:4:}],
	['a file without a purpose is reported', 'harness/base/bad.c', qq(int x;\n), 'purpose', qr{bad\.c}],
	['a crowded file is reported', 'harness/base/bad.c', "/* Bad. */\n" x 1201, '1,200', qr{bad\.c: 1201 lines}],
	['blanks at the end of a line are reported', 'harness/base/bad.c', qq(/* Bad. */ \n), 'blanks', qr{bad\.c:1: }],
	['a last line without an end is reported', 'harness/base/bad.c', qq(/* Bad. */), 'blanks', qr{bad\.c: }],
	['a shell script that does not parse is reported', 'scripts/bad', "#!/bin/sh\nif true\n", 'parse', qr{bad}],
);
for my $mistake (@mistakes) {
	my ($name, $path, $text, $check, $expected) = @$mistake;
	write_file($path, $text);
	($status, $output) = lint($check);
	unlink "$copy/$path";
	ok($status == 1 && $output =~ /^not ok /m && $output =~ $expected, $name) or diag($output);
}

SKIP: {
	skip 'no luac5.4', 1 if system('command -v luac5.4 >/dev/null') != 0;
	mkdir "$copy/workloads";
	write_file('workloads/bad.lua', "local = 1\n");
	($status, $output) = lint('Lua');
	like($output, qr{^# luac5\.4: workloads/bad\.lua:1:}m, 'a Lua file that does not compile is reported');
	unlink "$copy/workloads/bad.lua";
}
SKIP: {
	skip 'no clang-format 14', 1 if `clang-format --version 2>/dev/null` !~ /version 14\./;
	write_file('harness/base/bad.c', "/* Bad. */\nint  x;\n");
	($status, $output) = lint('formatted');
	like($output, qr{^# harness/base/bad\.c:2:}m, 'code that is not formatted is reported');
	unlink "$copy/harness/base/bad.c";
}
SKIP: {
	skip 'no clang-tidy', 2 if system('command -v clang-tidy >/dev/null') != 0;
	# Only this file is looked at, so that the rest of the code need not be analysed once more here.
	system("find '$copy'/harness '$copy'/tests -name '*.c' -delete");
	write_file('harness/base/bad.c', qq(/* Bad. */\nint f(const int *p);\nint f(const int *p)\n{\n\tif (!p)\n\t\treturn *p;\n\treturn 0;\n}\n));
	($status, $output) = lint('tidy');
	like($output, qr{^# harness/base/bad\.c:6:.*null}mi, 'what clang-tidy finds is reported');
	write_file('harness/base/bad.c', qq(/* Good. */\nint f(const int *p);\nint f(const int *p)\n{\n\treturn *p;\n}\n));
	($status, $output) = lint('tidy');
	is($status, 0, 'and no longer once it is mended') or diag($output);
}
done_testing();
