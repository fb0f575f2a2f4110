#include "text/tokenizer.h"
#include "text/added.h"
#include "text/clean.h"
#include "text/hash.h"
#include "text/pieces.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_SLOTS 32768  /* a power of two */
#define CACHE_ROOM 1000000 /* words of four bytes; when it is full, the cache is cleared */
#define CACHED_BYTES 1024
#define SHORT_BYTES CLIP_CLEAN_PADDING /* a piece of up to this many bytes is its own key */

/* A piece and its tokens: count ids at cache->room + at, and after them, if it is long, the piece. length
 * 0: unused. */
struct cached {
    uint64_t key[2]; /* the bytes of a short piece, then zeros; the hash of a long one */
    uint32_t at;
    uint16_t length, count;
};

struct cache {
    struct cached slots[CACHE_SLOTS];
    size_t used;
    int32_t room[CACHE_ROOM];
};

#define NONE UINT32_MAX
#define GONE (-1) /* the id of a symbol that was merged into the one before it */

/* One symbol of a piece being merged. */
struct symbol {
    int32_t id;
    uint32_t previous, next; /* remaining neighbours, or NONE */
};

/* A possible merge: of the symbol at `at` and the next one, if they have not changed since. */
struct candidate {
    uint32_t rank, at;
    int32_t left, right;
};

struct clip_tokenizer {
    const struct clip_vocabulary *vocabulary;
    struct clip_cleaner *cleaner;
    struct clip_finder raw, clean; /* finders of added tokens: before cleaning, and after it */
    struct cache *cache;
    int32_t *ids;
    size_t count, id_room;

    struct symbol *symbols;
    struct candidate *heap, *found; /* possible merges; those that the merges of one rank made possible */
    size_t heap_size, found_count, room;
};

struct clip_tokenizer *clip_tokenizer_new(const struct clip_vocabulary *vocabulary, struct clip_error *error)
{
    struct clip_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer) {
        clip_fail_memory(error, "a tokenizer");
        return NULL;
    }
    tokenizer->vocabulary = vocabulary;
    tokenizer->cleaner = clip_cleaner_new(error);
    tokenizer->cache = calloc(1, sizeof *tokenizer->cache);
    if (!tokenizer->cache)
        clip_fail_memory(error, "a tokenizer");
    if (!tokenizer->cleaner || !tokenizer->cache ||
        clip_finder_make(&tokenizer->raw, vocabulary, 0, error) != 0 ||
        clip_finder_make(&tokenizer->clean, vocabulary, 1, error) != 0) {
        clip_tokenizer_free(tokenizer);
        return NULL;
    }
    return tokenizer;
}

void clip_tokenizer_free(struct clip_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    clip_cleaner_free(tokenizer->cleaner);
    clip_finder_free(&tokenizer->raw);
    clip_finder_free(&tokenizer->clean);
    free(tokenizer->cache);
    free(tokenizer->ids);
    free(tokenizer->symbols);
    free(tokenizer->heap);
    free(tokenizer->found);
    free(tokenizer);
}

static int reserve_ids(struct clip_tokenizer *tokenizer, size_t room, struct clip_error *error)
{
    if (room <= tokenizer->id_room)
        return 0;
    int32_t *ids = reallocarray(tokenizer->ids, room, sizeof *ids);
    if (!ids)
        return clip_fail_memory(error, "tokens");
    tokenizer->ids = ids;
    tokenizer->id_room = room;
    return 0;
}

/* Makes room for a piece of n bytes: n symbols, and in the heap every pair of neighbours that can occur: n
 * - 1 at first, and two more for each of up to n - 1 merges. */
static int reserve_piece(struct clip_tokenizer *tokenizer, size_t n, struct clip_error *error)
{
    if (n <= tokenizer->room)
        return 0;
    if (n >= NONE / 4)
        return clip_fail(error, "a word of more than %lu bytes", (unsigned long)NONE / 4);
    size_t room = n < 256 ? 256 : n;
    free(tokenizer->symbols);
    free(tokenizer->heap);
    free(tokenizer->found);
    tokenizer->symbols = reallocarray(NULL, room, sizeof *tokenizer->symbols);
    tokenizer->heap = reallocarray(NULL, 3 * room, sizeof *tokenizer->heap);
    tokenizer->found = reallocarray(NULL, 2 * room, sizeof *tokenizer->found);
    tokenizer->room = room;
    if (tokenizer->symbols && tokenizer->heap && tokenizer->found)
        return 0;
    tokenizer->room = 0;
    return clip_fail_memory(error, "a word");
}

/* --- merging --- */

