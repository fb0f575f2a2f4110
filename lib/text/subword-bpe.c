/* Byte-pair encoding, by a list of merges or by what the vocabulary has. */
#include "base/array.h"
#include "text/subword.h"
#include "text/unicode.h"

#include <stdio.h>

#define LONGEST_NAME 65536
#define MOST_MERGES (2 * CLIP_MOST_WORDS)

/* --- a list of merges --- */

static uint64_t hash_of_merge(const void *context, uint32_t rank)
{
    const struct clip_word_merge *merge = &((const struct clip_subwords *)context)->merges[rank];
    return clip_hash_pair(merge->left, merge->right);
}

/* The slot of the merge, or the empty one where it belongs. */
static size_t find_merge(const struct clip_subwords *subwords, int32_t left, int32_t right)
{
    const struct clip_slots *table = &subwords->ranks;
    size_t slot = clip_hash_pair(left, right) & (table->room - 1);
    for (; table->slots[slot]; slot = clip_slots_next(table, slot)) {
        const struct clip_word_merge *merge = &subwords->merges[table->slots[slot] - 1];
        if (merge->left == left && merge->right == right)
            break;
    }
    return slot;
}

/* The id of a token that a merge names. */
static int need_token(const struct clip_subwords *subwords, const char *name, size_t n, int32_t *id,
                      struct clip_error *error)
{
    char shown[80];
    *id = clip_lexicon_id(&subwords->lexicon, name, n);
    return *id < 0 ? clip_fail(error, "it has no token '%s'", clip_printable(shown, sizeof shown, name, n))
                   : 0;
}

int clip_subwords_add_merge(struct clip_subwords *subwords, const char *left, size_t left_n,
                            const char *right, size_t right_n, struct clip_error *error)
{
    char whole[2 * LONGEST_NAME];
    struct clip_word_merge merge;
    if (left_n > LONGEST_NAME || right_n > LONGEST_NAME)
        return clip_fail(error, "a token of more than %d bytes", LONGEST_NAME);
    memcpy(whole, left, left_n);
    memcpy(whole + left_n, right, right_n);
    if (need_token(subwords, left, left_n, &merge.left, error) != 0 ||
        need_token(subwords, right, right_n, &merge.right, error) != 0 ||
        need_token(subwords, whole, left_n + right_n, &merge.result, error) != 0)
        return -1;
    if (subwords->merge_count == MOST_MERGES)
        return clip_fail(error, "more than %u merges", MOST_MERGES);
    if (CLIP_GROW(subwords->merges, subwords->merge_count, subwords->merge_room) != 0)
        return clip_fail_memory(error, "a vocabulary");
    if (clip_slots_grow(&subwords->ranks, hash_of_merge, subwords, error) != 0)
        return -1;
    size_t slot = find_merge(subwords, merge.left, merge.right);
    subwords->merges[subwords->merge_count] = merge;
    clip_slots_set(&subwords->ranks, slot,
                   subwords->merge_count++); /* of merges that are the same the last counts */
    return 0;
}

/* The tokens of single bytes, or of ASCII characters. */
static void find_first(struct clip_subwords *subwords)
{
    for (int ends = 0; ends < 2; ends++)
        for (int byte = 0; byte < 256; byte++) {
            char name[64] = {(char)byte};
            size_t n = subwords->byte_level ? clip_byte_spelling(name, byte) : 1;
            n += (size_t)snprintf(name + n, sizeof name - 8, "%s", ends ? subwords->suffix : "");
            subwords->first[ends][byte] = clip_lexicon_id(&subwords->lexicon, name, n);
        }
}

/* Tokens as bytes, to be found whole. */
static int list_whole_words(struct clip_subwords *subwords, struct clip_error *error)
{
    struct clip_buffer bytes = {0};
    int status = 0;
    for (size_t i = 0; i < subwords->lexicon.count && status >= 0; i++) {
        const struct clip_word *word = &subwords->lexicon.words[i];
        bytes.n = 0;
        status = clip_spelt_bytes(subwords->lexicon.text.at + word->at, word->length, &bytes, error);
        if (status == 0)
            status = clip_lexicon_add(&subwords->whole_words, bytes.at, bytes.n, word->id, 0, error);
    }
    clip_buffer_free(&bytes);
    return status < 0 ? -1 : 0;
}

/* 1 if the text `mark` begins anywhere in the name but at its begin or after another one. */
static int crosses(const char *name, size_t n, const char *mark, size_t mark_n)
{
    for (size_t i = 1; i + mark_n <= n; i++)
        if (memcmp(name + i, mark, mark_n) == 0 &&
            (i < mark_n || memcmp(name + i - mark_n, mark, mark_n) != 0))
            return 1;
    return 0;
}

static const char boundary[] = "\xe2\x96\x81";

