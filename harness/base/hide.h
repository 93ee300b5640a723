/* What ps shows of our words: connection strings without their passwords, and no --secret. */
#ifndef PGR_BASE_HIDE_H
#define PGR_BASE_HIDE_H

/* Copies the words (argv[argc] is NULL), then overwrites passwords and what follows --secret in the originals, which are what the process list shows. The copies last as long as we do. */
char **hide_arguments(int argc, char **argv);

/* Overwrites the password in a connection string of either form, or in a word that holds one, with as many asterisks. */
void hide_passwords(char *word);

#endif
