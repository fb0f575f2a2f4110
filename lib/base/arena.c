#include "base/arena.h"
#include "base/pages.h"

#include <assert.h>

enum { ALIGN = 64 };

void *clip_arena_take(struct clip_arena *arena, size_t count, size_t size)
{
    size_t bytes, end;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, ALIGN - 1, &bytes) ||
        __builtin_add_overflow(arena->used, bytes / ALIGN * ALIGN, &end)) {
        arena->overflow = 1;
        return NULL;
    }
    size_t at = arena->used;
    arena->used = end;
    assert(!arena->memory || end <= arena->size);
    return arena->memory ? arena->memory + at : NULL;
}

int clip_arena_build(struct clip_arena *arena, const char *what, void (*place)(void *context), void *context,
                     struct clip_error *error)
{
    place(context);
    if (arena->overflow || !(arena->memory = clip_pages_new(arena->used)))
        return clip_fail_memory(error, what);
    arena->size = arena->used;
    arena->used = 0;
    place(context);
    return 0;
}

void clip_arena_free(struct clip_arena *arena)
{
    clip_pages_free(arena->memory, arena->size);
    *arena = (struct clip_arena){0};
}
