/* What may be told of a statement: its text, and what the server says of it when it failed, without values. */
#ifndef PGR_REPLAY_PLAY_MESSAGE_H
#define PGR_REPLAY_PLAY_MESSAGE_H

#include <stddef.h>

/* A shape's text with ? for each literal, also for what stands between $tag$, and blanks for what cannot be printed; cut where it has no room. */
void play_describe_shape(const char *shape, size_t n, char *out, size_t size);

/*
 * message with "..." for what lies between its first quotation mark and its last one, of whatever language (a value may have such marks
 * itself), and without what follows DETAIL or Key (. Of a message that fills its buffer all behind the first one goes, since the last one
 * may be missing. What a function of the user's raises (a class of letters, P0001) is left out whole: it may say anything.
 */
void play_withhold_values(const char *sqlstate, const char *message, size_t message_size, char *out, size_t size);

#endif
