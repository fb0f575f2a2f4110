#include "text/pipeline.h"
#include "base/array.h"

#include <unistr.h>

int clip_pipeline_add(struct clip_pipeline *pipeline, const struct clip_pipeline_token *token,
                      struct clip_error *error)
{
    if (token->id < 0 || (uint32_t)token->id >= CLIP_MOST_IDS)
        return clip_fail(error, "token id %ld is out of range", (long)token->id);
    if (CLIP_GROW(pipeline->added, pipeline->added_count, pipeline->added_room) != 0)
        return clip_fail_memory(error, "added tokens");
    struct clip_pipeline_token *added = &pipeline->added[pipeline->added_count];
    *added = *token;
    added->text = malloc(token->length + 1);
    if (!added->text)
        return clip_fail_memory(error, "added tokens");
    memcpy(added->text, token->text, token->length);
    added->text[token->length] = 0;
    pipeline->added_count++;
    return 0;
}

/* Puts the text of an added token where it is looked for. An empty one is looked for nowhere. */
static int index_token(struct clip_pipeline *pipeline, size_t i, struct clip_error *error)
{
    const struct clip_pipeline_token *token = &pipeline->added[i];
    const char *text = token->text;
    size_t n = token->length;
    int known;
    if (token->normalized &&
        clip_normalize(&pipeline->normalizer, &pipeline->normal_work, text, n, &text, &n, error) != 0)
        return -1;
    return n == 0 ? 0
                  : clip_trie_add(token->normalized ? &pipeline->clean : &pipeline->raw, text, n, (int32_t)i,
                                  &known, error);
}

int clip_pipeline_finish(struct clip_pipeline *pipeline, struct clip_error *error)
{
    for (size_t i = 0; i < pipeline->added_count; i++)
        if (index_token(pipeline, i, error) != 0)
            return -1;
    pipeline->cache = clip_cache_new(error);
    return pipeline->cache ? 0 : -1;
}

void clip_pipeline_free(struct clip_pipeline *pipeline)
{
    clip_normalizer_free(&pipeline->normalizer);
    clip_splitter_free(&pipeline->splitter);
    clip_subwords_free(&pipeline->subwords);
    for (size_t i = 0; i < pipeline->added_count; i++)
        free(pipeline->added[i].text);
    free(pipeline->added);
    clip_trie_free(&pipeline->raw);
    clip_trie_free(&pipeline->clean);
    clip_cache_free(pipeline->cache);
    clip_normal_work_free(&pipeline->normal_work);
    clip_split_work_free(&pipeline->split_work);
    clip_subword_work_free(&pipeline->subword_work);
    clip_buffer_free(&pipeline->text);
    clip_points_free(&pipeline->points);
    *pipeline = (struct clip_pipeline){0};
}

/* --- words --- */

/* Appends the tokens of one word, after which CLIP_TEXT_PADDING bytes may be read, by way of the cache. */
static int add_word(struct clip_pipeline *pipeline, const char *word, size_t n, struct clip_ids *ids,
                    struct clip_error *error)
{
    const struct clip_subwords *subwords = &pipeline->subwords;
    struct clip_cache_place place;
    const int32_t *known;
    size_t count, before = ids->n;
    if (n > CLIP_CACHED_BYTES)
        return subwords->encode(subwords, &pipeline->subword_work, word, n, ids, error);
    if (clip_cache_find(pipeline->cache, word, n, &place, &known, &count)) {
        if (clip_ids_reserve(ids, count + CLIP_CACHED_IDS, error) != 0)
            return -1;
        clip_cache_copy(ids, known, count);
        return 0;
    }
    if (subwords->encode(subwords, &pipeline->subword_work, word, n, ids, error) != 0)
        return -1;
    clip_cache_remember(pipeline->cache, &place, word, n, ids->at + before, ids->n - before);
    return 0;
}

/* The end of the part of text[n] that no token goes across: before a mark that is not after another one. */
static size_t part_end(const char *text, size_t n, const char *mark, size_t mark_n)
{
    for (size_t i = 1; i + mark_n <= n; i++)
        if (text[i] == *mark && memcmp(text + i, mark, mark_n) == 0 &&
            (i < mark_n || memcmp(text + i - mark_n, mark, mark_n) != 0))
            return i;
    return n;
}

static int add_parts(struct clip_pipeline *pipeline, const char *text, size_t n, struct clip_ids *ids,
                     struct clip_error *error)
{
    const char *mark = pipeline->subwords.boundary;
    size_t mark_n = mark ? strlen(mark) : 0;
    for (size_t at = 0, length; at < n; at += length) {
        length = mark ? part_end(text + at, n - at, mark, mark_n) : n - at;
        if (add_word(pipeline, text + at, length, ids, error) != 0)
            return -1;
    }
    return 0;
}

/* Appends the tokens of normalized text in which none was added. */
static int add_words(struct clip_pipeline *pipeline, const char *text, size_t n, int first,
                     struct clip_ids *ids, struct clip_error *error)
{
    const char *words;
    struct clip_split_work *work = &pipeline->split_work;
    if (clip_split_words(&pipeline->splitter, work, text, n, first, &words, error) != 0)
        return -1;
    for (size_t i = 0; i < work->spans.n; i++) {
        const struct clip_span *span = &work->spans.at[i];
        if (add_parts(pipeline, words + span->begin, span->end - span->begin, ids, error) != 0)
            return -1;
    }
    return 0;
}