static int comes_before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(struct clip_tokenizer *tokenizer, struct candidate candidate)
{
    struct candidate *heap = tokenizer->heap;
    size_t i = tokenizer->heap_size++;
    for (; i > 0 && comes_before(&candidate, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = candidate;
}

static struct candidate pop(struct clip_tokenizer *tokenizer)
{
    struct candidate *heap = tokenizer->heap, top = heap[0], last = heap[--tokenizer->heap_size];
    size_t n = tokenizer->heap_size, i = 0;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && comes_before(&heap[child + 1], &heap[child]))
            child++;
        if (!comes_before(&heap[child], &last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* Records the merge of the symbol at `at` with the next one, if there is such a merge. */
static void note(struct clip_tokenizer *tokenizer, uint32_t at)
{
    const struct symbol *symbols = tokenizer->symbols;
    if (at == NONE || symbols[at].next == NONE)
        return;
    int32_t left = symbols[at].id, right = symbols[symbols[at].next].id;
    const struct clip_merge *merge = clip_vocabulary_find(tokenizer->vocabulary, left, right);
    if (merge) {
        uint32_t rank = (uint32_t)(merge - tokenizer->vocabulary->merges);
        tokenizer->found[tokenizer->found_count++] = (struct candidate){rank, at, left, right};
    }
}

/* Applies the candidate's merge, if its symbols have not changed. */
static void merge(struct clip_tokenizer *tokenizer, const struct candidate *candidate)
{
    struct symbol *symbols = tokenizer->symbols, *left = &symbols[candidate->at];
    if (left->id != candidate->left || left->next == NONE || symbols[left->next].id != candidate->right)
        return;
    struct symbol *right = &symbols[left->next];
    left->id = tokenizer->vocabulary->merges[candidate->rank].result;
    left->next = right->next;
    right->id = GONE;
    if (left->next != NONE)
        symbols[left->next].previous = candidate->at;
    note(tokenizer, left->previous);
    note(tokenizer, candidate->at);
}

/* Merges the symbols of a piece. Like OpenAI's loop, it applies all merges of the lowest rank, from left
 * to right, before it looks at those that they made possible. */
static void merge_all(struct clip_tokenizer *tokenizer, size_t n)
{
    tokenizer->heap_size = tokenizer->found_count = 0;
    for (uint32_t i = 0; i + 1 < n; i++)
        note(tokenizer, i);
    do {
        for (size_t i = 0; i < tokenizer->found_count; i++)
            push(tokenizer, tokenizer->found[i]);
        tokenizer->found_count = 0;
        uint32_t rank = tokenizer->heap_size ? tokenizer->heap[0].rank : 0;
        while (tokenizer->heap_size > 0 && tokenizer->heap[0].rank == rank) {
            struct candidate candidate = pop(tokenizer);
            merge(tokenizer, &candidate);
        }
    } while (tokenizer->heap_size > 0 || tokenizer->found_count > 0);
}

/* Appends the tokens of a piece. There is room for as many as the piece has bytes. */
static int encode_piece(struct clip_tokenizer *tokenizer, const char *piece, size_t n,
                        struct clip_error *error)
{
    if (reserve_piece(tokenizer, n, error) != 0)
        return -1;
    struct symbol *symbols = tokenizer->symbols;
    for (size_t i = 0; i < n; i++)
        symbols[i] = (struct symbol){tokenizer->vocabulary->bytes[i + 1 == n][(unsigned char)piece[i]],
                                     i > 0 ? (uint32_t)i - 1 : NONE, i + 1 < n ? (uint32_t)i + 1 : NONE};
    merge_all(tokenizer, n);
    for (uint32_t i = 0; i != NONE; i = symbols[i].next)
        tokenizer->ids[tokenizer->count++] = symbols[i].id;
    return 0;
}

/* The first n bytes, n in [1, 8], of the 8 at `bytes`. */
static uint64_t load_bytes(const char *bytes, size_t n)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return le64toh(word) & UINT64_MAX >> (64 - 8 * n);
}

/* The key of a piece, which is followed by CLIP_CLEAN_PADDING readable bytes. Returns the number of its
 * slot. */
static size_t make_key(const char *piece, size_t n, uint64_t key[2])
{
    key[0] = n > SHORT_BYTES ? clip_hash(piece, n) : load_bytes(piece, n < 8 ? n : 8);
    key[1] = n > SHORT_BYTES || n <= 8 ? 0 : load_bytes(piece + 8, n - 8);
    uint64_t hash = (key[0] + key[1] * 0xc2b2ae3d27d4eb4f + n) * 0x9e3779b97f4a7c15;
    return hash >> 32 & (CACHE_SLOTS - 1);
}

/* Stores the piece with its tokens ids[count]. */
static void remember(struct cache *cache, struct cached *slot, const uint64_t key[2], const char *piece,
                     size_t n, const int32_t *ids, size_t count)
{
    size_t room = count + (n > SHORT_BYTES ? (n + sizeof *ids - 1) / sizeof *ids : 0);
    if (cache->used + room > CACHE_ROOM) {
        memset(cache->slots, 0, sizeof cache->slots);
        cache->used = 0;
    }
    *slot = (struct cached){{key[0], key[1]}, (uint32_t)cache->used, (uint16_t)n, (uint16_t)count};
    memcpy(cache->room + slot->at, ids, count * sizeof *ids);
    if (n > SHORT_BYTES)
        memcpy(cache->room + slot->at + count, piece, n);
    cache->used += room;
}

/* The same through the cache. */
static int add_piece(struct clip_tokenizer *tokenizer, const char *piece, size_t n, struct clip_error *error)
{
    if (n > CACHED_BYTES)
        return encode_piece(tokenizer, piece, n, error);
    uint64_t key[2];
    struct cached *slot = &tokenizer->cache->slots[make_key(piece, n, key)];
    const int32_t *known = tokenizer->cache->room + slot->at;
    if (slot->length == n && slot->key[0] == key[0] && slot->key[1] == key[1] &&
        (n <= SHORT_BYTES || memcmp(known + slot->count, piece, n) == 0)) {
        int32_t *ids = tokenizer->ids + tokenizer->count;
        for (size_t i = 0; i < slot->count; i++)
            ids[i] = known[i];
        tokenizer->count += slot->count;
        return 0;
    }
    size_t before = tokenizer->count;
    if (encode_piece(tokenizer, piece, n, error) != 0)
        return -1;
    remember(tokenizer->cache, slot, key, piece, n, tokenizer->ids + before, tokenizer->count - before);
    return 0;
}

/* Appends the tokens of clean text without added tokens. CLIP_CLEAN_PADDING readable bytes follow it. */
static int add_words(struct clip_tokenizer *tokenizer, const char *clean, size_t n, struct clip_error *error)
{
    size_t step;
    if (reserve_ids(tokenizer, tokenizer->count + n + 1, error) != 0) /* each token has at least one byte */
        return -1;
    for (size_t i = 0; i < n; i += step) {
        enum clip_piece piece;
        if (clean[i] == ' ' && ++i == n)
            break;
        step = clip_next_piece(clean + i, n - i, &piece);
        if (piece == CLIP_PIECE_START)
            tokenizer->ids[tokenizer->count++] = tokenizer->vocabulary->start;
        else if (piece == CLIP_PIECE_END)
            tokenizer->ids[tokenizer->count++] = tokenizer->vocabulary->end;
        else if (piece == CLIP_PIECE_TEXT && add_piece(tokenizer, clean + i, step, error) != 0)
            return -1;
    }
    return 0;
}

/* Appends the tokens of text: each that `finder` finds, and what `rest` makes of the text between them. */
static int add_found(struct clip_tokenizer *tokenizer, const struct clip_finder *finder, const char *text,
                     size_t length,
                     int (*rest)(struct clip_tokenizer *, const char *, size_t, struct clip_error *),
                     struct clip_error *error)
{
    size_t at = 0, begin, end;
    int32_t id;
    while (clip_finder_next(finder, text, length, at, &begin, &end, &id)) {
        if (rest(tokenizer, text + at, begin - at, error) != 0 ||
            reserve_ids(tokenizer, tokenizer->count + 1, error) != 0)
            return -1;
        tokenizer->ids[tokenizer->count++] = id;
        at = end;
    }
    return rest(tokenizer, text + at, length - at, error);
}

static int add_text(struct clip_tokenizer *tokenizer, const char *text, size_t length,
                    struct clip_error *error)
{
    const char *clean;
    size_t n;
    if (clip_clean(tokenizer->cleaner, text, length, &clean, &n, error) != 0)
        return -1;
    return add_found(tokenizer, &tokenizer->clean, clean, n, add_words, error);
}

int clip_tokenize(struct clip_tokenizer *tokenizer, const char *text, size_t length, const int32_t **ids,
                  size_t *count, struct clip_error *error)
{
    tokenizer->count = 0;
    if (add_found(tokenizer, &tokenizer->raw, text, length, add_text, error) != 0 ||
        reserve_ids(tokenizer, 1, error) != 0)
        return -1;
    *ids = tokenizer->ids;
    *count = tokenizer->count;
    return 0;
}
