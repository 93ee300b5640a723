-- Is a rollback clean? Compares what the catalogs say and what the tables hold, before and after, by names: identical,
-- equivalent (the order of columns, holes of dropped ones, sequences that were set back) or dirty, with each difference.
local written = require "rehearse.written"

local clean = {}

-- Text of values depends on these.
local PINNED = [[
SET search_path = ''; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
SET extra_float_digits = 1; SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET lc_numeric = 'C'; SET lc_time = 'C'; SET xmlbinary = 'base64'; SET statement_timeout = 0; SET lock_timeout = 0; SET quote_all_identifiers = off; SET row_security = on; SET jit = off]]

-- Schemas that hold the application's objects.
local OURS = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse')"
clean.ours = OURS

local function acl(column, kind, owner)
	return string.format([[(SELECT pg_catalog.string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
		FROM pg_catalog.unnest(COALESCE(%s, pg_catalog.acldefault('%s', %s))) AS a)]], column, kind, owner)
end

-- One query a kind of object: object, definition. to_jsonb lets one text serve versions with and without a column.
local CATALOG = {
	{ "database", [[SELECT 'itself', pg_catalog.concat_ws('; ', 'owner ' || pg_catalog.pg_get_userbyid(d.datdba), 'connections ' || d.datconnlimit::text, ]] .. acl("d.datacl", "d", "d.datdba") .. [[,
		'comment ' || pg_catalog.shobj_description(d.oid, 'pg_database')) FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()]] },
	{ "role", [[SELECT r.rolname, pg_catalog.concat_ws('; ', (pg_catalog.to_jsonb(r) - ARRAY['oid', 'rolname', 'rolpassword', 'rolconfig'])::text, 'member of ' || (SELECT pg_catalog.string_agg(g.rolname
			|| CASE WHEN m.admin_option THEN ' with admin option' ELSE '' END, ', ' ORDER BY g.rolname) FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid),
		'comment ' || pg_catalog.shobj_description(r.oid, 'pg_authid')) FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_']] },
	{ "parameter", [[SELECT p.parname, p.paracl::text FROM pg_catalog.pg_parameter_acl p]], optional = true },
	{ "schema", [[SELECT n.nspname, pg_catalog.concat_ws('; ', pg_catalog.pg_get_userbyid(n.nspowner), ]] .. acl("n.nspacl", "n", "n.nspowner") .. [[,
		pg_catalog.obj_description(n.oid, 'pg_namespace')) FROM pg_catalog.pg_namespace n WHERE ]] .. OURS },
	{ "relation", [[SELECT c.oid::pg_catalog.regclass::text, pg_catalog.concat_ws('; ', 'kind ' || c.relkind::text, 'persistence ' || c.relpersistence::text,
		'owner ' || pg_catalog.pg_get_userbyid(c.relowner), 'options ' || c.reloptions::text, 'TOAST options ' || (SELECT o.reloptions::text FROM pg_catalog.pg_class o WHERE o.oid = c.reltoastrelid), 'replica identity ' || c.relreplident::text,
		'row security ' || c.relrowsecurity::text || c.relforcerowsecurity::text, 'partition of ' || (SELECT pg_catalog.string_agg(i.inhparent::pg_catalog.regclass::text
			|| (CASE WHEN (pg_catalog.to_jsonb(i) ->> 'inhdetachpending')::bool THEN ' (detach pending)' ELSE '' END), ',' ORDER BY i.inhseqno)
			FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid), pg_catalog.pg_get_expr(c.relpartbound, c.oid), pg_catalog.pg_get_partkeydef(c.oid),
		'tablespace ' || c.reltablespace::text, 'access ' || (SELECT am.amname FROM pg_catalog.pg_am am WHERE am.oid = c.relam),
		CASE WHEN NOT c.relispopulated THEN 'not populated' END, 'view ' || CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END,
		'privileges ' || CASE WHEN c.relkind <> 'i' THEN ]] .. acl("c.relacl", "r", "c.relowner") .. [[ END,
		'comment ' || pg_catalog.obj_description(c.oid, 'pg_class'))
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 't' AND c.relkind <> 'I' AND ]] .. OURS },
	{ "column", [[SELECT c.oid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(a.attname), pg_catalog.concat_ws('; ',
		pg_catalog.format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
		'default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), 'identity ' || NULLIF(a.attidentity::text, ''), 'generated ' || NULLIF(a.attgenerated::text, ''),
		'collation ' || (SELECT y.collnamespace::pg_catalog.regnamespace::text || '.' || pg_catalog.quote_ident(y.collname)
			FROM pg_catalog.pg_collation y WHERE y.oid = NULLIF(a.attcollation, t.typcollation)), 'storage ' || a.attstorage::text,
		'compression ' || NULLIF(pg_catalog.to_jsonb(a) ->> 'attcompression', ''), 'statistics ' || NULLIF(a.attstattarget, -1)::text,
		'options ' || a.attoptions::text, 'privileges ' || a.attacl::text, 'comment ' || pg_catalog.col_description(c.oid, a.attnum))
		FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_type t ON t.oid = a.atttypid LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND ]] .. OURS },
	{ "constraint", [[SELECT COALESCE(NULLIF(k.conrelid, 0)::pg_catalog.regclass::text, k.contypid::pg_catalog.regtype::text) || '.' || pg_catalog.quote_ident(k.conname),
		pg_catalog.concat_ws('; ', pg_catalog.pg_get_constraintdef(k.oid), CASE WHEN NOT k.convalidated THEN 'not validated' END,
		CASE WHEN k.connoinherit THEN 'NO INHERIT' END, 'comment ' || pg_catalog.obj_description(k.oid, 'pg_constraint'))
		FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace WHERE k.contype <> 't' AND ]] .. OURS },
	{ "index", [[SELECT i.indexrelid::pg_catalog.regclass::text, pg_catalog.concat_ws('; ', pg_catalog.pg_get_indexdef(i.indexrelid),
		CASE WHEN NOT i.indisvalid THEN 'INVALID' END, CASE WHEN c.relname ~ '_cc(new|old)[0-9]*$' THEN 'left by REINDEX CONCURRENTLY' END, CASE WHEN NOT i.indisready THEN 'not ready' END, CASE WHEN i.indisclustered THEN 'clustered' END,
		CASE WHEN i.indisreplident THEN 'replica identity' END, 'statistics ' || (SELECT pg_catalog.string_agg(a.attnum || ': ' || a.attstattarget, ', ' ORDER BY a.attnum)
			FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indexrelid AND a.attstattarget <> -1))
		FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ]] .. OURS },
	{ "trigger", [[SELECT c.oid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(g.tgname), pg_catalog.concat_ws('; ', pg_catalog.pg_get_triggerdef(g.oid),
		'enabled ' || g.tgenabled::text, 'comment ' || pg_catalog.obj_description(g.oid, 'pg_trigger'))
		FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE NOT g.tgisinternal AND ]] .. OURS },
	-- Those behind foreign keys have names that are made up; only one that was switched off matters.
	{ "trigger", [[SELECT c.oid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(k.conname) || ' (' || pg_catalog.count(*) || ')', 'triggers of a constraint, enabled ' || g.tgenabled::text
		FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_constraint k ON k.oid = g.tgconstraint WHERE g.tgisinternal AND g.tgenabled <> 'O' AND ]] .. OURS .. " GROUP BY c.oid, k.conname, g.tgenabled" },
	{ "rule", [[SELECT c.oid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(r.rulename), pg_catalog.concat_ws('; ', pg_catalog.pg_get_ruledef(r.oid), r.ev_enabled::text, 'comment ' || pg_catalog.obj_description(r.oid, 'pg_rewrite'))
		FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE r.rulename <> '_RETURN' AND ]] .. OURS },
	{ "policy", [[SELECT c.oid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(p.polname), pg_catalog.concat_ws('; ', p.polcmd::text, p.polpermissive::text,
		p.polroles::pg_catalog.regrole[]::text, pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), 'comment ' || pg_catalog.obj_description(p.oid, 'pg_policy'))
		FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ]] .. OURS },
	{ "function", [[SELECT p.oid::pg_catalog.regprocedure::text, pg_catalog.concat_ws('; ', CASE WHEN p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid)
		ELSE (SELECT 'aggregate ' || pg_catalog.concat_ws(', ', g.aggtransfn::pg_catalog.regprocedure, NULLIF(g.aggfinalfn::oid, 0)::pg_catalog.regprocedure, g.aggtranstype::pg_catalog.regtype, g.agginitval)
			FROM pg_catalog.pg_aggregate g WHERE g.aggfnoid = p.oid) END,
		'owner ' || pg_catalog.pg_get_userbyid(p.proowner), 'privileges ' || ]] .. acl("p.proacl", "f", "p.proowner") .. [[,
		'comment ' || pg_catalog.obj_description(p.oid, 'pg_proc'))
		FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE ]] .. OURS },
	{ "sequence", [[SELECT s.seqrelid::pg_catalog.regclass::text, pg_catalog.concat_ws('; ', s.seqtypid::pg_catalog.regtype::text, 'start ' || s.seqstart, 'increment ' || s.seqincrement,
		'max ' || s.seqmax, 'min ' || s.seqmin, 'cache ' || s.seqcache, 'cycle ' || s.seqcycle::text, 'owned by ' || (SELECT d.refobjid::pg_catalog.regclass::text || '.' || a.attname
			FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
			WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = s.seqrelid AND d.deptype IN ('a', 'i') LIMIT 1))
		FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE ]] .. OURS },
	{ "type", [[SELECT t.oid::pg_catalog.regtype::text, pg_catalog.concat_ws('; ', 'kind ' || t.typtype::text, 'owner ' || pg_catalog.pg_get_userbyid(t.typowner),
		'labels ' || (SELECT pg_catalog.string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),
		'base ' || CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END, CASE WHEN t.typnotnull THEN 'NOT NULL' END, 'default ' || t.typdefault,
		'privileges ' || ]] .. acl("t.typacl", "T", "t.typowner") .. [[, 'comment ' || pg_catalog.obj_description(t.oid, 'pg_type'))
		FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype IN ('e', 'd', 'r') AND ]] .. OURS },
	{ "statistics", [[SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(s.stxname), pg_catalog.concat_ws('; ', pg_catalog.pg_get_statisticsobjdef(s.oid), 'target ' || NULLIF(pg_catalog.to_jsonb(s) ->> 'stxstattarget', '-1'),
		'owner ' || pg_catalog.pg_get_userbyid(s.stxowner), 'comment ' || pg_catalog.obj_description(s.oid, 'pg_statistic_ext'))
		FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace WHERE ]] .. OURS },
	{ "extension", [[SELECT e.extname, e.extversion FROM pg_catalog.pg_extension e]] },
	{ "event trigger", [[SELECT e.evtname, pg_catalog.concat_ws('; ', e.evtevent, e.evtfoid::pg_catalog.regproc::text, e.evtenabled::text, e.evttags::text) FROM pg_catalog.pg_event_trigger e]] },
	{ "publication", [[SELECT p.pubname, pg_catalog.concat_ws('; ', pg_catalog.to_jsonb(p) - ARRAY['oid', 'pubname', 'pubowner'], 'owner ' || pg_catalog.pg_get_userbyid(p.pubowner), (SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', t.schemaname, t.tablename) || COALESCE(' WHERE ' || (pg_catalog.to_jsonb(t) ->> 'rowfilter'), ''), ', ' ORDER BY t.schemaname, t.tablename)
		FROM pg_catalog.pg_publication_tables t WHERE t.pubname = p.pubname AND t.schemaname <> 'pgrehearse'), (SELECT pg_catalog.string_agg(r.prrelid::pg_catalog.regclass::text || '.' || pg_catalog.quote_ident(a.attname), ', ' ORDER BY r.prrelid::pg_catalog.regclass::text, a.attname)
		FROM pg_catalog.pg_publication_rel r, pg_catalog.jsonb_array_elements_text(CASE pg_catalog.jsonb_typeof(pg_catalog.to_jsonb(r) -> 'prattrs') WHEN 'array' THEN pg_catalog.to_jsonb(r) -> 'prattrs' ELSE '[]' END) AS k,
			pg_catalog.pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = k::int2 AND r.prpubid = p.oid), 'comment ' || pg_catalog.obj_description(p.oid, 'pg_publication')) FROM pg_catalog.pg_publication p]] },
	{ "subscription", [[SELECT s.subname, pg_catalog.concat_ws('; ', s.subenabled::text, s.subslotname::text, s.subpublications::text) FROM pg_catalog.pg_subscription s
		WHERE s.subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AND pg_catalog.has_table_privilege('pg_catalog.pg_subscription', 'SELECT')]], optional = true },
	{ "operator", [[SELECT o.oid::pg_catalog.regoperator::text, pg_catalog.concat_ws('; ', o.oprcode::pg_catalog.regprocedure, o.oprresult::pg_catalog.regtype, o.oprrest, o.oprjoin,
		'owner ' || pg_catalog.pg_get_userbyid(o.oprowner)) FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace WHERE ]] .. OURS },
	{ "operator class", [[SELECT pg_catalog.format('%I.%I', n.nspname, o.opcname) || ' using ' || am.amname, pg_catalog.concat_ws('; ', o.opcintype::pg_catalog.regtype, o.opcdefault)
		FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace JOIN pg_catalog.pg_am am ON am.oid = o.opcmethod WHERE ]] .. OURS },
	-- Those of the server itself have the first oids.
	{ "cast", [[SELECT pg_catalog.format_type(c.castsource, NULL) || ' as ' || pg_catalog.format_type(c.casttarget, NULL), pg_catalog.concat_ws('; ', NULLIF(c.castfunc, 0)::pg_catalog.regprocedure, c.castcontext::text, c.castmethod::text)
		FROM pg_catalog.pg_cast c WHERE c.oid >= 16384]] },
	{ "collation", [[SELECT pg_catalog.format('%I.%I', n.nspname, o.collname), pg_catalog.concat_ws('; ', o.collprovider::text, (pg_catalog.to_jsonb(o) - ARRAY['oid', 'collname', 'collnamespace', 'collowner', 'collversion'])::text)
		FROM pg_catalog.pg_collation o JOIN pg_catalog.pg_namespace n ON n.oid = o.collnamespace WHERE ]] .. OURS },
	{ "text search configuration", [[SELECT pg_catalog.format('%I.%I', n.nspname, t.cfgname), (SELECT pg_catalog.string_agg(m.maptokentype || '>' || m.mapdict::pg_catalog.regdictionary, ',' ORDER BY m.maptokentype, m.mapseqno)
		FROM pg_catalog.pg_ts_config_map m WHERE m.mapcfg = t.oid) FROM pg_catalog.pg_ts_config t JOIN pg_catalog.pg_namespace n ON n.oid = t.cfgnamespace WHERE ]] .. OURS },
	{ "text search dictionary", [[SELECT pg_catalog.format('%I.%I', n.nspname, t.dictname), t.dictinitoption FROM pg_catalog.pg_ts_dict t JOIN pg_catalog.pg_namespace n ON n.oid = t.dictnamespace WHERE ]] .. OURS },
	{ "foreign data wrapper", [[SELECT w.fdwname, pg_catalog.concat_ws('; ', w.fdwoptions::text, 'owner ' || pg_catalog.pg_get_userbyid(w.fdwowner), w.fdwacl::text) FROM pg_catalog.pg_foreign_data_wrapper w]] },
	{ "foreign server", [[SELECT s.srvname, pg_catalog.concat_ws('; ', s.srvtype, s.srvversion, s.srvoptions::text, 'owner ' || pg_catalog.pg_get_userbyid(s.srvowner), s.srvacl::text) FROM pg_catalog.pg_foreign_server s]] },
	{ "user mapping", [[SELECT u.srvname || ' ' || u.usename, NULL::text FROM pg_catalog.pg_user_mappings u]] },
	{ "foreign table", [[SELECT f.ftrelid::pg_catalog.regclass::text, pg_catalog.concat_ws('; ', s.srvname, f.ftoptions::text) FROM pg_catalog.pg_foreign_table f JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver]] },
	{ "language", [[SELECT l.lanname, pg_catalog.concat_ws('; ', l.lanpltrusted::text, l.lanacl::text) FROM pg_catalog.pg_language l WHERE l.lanispl]] },
	{ "large objects", [[SELECT 'of all kinds', pg_catalog.count(*)::text FROM pg_catalog.pg_largeobject_metadata]] },
	{ "security label", [[SELECT s.objtype || ' ' || s.objname, s.provider || ': ' || s.label FROM pg_catalog.pg_seclabels s]] },
	{ "replication slot", [[SELECT s.slot_name::text, pg_catalog.concat_ws('; ', s.slot_type, s.plugin) FROM pg_catalog.pg_replication_slots s WHERE s.database = pg_catalog.current_database() AND NOT s.temporary]] },
	{ "replication origin", [[SELECT o.roname, NULL::text FROM pg_catalog.pg_replication_origin o]], optional = true },
	{ "setting", [[SELECT COALESCE(NULLIF(s.setdatabase, 0)::text, 'all databases') || ' ' || COALESCE(r.rolname, 'all roles'), s.setconfig::text
		FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole]] },
	{ "default privilege", [[SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_get_userbyid(d.defaclrole), n.nspname, d.defaclobjtype::text), d.defaclacl::text
		FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace]] },
}

