/* A lock wait as a line of waits.jsonl. */
#include "observe/wait_json.h"

#include "base/json.h"

static json_t *text_or_null(const char *text)
{
	return text != NULL && text[0] != '\0' ? json_text(text) : json_null();
}

static json_t *blocker_json(const struct wait_blocker *b, int64_t seen_ns)
{
	char version[32];
	enum wait_role role = b->session.migration ? WAIT_ROLE_MIGRATION : wait_role_of(b->session.application_name, version);
	json_t *age = b->session.xact_start_ns != WAIT_NONE ? json_integer(seen_ns - b->session.xact_start_ns) : json_null();
	return json_pack("{s:i, s:s, s:o, s:b, s:o, s:o, s:o}", "pid", b->session.pid, "role", wait_role_name(role), "mode",
		text_or_null(b->mode), "queued", b->queued, "sql", text_or_null(b->session.sql), "state", text_or_null(b->session.state),
		"xact_age_ns", age);
}

json_t *wait_json(const struct wait_record *r, int64_t run_start_ns)
{
	json_t *blockers = json_array();
	for (int i = 0; i < r->blockers_n; i++)
		json_array_append_new(blockers, blocker_json(&r->blockers[i], r->seen_ns));
	json_t *chain = json_array();
	for (int i = 0; i < r->chain_n; i++)
		json_array_append_new(chain, json_integer(r->chain[i]));
	json_t *waiter = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "pid", r->waiter->pid, "role", wait_role_name(r->role), "version",
		text_or_null(r->version), "transaction", text_or_null(r->transaction), "statement", text_or_null(r->statement), "sql",
		text_or_null(r->waiter->sql));
	json_t *lock = json_pack(
		"{s:s, s:o, s:s}", "type", r->lock->type, "relation", text_or_null(r->lock->relation), "mode", r->lock->mode);
	return json_pack("{s:I, s:I, s:s, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "start_ns", (json_int_t)(r->start_ns - run_start_ns),
		"length_ns", (json_int_t)r->length_ns, "quality", r->exact ? "exact" : "bounded", "bound_ns", (json_int_t)r->bound_ns,
		"ended", wait_end_name(r->ended), "waiter", waiter, "lock", lock, "blockers", blockers, "root",
		r->root != NULL ? blocker_json(r->root, r->seen_ns) : json_null(), "chain", chain, "blamed",
		r->blamed != 0 ? json_integer(r->blamed) : json_null());
}
