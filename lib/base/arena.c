#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

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

int clip_arena_allocate(struct clip_arena *arena, const char *what, struct clip_error *error)
{
    size_t bytes;
    if (arena->overflow || __builtin_add_overflow(arena->used, ALIGN, &bytes) ||
        !(arena->block = calloc(1, bytes)))
        return clip_fail_memory(error, what);
    arena->memory = (char *)arena->block + (ALIGN - (uintptr_t)arena->block % ALIGN) % ALIGN;
    arena->size = arena->used;
    arena->used = 0;
    return 0;
}

void clip_arena_free(struct clip_arena *arena)
{
    free(arena->block);
    *arena = (struct clip_arena){0};
}
