/* Keys that the target generates again: an INSERT ... RETURNING, nextval or lastval gets another value than in the capture, and the value of
 * then comes back in later statements, of the same session or of others. The log holds no results: what a session got is learned where it
 * first uses it, and what is never used by itself from how far such keys are apart. The same for rows that are taken with SKIP LOCKED: who has
 * got another one than in the capture goes on with that. */
#ifndef PGR_REPLAY_PLAY_KEYS_H
#define PGR_REPLAY_PLAY_KEYS_H

#include "replay/play_effect.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#define PLAY_KEY_TEXT 40 /* bytes of a key that is remapped, with the NUL: integers and uuids */

struct play_keys;

struct play_keys *play_keys_create(struct play_schema *schema);
void play_keys_free(struct play_keys *k);

/* meta: of the trace. Where it was scaled, keys of its copies are far apart, and the target generates those of all copies in turn: no distance
 * tells them. But which keys the traffic made is known (those above the greatest one of then), and any that nobody has used does as well. */
void play_keys_read_scaled(struct play_keys *k, const json_t *meta);

/* Rows that were taken with SKIP LOCKED, and how many of these took the place of another one. */
struct play_taken {
	int64_t rows, others;
};
struct play_taken play_keys_taken(const struct play_keys *k);

/* Just before a statement is sent: values (parameters, then literals; NULL is NULL) that are keys of the capture become those of the replay,
 * written to texts, one for each key of the effect. Returns how many differ. */
uint32_t play_keys_rename(struct play_keys *k, uint32_t session, const struct effect *e, const char **values, uint32_t n_params,
	uint32_t n_literals, char (*texts)[PLAY_KEY_TEXT]);

/* When it has succeeded: takes the keys that it got. */
void play_keys_take(struct play_keys *k, uint32_t session, const struct effect *e, const char *const *values, uint32_t n_params,
	uint32_t n_literals, const PGresult *result);

#endif
