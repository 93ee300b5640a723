# Writes run records as reports/RECORD.md describes them, from a small simulation: for tests of what reads records.
# Written from the description alone, without the program's own writer, so that the two check each other.
package SyntheticRecord;
use strict;
use warnings;
use Compress::Zlib qw(compress);
use JSON::PP;
use MIME::Base64 qw(encode_base64);

my $json = JSON::PP->new->canonical->utf8;
my @TRANSACTIONS = (    # name, weight, median service ms, writes the table users
	['view_user', 45, 0.8, 1], ['browse_orders', 25, 2.2, 0], ['checkout', 15, 6.5, 1], ['set_active', 10, 1.1, 1], ['count_event', 5, 0.5, 0],
);

my ($seed, %histograms);
sub unit { $seed = ($seed * 1103515245 + 12345) % 2147483648; return ($seed + 0.5) / 2147483648; }
sub gaussian { return sqrt(-2 * log(unit())) * cos(6.283185307 * unit()); }
sub ns { return int($_[0] * 1e9 + 0.5); }

# HdrHistogram: index of a value's bucket with three significant digits and unit 1.
sub bucket_of
{
	my ($v) = @_;
	my ($bucket, $top) = (0, $v | 2047);
	$bucket++ while $top >> ($bucket + 11);
	return (($bucket + 1) << 10) + ($v >> $bucket) - 1024;
}

sub leb128
{
	my ($n) = @_;
	my $z = $n >= 0 ? $n * 2 : -$n * 2 - 1;
	my $out = '';
	while ($z > 127) { $out .= chr(($z & 127) | 128); $z >>= 7; }
	return $out . chr($z);
}

sub encode_histogram
{
	my ($values) = @_;
	my %count;
	$count{bucket_of($_)}++ for @$values;
	my ($body, $next) = ('', 0);
	for my $i (sort { $a <=> $b } keys %count) {
		$body .= leb128($next - $i) if $i > $next;
		$body .= leb128($count{$i});
		$next = $i + 1;
	}
	my $plain = pack('NNNNQ>Q>d>', 0x1c849313, length $body, 0, 3, 1, 2**47 - 1, 1.0) . $body;
	my $packed = compress($plain);
	return encode_base64(pack('NN', 0x1c849314, length $packed) . $packed, '');
}

