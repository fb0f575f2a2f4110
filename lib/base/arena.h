/* Memory for many buffers that live as long as each other: counted first, then allocated at once.
 *
 *     static void place(struct x *x) { x->a = clip_arena_take(&x->arena, n, sizeof *x->a); ... }
 *     place(x); clip_arena_allocate(&x->arena, "x", error); place(x); ... clip_arena_free(&x->arena); */
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

/* Allocates what was counted; the same calls of clip_arena_take then give the memory out. Pages that are not
 * touched take no memory. -1 with error, which says for `what`. */
int clip_arena_allocate(struct clip_arena *arena, const char *what, struct clip_error *error);

void clip_arena_free(struct clip_arena *arena);

#endif