-- What may differ in a rollback that is still good: the places of columns.
local PLACES = [[SELECT c.oid::pg_catalog.regclass::text, pg_catalog.string_agg(CASE WHEN a.attisdropped THEN NULL ELSE a.attname END, ', ' ORDER BY a.attnum),
	pg_catalog.count(*) FILTER (WHERE a.attisdropped)
	FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE a.attnum > 0 AND c.relkind IN ('r', 'p') AND ]] .. OURS .. " GROUP BY c.oid"

local POSITIONS = "SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value FROM pg_catalog.pg_sequences n WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema'"

-- Sequences that number a column: the table, the column, and a question for where it stands. One that stands behind the largest key gives keys twice.
local NUMBERING = [[SELECT pg_catalog.format('%I.%I', n.nspname, s.relname), d.refobjid::pg_catalog.regclass::text, pg_catalog.quote_ident(a.attname),
	pg_catalog.format('SELECT COALESCE(pg_catalog.pg_sequence_last_value(%s), %s)', s.oid, q.seqstart - 1)
	FROM pg_catalog.pg_class s JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0
	JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = s.oid AND d.refclassid = d.classid AND d.deptype IN ('a', 'i')
	JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.atttypid IN (20, 21, 23) AND NOT a.attisdropped
	WHERE CASE WHEN s.relkind = 'S' THEN pg_catalog.has_sequence_privilege(s.oid, 'SELECT, USAGE') ELSE false END AND ]] .. OURS

