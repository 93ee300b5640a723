#!/usr/bin/perl
# What the shop, pgbench and a driver other than libpq do on a real server is what each of its logs gives back, and it can be replayed on
# the state that it began with. The server is the one whose folder PGREHEARSE_SERVER names, or the newest installed; with a name given, every
# way of logging is tried, else the one that is advised.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Rehearse;
use Logged;
use JSON::PP;
use Test::More;

my $installed = newest_server();
my $bin = $ENV{PGREHEARSE_SERVER} // $installed;
plan skip_all => 'no PostgreSQL server, or no pgbench, is installed' if !$bin || !$installed;
my ($major) = `$bin/postgres --version` =~ /(\d+)/;
sub done { my ($name, @words) = @_; my $code = quietly(@words); is($code, 0, $name) or diag content("$home/said"); return $code == 0 }

# A sandbox writes no csvlog, so the shop's data goes from one to a server of our own.
my $shop = do { local $ENV{PGREHEARSE_SERVER} = $installed; kept_shop(0.01) };
ok($shop, 'the data of the shop');
done('... dumped', 'pg_dump', '-f', "$home/shop.sql", $shop);
run('sandbox', 'down', '--all');

my %files = (csv => 'server.csv', stderr => 'server.log', $major >= 15 ? (json => 'server.json') : ());
my $server = start_logging($bin, 'stderr,csvlog' . ($files{json} ? ',jsonlog' : ''), "log_line_prefix = '%m|%u|%d|%c|%l|%e|%a|'",
	'log_parameter_max_length_on_error = -1');

