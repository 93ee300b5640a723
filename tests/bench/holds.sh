#!/bin/sh
# How well the length of locks that a transaction of the migration holds is measured: a run of holds.lua, whose truth is by the server's clock.
set -eu
program=$(realpath "${PGREHEARSE:-build/pgrehearse}")
work=$(mktemp -d) && chmod 755 "$work"
trap 'rm -rf "$work"' EXIT INT TERM
export HOLDS_TRUTH="$work/truth"
"$program" run tests/bench/holds.lua --drill forward --scale 0.02 --out "$work/run" >"$work/said" 2>&1 || { cat "$work/said" >&2; exit 1; }
perl -MJSON::PP -e '
	my ($truth, $events) = @ARGV;
	open my $in, "<", $truth or die; chomp(my @truth = <$in>);
	open $in, "<", $events or die;
	my @held;
	while (<$in>) {
		my $e = eval { decode_json($_) } or next;
		next if $e->{type} ne "transaction" || $e->{step} !~ /^round/;
		my ($lock) = grep { $_->{relation} eq "held" && $_->{mode} eq "AccessExclusiveLock" } @{$e->{locks} // []} or next;
		push @held, $lock->{to_ns} - ($lock->{from_ns} + $lock->{from_last_ns}) / 2;
	}
	my @errors = sort { $a <=> $b } map { abs($held[$_] - $truth[$_]) / 1e6 } 0 .. ($#held < $#truth ? $#held : $#truth);
	printf qq({"name": "locks held by transactions", "value": %d, "unit": "", "peer": "measured", "peer_value": %d, "limit": 1}\n), scalar @truth, scalar @errors;
	exit if !@errors;
	printf qq({"name": "length of a hold: error, median", "value": %.4g, "unit": "ms"}\n), $errors[@errors / 2];
	printf qq({"name": "length of a hold: error, largest", "value": %.4g, "unit": "ms", "peer": "at most", "peer_value": 2, "limit": 1}\n), $errors[-1];
' "$work/truth" "$work/run/forward/events.jsonl"