local WRITES = [[SELECT c.oid::pg_catalog.regclass::text, pg_catalog.pg_stat_get_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_tuples_updated(c.oid)
	+ pg_catalog.pg_stat_get_tuples_deleted(c.oid)
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND ]] .. OURS

-- Bytes with indexes and TOAST, dead rows, and bytes of the table alone: what is left of room that nothing fills.
local SIZES = [[SELECT c.oid::pg_catalog.regclass::text, pg_catalog.pg_total_relation_size(c.oid), pg_catalog.pg_relation_size(c.oid), pg_catalog.pg_stat_get_dead_tuples(c.oid)
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND ]] .. OURS

local TABLES = [[SELECT c.oid::pg_catalog.regclass::text, pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE "C")
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relkind = 'r' AND ]] .. OURS .. " GROUP BY c.oid ORDER BY 1"

local function query(session, sql)
	local out = session:query(sql)
	if not out.ok then error(string.format("the fingerprint cannot be taken: %s (SQLSTATE %s)", out.message, out.sqlstate), 0) end
	return out.values
end

local function map(rows)
	local out = {}
	for _, row in ipairs(rows) do out[row[1]] = row[2] or "" end
	return out
end

-- A session of its own: the application's SQL must not meet these settings.
function clean.open(host)
	local session = host.session("pgrehearse comparison")
	query(session, PINNED)
	return session
