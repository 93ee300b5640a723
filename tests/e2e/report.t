#!/usr/bin/perl
# pgrehearse report on records from a simulation: what it says is what the record holds, in every format, whatever state the run was in.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Encode ();
use File::Temp qw(tempdir);
use JSON::PP;
use SyntheticRecord;
use Test::More;

my $program = $ENV{PGREHEARSE} // "$FindBin::Bin/../../build/pgrehearse";
my $folder = tempdir(CLEANUP => 1);

sub report
{
	my ($dir, @words) = @_;
	my $pid = open(my $out, '-|') // die;
	if (!$pid) { open STDERR, '>', "$folder/stderr"; exec $program, 'report', $dir, @words or die; }
	local $/;
	my $text = <$out> // '';
	close $out;
	return ($? >> 8, $text);
}

sub content { my ($path) = @_; open my $f, '<:raw', $path or return; local $/; return scalar <$f>; }

# What is wrong with the nesting, attributes and entities of XML or of HTML with void elements; '' when nothing is.
sub ill_formed
{
	my ($text, %void) = @_;
	my @open;
	$text =~ s/^<\?xml [^>]*\?>\n//;
	$text =~ s/^<!DOCTYPE html>\n//;
	$text =~ s/<style>[^<]*<\/style>//;
	while ($text =~ /\G([^<]*)(?:<([^>]*)>)?/gc) {
		my ($words, $tag) = ($1, $2);
		return "an ampersand that is no entity: " . substr($words, 0, 60) if $words =~ /&(?!(?:amp|lt|gt|quot|#\d+);)/;
		return "a > in text: " . substr($words, 0, 60) if $words =~ />/;
		return 'a control character' if $words =~ /[\x00-\x08\x0b\x0c\x0e-\x1f]/;
		last if !defined $tag;
		if ($tag =~ m{^/([\w-]+)\s*$}) {
			my $expected = pop @open // 'nothing';
			return "</$1> where </$expected> was due" if $1 ne $expected;
			next;
		}
		return "no tag: <$tag>" if $tag !~ m{^([\w-]+)((?:\s+[\w:-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(/?)\s*$}s;
		my ($name, $attributes, $closed) = ($1, $2, $3);
		my %seen;
		while ($attributes =~ /([\w:-]+)\s*=\s*(["'])(.*?)\2/gs) { return "$1 twice in <$tag>" if $seen{$1}++; return "& in <$tag>" if $3 =~ /&(?!(?:amp|lt|gt|quot|#\d+);)/; }
		push @open, $name unless $closed || $void{$name};
	}
	return "something unreadable: " . substr($text, pos($text) // 0, 60) if (pos($text) // 0) < length $text;
	return @open ? "never closed: @open" : '';
}
my %VOID = map { $_ => 1 } qw(meta br);

# The rules of the JUnit schemas that CI servers check, stated as they are there. Returns what is broken, '' when nothing is.
sub breaks_junit
{
	my ($xml) = @_;
	return 'root' if $xml !~ m{^<\?xml version="1.0" encoding="UTF-8"\?>\n<testsuites>\n(.*)</testsuites>\n$}s;
	my ($rest, $id) = ($1, 0);
	while ($rest =~ s{^\s*<testsuite ([^>]*)>(.*?)</testsuite>\s*}{}s) {
		my ($head, $body) = ($1, $2);
		my %a = $head =~ /(\w+)="([^"]*)"/g;
		for (qw(id name package hostname timestamp tests failures errors skipped time)) { return "testsuite without $_" if !length($a{$_} // ''); }
		return "id $a{id}" if $a{id} != $id++;
		return "timestamp $a{timestamp}" if $a{timestamp} !~ /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/;
		return "time $a{time}" if $a{time} !~ /^\d+(\.\d{1,3})?$/;
		return 'properties come first' if $body !~ s{^\s*<properties>(.*?)</properties>}{}s;
		my $properties = $1;
		$properties =~ s{\s*<property name="[^"]+" value="[^"]*"/>}{}g;
		return "property: $properties" if $properties =~ /\S/;
		return 'system-out, then system-err, come last' if $body !~ s{\s*<system-out>[^<]*</system-out>\s*<system-err>[^<]*</system-err>\s*$}{}s;
		my %n = (tests => 0, failures => 0, errors => 0, skipped => 0);
		while ($body =~ s{^\s*<testcase ([^>]*?)(/>|>(.*?)</testcase>)}{}s) {
			my ($attributes, $inner) = ($1, $3 // '');
			my %c = $attributes =~ /(\w+)="([^"]*)"/g;
			for (qw(name classname time)) { return "testcase without $_" if !length($c{$_} // ''); }
			return "time $c{time}" if $c{time} !~ /^\d+(\.\d{1,3})?$/;
			$n{tests}++;
			next if $inner eq '';
			if ($inner eq '<skipped/>') { $n{skipped}++; next; }
			return "testcase holds: $inner" if $inner !~ m{^\s*<(failure|error) type="[^"]+" message="[^"]*">[^<]*</\1>\s*$}s;
			$n{"$1s"}++;
		}
		return "left over: $body" if $body =~ /\S/;
		for (keys %n) { return "$_ is $a{$_}, not $n{$_}" if $a{$_} != $n{$_}; }
	}
	return $rest =~ /\S/ ? "left over: $rest" : '';
}

mkdir "$folder/both";
my $forward = SyntheticRecord::write_record("$folder/both/forward");
my $rollback = SyntheticRecord::write_record("$folder/both/rollback", drill => 'rollback', seed => 9);
SyntheticRecord::write_record("$folder/cut", until => 63);
SyntheticRecord::write_record("$folder/failed", until => 63, status => 'failed');
SyntheticRecord::write_record("$folder/nasty", nasty => 1, drill => 'rollback');
mkdir "$folder/empty";
open my $f, '>', "$folder/empty/run.json" or die;
print $f '{"format": 1, "status": "running", "writer_pid": 999999, "id": "20261121T065018Z-x-forward"}';
close $f;

subtest 'one HTML file covers all drills, needs nothing from elsewhere and is well-formed' => sub {
	my ($code, $said) = report("$folder/both");
	is($code, 0, 'exit code') or diag(content("$folder/stderr"));
	is($said, "$folder/both/report.html\n", 'names the file');
	my $html = content("$folder/both/report.html");
	is(ill_formed($html, %VOID), '', 'well-formed');
	unlike($html, qr/<script|<link|<iframe|<object|\bsrc\s*=|\@import|url\(|https?:/i, 'nothing is fetched or run');
	like($html, qr/Drill: forward.*Drill: rollback/s, 'both drills');
	for my $run ($forward, $rollback) {
		for my $c (@{$run->{run}{verdict}{criteria}}) {
			my $text = $c->{criterion} =~ s/&/&amp;/gr =~ s/</&lt;/gr;
			like($html, qr/>$c->{verdict}<\/span><\/td><td class="sentence"><code class="sql">\Q$text\E<\/code><\/td><td class="num">\Q$c->{observed}\E</, $c->{criterion});
		}
	}
	like($html, qr{<td class="tight">a</td><td class="num">40.0 s</td><td class="wide">rate \d+/s; weights checkout 0, view_user 2.5; flags new_checkout true</td>}, 'the change of the traffic');
	my %ids;
	$ids{$_}++ for $html =~ / id="([^"]*)"/g;
	is(join(' ', grep { $ids{$_} > 1 } keys %ids), '', 'no id twice');
};

subtest 'the blame table is the sum of waits.jsonl' => sub {
	my $html = content("$folder/both/report.html");
	my ($part) = $html =~ m{id="blame1">(.*?)</table>}s;
	my (%n, %longest);
	for my $w (@{$forward->{waits}}) {
		my $by = $w->{blamed} // 'other';
		for my $key ("$by", "$by $w->{waiter}{transaction}, $w->{waiter}{version}", 'all') {
			$n{$key}++;
			$longest{$key} = $w->{length_ns} if $w->{length_ns} > ($longest{$key} // 0);
		}
	}
	my %sql = map { $_->{sql} => $_->{id} } grep { $_->{type} eq 'statement' } @{$forward->{events}};
	my ($seen, $total, $by) = (0, 0, '');
	while ($part =~ m{<tr class="(group|member|total)"><td class="wide">(.*?)</td><td class="num">([\d,]+)</td><td class="num">[^<]*</td><td class="num">([^<]*)</td>}gs) {
		my ($kind, $who, $count, $longest) = ($1, $2, $3, $4);
		my $key = $who;
		if ($kind eq 'group') {
			($by) = $who =~ m{^<code class="sql">(.*?)</code>} ? grep { exists $n{$_} } map { $_->{id} } grep { $_->{type} eq 'statement' && $_->{sql} eq $1 } @{$forward->{events}} : ('other');
			$key = $by;
			$total += $count;
		} elsif ($kind eq 'member') {
			my ($parts) = $who =~ s{<br><span class="soft">in (.*?)</span>}{} ? $1 : undef;
			$key = "$by $who";
			if (defined $parts && $parts !~ /…|\xe2\x80\xa6/) {
				my $sum = 0;
				$sum += $_ for map { s/,//gr } $parts =~ /([\d,]+) \S+ \S+/g;
				is($sum, $count, "the statements of $key add up");
			}
		} else {
			$key = 'all';
		}
		is($count, $n{$key}, "number of waits: $key");
		my $ns = $longest{$key};
		my ($value, $unit) = $longest =~ /^([\d.]+) (\S+)$/;
		my $shown = $value * {s => 1e9, ms => 1e6, "\xc2\xb5s" => 1e3}->{$unit};
		ok(abs($shown - $ns) <= 0.006 * $ns, "longest: $key ($longest)");
		$seen++;
	}
	is($seen, scalar keys %n, 'every sum has its row, and no row is without');
	is($total, scalar @{$forward->{waits}}, 'the groups add up to all waits');
};

subtest 'each picture keeps its script and data, from which it can be drawn again' => sub {
	my $html = content("$folder/both/report.html");
	for my $name (map { ("forward-$_", "rollback-$_") } qw(response rates failed backlog waiting curve backfill lag-time lag-bytes wal)) {
		ok(-s "$folder/both/plots/$name.gp", "$name.gp");
	}
	ok(-s "$folder/both/plots/forward-timeline.dat", 'data');
	SKIP: {
		skip 'gnuplot is not installed', 2 if system('gnuplot --version >/dev/null 2>&1') != 0;
		my $pictures = () = $html =~ /<svg /g;
		is($pictures, 22, 'eleven pictures a drill');
		like($html, qr/Who stood in the way, and who waited/, 'one of them lanes of those who waited below who stood in the way');
		unlink "$folder/both/plots/forward-response.svg";
		system("cd $folder/both/plots && gnuplot forward-response.gp");
		ok(-s "$folder/both/plots/forward-response.svg", 'drawn again');
	}
	my $numbers = () = $html =~ /<summary>Its numbers/g;
	is($numbers, 16, 'numbers beside every picture over time');
};

subtest 'without gnuplot the page says so and keeps its tables' => sub {
	local $ENV{PATH} = '/nonexistent';
	my ($code) = report("$folder/both/forward", '--out', "$folder/plain.html");
	is($code, 0, 'exit code');
	my $html = content("$folder/plain.html");
	like($html, qr/gnuplot is not installed/, 'says so');
	unlike($html, qr/<svg/, 'no picture');
	like($html, qr/Its numbers/, 'the numbers are there');
	is(ill_formed($html, %VOID), '', 'well-formed');
	ok(-s "$folder/plots/forward-response.gp", 'the script to draw it with is there');
};

subtest 'names, SQL and messages full of markup stay text' => sub {
	for my $format (qw(html markdown junit text)) {
		my ($code) = report("$folder/nasty", '--format', $format, '--out', "$folder/nasty.$format");
		is($code, 0, "$format: exit code");
		my $text = content("$folder/nasty.$format");
		unlike($text, qr/[\x00-\x08\x0b\x0c\x0e-\x1f]/, "$format: no control characters");
		next if $format eq 'text';
		unlike($text, qr/<script|<i>|<b>/, "$format: no markup from the record");
		is(ill_formed($text, %VOID), '', "$format: well-formed") if $format ne 'markdown';
		unlike($text, qr/could not draw/, "$format: no picture is missing") if $format eq 'html';
		like($text, qr{<text[^>]*>(?:<[^>]*>|\s)*status is 100%}, "$format: a label of a picture with a percent sign") if $format eq 'html';
	}
	is(breaks_junit(content("$folder/nasty.junit")), '', 'JUnit');
	my @broken = grep { /^\|/ && !/^\|(?: [^|]* \|)+$/ } split /\n/, content("$folder/nasty.markdown");
	is(scalar @broken, 0, 'no table row of the Markdown is torn by a bar') or diag(@broken);
};

subtest 'JUnit holds a suite a drill and a case a criterion, as the schemas of Ant and Jenkins want it' => sub {
	my ($code, $said) = report("$folder/both", '--format', 'junit');
	is("$code $said", "0 $folder/both/junit.xml\n", 'written');
	my $xml = content("$folder/both/junit.xml");
	is(ill_formed($xml), '', 'well-formed');
	is(breaks_junit($xml), '', 'the rules');
	my $suites = () = $xml =~ /<testsuite /g;
	is($suites, 2, 'suites');
	my $failures = () = $xml =~ /<failure /g;
	is($failures, scalar(grep { $_->{verdict} eq 'FAIL' } map { @{$_->{run}{verdict}{criteria}} } $forward, $rollback), 'failures');
	report("$folder/cut", '--format', 'junit');
	$xml = content("$folder/cut/junit.xml");
	is(breaks_junit($xml), '', 'an interrupted run');
	like($xml, qr/<error type="INTERRUPTED"/, 'is an error');
};

subtest 'what could not be told or was unfit is an error, not a failure' => sub {
	SyntheticRecord::write_record("$folder/unfit", pass => 1, run => {invalid => ['the generator was the bottleneck'],
		verdict => {verdict => 'INVALID', criteria => [{criterion => 'lock_wait.max < 1s', verdict => 'INCONCLUSIVE', observed => undef, evidence => 'No data.'},
			{criterion => 'rollback.clean', verdict => 'SKIPPED', observed => undef, evidence => 'The drill forward does not roll back.'}]}});
	my (undef, $xml) = report("$folder/unfit", '--format', 'junit', '--out', '-');
	is(breaks_junit($xml), '', 'the rules');
	like($xml, qr/failures="0" errors="2" skipped="1"/, 'two errors');
	my (undef, $text) = report("$folder/unfit", '--format', 'text');
	like($text, qr/^INVALID .*unfit: the generator was the bottleneck/s, 'the reason stands at the top');
};

subtest 'rows of the ledger that nobody wrote are told' => sub {
	my $record = "$folder/strange";
	my $run = SyntheticRecord::write_record($record)->{run};
	$run->{totals}{ledger} = {acknowledged => 700, found => 700, lost => 0, unknown_found => 0, unknown_lost => 0, strange => 3};
	open my $out, '>:raw', "$record/run.json" or die;
	print $out encode_json($run);
	close $out;
	report($record);
	like(content("$record/report.html"), qr/FAIL<\/span> Ledger: of 700 acknowledged commits 700 were found afterwards, 0 were lost; 3 rows are there that nobody wrote, or twice\./, 'in the page');
	my (undef, $text) = report($record, '--format', 'text');
	like($text =~ s/\s+/ /gr, qr/Of 700 acknowledged commits 0 are not in the database; 3 rows of the ledger nobody wrote, or twice\./, '... and in the text');
};

subtest 'what the server and its machine went through is told by phase' => sub {
	my $record = "$folder/busy";
	my $run = SyntheticRecord::write_record($record, host => 1)->{run};
	$run->{phase_state} = [{phase => 'migration', temp_bytes => 3 * 2**20, deadlocks => 2, prepared => 1, xid_age => 12345}];
	open my $out, '>:raw', "$record/run.json" or die;
	print $out encode_json($run);
	close $out;
	report($record);
	my $html = content("$record/report.html");
	my $row = join '', map { qq{<td class="num">$_</td>} } '3.00 MB', 2, 1, '12,345', '97 %', 7, 1, '0 B', '50.0 MB', '90 %', '1.00 GB';
	like($html, qr/<td class="tight">migration<\/td>\Q$row\E/, 'a row of the migration');
	like($html, qr/<td class="tight">baseline<\/td>.*?<td class="num">50 %<\/td><td class="num">2<\/td>/s, '... and of the baseline');
	like($html, qr/, in a transaction of [\d.]+ (?:s|ms)/, 'how old the transaction was that others waited behind');
	my (undef, $text) = report($record, '--format', 'text');
	like($text =~ s/\s+/ /gr, qr/During migration, at worst: the machine's processors 97 % busy, 7 processes to run, the busiest disk 90 %, 1\.00 GB of memory left, 3\.00 MB of temporary files, 2 deadlocks, 1 prepared transaction\./, 'the same in the text');
};

subtest 'Markdown stays under 1 MiB whatever the record holds' => sub {
	my $long = 'x' x 3000;
	SyntheticRecord::write_record("$folder/vast", drill => 'rollback', run => {
		verdict => {verdict => 'FAIL', criteria => [map { {criterion => "lock_wait[$_$long].max < 1s", verdict => 'FAIL', observed => $long, evidence => $long} } 1 .. 1000]},
		rollback => {verdict => 'dirty', tables => [], differences => [map { {class => 'dirty', object => "$_ $long", detail => $long} } 1 .. 1000]}});
	my ($code, $text) = report("$folder/vast", '--format', 'markdown');
	is($code, 0, 'exit code');
	cmp_ok(length $text, '<', 2**20, 'size');
	my ($ok) = report("$folder/both", '--format', 'markdown');
	is($ok, 0, 'both drills');
};

subtest 'who had no answer when the run ended is told' => sub {
	my $record = "$folder/hung";
	my $run = SyntheticRecord::write_record($record)->{run};
	$run->{totals}{open} = [map { {transaction => 'checkout', version => 'v1', due_age_ns => $_ * 1e6} } 2500, 1200, 999];
	open my $out, '>:raw', "$record/run.json" or die;
	print $out encode_json($run);
	close $out;
	my ($code, $text) = report($record, '--format', 'text');
	is($code, 0, 'exit code');
	like($text, qr/2\s+transactions\s+had\s+no\s+answer\s+when\s+the\s+run\s+ended,\s+the\s+oldest\s+for\s+2\.50\s+s\./, 'those that waited a second or more, and the oldest');
	unlike((report("$folder/both/forward", '--format', 'text'))[1], qr/had\s+no\s+answer/, '... only where there are any');
};

subtest 'a run that was cut short, that failed or that hardly began is shown as what it is' => sub {
	for my $format (qw(html markdown junit text)) {
		for my $case (['cut', 'INTERRUPTED'], ['failed', 'FAILED'], ['empty', 'INTERRUPTED']) {
			my ($code, $text) = report("$folder/$case->[0]", '--format', $format, '--out', '-');
			is($code, 0, "$format of $case->[0]") or diag(content("$folder/stderr"));
			like($text, qr/$case->[1]/, 'the word');
			is(ill_formed($text, %VOID), '', 'well-formed') if $format eq 'html' || $format eq 'junit';
		}
	}
	my (undef, $text) = report("$folder/failed", '--format', 'text');
	like($text, qr/connection to the primary was lost/, 'with the error');
};

subtest 'the same record gives the same report' => sub {
	my (undef, $first) = report("$folder/both", '--format', 'html', '--out', '-');
	my (undef, $second) = report("$folder/both", '--format', 'html', '--out', '-');
	ok($first eq $second, 'to the byte');
};

subtest 'text on a pipe is plain' => sub {
	my (undef, $text) = report("$folder/both", '--format', 'text');
	unlike($text, qr/\e/, 'no colours');
	like($text, qr/^FAIL  users.is_active becomes users.status/, 'the verdict comes first');
	cmp_ok((sort { $b <=> $a } map { length(Encode::decode('UTF-8', $_)) } split /\n/, $text)[0], '<=', 110, 'lines fit a terminal');
};

subtest 'a damaged record is told by file and line' => sub {
	my $cases = 0;
	for my $case (['run.json', qr/"phases"\s*:\s*\[/, '"phases":7,"other":[', qr{/run\.json: phases is no list but a number}],
		['run.json', qr/"verdict"\s*:\s*"PASS"/, '"verdict":"FINE"', qr{/run\.json: verdict.*is none of PASS, FAIL}],
		['run.json', qr/\z/, ',', qr{/run\.json:?\d*: not JSON}],
		['intervals.jsonl', qr/(\A(?:.*\n){4}.*)"backlog"\s*:\s*\d+/, sub { $1 . '"backlog":"many"' }, qr{/intervals\.jsonl:5: backlog is no number but a text}],
		['waits.jsonl', qr/\A((?:.*\n){2})/, sub { $1 . qq({"waiter": {}}\n) }, qr{/waits\.jsonl:3: start_ns is missing}],
		['events.jsonl', qr/\A(.*\n)/, sub { $1 . qq({"t_ns": 5}\n) }, qr{/events\.jsonl:2: type is missing}]) {
		my ($file, $from, $to, $expected) = @$case;
		my $dir = "$folder/damaged" . $cases++;
		SyntheticRecord::write_record($dir, pass => 1);
		my $text = content("$dir/$file");
		ok(ref $to ? $text =~ s/$from/$to->()/e : $text =~ s/$from/$to/, "$file is damaged");
		open my $out, '>:raw', "$dir/$file" or die;
		print $out $text;
		close $out;
		my ($code) = report($dir, '--format', 'text');
		my $said = content("$folder/stderr");
		isnt($code, 0, 'no report');
		like($said, $expected, 'file, line and what');
		unlike($said, qr/traceback/, 'and nothing else');
	}
};

subtest 'a report may go to a device' => sub {
	system('mkfifo', "$folder/pipe") == 0 or die;
	my $pid = fork // die;
	if (!$pid) { open my $in, '<', "$folder/pipe" or die; local $/; exit(length(<$in>) > 100 ? 0 : 1); }
	my ($code) = report("$folder/cut", '--format', 'text', '--out', "$folder/pipe");
	is($code, 0, 'exit code');
	ok(-p "$folder/pipe", 'which it still is');
	waitpid $pid, 0;
	is($?, 0, 'and has the report');
};

subtest 'what cannot be done is refused with what would be accepted' => sub {
	my ($code) = report("$folder/both", '--format', 'pdf');
	is($code, 2, 'unknown format');
	like(content("$folder/stderr"), qr/"pdf".*html, markdown, junit or text/s, 'the formats');
	($code) = report("$folder/nowhere");
	is($code, 2, 'no such folder');
	mkdir "$folder/hollow";
	($code) = report("$folder/hollow");
	is($code, 2, 'a folder without a record');
	like(content("$folder/stderr"), qr/there is no record in .*hollow/, 'says what was looked for');
	($code) = report("$folder/both", '--out', "$folder/stderr/place.html");
	cmp_ok($code, '!=', 0, 'a place that cannot be written');
};

done_testing();
