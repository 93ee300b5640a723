/* pgrehearse: the command table, and the only place that ends the program. */
#define _GNU_SOURCE
#include "base/error.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "version") == 0) {
		printf("pgrehearse %s\n", PGR_VERSION);
		return ST_OK;
	}
	fprintf(stderr, "pgrehearse: usage: pgrehearse version\n");
	return ST_USAGE;
}