end

-- Rows written so far, by table; the server's own statistics, up to a second late while sessions are busy.
function clean.writes(session)
	return map(query(session, WRITES))
end

-- Partitions and the tables that they are parts of, and tables with triggers of the application.
local PARTITIONS = [[SELECT c.oid::pg_catalog.regclass::text, p.relid::pg_catalog.regclass::text FROM pg_catalog.pg_class c
	CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) AS p WHERE c.relispartition AND p.relid <> c.oid]]
local TRIGGERS = "SELECT DISTINCT g.tgrelid::pg_catalog.regclass::text FROM pg_catalog.pg_trigger g WHERE NOT g.tgisinternal"

-- Of a partition: the load writes the table that it is a part of, and only the server knows into which partitions its rows come.
local PERHAPS = "perhaps"

local function is_among(tables, name)
	local plain = name:gsub('"', "")
	return tables[plain] or tables[plain:match("%.(.*)$") or ""]
end

-- Marks the tables that statements write which the load has executed, and their partitions: rare ones the server's statistics of a short baseline do
-- not show. Returns whether these are all: functions and triggers may write others.
function clean.mark_written(session, baseline, statements)
	if #statements == 0 then return true end
	local sql = require "sql"   -- the workers' states, which load scenarios too, do without
	local tables, all = {}, true
	for _, text in ipairs(statements) do
		local parsed = sql.parse(text)
		if not parsed or written.find(parsed, tables) then all = false end
	end
	for name in pairs(baseline) do
		if is_among(tables, name) then baseline[name] = true end
	end
	for _, row in ipairs(query(session, PARTITIONS)) do
		if baseline[row[1]] and is_among(tables, row[2]) then baseline[row[1]] = PERHAPS end
	end
	for _, row in ipairs(query(session, TRIGGERS)) do
		if is_among(tables, row[1]) then all = false end
	end
	return all
