/* The parser is asked once a shape, with numbers in the place of its literals that lead back to them. */
#define _GNU_SOURCE
#include "replay/play_effect.h"

#include "base/buf.h"
#include "base/vec.h"
#include "replay/shape.h"
#include "sql/parse.h"

#include <stdio.h>
#include <string.h>

#define LITERAL_BASE 1900000000
#define STRING_MARK '\2'
#define TEXT_MAX ((size_t)256 << 10)
#define ALIASES_MAX 16

struct alias {
	const char *name;
	uint32_t relation;
};

#define RANGES_MAX 32

struct analysis {
	struct play_schema *schema;
	struct effect *effect;
	VEC(struct effect_touch) touches;
	VEC(struct effect_equal) equals;
	VEC(uint32_t) sets;
	VEC(uint32_t) named; /* WITH queries */
	VEC(struct effect_key) keys;
	VEC(struct effect_source) sources;
	struct alias ranges[RANGES_MAX]; /* of the whole statement */
	size_t n_ranges;
};

static bool is(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

static const json_t *get(const json_t *o, const char *key)
{
	return json_object_get(o, key);
}

static const char *text_at(const json_t *o, const char *key)
{
	return json_string_value(get(o, key));
}

/* ---- values ---- */

/* The slot of a parameter or literal, also behind casts. */
static uint32_t slot_of(const json_t *value)
{
	const json_t *cast, *param, *constant;
	while ((cast = get(value, "TypeCast")) != NULL)
		value = get(cast, "arg");
	if ((param = get(value, "ParamRef")) != NULL) {
		json_int_t number = json_integer_value(get(param, "number"));
		return number > 0 && number <= EFFECT_LITERAL ? (uint32_t)number - 1 : EFFECT_NO_SLOT;
	}
	if ((constant = get(value, "A_Const")) == NULL)
		return EFFECT_NO_SLOT;
	json_int_t integer = json_integer_value(get(get(constant, "ival"), "ival"));
	if (integer >= LITERAL_BASE && integer < LITERAL_BASE + SHAPE_LITERALS_MAX)
		return EFFECT_LITERAL + (uint32_t)(integer - LITERAL_BASE);
	const char *string = text_at(get(constant, "sval"), "sval");
	if (string == NULL || string[0] != STRING_MARK)
		return EFFECT_NO_SLOT;
	char *end;
	unsigned long number = strtoul(string + 1, &end, 10);
	return *end == '\0' && number < SHAPE_LITERALS_MAX ? EFFECT_LITERAL + (uint32_t)number : EFFECT_NO_SLOT;
}

/* "column" or "alias.column". */
static const char *column_of(const json_t *value, const char **qualifier)
{
	const json_t *fields = get(get(value, "ColumnRef"), "fields");
	size_t n = json_array_size(fields);
	*qualifier = n > 1 ? text_at(get(json_array_get(fields, n - 2), "String"), "sval") : NULL;
	return n > 0 ? text_at(get(json_array_get(fields, n - 1), "String"), "sval") : NULL;
}

static bool is_equals(const json_t *expression)
{
	const json_t *name = get(expression, "name");
	return is(text_at(expression, "kind"), "AEXPR_OP") && is(text_at(get(json_array_get(name, 0), "String"), "sval"), "=");
}

/* Those conditions of a WHERE that hold for all its rows. names: of the relation; alone: columns without a name are its own. */
static void add_equals(struct analysis *a, const json_t *where, const char *alias, bool alone)
{
	const json_t *both = get(where, "BoolExpr"), *expression = get(where, "A_Expr"), *part;
	size_t i;
	if (is(text_at(both, "boolop"), "AND_EXPR")) {
		json_array_foreach(get(both, "args"), i, part) add_equals(a, part, alias, alone);
		return;
	}
	if (expression == NULL || !is_equals(expression))
		return;
	const json_t *left = get(expression, "lexpr"), *right = get(expression, "rexpr");
	if (slot_of(left) != EFFECT_NO_SLOT) {
		const json_t *other = left;
		left = right;
		right = other;
	}
	const char *qualifier, *column = column_of(left, &qualifier);
	uint32_t slot = slot_of(right);
	if (column != NULL && slot != EFFECT_NO_SLOT && (qualifier != NULL ? is(qualifier, alias) : alone))
		VEC_PUSH(&a->equals, (struct effect_equal){play_schema_name(a->schema, column), slot});
}

/* ---- keys ---- */

static void add_key(struct analysis *a, uint32_t relation, uint32_t column, const json_t *value)
{
	uint32_t slot = slot_of(value), domain = play_schema_domain(a->schema, relation, column);
	if (slot != EFFECT_NO_SLOT && domain != 0)
		VEC_PUSH(&a->keys, (struct effect_key){domain, slot});
}

/* A column without a qualifier is that of the first relation where it holds keys. */
static bool find_column(struct analysis *a, const json_t *value, uint32_t *relation, uint32_t *column)
{
	const char *qualifier, *name = column_of(value, &qualifier);
	if (name == NULL)
		return false;
	*column = play_schema_name(a->schema, name);
	for (size_t i = 0; i < a->n_ranges; i++) {
		*relation = a->ranges[i].relation;
		if ((qualifier == NULL || is(qualifier, a->ranges[i].name)) && play_schema_domain(a->schema, *relation, *column) != 0)
			return true;
	}
	return false;
}

/* column = value, value < column, column IN (value, ...) */
static void take_comparison(struct analysis *a, const json_t *expression)
{
	const json_t *left = get(expression, "lexpr"), *right = get(expression, "rexpr"), *item;
	uint32_t relation, column;
	size_t i;
	if (find_column(a, left, &relation, &column)) {
		add_key(a, relation, column, right);
		json_array_foreach(get(get(right, "List"), "items"), i, item) add_key(a, relation, column, item);
	} else if (find_column(a, right, &relation, &column)) {
		add_key(a, relation, column, left);
	}
}

/* ---- relations ---- */

static uint32_t relation_of(struct analysis *a, const json_t *range)
{
	const char *name = text_at(range, "relname");
	uint32_t number = play_schema_name(a->schema, name != NULL ? name : "");
	(void)play_schema_relation(a->schema, &number);
	return number;
}

static const char *alias_of(const json_t *range)
{
	const char *alias = text_at(get(range, "alias"), "aliasname");
	return alias != NULL ? alias : text_at(range, "relname");
}

static struct effect_touch begin_touch(struct analysis *a, const json_t *range, enum touch_mode mode)
{
	return (struct effect_touch){
		.relation = relation_of(a, range), .mode = mode, .equal = (uint32_t)a->equals.n, .set = (uint32_t)a->sets.n};
}

static void end_touch(struct analysis *a, struct effect_touch *t)
{
	t->n_equal = (uint32_t)a->equals.n - t->equal;
	t->n_set = (uint32_t)a->sets.n - t->set;
	a->effect->writes |= t->mode != TOUCH_READ;
	VEC_PUSH(&a->touches, *t);
}

static void add_sets(struct analysis *a, uint32_t relation, const json_t *targets)
{
	const json_t *target;
	size_t i;
	json_array_foreach(targets, i, target)
	{
		const char *name = text_at(get(target, "ResTarget"), "name");
		if (name == NULL)
			continue;
		uint32_t column = play_schema_name(a->schema, name);
		VEC_PUSH(&a->sets, column);
		add_key(a, relation, column, get(get(target, "ResTarget"), "val"));
	}
}

static void take_change(struct analysis *a, const json_t *statement, const char *others)
{
	const json_t *range = get(statement, "relation");
	struct effect_touch t = begin_touch(a, range, TOUCH_CHANGE);
	add_equals(a, get(statement, "whereClause"), alias_of(range), json_array_size(get(statement, others)) == 0);
	add_sets(a, t.relation, get(statement, "targetList"));
	end_touch(a, &t);
}

/* As which column of the result a key comes back. */
static uint32_t returned_as(struct analysis *a, const json_t *returning, const char *column)
{
	const json_t *target;
	size_t i;
	json_array_foreach(returning, i, target)
	{
		const json_t *of = get(target, "ResTarget"), *value = get(of, "val");
		const json_t *fields = get(get(value, "ColumnRef"), "fields");
		const char *qualifier, *name = text_at(of, "name"), *is_of = column_of(value, &qualifier);
		if (get(json_array_get(fields, json_array_size(fields) - 1), "A_Star") != NULL)
			return play_schema_name(a->schema, column);
		if (is(is_of, column))
			return play_schema_name(a->schema, name != NULL ? name : column);
	}
	return 0;
}

static void take_insert(struct analysis *a, const json_t *statement)
{
	const json_t *columns = get(statement, "cols"), *lists = get(get(get(statement, "selectStmt"), "SelectStmt"), "valuesLists");
	const json_t *items = get(get(json_array_get(lists, 0), "List"), "items"), *column;
	struct effect_touch t = begin_touch(a, get(statement, "relation"), TOUCH_INSERT);
	struct play_relation relation = *play_schema_relation(a->schema, &t.relation);
	bool given = json_array_size(columns) == 0 && json_array_size(items) > 0;
	size_t i;
	t.one_row = json_array_size(lists) == 1 || get(statement, "selectStmt") == NULL;
	json_array_foreach(columns, i, column)
	{
		const char *name = text_at(get(column, "ResTarget"), "name");
		const json_t *value = json_array_get(items, i);
		uint32_t slot = slot_of(value), number = play_schema_name(a->schema, name != NULL ? name : "");
		given |= number == relation.generated && get(value, "SetToDefault") == NULL && get(value, "FuncCall") == NULL;
		if (slot != EFFECT_NO_SLOT && t.one_row)
			VEC_PUSH(&a->equals, (struct effect_equal){number, slot});
		for (size_t row = 0; row < json_array_size(lists); row++)
			add_key(a, t.relation, number, json_array_get(get(get(json_array_get(lists, row), "List"), "items"), i));
	}
	if (relation.generated != 0 && !given) {
		const char *name = play_schema_text(a->schema, relation.generated);
		t.generates = true;
		VEC_PUSH(&a->sources,
			(struct effect_source){.kind = SOURCE_INSERT,
				.domain = play_schema_domain(a->schema, t.relation, relation.generated),
				.returns = returned_as(a, get(statement, "returningList"), name)});
	}
	end_touch(a, &t);
}

/* ---- SELECT ---- */

static void add_ranges(struct analysis *a, const json_t *from, struct alias *aliases, size_t *n)
{
	const json_t *range = get(from, "RangeVar"), *join = get(from, "JoinExpr"), *part;
	size_t i;
	if (json_is_array(from)) {
		json_array_foreach(from, i, part) add_ranges(a, part, aliases, n);
	} else if (join != NULL) {
		add_ranges(a, get(join, "larg"), aliases, n);
		add_ranges(a, get(join, "rarg"), aliases, n);
	} else if (range != NULL && *n < ALIASES_MAX) {
		aliases[(*n)++] = (struct alias){alias_of(range), relation_of(a, range)};
	}
}

static void lock_rows(struct analysis *a, const json_t *select, bool never_waits, const struct alias *of, bool alone)
{
	struct effect_touch t = {.relation = of->relation,
		.mode = TOUCH_CHANGE,
		.never_waits = never_waits,
		.equal = (uint32_t)a->equals.n,
		.set = (uint32_t)a->sets.n};
	add_equals(a, get(select, "whereClause"), of->name, alone);
	end_touch(a, &t);
}

static void take_select(struct analysis *a, const json_t *select)
{
	struct alias aliases[ALIASES_MAX];
	const json_t *clause, *of;
	size_t n = 0, i, k;
	if (get(select, "intoClause") != NULL)
		a->effect->global = a->effect->writes = true;
	if (get(select, "lockingClause") == NULL)
		return;
	add_ranges(a, get(select, "fromClause"), aliases, &n);
	json_array_foreach(get(select, "lockingClause"), i, clause)
	{
		const json_t *named = get(get(clause, "LockingClause"), "lockedRels");
		const char *policy = text_at(get(clause, "LockingClause"), "waitPolicy");
		bool never_waits = !is(policy, "LockWaitBlock");
		a->effect->skips |= is(policy, "LockWaitSkip");
		for (size_t r = 0; named == NULL && r < n; r++)
			lock_rows(a, select, never_waits, &aliases[r], n == 1);
		json_array_foreach(named, k, of)
		{
			const char *name = text_at(get(of, "RangeVar"), "relname");
			for (size_t r = 0; r < n; r++)
				if (is(name, aliases[r].name))
					lock_rows(a, select, never_waits, &aliases[r], n == 1);
		}
	}
}

/* ---- functions ---- */

static void touch_object(struct analysis *a, const char *kind, const char *name)
{
	char full[160];
	snprintf(full, sizeof full, "%s %.128s", kind, name);
	struct effect_touch t = {.relation = play_schema_name(a->schema, full),
		.mode = TOUCH_CHANGE,
		.equal = (uint32_t)a->equals.n,
		.set = (uint32_t)a->sets.n};
	end_touch(a, &t);
}

static void take_function(struct analysis *a, const json_t *call)
{
	const json_t *names = get(call, "funcname");
	const char *name = text_at(get(json_array_get(names, json_array_size(names) - 1), "String"), "sval");
	if (name == NULL)
		return;
	if (strcmp(name, "nextval") == 0 || strcmp(name, "currval") == 0) {
		struct effect_source source = {.kind = SOURCE_NAMED, .slot = slot_of(json_array_get(get(call, "args"), 0))};
		VEC_PUSH(&a->sources, source);
	} else if (strcmp(name, "lastval") == 0) {
		VEC_PUSH(&a->sources, (struct effect_source){.kind = SOURCE_LAST});
	}
	if (strcmp(name, "nextval") == 0 || strcmp(name, "setval") == 0)
		touch_object(a, "sequence", "");
	else if (strncmp(name, "pg_advisory", 11) == 0 || strncmp(name, "pg_try_advisory", 15) == 0)
		touch_object(a, "advisory", "");
	else if (play_schema_may_write(a->schema, name))
		a->effect->global = a->effect->writes = true;
}

/* ---- whole statements ---- */

static void take_transaction(struct effect *e, const char *kind)
{
	if (is(kind, "TRANS_STMT_BEGIN") || is(kind, "TRANS_STMT_START"))
		e->begins = true;
	else if (is(kind, "TRANS_STMT_COMMIT") || is(kind, "TRANS_STMT_ROLLBACK") || is(kind, "TRANS_STMT_PREPARE"))
		e->ends = true;
	else if (is(kind, "TRANS_STMT_COMMIT_PREPARED") || is(kind, "TRANS_STMT_ROLLBACK_PREPARED"))
		e->global = e->writes = true;
}

/* All relations that a tree names, by how it calls them. */
static void find_ranges(struct analysis *a, const json_t *node)
{
	const char *key;
	json_t *value;
	size_t i;
	if (text_at(node, "relname") != NULL && a->n_ranges < RANGES_MAX)
		a->ranges[a->n_ranges++] = (struct alias){alias_of(node), relation_of(a, node)};
	if (json_is_array(node))
		json_array_foreach(node, i, value) find_ranges(a, value);
	else
		json_object_foreach((json_t *)(uintptr_t)node, key, value) find_ranges(a, value);
}

/* Everything that a tree has in it: statements within statements, relations that they read, functions that they call. */
static void walk(struct analysis *a, const json_t *node)
{
	const char *key;
	json_t *value;
	size_t i;
	if (json_is_array(node)) {
		json_array_foreach(node, i, value) walk(a, value);
		return;
	}
	json_object_foreach((json_t *)(uintptr_t)node, key, value)
	{
		if (strcmp(key, "UpdateStmt") == 0)
			take_change(a, value, "fromClause");
		else if (strcmp(key, "DeleteStmt") == 0)
			take_change(a, value, "usingClause");
		else if (strcmp(key, "InsertStmt") == 0)
			take_insert(a, value);
		else if (strcmp(key, "SelectStmt") == 0)
			take_select(a, value);
		else if (strcmp(key, "FuncCall") == 0)
			take_function(a, value);
		else if (strcmp(key, "A_Expr") == 0)
			take_comparison(a, value);
		else if (strcmp(key, "CommonTableExpr") == 0)
			VEC_PUSH(&a->named, play_schema_name(a->schema, text_at(value, "ctename")));
		else if (strcmp(key, "RangeVar") == 0) {
			struct effect_touch t = begin_touch(a, value, TOUCH_READ);
			end_touch(a, &t);
		}
		if (json_is_object(value) || json_is_array(value))
			walk(a, value);
	}
}

static void touch_named(struct analysis *a, const json_t *relations)
{
	const json_t *range;
	size_t i;
	json_array_foreach(relations, i, range)
	{
		struct effect_touch t = begin_touch(a, get(range, "RangeVar"), TOUCH_CHANGE);
		end_touch(a, &t);
	}
}

/* The client gets to know which rows were taken by their key. */
static void take_taken(struct analysis *a, const json_t *returned)
{
	for (size_t i = 0; i < a->n_ranges; i++) {
		uint32_t number = a->ranges[i].relation;
		struct play_relation relation = *play_schema_relation(a->schema, &number);
		if (relation.n_key != 1)
			continue;
		uint32_t as = returned_as(a, returned, play_schema_text(a->schema, relation.key[0]));
		if (as == 0)
			continue;
		play_schema_join(a->schema, number, relation.key[0], number, relation.key[0]);
		uint32_t domain = play_schema_domain(a->schema, number, relation.key[0]);
		VEC_PUSH(&a->sources, (struct effect_source){.kind = SOURCE_TAKEN, .domain = domain, .returns = as});
		return;
	}
}

static void take_statement(struct analysis *a, const char *kind, const json_t *body)
{
	static const char *const HARMLESS[] = {"VariableShowStmt", "VariableSetStmt", "DiscardStmt", "DeallocateStmt", "ListenStmt",
		"UnlistenStmt", "NotifyStmt", "FetchStmt", "ClosePortalStmt", "CheckPointStmt", "VacuumStmt", "PrepareStmt", NULL};
	struct effect *e = a->effect;
	if (strcmp(kind, "TransactionStmt") == 0) {
		take_transaction(e, text_at(body, "kind"));
	} else if (strcmp(kind, "LockStmt") == 0 || strcmp(kind, "TruncateStmt") == 0) {
		touch_named(a, get(body, "relations"));
	} else if (strcmp(kind, "SelectStmt") == 0 || strcmp(kind, "InsertStmt") == 0 || strcmp(kind, "UpdateStmt") == 0 ||
		strcmp(kind, "DeleteStmt") == 0 || strcmp(kind, "DeclareCursorStmt") == 0 || strcmp(kind, "ExplainStmt") == 0) {
		json_t *whole = json_pack("{s:O}", kind, body);
		a->n_ranges = 0;
		find_ranges(a, whole);
		walk(a, whole);
		json_decref(whole);
		if (e->skips)
			take_taken(a, get(body, strcmp(kind, "SelectStmt") == 0 ? "targetList" : "returningList"));
	} else {
		size_t i = 0;
		while (HARMLESS[i] != NULL && strcmp(kind, HARMLESS[i]) != 0)
			i++;
		if (HARMLESS[i] == NULL)
			e->global = e->writes = true;
	}
	e->reads &= strcmp(kind, "SelectStmt") == 0 || strcmp(kind, "VariableShowStmt") == 0 || strcmp(kind, "VariableSetStmt") == 0 ||
		strcmp(kind, "TransactionStmt") == 0 || strcmp(kind, "ExplainStmt") == 0;
}

/* The shape with something in the place of each literal that leads back to it. */
static void write_text(const char *shape, size_t n, struct buf *out)
{
	unsigned number = 0;
	for (size_t i = 0; i < n; i++) {
		char before = i > 0 ? shape[i - 1] : ' ';
		if (shape[i] != SHAPE_MARK)
			buf_char(out, shape[i]);
		else if (before == '\'')
			buf_printf(out, "%c%u", STRING_MARK, number++);
		else if (i > 1 && ((before == '-' && shape[i - 2] == '-') || (before == '*' && shape[i - 2] == '/')))
			number++;
		else
			buf_printf(out, "%u", LITERAL_BASE + number++);
	}
}

static bool is_named_query(const struct analysis *a, uint32_t relation)
{
	for (size_t i = 0; i < a->named.n; i++)
		if (a->named.at[i] == relation)
			return true;
	return false;
}

static void finish(struct analysis *a)
{
	struct effect *e = a->effect;
	if (e->global)
		e->writes = true;
	size_t kept = 0;
	for (size_t i = 0; i < a->touches.n; i++)
		if (a->touches.at[i].mode != TOUCH_READ || !is_named_query(a, a->touches.at[i].relation))
			a->touches.at[kept++] = a->touches.at[i];
	a->touches.n = kept;
	VEC_FREE(&a->named);
	e->touches = a->touches.at;
	e->n_touches = (uint32_t)a->touches.n;
	e->equals = a->equals.at;
	e->n_equals = (uint32_t)a->equals.n;
	e->sets = a->sets.at;
	e->n_sets = (uint32_t)a->sets.n;
	e->keys = a->keys.at;
	e->n_keys = (uint32_t)a->keys.n;
	e->sources = a->sources.at;
	e->n_sources = (uint32_t)a->sources.n;
	e->reads &= !e->writes;
}

struct effect *effect_of_shape(const char *shape, size_t n, struct play_schema *schema)
{
	struct effect *e = calloc(1, sizeof *e);
	struct analysis a = {.schema = schema, .effect = e};
	struct buf text;
	struct error ignored;
	json_t *tree = NULL, *statement;
	size_t i;
	if (e == NULL)
		abort();
	e->reads = true;
	buf_init(&text, TEXT_MAX);
	write_text(shape, n, &text);
	if (text.overflow || sql_parse(text.data, &tree, NULL, &ignored) != ST_OK)
		e->global = true;
	json_array_foreach(get(tree, "stmts"), i, statement)
	{
		json_t *of = json_object_get(statement, "stmt");
		const char *kind = json_object_iter_key(json_object_iter(of));
		if (kind != NULL)
			take_statement(&a, kind, json_object_get(of, kind));
	}
	json_decref(tree);
	buf_free(&text);
	finish(&a);
	return e;
}

void effect_free(struct effect *e)
{
	if (e == NULL)
		return;
	free(e->touches);
	free(e->equals);
	free(e->sets);
	free(e->keys);
	free(e->sources);
	free(e);
}
