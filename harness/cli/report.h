/* Reports of a record, or of all records of a rehearsal: the Lua writers in reports/ run over what the record holds. */
#ifndef PGR_CLI_REPORT_H
#define PGR_CLI_REPORT_H

#include "base/error.h"
#include "judge/judge.h"

#include <stdbool.h>
#include <stdio.h>

struct report_spec {
	const char *dir;    /* a record, or a folder of records */
	const char *format; /* "html", "markdown", "junit" or "text" */
	const char *out;    /* file to replace, "-" for stream, NULL for the format's own place: see report_path */
	FILE *stream;       /* where "-" goes; text is coloured when it is a terminal */
	bool verdict_only;  /* text: the verdict and why the run is unfit, if it is, and no more */
};

/* Writes one report. html puts plots/ with scripts and data beside the file that it writes (below dir, for a stream).
 * ST_USAGE: no record there, or an unknown format. */
enum status report_write(const struct report_spec *spec, struct error *err) MUST_CHECK;

/* Judges the record in dir by its own criteria. Of a run that is unfit stdout gets the verdict and its reasons. */
enum status report_verdict(const char *dir, enum verdict *verdict, struct error *err) MUST_CHECK;

/* The file that a format is written to when nobody says otherwise: DIR/report.html, DIR/junit.xml; "-" for markdown and text.
 * Into out; returns out, or NULL when there is no such format. */
const char *report_path(const char *dir, const char *format, char *out, size_t size);

#endif