end

-- Tables that the load wrote until `baseline` was counted, and those that it is known to write.
function clean.written(before, baseline)
	local out = {}
	for name, n in pairs(baseline) do
		if n == true or n == PERHAPS or (tonumber(n) or 0) > (tonumber(before.writes[name]) or 0) then out[name] = true end
	end
	return out
end

local function sequences_behind(session)
	local out = {}
	for _, row in ipairs(query(session, NUMBERING)) do
		local largest = query(session, string.format("SELECT pg_catalog.max(%s) FROM %s", row[3], row[2]))[1][1]
		-- Asked for last: meanwhile the traffic goes on, and where a sequence stands is seen by all at once.
		local position = query(session, row[4])[1][1]
		if largest and largest > position then out[row[1]] = string.format("stands at %d, and %s.%s has %d", position, row[2], row[3], largest) end
	end
	return out
end

-- Everything that is compared later. A sum of hashes does not depend on the order of rows and, unlike xor, tells of duplicates.
-- reads(table, writes), may be nil: whether what a table holds will be compared; of others the rows are only counted, and not even that when
-- uncounted is true.
function clean.capture(session, reads, uncounted)
	local out = { catalog = {}, places = {}, content = {} }
	for _, kind in ipairs(CATALOG) do
		-- What a role may not look at on a managed server, it could not have changed either.
		local found = session:query(kind[2])
		if not found.ok and not kind.optional then query(session, kind[2]) end
		for _, row in ipairs(found.values) do out.catalog[kind[1] .. " " .. row[1]] = row[2] or "" end
	end
	for _, row in ipairs(query(session, PLACES)) do out.places[row[1]] = { order = row[2] or "", holes = row[3] } end
	out.positions = map(query(session, POSITIONS))
	out.behind = sequences_behind(session)
	out.sizes = {}
	for _, row in ipairs(query(session, SIZES)) do out.sizes[row[1]] = { bytes = row[2], heap = row[3], dead = row[4] } end
	out.writes = map(query(session, WRITES))
	for _, row in ipairs(query(session, TABLES)) do
		local hash = "NULL"
		if not reads or reads(row[1], out.writes) then
			hash = string.format("COALESCE(pg_catalog.sum(pg_catalog.hashtextextended(ROW(%s)::text, 0)), 0)::text", row[2] or "")
		end
		local counts = not uncounted or hash ~= "NULL"
		local found = counts and query(session, string.format("SELECT pg_catalog.count(*), %s FROM ONLY %s", hash, row[1]))[1] or {}
		out.content[row[1]] = { rows = found[1], hash = found[2], columns = row[2] }
	end
	return out