/* Where no merge goes across the begin of a word (U+2581), words can be encoded one by one. */
static void find_boundary(struct clip_subwords *subwords)
{
    size_t n;
    if (subwords->byte_level || subwords->ignore_merges || *subwords->suffix ||
        clip_lexicon_id(&subwords->lexicon, boundary, 3) < 0)
        return;
    for (size_t i = 0; i < subwords->merge_count; i++) {
        const char *name = clip_lexicon_name(&subwords->lexicon, subwords->merges[i].result, &n);
        if (crosses(name, n, boundary, 3))
            return;
    }
    subwords->boundary = boundary;
}

/* The same of SentencePiece's pieces. A word begins with one that is known, so that no two unknown characters
 * join across its begin. */
void clip_find_sentence_boundary(struct clip_subwords *subwords)
{
    int32_t mark = clip_lexicon_id(&subwords->lexicon, boundary, 3);
    if (mark < 0 || (subwords->types[mark] != CLIP_PIECE_NORMAL && subwords->types[mark] != CLIP_PIECE_USER))
        return;
    for (size_t i = 0; i < subwords->lexicon.count; i++) {
        const struct clip_word *word = &subwords->lexicon.words[i];
        if (crosses(subwords->lexicon.text.at + word->at, word->length, boundary, 3))
            return;
    }
    subwords->boundary = boundary;
}

int clip_finish_merges(struct clip_subwords *subwords, struct clip_error *error)
{
    clip_find_byte_tokens(subwords);
    find_first(subwords);
    find_boundary(subwords);
    return subwords->byte_level && subwords->ignore_merges ? list_whole_words(subwords, error) : 0;
}

static int find_by_merges(const void *context, const struct clip_symbol *left,
                          const struct clip_symbol *right, uint32_t *rank, int32_t *result)
{
    const struct clip_subwords *subwords = context;
    if (!subwords->ranks.room)
        return 0;
    uint32_t found = subwords->ranks.slots[find_merge(subwords, left->id, right->id)];
    if (!found)
        return 0;
    *rank = found - 1;
    *result = subwords->merges[*rank].result;
    return 1;
}

/* The token of one character of a word, or -1. */
static int32_t character_token(const struct clip_subwords *subwords, const char *text, size_t n, int ends)
{
    char name[64];
    if (n == 1)
        return subwords->first[ends][(unsigned char)*text];
    memcpy(name, text, n);
    if (ends)
        n += (size_t)snprintf(name + n, sizeof name - 8, "%s", subwords->suffix);
    return clip_lexicon_id(&subwords->lexicon, name, n);
}

/* The symbols of a word: its characters, or bytes for those that are unknown, or the unknown token. Returns
 * how many. */
static size_t fill_symbols(const struct clip_subwords *subwords, const char *word, size_t n,
                           struct clip_symbol *symbols)
{
    size_t count = 0;
    int fused = 0;
    int32_t bytes[4];
    for (size_t i = 0, length; i < n; i += length) {
        uint32_t point;
        int taken = subwords->byte_level ? 1 : clip_utf8_read(&point, (const uint8_t *)word + i, n - i);
        length = (size_t)(taken > 0 ? taken : -taken);
        int ends = i + length == n && *subwords->suffix;
        int32_t id = character_token(subwords, word + i, length, ends);
        int known = id >= 0;
        if (known) {
            symbols[count++].id = id;
        } else if (!ends && clip_put_bytes(subwords, word + i, length, bytes)) {
            for (size_t k = 0; k < length; k++)
                symbols[count++].id = bytes[k];
            known = 1;
        } else if (subwords->unknown >= 0 && !(fused && subwords->fuse_unknown)) {
            symbols[count++].id = subwords->unknown;
        }
        fused = !known;
    }
    return count;
}

static int put_symbols(const struct clip_symbol *symbols, size_t n, struct clip_ids *ids,
                       struct clip_error *error)
{
    if (clip_ids_reserve(ids, n, error) != 0)
        return -1;
    for (uint32_t i = 0; i != CLIP_NO_SYMBOL; i = symbols[i].next)
        ids->at[ids->n++] = symbols[i].id;
    return 0;
}

/* Room for the symbols of a word; NULL with error. */
static struct clip_symbol *begin_word(struct clip_subword_work *work, size_t n, struct clip_error *error)
{
    if (!work->merge && !(work->merge = clip_merge_work_new(error)))
        return NULL;
    return clip_merge_begin(work->merge, n, error);
}

int clip_encode_merges(const struct clip_subwords *subwords, struct clip_subword_work *work, const char *word,
                       size_t n, struct clip_ids *ids, struct clip_error *error)
{
    if (subwords->ignore_merges) {
        int32_t id =
            clip_lexicon_id(subwords->byte_level ? &subwords->whole_words : &subwords->lexicon, word, n);
        if (id >= 0)
            return clip_ids_add(ids, id, error);
    }
    struct clip_symbol *symbols = begin_word(work, n, error);
    if (!symbols)
        return -1;
    size_t count = fill_symbols(subwords, word, n, symbols);
    if (count == 0)
        return 0;
    const struct clip_merge_rule rule = {find_by_merges, subwords, 0};
    clip_merge_run(work->merge, &rule, count);
    return put_symbols(symbols, count, ids, error);
}

/* --- by what the vocabulary has --- */