sub dsn { my ($db) = @_; return "host=$server user=postgres dbname=$db" }
sub copy_of { my ($from, $to) = @_; psql(dsn('postgres'), "CREATE DATABASE $to TEMPLATE $from"); }
sub mark { my ($db) = @_; run('clone', 'mark', dsn($db), '--yes', $db); }
psql(dsn('postgres'), "CREATE DATABASE $_") for qw(shop bench);
done('... has the shop', 'psql', '-Xq', '-f', "$home/shop.sql", dsn('shop'));
done('... and pgbench\'s tables', "$installed/pgbench", '-i', '-q', dsn('bench'));
chomp(my $node = `node -p 'require.resolve("pg"); process.version' 2>/dev/null` // '');

# Messages of the log's files up to now, captured from each.
sub captured
{
	my ($mark) = @_;
	ok(all_is_logged(dsn('postgres'), $mark, map { "$server/data/log/$_" } values %files), 'all is written');
	my %traces;
	for my $format (sort keys %files) {
		my $file = "$home/$mark.$format";
		system('cp', "$server/data/log/$files{$format}", $file) == 0 or die;
		my ($code, $said) = run('capture', $file, '--out', "$file.trace", $format eq 'stderr' ? ('--prefix', '%m|%u|%d|%c|%l|%e|%a|') : ());
		is($code, 0, "$format is captured") or diag $said;
		unlike($said, qr/do not add up/, '... and the ledger adds up');
		my ($busy) = $said =~ /not represented: ([\d.]+) %/;
		cmp_ok($busy, '<', 1, '... with the time that statements took') or diag $said;
		$traces{$format} = "$file.trace";
	}
	return %traces;
}

# The sessions of each database, each a list of statements.
sub sessions_of
{
	my ($trace) = @_;
	my ($code, $events) = run('trace', 'cat', $trace, '--json');
	my (%database, %sessions);
	for my $e (map { decode_json($_) } split /\n/, $events) {
		if ($e->{kind} eq 'connect') { $database{$e->{session}} = $e->{database}; push @{$sessions{$e->{database}}}, $database{$e->{session}} = []; }
		next if !defined $e->{sql};
		push @{$database{$e->{session}}}, [$e->{kind}, $e->{sqlstate}, $e->{sql}, $e->{params} // []];
	}
	return \%sessions;
}
sub shown { return map { my ($kind, $state, $sql, $params) = @$_; join ' ', $kind, $state, $sql, map { defined $_ ? "'$_'" : 'NULL' } @$params } @_ }
# How often each statement was sent, with its literals left out.
sub counted { my %n; for (@_) { (my $sql = $_->[2]) =~ s/(?<![\$\w])-?\d+/?/g; $sql =~ s/\$\d/?/g; $sql =~ s/;\s*$//; $n{$sql}++ } return \%n }

# The content of all tables but for times.
sub state_of
{
	my ($db) = @_;
	my @tables = split /\n/, psql(dsn($db), "SELECT format('SELECT %L, count(*), coalesce(sum((''x'' || substr(md5(row(%s)::text), 1, 15))::bit(60)::bigint), 0) FROM %s', c.oid::regclass, string_agg(quote_ident(attname), ', '), c.oid::regclass)
		FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND atttypid NOT IN ('timestamptz'::regtype, 'timestamp'::regtype)
		WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT LIKE 'pgrehearse%' GROUP BY c.oid");
	return psql(dsn($db), join(' UNION ALL ', @tables) . ' ORDER BY 1');
}
sub replayed
{
	my ($what, $trace, $database, $start, $n, @words) = @_;
	copy_of($start, "again_$database");
	mark("again_$database");
	my ($code, $said) = run('load', '--trace', $trace, '--target', dsn("again_$database"), '--database', $database, '--max-diverged', '0%', '--out', "$home/again_$database.record", @words);
	is($code, 0, "$what, replayed: ends as captured") or diag $said;
	like($said, qr/^planned $n, sent \d+, .*not sent 0 /m, '... all of it') or diag $said;
	my ($again, $once) = map { scalar state_of($_) } "again_$database", $database;
	my @views = map { join "\n", grep { /^page_views/ } split /\n/ } $again, $once;
	s/^page_views.*\n//m for $again, $once;
	is($again, $once, '... and leaves the same content');
	return if "@views" eq " ";
	# What a session uses first after an insert may be the key of an older row.
	is($views[0], $views[1], '... also where keys of old rows follow an insert');
}

my @ways = (['all', 'on', '-1', 'text at arrival, bare durations'], ['none', 'off', '0', 'all at the end'], ['all', 'off', '0', 'both']);
@ways = $ways[0] if !$ENV{PGREHEARSE_SERVER};
my $way = 0;
for my $settings (@ways) {
	my ($statement, $duration, $min, $what) = @$settings;
	$way++;
	quietly('psql', '-Xq', '-c', "ALTER SYSTEM SET log_statement = '$statement'", '-c', "ALTER SYSTEM SET log_duration = $duration",
		'-c', "ALTER SYSTEM SET log_min_duration_statement = $min", '-c', 'SELECT pg_reload_conf()', dsn('postgres'));
	ok(comes_true(sub { psql(dsn('postgres'), "SELECT current_setting('log_statement') || current_setting('log_duration') || current_setting('log_min_duration_statement')") eq "$statement$duration$min" }),
		"PostgreSQL $major logs $what");

	copy_of('shop', "shop$way");
	mark("shop$way");
	my ($code, $said) = run('load', 'shop', '--target', dsn("shop$way"), '--scale', '0.01', '--rate', 150, '--duration', '2s', '--clients', 1, '--out', "$home/load$way");
	ok($code == 0 || $code == 3, 'the shop sells') or diag $said;
	for my $protocol (qw(simple extended prepared)) {
		copy_of('bench', "$protocol$way");
		done("pgbench, $protocol", "$installed/pgbench", '-n', '-c', 2, '-t', 20, '-M', $protocol, '--random-seed=7', dsn("$protocol$way"));
	}
	my @sent;
	if ($node) {
		copy_of('template1', "driver$way");
		my $told = `node $FindBin::Bin/lib/driver.js $server driver$way driver 2>$home/node.err`;
		is($?, 0, "node-postgres") or diag content("$home/node.err");
		@sent = map { decode_json($_) } split /\n/, $told;
	}
	my %traces = captured("way$way");

	my %n;
	for my $format (sort keys %traces) {
		my $sessions = sessions_of($traces{$format});
		# pgbench asks for its tables before it begins.
		my $of = sub { my ($what) = @_; return grep { $_->[2] !~ /^select (?:o\.n|count)/ } map { @$_ } @{$sessions->{"$what$way"} // []} };
		$n{$_} = () = $of->($_) for qw(shop driver);
		my @bench = map { [sort +shown($of->($_))] } qw(extended prepared);
		is(scalar @{$bench[0]}, 280, "$format: seven statements a transaction of pgbench");
		is_deeply($bench[1], $bench[0], '... the same, prepared');
		my $counted = counted($of->('prepared'));
		is_deeply([sort map { $counted->{$_} } keys %$counted], [(40) x 7], '... each as often as it ran');
		my @simple = $of->('simple');
		my @known = $of->('prepared');
		for (@known) { $_->[2] =~ s/\$(\d)/$_->[3][$1 - 1]/g }
		is_deeply([sort map { s/;$//r } map { $_->[2] } @simple], [sort map { s/;$//r } map { $_->[2] } @known], '... with the values that simple ones have in their text');
		SKIP: {
			skip 'node-postgres is not installed', 1 if !$node;
			my @driver = $of->('driver');
			is_deeply([grep { !/^fetch/ } shown(@driver)], [shown(map { [@$_{qw(kind sqlstate sql params)}] } @sent)], "$format: what node-postgres sent");
			is(scalar(grep { $_->[0] eq 'fetch' } @driver), sum_of(map { $_->{fetches} // 0 } @sent), '... and fetched from portals');
		}
		my $sold = counted($of->('shop'));
		my $grown = sub { my ($table) = @_; return psql(dsn("shop$way"), "SELECT count(*) FROM $table") - psql(dsn('shop'), "SELECT count(*) FROM $table") };
		my $times = sub { my ($re) = @_; return sum_of(map { $sold->{$_} } grep { /$re/ } keys %$sold) };
		is($times->(qr/INSERT INTO $_ /), $grown->($_), "$format: as many into $_ as are there") for qw(orders order_lines events page_views);
		my $views = sub { my ($db) = @_; return psql(dsn($db), 'SELECT sum(views) FROM page_views') };
		is($times->(qr/UPDATE page_views/), $views->("shop$way") - $views->('shop') - $grown->('page_views'), '... and counted as many views');
	}
	replayed('the shop', $traces{csv}, "shop$way", 'shop', $n{shop});
	replayed("pgbench, $_", $traces{$_ eq 'simple' && $files{json} ? 'json' : 'stderr'}, "$_$way", 'bench', 282, '--speed', 'max') for qw(simple extended prepared);
	replayed('node-postgres', $traces{csv}, "driver$way", 'template1', $n{driver}, '--speed', 'max') if $node;
}
done_testing;
