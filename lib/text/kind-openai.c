/* OpenAI's tokenizer, simple_tokenizer of CLIP, with the vocabularies of byte-pair encoding that end a word
 * with
 * "</w>". */
#include "text/added.h"
#include "text/cache.h"
#include "text/clean.h"
#include "text/kinds.h"
#include "text/merge.h"
#include "text/openai.h"
#include "text/pieces.h"

#include <stdlib.h>
#include <string.h>

struct clip_openai {
    struct clip_vocabulary *owned; /* or NULL */
    const struct clip_vocabulary *vocabulary;
    struct clip_finder raw, clean; /* added tokens that are looked for before cleaning, and after it */
    struct clip_cache *cache;
    struct clip_merge_work *merge;
    struct clip_merge_rule rule;
};

static int find_merge(const void *context, const struct clip_symbol *left, const struct clip_symbol *right,
                      uint32_t *rank, int32_t *result)
{
    const struct clip_vocabulary *vocabulary = context;
    const struct clip_merge *merge = clip_vocabulary_find(vocabulary, left->id, right->id);
    if (!merge)
        return 0;
    *rank = (uint32_t)(merge - vocabulary->merges);
    *result = merge->result;
    return 1;
}

void clip_openai_free(struct clip_openai *openai)
{
    if (!openai)
        return;
    clip_finder_free(&openai->raw);
    clip_finder_free(&openai->clean);
    clip_cache_free(openai->cache);
    clip_merge_work_free(openai->merge);
    clip_vocabulary_free(openai->owned);
    free(openai);
}

int clip_openai_begin(struct clip_tokenizer *tokenizer, const struct clip_vocabulary *vocabulary,
                      struct clip_error *error)
{
    struct clip_openai *openai = tokenizer->openai = calloc(1, sizeof *openai);
    if (!openai)
        return clip_fail_memory(error, "a tokenizer");
    openai->vocabulary = vocabulary;
    openai->rule = (struct clip_merge_rule){find_merge, vocabulary, 1};
    openai->merge = clip_merge_work_new(error);
    openai->cache = clip_cache_new(error);
    struct clip_frame *frame = &tokenizer->frame;
    frame->start = vocabulary->start;
    frame->end = vocabulary->end;
    if (!openai->merge || !openai->cache || clip_frame_put(frame, 0, vocabulary->start, error) != 0 ||
        clip_frame_put(frame, 1, vocabulary->end, error) != 0 ||
        clip_finder_make(&openai->raw, vocabulary, 0, error) != 0)
        return -1;
    return clip_finder_make(&openai->clean, vocabulary, 1, error);
}

const struct clip_vocabulary *clip_tokenizer_vocabulary(const struct clip_tokenizer *tokenizer)
{
    return tokenizer->openai ? tokenizer->openai->vocabulary : NULL;
}

/* Appends the tokens of a piece. There is room for as many as it has bytes. */
static int encode_piece(struct clip_tokenizer *tokenizer, const char *piece, size_t n,
                        struct clip_error *error)
{
    struct clip_openai *openai = tokenizer->openai;
    struct clip_symbol *symbols = clip_merge_begin(openai->merge, n, error);
    if (!symbols)
        return -1;
    for (size_t i = 0; i < n; i++)
        symbols[i].id = openai->vocabulary->bytes[i + 1 == n][(unsigned char)piece[i]];
    clip_merge_run(openai->merge, &openai->rule, n);
    for (uint32_t i = 0; i != CLIP_NO_SYMBOL; i = symbols[i].next)
        tokenizer->ids.at[tokenizer->ids.n++] = symbols[i].id;
    return 0;
}

