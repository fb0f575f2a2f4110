/* A tokenizer as Hugging Face's library composes them: added tokens are cut out of the text, the rest is
 * normalized, cut into words, and these into tokens. The readers of tokenizer files build one. */
#ifndef CLIP_TEXT_PIPELINE_H
#define CLIP_TEXT_PIPELINE_H

#include "base/error.h"
#include "text/buffer.h"
#include "text/cache.h"
#include "text/normalizer.h"
#include "text/splitter.h"
#include "text/subword.h"
#include "text/trie.h"
#include "text/unicode.h"

#include <stddef.h>
#include <stdint.h>

/* A token that is found as it stands: in the text as it came or (normalized) once it is normalized. It takes
 * the white space beside it with it (lstrip, rstrip), or (single_word) must stand by itself. */
struct clip_pipeline_token {
    char *text;
    size_t length;
    int32_t id;
    int normalized, single_word, lstrip, rstrip;
};

struct clip_pipeline {
    struct clip_normalizer normalizer;
    struct clip_splitter splitter;
    struct clip_subwords subwords;
    struct clip_pipeline_token *added;
    size_t added_count, added_room;
    struct clip_trie raw, clean; /* of added tokens by text, the latter's normalized: numbers in `added` */
    int any_bytes;               /* the normalizer takes text that is not UTF-8 */

    struct clip_cache *cache;
    struct clip_normal_work normal_work;
    struct clip_split_work split_work;
    struct clip_subword_work subword_work;
    struct clip_buffer text;
    struct clip_points points;
};

/* Copies text[token->length]. */
int clip_pipeline_add(struct clip_pipeline *pipeline, const struct clip_pipeline_token *token,
                      struct clip_error *error);

/* Once all is read: finds the normalized forms of added tokens, and makes the cache. */
int clip_pipeline_finish(struct clip_pipeline *pipeline, struct clip_error *error);
void clip_pipeline_free(struct clip_pipeline *pipeline);

/* Appends the tokens of text[n]. */
int clip_pipeline_run(struct clip_pipeline *pipeline, const char *text, size_t n, struct clip_ids *ids,
                      struct clip_error *error);

/* The id of a token by its text, added or of the vocabulary; -1. */
int32_t clip_pipeline_id(const struct clip_pipeline *pipeline, const char *text, size_t n);
/* The text of a token, not terminated, or NULL. */
const char *clip_pipeline_name(const struct clip_pipeline *pipeline, int32_t id, size_t *length);
/* Ids are below this. */
size_t clip_pipeline_size(const struct clip_pipeline *pipeline);

#endif