/* --- added tokens --- */

static int is_word_point(const char *text, size_t n)
{
    uint32_t point;
    return n > 0 && clip_utf8_read(&point, (const uint8_t *)text, n) > 0 && clip_is_word(point);
}

/* 1 if a character that words are made of ends text[n]. */
static int ends_with_word(const char *text, size_t n)
{
    size_t begin = n;
    while (begin > 0 && n - begin < 4 && ((unsigned char)text[--begin] & 0xc0) == 0x80)
        ;
    return begin < n && is_word_point(text + begin, n - begin);
}

/* The next added token at or after `at`: the leftmost, of these the longest, and the part of the text that it
 * takes. NULL where there is none. */
static const struct clip_pipeline_token *next_token(const struct clip_pipeline *pipeline,
                                                    const struct clip_trie *trie, const char *text, size_t n,
                                                    size_t at, size_t *begin, size_t *end)
{
    size_t from = at, length = 0;
    while (trie->nodes > 0 && at < n) {
        int32_t found =
            trie->first[(unsigned char)text[at]] ? clip_trie_longest(trie, text + at, n - at, &length) : -1;
        if (found < 0) {
            at++;
            continue;
        }
        const struct clip_pipeline_token *token = &pipeline->added[found];
        if (token->single_word &&
            (ends_with_word(text, at) || is_word_point(text + at + length, n - at - length))) {
            at += length;
            continue;
        }
        *begin = at - (token->lstrip ? clip_trailing_space(text + from, at - from) : 0);
        *end = at + length + (token->rstrip ? clip_leading_space(text + at + length, n - at - length) : 0);
        return token;
    }
    return NULL;
}

/* Appends what text[n] holds of added tokens, and what `rest` makes of what is between them. */
typedef int rest_of(struct clip_pipeline *, const char *, size_t, int first, struct clip_ids *,
                    struct clip_error *);

static int cut(struct clip_pipeline *pipeline, const struct clip_trie *trie, const char *text, size_t n,
               int first, rest_of *rest, struct clip_ids *ids, struct clip_error *error)
{
    size_t at = 0, begin, end;
    const struct clip_pipeline_token *token;
    while ((token = next_token(pipeline, trie, text, n, at, &begin, &end))) {
        if ((begin > at && rest(pipeline, text + at, begin - at, first && at == 0, ids, error) != 0) ||
            clip_ids_add(ids, token->id, error) != 0)
            return -1;
        at = end;
    }
    return at < n ? rest(pipeline, text + at, n - at, first && at == 0, ids, error) : 0;
}

static int add_normalized(struct clip_pipeline *pipeline, const char *text, size_t n, int first,
                          struct clip_ids *ids, struct clip_error *error)
{
    if (clip_normalize(&pipeline->normalizer, &pipeline->normal_work, text, n, &text, &n, error) != 0)
        return -1;
    return cut(pipeline, &pipeline->clean, text, n, first, add_words, ids, error);
}

/* The text with U+FFFD for what is not UTF-8, as Python's errors="replace", and with the padding. */
static int copy_text(struct clip_pipeline *pipeline, const char *text, size_t n, struct clip_error *error)
{
    struct clip_buffer *out = &pipeline->text;
    out->n = 0;
    if (pipeline->any_bytes || !u8_check((const uint8_t *)text, n))
        return clip_buffer_add(out, text, n, error);
    if (clip_buffer_reserve(out, 3 * n, error) != 0)
        return -1;
    for (size_t i = 0; i < n;) {
        uint32_t point = CLIP_REPLACEMENT;
        int taken = clip_utf8_read(&point, (const uint8_t *)text + i, n - i);
        out->n += clip_utf8_write((uint8_t *)out->at + out->n, taken > 0 ? point : CLIP_REPLACEMENT);
        i += (size_t)(taken > 0 ? taken : -taken);
    }
    return 0;
}

int clip_pipeline_run(struct clip_pipeline *pipeline, const char *text, size_t n, struct clip_ids *ids,
                      struct clip_error *error)
{
    if (copy_text(pipeline, text, n, error) != 0)
        return -1;
    return cut(pipeline, &pipeline->raw, pipeline->text.at, pipeline->text.n, 1, add_normalized, ids, error);
}

/* --- what it knows of tokens --- */

int32_t clip_pipeline_id(const struct clip_pipeline *pipeline, const char *text, size_t n)
{
    for (size_t i = 0; i < pipeline->added_count; i++)
        if (pipeline->added[i].length == n && memcmp(pipeline->added[i].text, text, n) == 0)
            return pipeline->added[i].id;
    return clip_lexicon_id(&pipeline->subwords.lexicon, text, n);
}

const char *clip_pipeline_name(const struct clip_pipeline *pipeline, int32_t id, size_t *length)
{
    for (size_t i = 0; i < pipeline->added_count; i++)
        if (pipeline->added[i].id == id) {
            *length = pipeline->added[i].length;
            return pipeline->added[i].text;
        }
    return clip_lexicon_name(&pipeline->subwords.lexicon, id, length);
}

size_t clip_pipeline_size(const struct clip_pipeline *pipeline)
{
    size_t size = pipeline->subwords.lexicon.size;
    for (size_t i = 0; i < pipeline->added_count; i++)
        if ((size_t)pipeline->added[i].id >= size)
            size = (size_t)pipeline->added[i].id + 1;
    return size;
}
