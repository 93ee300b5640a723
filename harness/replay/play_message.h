/* What the server says of a statement that failed, without the values that it names. */
#ifndef PGR_REPLAY_PLAY_MESSAGE_H
#define PGR_REPLAY_PLAY_MESSAGE_H

#include <stddef.h>

/*
 * message with "..." for what lies between its first quotation mark and its last one, of whatever language (a value may have such marks
 * itself), and without what follows DETAIL or Key (. Of a message that fills its buffer all behind the first one goes, since the last one
 * may be missing. What a function of the user's raises (a class of letters, P0001) is left out whole: it may say anything.
 */
void play_withhold_values(const char *sqlstate, const char *message, size_t message_size, char *out, size_t size);

#endif
