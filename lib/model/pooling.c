#include "model/pooling.h"

#include "model/kind.h"

#include <string.h>

static const struct clip_pooling_type types[CLIP_POOLINGS] = {
    [CLIP_POOL_TOKEN] = {.names = {"tok", "eos", NULL, "token"},
                         .hf = 1 << CLIP_HF_CLIP | 1 << CLIP_HF_METACLIP},
    [CLIP_POOL_FIRST] = {.names = {NULL, "first", "cls_last_hidden_state_pooler", NULL},
                         .hf = 1 << CLIP_HF_CHINESE | 1 << CLIP_HF_ALT,
                         .features = "the first position"},
    [CLIP_POOL_LAST] = {.names = {NULL, "last", NULL, NULL},
                        .hf = 1 << CLIP_HF_SIGLIP,
                        .features = "the last position",
                        .at_end = 1},
    [CLIP_POOL_MEAN] = {.names = {NULL, "mean", "mean_pooler", NULL},
                        .features = "the mean of all tokens",
                        .all = 1},
    [CLIP_POOL_MAX] = {.names = {NULL, NULL, "max_pooler", NULL}, .all = 1},
    [CLIP_POOL_ATTEND] = {.names = {NULL, "map", NULL, NULL},
                          .features = "an attention pool",
                          .all = 1,
                          .queries = 1},
    [CLIP_POOL_PATCHES] = {.names = {"avg", NULL, NULL, "avg"}, .all = 1},
    [CLIP_POOL_MAP] = {.names = {NULL, NULL, NULL, "map"}, .hf = 1 << CLIP_HF_SIGLIP, .all = 1, .queries = 1},
    [CLIP_POOL_QUERY] = {.names = {"tok", NULL, NULL, NULL}, .all = 1, .queries = 1, .coca = 1},
    [CLIP_POOL_QUERIES_MEAN] = {.names = {"avg", NULL, NULL, NULL}, .all = 1, .queries = 2, .coca = 1},
};

const struct clip_pooling_type *clip_pooling_of(const struct clip_tower_arch *tower)
{
    return &types[tower->pooling];
}

int clip_pooling_set(struct clip_tower_arch *tower, enum clip_pooling_option option, const char *name,
                     int coca)
{
    for (int i = 0; i < CLIP_POOLINGS; i++) {
        const char *known = types[i].names[option];
        if (known && types[i].coca == coca && strcmp(known, name) == 0) {
            tower->pooling = (enum clip_pooling)i;
            return 0;
        }
    }
    return -1;
}