/* The same by way of the cache. */
static inline int add_piece(struct clip_tokenizer *tokenizer, const char *piece, size_t n,
                            struct clip_error *error)
{
    struct clip_cache_place place;
    const int32_t *known;
    size_t count, before = tokenizer->ids.n;
    if (n > CLIP_CACHED_BYTES)
        return encode_piece(tokenizer, piece, n, error);
    if (clip_cache_find(tokenizer->openai->cache, piece, n, &place, &known, &count)) {
        clip_cache_copy(&tokenizer->ids, known, count);
        return 0;
    }
    if (encode_piece(tokenizer, piece, n, error) != 0)
        return -1;
    clip_cache_remember(tokenizer->openai->cache, &place, piece, n, tokenizer->ids.at + before,
                        tokenizer->ids.n - before);
    return 0;
}

/* Appends the tokens of clean text, in which none was added. After it CLIP_CLEAN_PADDING bytes may be read.
 */
static int add_words(struct clip_tokenizer *tokenizer, const char *clean, size_t n, struct clip_error *error)
{
    size_t step;
    /* No token is made of less than a byte. */
    if (clip_ids_reserve(&tokenizer->ids, n + CLIP_CACHED_IDS, error) != 0)
        return -1;
    for (size_t i = 0; i < n; i += step) {
        enum clip_piece piece;
        if (clean[i] == ' ' && ++i == n)
            break;
        step = clip_next_piece(clean + i, n - i, &piece);
        if (piece == CLIP_PIECE_START)
            tokenizer->ids.at[tokenizer->ids.n++] = tokenizer->frame.start;
        else if (piece == CLIP_PIECE_END)
            tokenizer->ids.at[tokenizer->ids.n++] = tokenizer->frame.end;
        else if (piece == CLIP_PIECE_TEXT && add_piece(tokenizer, clean + i, step, error) != 0)
            return -1;
    }
    return 0;
}

/* Appends the tokens of text: each that `finder` finds, and what `rest` makes of what is between them. */
static int add_found(struct clip_tokenizer *tokenizer, const struct clip_finder *finder, const char *text,
                     size_t length,
                     int (*rest)(struct clip_tokenizer *, const char *, size_t, struct clip_error *),
                     struct clip_error *error)
{
    size_t at = 0, begin, end;
    int32_t id;
    while (finder->count > 0 && clip_finder_next(finder, text, length, at, &begin, &end, &id)) {
        if (rest(tokenizer, text + at, begin - at, error) != 0 ||
            clip_ids_add(&tokenizer->ids, id, error) != 0)
            return -1;
        at = end;
    }
    return rest(tokenizer, text + at, length - at, error);
}

static int add_text(struct clip_tokenizer *tokenizer, const char *text, size_t length,
                    struct clip_error *error)
{
    const char *clean;
    size_t n;
    if (clip_clean_as(tokenizer->cleaner, tokenizer->settings.cleaning, text, length, &clean, &n, error) != 0)
        return -1;
    return add_found(tokenizer, &tokenizer->openai->clean, clean, n, add_words, error);
}

static int run_openai(struct clip_tokenizer *tokenizer, const char *text, size_t length,
                      struct clip_error *error)
{
    return add_found(tokenizer, &tokenizer->openai->raw, text, length, add_text, error);
}

/* --- the file --- */

static int open_openai(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                       struct clip_error *error)
{
    struct clip_vocabulary *vocabulary = clip_vocabulary_open(file->path, error);
    if (!vocabulary)
        return -1;
    int status = clip_openai_begin(tokenizer, vocabulary, error);
    if (tokenizer->openai)
        tokenizer->openai->owned = vocabulary;
    else
        clip_vocabulary_free(vocabulary);
    return status;
}

/* All that no other kind is: OpenAI's text of merges, also compressed; vocab.json and tokenizer.json whose
 * words end with "</w>". */
static int is_openai(const struct clip_tokenizer_file *file, const struct clip_tokenizer_settings *settings)
{
    (void)file;
    (void)settings;
    return 1;
}

const struct clip_tokenizer_kind clip_kind_openai = {
    .name = "bpe_simple_vocab_16e6.txt", .is = is_openai, .open = open_openai, .run = run_openai};