struct joining {
    const struct clip_subwords *subwords;
    const char *word;
};

static int find_by_text(const void *context, const struct clip_symbol *left, const struct clip_symbol *right,
                        uint32_t *rank, int32_t *result)
{
    const struct joining *joining = context;
    const struct clip_subwords *subwords = joining->subwords;
    const uint8_t *types = subwords->types;
    if (types && ((left->id >= 0 && types[left->id] == CLIP_PIECE_USER) ||
                  (right->id >= 0 && types[right->id] == CLIP_PIECE_USER)))
        return 0;
    int32_t id = clip_lexicon_id(&subwords->lexicon, joining->word + left->begin, right->end - left->begin);
    if (id < 0 || (types && types[id] != CLIP_PIECE_NORMAL && types[id] != CLIP_PIECE_USER &&
                   types[id] != CLIP_PIECE_UNUSED))
        return 0;
    *rank = subwords->order[id];
    *result = id;
    return 1;
}

int clip_finish_ranks(struct clip_subwords *subwords, struct clip_error *error)
{
    size_t size = subwords->lexicon.size;
    subwords->order = calloc(size, sizeof *subwords->order);
    if (!subwords->order)
        return clip_fail_memory(error, "a vocabulary");
    for (size_t i = 0; i < size; i++)
        subwords->order[i] = (uint32_t)i;
    for (int byte = 0; byte < 256; byte++) {
        char name = (char)byte;
        subwords->first[0][byte] = clip_lexicon_id(&subwords->lexicon, &name, 1);
        if (subwords->first[0][byte] < 0)
            return clip_fail(error, "it has no token of the byte %d", byte);
    }
    return 0;
}

int clip_encode_ranks(const struct clip_subwords *subwords, struct clip_subword_work *work, const char *word,
                      size_t n, struct clip_ids *ids, struct clip_error *error)
{
    int32_t whole = clip_lexicon_id(&subwords->lexicon, word, n);
    if (whole >= 0)
        return clip_ids_add(ids, whole, error);
    struct clip_symbol *symbols = begin_word(work, n, error);
    if (!symbols)
        return -1;
    for (size_t i = 0; i < n; i++) {
        symbols[i].id = subwords->first[0][(unsigned char)word[i]];
        symbols[i].begin = (uint32_t)i;
        symbols[i].end = (uint32_t)i + 1;
    }
    const struct joining joining = {subwords, word};
    const struct clip_merge_rule rule = {find_by_text, &joining, 0};
    clip_merge_run(work->merge, &rule, n);
    return put_symbols(symbols, n, ids, error);
}

/* The id of a piece that text may become, or -1. */
static int32_t piece_of(const struct clip_subwords *subwords, const char *text, size_t n)
{
    int32_t id = clip_lexicon_id(&subwords->lexicon, text, n);
    if (id < 0)
        return -1;
    int type = subwords->types[id];
    return type == CLIP_PIECE_NORMAL || type == CLIP_PIECE_USER || type == CLIP_PIECE_UNUSED ? id : -1;
}

/* Appends what is left: pieces, bytes for what is unknown, or one unknown token for neighbours. */
static int put_sentence(const struct clip_subwords *subwords, const char *word,
                        const struct clip_symbol *symbols, size_t n, struct clip_ids *ids,
                        struct clip_error *error)
{
    int unknown = 0;
    if (clip_ids_reserve(ids, n, error) != 0) /* no more than bytes */
        return -1;
    for (uint32_t i = 0; i != CLIP_NO_SYMBOL; i = symbols[i].next) {
        const struct clip_symbol *symbol = &symbols[i];
        if (symbol->id >= 0) {
            ids->at[ids->n++] = symbol->id;
        } else if (clip_put_bytes(subwords, word + symbol->begin, symbol->end - symbol->begin,
                                  ids->at + ids->n)) {
            ids->n += symbol->end - symbol->begin;
        } else if (!unknown) {
            ids->at[ids->n++] = subwords->unknown;
        }
        unknown = symbol->id < 0;
    }
    return 0;
}

int clip_encode_sentence_bpe(const struct clip_subwords *subwords, struct clip_subword_work *work,
                             const char *word, size_t n, struct clip_ids *ids, struct clip_error *error)
{
    struct clip_symbol *symbols = begin_word(work, n, error);
    size_t count = 0;
    if (!symbols)
        return -1;
    for (size_t i = 0, length; i < n; i += length) {
        uint32_t point;
        if (clip_trie_longest(&subwords->user, word + i, n - i, &length) < 0) {
            int taken = clip_utf8_read(&point, (const uint8_t *)word + i, n - i);
            length = (size_t)(taken > 0 ? taken : 1);
        }
        symbols[count++] = (struct clip_symbol){
            .id = piece_of(subwords, word + i, length), .begin = (uint32_t)i, .end = (uint32_t)(i + length)};
    }
    const struct joining joining = {subwords, word};
    const struct clip_merge_rule rule = {find_by_text, &joining, 0};
    clip_merge_run(work->merge, &rule, count);
    return put_sentence(subwords, word, symbols, n, ids, error);
}