sub quantile { my ($sorted, $q) = @_; my $i = int($q * @$sorted); return $sorted->[$i > $#$sorted ? $#$sorted : $i]; }

sub write_lines
{
	my ($path, $lines) = @_;
	open my $f, '>', $path or die "$path: $!";
	print $f $json->encode($_), "\n" for @$lines;
	close $f;
}

# write_record(DIR, drill => 'forward'|'rollback', seed =>, status =>, pass => 1, nasty => 1, until => seconds, rate =>, host => 1)
# pass: a gentle migration; otherwise one statement blocks the table users for 6.2 s. nasty: names and SQL full of markup. host: what the machine was like.
# until: the writer died at that second. Returns what it wrote: {run, events, intervals, waits}.
sub write_record
{
	my ($dir, %o) = @_;
	$seed = $o{seed} // 7;
	my $rate = $o{rate} // 300;
	my $back = ($o{drill} // 'forward') eq 'rollback';
	my $end = $back ? 130 : 96;
	my @phases = (['baseline', 0, 20], ['migration', 20, 90], $back ? ['rollback', 90, 124] : (), ['recovery', $back ? 124 : 90, $end]);
	my $cut = $o{until} // $end;
	my $table = $o{nasty} ? 'us"ers 100% <b>&amp;' : 'users';
	my $complete = $o{nasty} ? 'status is 100%' : 'status is complete';
	my $sql_default = $o{nasty} ? "ALTER TABLE users ADD note text DEFAULT '<script>alert(\"x\")</script> & ]]> \x{1}'" : 'ALTER TABLE users ALTER COLUMN status SET NOT NULL';
	my @blocks = $o{pass} ? ([61, 61.018, 6]) : ([24.0, 24.052, 1], [60, 66.2, 6]);
	push @blocks, [92, 92.4, 8] if $back && !$o{pass};

	my (@events, @waits, @arrivals, %statement);
	my $event = sub { my ($t, $type, %f) = @_; push @events, {t_ns => ns($t), type => $type, %f} if $t <= $cut };
	for (@phases) { $event->($_->[1], 'phase', name => $_->[0], edge => 'start'); $event->($_->[2], 'phase', name => $_->[0], edge => 'end'); }
	$event->(0, 'load', rate => $rate, mode => 'open');
	$event->(40, 'load', rate => $rate, mode => 'open', mix => {($o{nasty} ? '<b>pay</b> | "all"' : 'checkout') => 0, view_user => 2.5}, flags => {new_checkout => JSON::PP::true});
	my $step = sub {
		my ($name, $kind, $direction, $from, $to) = @_;
		$event->($from, 'step', name => $name, kind => $kind, direction => $direction, edge => 'start');
		$event->($to, 'step', name => $name, kind => $kind, direction => $direction, edge => 'end', ok => JSON::PP::true, duration_ns => ns($to - $from));
	};
	my $id = 0;
	my $run_sql = sub {
		my ($step_name, $direction, $attempt, $sql, $from, $to, $state, $lock, $wal) = @_;
		$id++;
		my %s = (id => $id, step => $step_name, direction => $direction, attempt => $attempt, sql => $sql, pid => 4242, start_ns => ns($from), end_ns => ns($to),
			sqlstate => $state, message => $state eq '55P03' ? 'canceling statement due to lock timeout' : undef, rows => 0, wal_bytes => $wal,
			locks => [{relation => "public.$table", mode => $lock, granted => $state eq '00000' ? JSON::PP::true : JSON::PP::false}],
			locks_from_ns => ns($from), locks_to_ns => ns($to));
		$statement{$id} = \%s;
		$event->($to, 'statement', %s);
	};
	$step->('add status', 'sql', 'up', 24, 26.1);
	$run_sql->('add status', 'up', 1, 'ALTER TABLE users ADD COLUMN status text', 24.0, 24.052, $o{pass} ? '00000' : '55P03', 'AccessExclusiveLock', 0);
	$run_sql->('add status', 'up', 2, 'ALTER TABLE users ADD COLUMN status text', 26.0, 26.09, '00000', 'AccessExclusiveLock', 8192) unless $o{pass};
	$step->('keep both in step', 'sql', 'up', 27, 27.2);
	$run_sql->('keep both in step', 'up', 1, "CREATE TRIGGER users_sync BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION sync_status()", 27.01, 27.06, '00000', 'ShareRowExclusiveLock', 4096);
	$step->('fill status', 'backfill', 'up', 28, 58);
	for my $s (28 .. 58) {
		my $share = ($s - 28) / 30;
		$event->($s, 'backfill', step => 'fill status', batches => int($share * 120), rows => int($share * 100000), total => 100000,
			eta_ns => ns(58 - $s), paused_ns => ns($share * 6), reason => ($s > 40 && $s < 44 ? 'replay_lag' : undef), done => $s == 58 ? JSON::PP::true : JSON::PP::false);
	}
	$step->($complete, 'sql', 'up', 60, $o{pass} ? 61.1 : 66.3);
	$run_sql->($complete, 'up', 1, $sql_default, $o{pass} ? (61, 61.018) : (60, 66.2), '00000', 'AccessExclusiveLock', 24576);
	$step->('roll out v2', 'deploy', 'up', 70, 82);
	$event->(70 + 3 * $_, 'deploy', step => 'roll out v2', pod => $_, from => 'v1', to => 'v2') for 1 .. 4;
	if ($back) {
		$step->('roll out v2', 'deploy', 'down', 91, 91.8);
		$step->($complete, 'sql', 'down', 92, 92.5);
		$run_sql->($complete, 'down', 1, 'ALTER TABLE users ALTER COLUMN status DROP NOT NULL', 92, 92.4, '00000', 'AccessExclusiveLock', 8192);
		$step->('add status', 'sql', 'down', 100, 100.2);
		$run_sql->('add status', 'down', 1, 'ALTER TABLE users DROP COLUMN status', 100.1, 100.13, '00000', 'AccessExclusiveLock', 8192);
	}
	$event->(88, 'check', name => 'both_agree', when => 'after migration', rows => 0, ok => JSON::PP::true);
	$event->(45, 'warning', text => 'standby s1 is 4.2 s behind; the backfill waits for it');
	my @actors = ([35, 45]);
	$event->($_->[0], 'actor', name => 'report', edge => 'start', pid => 777) for @actors;
	$event->($_->[1], 'actor', name => 'report', edge => 'end', pid => 777) for @actors;

	# Arrivals: service time, plus what a lock or a queue behind it adds.
	my %stuck;    # sessions behind each block; the pools hold 32
	for (my $due = -log(unit()) / $rate; $due < $cut; $due += -log(unit()) / $rate) {
		my ($pick, $tx) = (unit() * 100, undef);
		for (@TRANSACTIONS) { $tx = $_; last if ($pick -= $_->[1]) < 0; }
		my $service = $tx->[2] / 1000 * exp(0.45 * gaussian()) * ($due >= 28 && $due < 58 ? 1.35 : 1);
		my $queue = 0.00004 + 0.0001 * unit();
		my ($failed, $version) = (undef, $due > 70 && unit() < ($due - 70) / 12 && !($back && $due > 91) ? 'v2' : 'v1');
		for my $b (@blocks) {
			my ($from, $to, $who) = @$b;
			if ($due >= $from && $due < $to) {
				if ($tx->[3] && $stuck{$from}++ < 32) {
					my $length = $to - $due - 0.0001;
					my $timeout = $length > 5 && unit() < 0.5;
					$length = 5 if $timeout;
					$failed = '55P03' if $timeout;
					my $blamed = $o{pass} ? 4 - 1 : $who == 6 ? 4 : $who == 8 ? 5 : 1;
					my %blocker = (pid => 4242, role => 'migration', mode => 'AccessExclusiveLock', queued => JSON::PP::false, sql => $statement{$blamed}{sql}, state => 'active', xact_age_ns => ns($due - $from));
					my $pid = 5000 + $stuck{$from};
					push @waits, {start_ns => ns($due + $queue), length_ns => ns($length), quality => $length > 0.05 ? 'exact' : 'bounded', bound_ns => 1000000 + int(unit() * 9e6),
						ended => $timeout ? 'timeout' : 'granted',
						waiter => {pid => $pid, role => 'load', version => $version, transaction => $tx->[0], statement => $tx->[0] eq 'checkout' ? 'lock_user' : 'get_user', sql => 'SELECT id, email, name FROM users WHERE id = $1'},
						lock => {type => 'relation', relation => "public.$table", mode => $tx->[0] eq 'view_user' ? 'AccessShareLock' : 'RowExclusiveLock'},
						blockers => [\%blocker], root => \%blocker, chain => [4242], blamed => $blamed};
					$service += $length;
				} else {
					$queue += ($to - $due) * 0.92 + 0.05 * unit();
				}
			} elsif ($due >= $to && $due < $to + 2 && $to - $from > 1) {
				$queue += ($to + 2 - $due) * 0.4 * unit();
			}
		}
		$failed = '40001' if !$failed && unit() < 0.0002;
		push @arrivals, {due => $due, start => $due + $queue, done => $due + $queue + $service, name => $tx->[0], version => $version, failed => $failed};
	}
	for my $k (1 .. 25) {    # ordinary row locks, nobody's fault
		my $t = 3 + 3.1 * $k;
		last if $t > $cut;
		my %b = (pid => 5100, role => 'load', mode => 'ShareLock', queued => JSON::PP::false, sql => 'UPDATE users SET seen_at = now() WHERE id = $1', state => 'idle in transaction', xact_age_ns => 4000000);
		push @waits, {start_ns => ns($t), length_ns => ns(0.002 + 0.03 * unit()), quality => 'bounded', bound_ns => 10000000, ended => 'granted',
			waiter => {pid => 5101, role => 'load', version => 'v1', transaction => 'checkout', statement => 'touch_user', sql => 'UPDATE users SET seen_at = now() WHERE id = $1'},
			lock => {type => 'transactionid', relation => undef, mode => 'ShareLock'}, blockers => [\%b], root => \%b, chain => [5100], blamed => undef};
	}
	@waits = sort { $a->{start_ns} + $a->{length_ns} <=> $b->{start_ns} + $b->{length_ns} } grep { $_->{start_ns} + $_->{length_ns} <= ns($cut) } @waits;

	# Seconds, cut at the edges of phases.
	my (@edges, @intervals, @hlog);
	for my $p (@phases) { push @edges, map { [$_, $_ + 1, $p->[0]] } grep { $_ < $cut } $p->[1] .. $p->[2] - 1; }
	my (%totals, %by_version, %errors);
	my @by_done = sort { $a->{done} <=> $b->{done} } grep { $_->{done} <= $cut } @arrivals;
	my @by_start = sort { $a->{start} <=> $b->{start} } grep { $_->{start} <= $cut } @arrivals;
	my ($ia, $is, $id2, %started, %done) = (0, 0, 0);
	for my $e (@edges) {
		my ($from, $to, $phase) = @$e;
		my (%v, @response, %hist);
		my $planned = 0;
		while ($ia < @arrivals && $arrivals[$ia]{due} < $to) { $planned++; $ia++; }
		while ($is < @by_start && $by_start[$is]{start} < $to) { $v{$by_start[$is]{version}}{started}++; $started{$by_start[$is]{version}}++; $is++; }
		while ($id2 < @by_done && $by_done[$id2]{done} < $to) {
			my $a = $by_done[$id2++];
			$done{$a->{version}}++;
			if ($a->{failed}) { $v{$a->{version}}{failed}{$a->{failed}}++; $errors{$a->{failed}}++; } else { $v{$a->{version}}{ok}++; }
			my ($r, $s, $how) = (ns($a->{done} - $a->{due}), ns($a->{done} - $a->{start}), $a->{failed} ? 'failed' : 'ok');
			push @response, $r;
			push @{$hist{"total/response/$how"}}, $r;
			push @{$hist{"total/service/$how"}}, $s;
			push @{$histograms{"$a->{name}/$a->{version}/response/$how"}}, $r;
			push @{$histograms{"$a->{name}/$a->{version}/service/$how"}}, $s;
		}
		for my $name (sort keys %{{%v, %started}}) {
			$v{$name}{$_} //= 0 for qw(started ok);
			$v{$name}{failed} //= {};
			$v{$name}{in_flight} = ($started{$name} // 0) - ($done{$name} // 0);
			$by_version{$name}{started} += $v{$name}{started}; $by_version{$name}{ok} += $v{$name}{ok}; $by_version{$name}{failed} += $_ for values %{$v{$name}{failed}};
		}
		my @sorted = sort { $a <=> $b } @response;
		my @waiting = grep { $_->{start_ns} < ns($to) && $_->{start_ns} + $_->{length_ns} > ns($from) } @waits;
		my $longest = 0;
		for (@waiting) { my $sofar = ($_->{start_ns} + $_->{length_ns} < ns($to) ? $_->{start_ns} + $_->{length_ns} : ns($to)) - $_->{start_ns}; $longest = $sofar if $sofar > $longest; }
		my $fill = $from >= 28 && $from < 58;
		my $behind = $fill ? 2**20 * (2 + 18 * exp(-(($from - 43) / 4)**2)) : 40000 + 20000 * unit();
		push @intervals, {start_ns => ns($from), end_ns => ns($to), phase => $phase, planned => $planned, abandoned => 0,
			backlog => $ia - $is, backlog_age_ns => $ia > $is ? ns($to - $by_start[$is < @by_start ? $is : -1]{due}) : 0, versions => \%v,
			response => @sorted ? {n => scalar @sorted, p50_ns => quantile(\@sorted, 0.5), p99_ns => quantile(\@sorted, 0.99), max_ns => $sorted[-1]} : {n => 0},
			lag => [{standby => 's1', replay_bytes => int $behind, sent_bytes => 0, write_bytes => int($behind * 0.2), flush_bytes => int($behind * 0.4),
				heartbeat_ns => $from == 50 ? undef : ns($behind / 2**20 * 0.21 + 0.004 * unit()), replay_lag_ns => ns($behind / 2**20 * 0.2)}],
			wal_bytes => int($fill ? 2.4e6 * (1 + 0.2 * gaussian()) : 4e5 * (1 + 0.1 * gaussian())), waiting => scalar @waiting, longest_wait_ns => $longest,
			$o{host} ? (host => {cpu => $fill ? 0.97 : 0.5, runnable => $fill ? 7 : 2, blocked => 1, memory_available_bytes => ($fill ? 1 : 2) * 2**30, disk_read_bytes => 0,
				disk_write_bytes => ($fill ? 50 : 1) * 2**20, disk_busy => $fill ? 0.9 : 0.1}) : (),
			cpu => {host => 0.42 + 0.1 * unit(), worker => 0.21 + 0.05 * unit(), observer => 0.03}};
		push @hlog, ["$_", $from, $to, $hist{$_}] for sort keys %hist;
		if ($to % 10 == 0 || grep { $_->[2] == $to } @phases) {
			push @hlog, [$_, $from - 9 < 0 ? 0 : $from, $to, $histograms{$_}] for sort keys %histograms;
			%histograms = ();
		}
	}

	my ($planned, $n_started, $n_done) = (scalar @arrivals, scalar @by_start, scalar @by_done);
	my $n_failed = 0;
	$n_failed += $_ for values %errors;
	my $early = $cut < $end;
	my $status = $o{status} // ($early ? 'running' : 'finished');
	mkdir $dir or die "$dir: $!";
	write_lines("$dir/events.jsonl", [sort { $a->{t_ns} <=> $b->{t_ns} } @events]);
	write_lines("$dir/intervals.jsonl", \@intervals);
	write_lines("$dir/waits.jsonl", \@waits);
	open my $f, '>', "$dir/latency.hlog" or die;
	print $f "#[Histogram log format version 1.2]\n#[StartTime: 1790000000.000 (seconds since epoch)]\n\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
	for (@hlog) {
		my ($tag, $from, $to, $values) = @$_;
		my ($max) = sort { $b <=> $a } @$values;
		printf $f "Tag=%s,%.6f,%.6f,%.3f,%s\n", $tag, $from, $to - $from, $max / 1e6, encode_histogram($values);
	}
	close $f;

	my $worst = 0;
	for (@waits) { $worst = $_->{length_ns} if $_->{length_ns} > $worst && $_->{waiter}{role} eq 'load'; }
	my $good = $worst < 1e9;
	my @criteria = ('migration.duration < 10min', 'replay_lag.max < 30s', 'lock_wait.max < 1s', 'latency.p99 during migration < 2 x baseline', 'errors.rate < 0.1%', 'check[both_agree].rows = 0', $back ? 'rollback.clean' : ());
	my %run = (format => 1, pgrehearse => '0.1.0', id => '20261121T065018Z-user_status-' . ($o{drill} // 'forward'), status => $status, writer_pid => 999999, started_at => '2026-11-21T06:50:18Z',
		drill => $o{drill} // 'forward', scenario => {path => 'scenarios/user_status.lua', name => 'user_status', title => $o{nasty} ? '<i>users</i> & "status" \'quoted\' | pipe' : 'users.is_active becomes users.status', sha256 => 'ab' x 32},
		workload => {path => 'workloads/shop.lua', name => 'shop', sha256 => 'cd' x 32, scale => 1}, seed => 42,
		load => {mode => 'open', rate => $rate, arrivals => 'poisson', pods => 4, pool => 8, workers => 1, acquire_timeout_ns => 0},
		server => {kind => 'sandbox', version => 'PostgreSQL 15.14', version_num => 150014, standbys => 1, settings => {shared_buffers => '512MB', max_wal_size => '4GB', wal_level => 'replica', log_statement => $o{nasty} ? '<none>' : 'none'}},
		host => {cores => 2, memory_bytes => 8 * 2**30, kernel => 'Linux 6.1.0'}, criteria => \@criteria,
		phases => [map { {name => $_->[0], start_ns => ns($_->[1]), end_ns => $_->[2] <= $cut ? ns($_->[2]) : undef} } grep { $_->[1] < $cut } @phases]);
	if (!$early) {
		%run = (%run, duration_ns => ns($end), totals => {planned => $planned, started => $n_started, abandoned => 0, never_started => $planned - $n_started, ok => $n_done - $n_failed, failed => $n_failed,
				unfinished => $n_started - $n_done, unfinished_oldest_ns => ns(0.004), errors => \%errors, versions => \%by_version, holds => JSON::PP::true},
			generator => {schedule_error => {count => $n_started, p50_ns => 52000, p99_ns => 310000, max_ns => 4200000}, cpu_share_max => 0.31, loop_lag_max_ns => 3100000, late_share => 0.0004},
			observer => {period_ns => 10000000, samples => $end * 100 - 12, missed => 12, statements => $end * 103, cpu_ns => ns($end * 0.03)},
			checks => [{name => 'both_agree', when => 'after migration', rows => 0, ok => JSON::PP::true}, {name => 'nobody_lost', when => 'after migration', rows => $good ? 0 : 3, ok => $good ? JSON::PP::true : JSON::PP::false, sample => $good ? undef : {id => 17, status => undef}}]);
		$run{rollback} = {verdict => $good ? 'identical' : 'dirty', differences => $good ? [] : [{class => 'equivalent', object => 'public.users', detail => 'a dropped column leaves a hole at position 9'}, {class => 'dirty', object => 'public.users_sync()', detail => 'the function is still there'}],
			tables => [{table => 'public.users', method => 'skipped', rows => undef, same => undef, reason => 'the load writes it'}, {table => 'public.countries', method => 'whole', rows => 249, same => JSON::PP::true, reason => undef}]} if $back;
		my $bad = 'FAIL';
		$run{verdict} = {verdict => $good ? 'PASS' : $bad, criteria => [
			{criterion => $criteria[0], verdict => 'PASS', observed => '70 s', evidence => 'The phase migration lasted from 20 s to 90 s.'},
			{criterion => $criteria[1], verdict => 'PASS', observed => '4.22 s', evidence => 'Largest heartbeat lag of s1, at 43 s, in the backfill "fill status".'},
			{criterion => $criteria[2], verdict => $good ? 'PASS' : $bad, observed => sprintf('%.3g s', $worst / 1e9), evidence => 'Longest of ' . @waits . ' lock waits: checkout (v1) on public.users behind statement 4 of the step "status is complete".'},
			{criterion => $criteria[3], verdict => $good ? 'PASS' : $bad, observed => $good ? '1.31 x baseline' : '412 x baseline', evidence => 'p99 of the response time in migration against 14.9 ms in baseline.'},
			{criterion => $criteria[4], verdict => $good ? 'PASS' : $bad, observed => sprintf('%.2f %%', 100 * $n_failed / $planned), evidence => "$n_failed of $planned planned transactions failed."},
			{criterion => $criteria[5], verdict => 'PASS', observed => '0 rows', evidence => 'The check ran after the migration.'},
			$back ? {criterion => $criteria[6], verdict => $good ? 'PASS' : $bad, observed => $run{rollback}{verdict}, evidence => $good ? 'Catalog and content are as they were.' : '2 differences in the catalog, 1 of them dirty.'} : ()]};
	}
	$run{error} = {what => 'connection to the primary was lost', where => 'step "status is complete"', hint => 'see the server\'s log'} if $status eq 'failed';
	$run{$_} = $o{run}{$_} for keys %{$o{run} // {}};
	open my $r, '>', "$dir/run.json" or die;
	print $r JSON::PP->new->canonical->utf8->pretty->encode(\%run);
	close $r;
	if ($o{side}) { write_lines("$dir/histograms.jsonl", [map { {tag => $_->[0], start_ns => ns($_->[1]), end_ns => ns($_->[2]), values => $_->[3]} } @hlog]); }
	return {run => \%run, events => \@events, intervals => \@intervals, waits => \@waits};
}

1;
