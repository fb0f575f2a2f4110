/* Byte-pair encoding: neighbours of a piece of text are joined, the lowest rank first. */
#ifndef CLIP_TEXT_MERGE_H
#define CLIP_TEXT_MERGE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_NO_SYMBOL UINT32_MAX
#define CLIP_SYMBOL_GONE INT32_MIN /* the id of a symbol that became part of the one before it */

/* One symbol of a piece. */
struct clip_symbol {
    int32_t id;
    uint32_t previous, next; /* neighbours that are left, or CLIP_NO_SYMBOL */
    uint32_t begin, end;     /* the part of the piece, for rules that look at it */
};

/* Which neighbours join. */
struct clip_merge_rule {
    /* 1, and the rank and the id of what they become; 0 where they do not join. */
    int (*find)(const void *context, const struct clip_symbol *left, const struct clip_symbol *right,
                uint32_t *rank, int32_t *result);
    const void *context;
    int by_rank; /* as OpenAI's loop, which does all merges of a rank before it looks at what they made
                    possible; else the lowest rank of all there are is always the next */
};

struct clip_merge_work; /* of one thread, used again from piece to piece */

struct clip_merge_work *clip_merge_work_new(struct clip_error *error);
void clip_merge_work_free(struct clip_merge_work *work);

/* Room for the symbols of a piece, at most n, whose ids (and begins and ends) the caller fills in. NULL with
 * error. */
struct clip_symbol *clip_merge_begin(struct clip_merge_work *work, size_t n, struct clip_error *error);

/* Merges the n that there are, n >= 1. What is left is linked from symbols[0] on. */
void clip_merge_run(struct clip_merge_work *work, const struct clip_merge_rule *rule, size_t n);

#endif
