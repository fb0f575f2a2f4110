/* Memory for many buffers that live as long as each other: counted first, then allocated at once.
 *
 *     static void place(void *context) { struct x *x = context; x->a = clip_arena_take(&x->arena, ...); }
 *     clip_arena_build(&x->arena, "x", place, x, error); ... clip_arena_free(&x->arena); */
#ifndef CLIP_BASE_ARENA_H
#define CLIP_BASE_ARENA_H

#include "base/error.h"

#include <stddef.h>

/* Zeroed to begin with. */
struct clip_arena {
    char *memory; /* from clip_pages_new */
    size_t used, size;
    int overflow; /* what was counted does not fit into a size_t */
};

/* The next `count` elements of `size` bytes, aligned to 64 and zeroed; NULL as long as they are only counted.
 */
void *clip_arena_take(struct clip_arena *arena, size_t count, size_t size);

/* Allocates all that place(context) takes from the arena. `place` runs twice and takes the same each time: to
 * count, then to be given the memory. Pages that are not touched take no memory. -1 with error, which says
 * for `what`. */
int clip_arena_build(struct clip_arena *arena, const char *what, void (*place)(void *context), void *context,
                     struct clip_error *error);

void clip_arena_free(struct clip_arena *arena);

/* For a buffer that serves several needs. */
static inline size_t clip_larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

#endif