end

local function sorted_keys(a, b)
	local seen, names = {}, {}
	for _, t in ipairs { a, b } do
		for name in pairs(t) do
			if not seen[name] then names[#names + 1], seen[name] = name, true end
		end
	end
	table.sort(names)
	return names
end

local function short(text) return #text > 300 and text:sub(1, 297) .. "..." or text end

local function compare_catalog(before, after, add)
	for _, name in ipairs(sorted_keys(before.catalog, after.catalog)) do
		local was, is = before.catalog[name], after.catalog[name]
		if was == nil then add("dirty", name, "is there, but was not before: " .. short(is))
		elseif is == nil then add("dirty", name, "is gone; it was: " .. short(was))
		elseif was ~= is then add("dirty", name, "was: " .. short(was) .. " — is: " .. short(is)) end
	end
end

local function compare_places(before, after, add)
	for _, name in ipairs(sorted_keys(before.places, after.places)) do
		local was, is = before.places[name], after.places[name]
		if was and is then
			if was.order ~= is.order then add("equivalent", "table " .. name, "the order of its columns was " .. was.order .. "; it is " .. is.order) end
			if was.holes ~= is.holes then
				add("equivalent", "table " .. name, string.format("%d dropped columns leave holes in its rows; it was %d", is.holes, was.holes))
			end
		end
	end
	for _, name in ipairs(sorted_keys(before.positions, after.positions)) do
		local was, is = tonumber(before.positions[name]), tonumber(after.positions[name])
		if after.behind[name] and not before.behind[name] then
			add("dirty", "sequence " .. name, after.behind[name] .. ": keys will be given twice")
		elseif before.positions[name] and after.positions[name] and (was or 0) > (is or 0) then
			add("equivalent", "sequence " .. name, string.format("stood at %s and was set back to %s", was, is or "its start"))
		end
	end
end

-- Why a table's content cannot be compared, or nil: then only the migration can have changed it.
local function written_by_load(name, before, writes, baseline, touched)
	if baseline[name] == true then return "the load writes it" end
	local start = tonumber(before.writes[name]) or 0
	local in_baseline = (tonumber(baseline[name]) or 0) - start
	if in_baseline > 0 then return string.format("the load writes it (%d rows in the baseline)", in_baseline) end
	local in_run = (tonumber(writes[name]) or 0) - start
	if in_run > 0 and baseline[name] == PERHAPS then return "the load writes the table that it is a part of" end
	if in_run > 0 and not touched[name] and not touched.anything then return string.format("%d rows were written during the run, not by the migration", in_run) end
end

-- For clean.capture: leaves out what clean.compare with the same arguments will not compare.
function clean.compared(before, baseline, touched)
	return function(name, writes) return before.content[name] ~= nil and not written_by_load(name, before, writes, baseline, touched) end
end

local function compare_content(host, before, after, baseline, touched, add, how)
	local tables = host.array {}
	for _, name in ipairs(sorted_keys(before.content, after.content)) do
		local was, is = before.content[name], after.content[name]
		if was and is then
			local reason = how == "later" and "compared when the traffic pauses" or how ~= "all" and written_by_load(name, before, after.writes, baseline, touched) or nil
			if not reason and not (was.hash and is.hash) then reason = "it was not read" end
			local entry = { table = name, method = reason and "skipped" or "whole", rows = is.rows, reason = reason }
			if not reason then
				entry.same = was.hash == is.hash and was.rows == is.rows and was.columns == is.columns
				if not entry.same then
					add("dirty", "content of " .. name, was.rows ~= is.rows and string.format("it held %d rows and holds %d", was.rows, is.rows)
						or was.columns ~= is.columns and "its columns differ" or string.format("the same number of rows (%d), but not the same values", is.rows))
				end
			end
			tables[#tables + 1] = entry
		end
	end
	return tables
end

-- Rows of { table, bytes_before, bytes_after, dead_before, dead_after, row_before, row_after }: row is how many bytes of the table itself a row takes,
-- dead space included. No difference of the kind that makes a rollback dirty.
function clean.sizes(host, before, after)
	local out = host.array {}
	for _, name in ipairs(sorted_keys(before.sizes or {}, after.sizes or {})) do
		local was, is = before.sizes[name], after.sizes[name]
		if was and is then
			local rows_before, rows_after = before.content[name] and before.content[name].rows or 0, after.content[name] and after.content[name].rows or 0
			out[#out + 1] = { table = name, bytes_before = was.bytes, bytes_after = is.bytes, dead_before = was.dead, dead_after = is.dead,
				row_before = rows_before > 0 and was.heap // rows_before or nil, row_after = rows_after > 0 and is.heap // rows_after or nil }
		end
	end
	return out
end

-- Differences that were found elsewhere, into a comparison.
function clean.add(comparison, differences)
	for _, d in ipairs(differences) do
		comparison.differences[#comparison.differences + 1], comparison.verdict = d, "dirty"
	end
end

-- The `rollback` of run.json. baseline: rows written by the end of the baseline; touched: tables that the migration may have written (Session.open);
-- how: "all" when nobody else wrote meanwhile, so that every table is compared; "later" when none is, now; or nil.
function clean.compare(host, before, after, baseline, touched, how)
	local differences, verdict = host.array {}, "identical"
	local function add(class, object, detail)
		differences[#differences + 1] = { class = class, object = object, detail = detail }
		if class == "dirty" or verdict == "identical" then verdict = class end
	end
	compare_catalog(before, after, add)
	compare_places(before, after, add)
	local tables = compare_content(host, before, after, baseline, touched, add, how)
	return { verdict = verdict, differences = differences, tables = tables, sizes = clean.sizes(host, before, after) }
end

return clean
