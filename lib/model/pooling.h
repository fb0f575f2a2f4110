/* Poolings: how the rows that the last block of a transformer gives become the features. One row a pooling,
 * with all that lib/model knows of it. The function that computes it is in a row of lib/tower: text.c for one
 * row of a caption, text-pool.c for all of them, pooler.c for pictures. */
#ifndef CLIP_MODEL_POOLING_H
#define CLIP_MODEL_POOLING_H

#include <stddef.h>

enum clip_pooling {
    CLIP_POOL_TOKEN,        /* one token: of pictures the class token, of captions the end token */
    CLIP_POOL_FIRST,        /* the first token of a caption */
    CLIP_POOL_LAST,         /* the last of its context */
    CLIP_POOL_MEAN,         /* the mean of a caption's tokens */
    CLIP_POOL_MAX,          /* the largest value of each channel of a caption's tokens */
    CLIP_POOL_ATTEND,       /* attention with one learned query (open_clip's modern tower) */
    CLIP_POOL_PATCHES,      /* the mean of the patches */
    CLIP_POOL_MAP,          /* SigLIP's: y, attention with one learned query; then y + mlp(norm(y)) */
    CLIP_POOL_QUERY,        /* CoCa's: attention with several, of the normed tokens; ln_post of the first */
    CLIP_POOL_QUERIES_MEAN, /* the same; the mean of ln_post of all but the first */
    CLIP_POOLINGS
};

/* Options of open_clip's configurations that name a pooling. */
enum clip_pooling_option {
    CLIP_POOLS_VISION, /* pool_type of vision_cfg */
    CLIP_POOLS_TEXT,   /* pool_type of text_cfg */
    CLIP_POOLS_HF,     /* hf_pooler_type */
    CLIP_POOLS_TIMM,   /* timm_pool */
    CLIP_POOLING_OPTIONS
};

struct clip_pooling_type {
    const char *names[CLIP_POOLING_OPTIONS]; /* NULL: the option cannot say it */
    unsigned hf;          /* the forms of Hugging Face that have it: bits 1 << clip_hf_form_name */
    const char *features; /* of captions, for people; NULL: the end token's */
    int all;              /* it reads all rows, not one */
    int at_end;           /* the row that it reads is the context's last, padding or not */
    int queries;          /* the least number of learned queries; 0: there is no attention */
    int coca;             /* its attention is CoCa's, whose features have a width of their own */
};

struct clip_tower_arch;

const struct clip_pooling_type *clip_pooling_of(const struct clip_tower_arch *tower);

/* Sets the tower's pooling to the one of this name, of those that are CoCa's (attentional_pool) or of the
 * others. -1 if there is none. */
int clip_pooling_set(struct clip_tower_arch *tower, enum clip_pooling_option option, const char *name,
                     int coca);

#endif
