/* A typed growable array in three macros: VEC(struct thing) things = {0}; VEC_PUSH(&things, t); things.at[i]; things.n. */
#ifndef PGR_BASE_VEC_H
#define PGR_BASE_VEC_H

#include <stddef.h>
#include <stdlib.h>

#define VEC(type)           \
	struct {            \
		type *at;   \
		size_t n;   \
		size_t cap; \
	}

/* Makes room for one more element; used by VEC_PUSH. Ends the process when memory runs out: vectors are for set-up, not for input of unknown size. */
static inline void *vec_grow(void *at, size_t *cap, size_t n, size_t size)
{
	if (n < *cap)
		return at;
	*cap = *cap ? *cap * 2 : 8;
	void *more = realloc(at, *cap * size);
	if (more == NULL)
		abort();
	return more;
}

#define VEC_PUSH(v, ...) ((v)->at = vec_grow((v)->at, &(v)->cap, (v)->n, sizeof *(v)->at), (v)->at[(v)->n++] = (__VA_ARGS__))

#define VEC_FREE(v) (free((v)->at), (v)->at = NULL, (v)->n = (v)->cap = 0)

#endif
