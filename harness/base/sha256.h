/* SHA-256 of a file's bytes (FIPS 180-4): says in a record which version of a file was used. Nothing secret depends on it. */
#ifndef PGR_BASE_SHA256_H
#define PGR_BASE_SHA256_H

#include "base/error.h"

#include <stddef.h>

#define SHA256_HEX_SIZE 65

/* 64 hexadecimal digits into out. */
void sha256_hex(const void *bytes, size_t n, char out[SHA256_HEX_SIZE]);

/* Of a file of at most 64 MB. */
enum status sha256_file(const char *path, char out[SHA256_HEX_SIZE], struct error *err) MUST_CHECK;

#endif
