#include "base/lines.h"
#include "text/clean.h"
#include "text/pieces.h"
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

/* Learns byte-pair encoding as Sennrich et al. 2016 (arXiv 1508.07909): the most frequent pair of
 * neighbours becomes one token, again and again. Counts are updated, so that the cost of a merge is the
 * length of the words that contain its pair. */

#define MAX_WORDS (UINT32_MAX / 2)

/* A distinct piece of the text: bytes[at .. at + size), now symbols[at .. at + length). */
struct word {
    size_t at, size, length;
    uint64_t count;
};

/* A pair of neighbouring tokens: how often it occurs, and in which words (some may have lost it since). */
struct pair {
    int32_t left, right;
    uint64_t count;
    uint32_t *words;
    size_t word_count, word_room;
};

/* A pair in the heap with its count at that time; the count never grows. */
struct entry {
    uint64_t count;
    uint32_t pair;
};

struct trainer {
    struct clip_vocabulary *vocabulary;

    struct word *words;
    size_t word_count, word_room;
    struct clip_slots words_by_bytes;
    char *bytes;
    size_t byte_count, byte_room;
    int32_t *symbols; /* one for each byte */

    struct pair *pairs;
    size_t pair_count, pair_room;
    struct clip_slots pairs_by_tokens;

    struct entry *heap;
    size_t heap_size, heap_room;
};

static void free_trainer(struct trainer *trainer)
{
    for (size_t i = 0; i < trainer->pair_count; i++)
        free(trainer->pairs[i].words);
    free(trainer->words);
    clip_slots_free(&trainer->words_by_bytes);
    free(trainer->bytes);
    free(trainer->symbols);
    free(trainer->pairs);
    clip_slots_free(&trainer->pairs_by_tokens);
    free(trainer->heap);
}

/* `array` with room for at least `count` elements of `size` bytes; NULL, with `array` unchanged, when out
 * of memory. */
static void *reserve(void *array, size_t count, size_t *room, size_t size, struct clip_error *error)
{
    if (count <= *room)
        return array;
    size_t larger = count < 256 ? 256 : count + count / 2;
    void *more = reallocarray(array, larger, size);
    if (!more) {
        clip_fail_memory(error, "the words of the text");
        return NULL;
    }
    *room = larger;
    return more;
}

/* --- the words of the text --- */

static uint64_t hash_of_word(const void *context, uint32_t number)
{
    const struct trainer *trainer = context;
    const struct word *word = &trainer->words[number];
    return clip_hash(trainer->bytes + word->at, word->size);
}

/* The slot of the word, or the empty one where it belongs. */
static size_t find_word(const struct trainer *trainer, const char *piece, size_t n)
{
    const struct clip_slots *table = &trainer->words_by_bytes;
    size_t slot = clip_hash(piece, n) & (table->room - 1);
    for (; table->slots[slot]; slot = clip_slots_next(table, slot)) {
        const struct word *word = &trainer->words[table->slots[slot] - 1];
        if (word->size == n && memcmp(trainer->bytes + word->at, piece, n) == 0)
            break;
    }
    return slot;
}

static int count_word(struct trainer *trainer, const char *piece, size_t n, struct clip_error *error)
{
    struct clip_slots *table = &trainer->words_by_bytes;
    if (clip_slots_grow(table, hash_of_word, trainer, error) != 0)
        return -1;
    size_t slot = find_word(trainer, piece, n);
    if (table->slots[slot]) {
        trainer->words[table->slots[slot] - 1].count++;
        return 0;
    }
    if (trainer->word_count == MAX_WORDS)
        return clip_fail(error, "more than %lu distinct words", (unsigned long)MAX_WORDS);
    struct word *words =
        reserve(trainer->words, trainer->word_count + 1, &trainer->word_room, sizeof *words, error);
    if (!words)
        return -1;
    trainer->words = words;
    char *bytes = reserve(trainer->bytes, trainer->byte_count + n, &trainer->byte_room, 1, error);
    if (!bytes)
        return -1;
    trainer->bytes = bytes;
    memcpy(bytes + trainer->byte_count, piece, n);
    words[trainer->word_count] = (struct word){trainer->byte_count, n, n, 1};
    trainer->byte_count += n;
    clip_slots_set(table, slot, trainer->word_count++);
    return 0;
}

static int count_caption(struct trainer *trainer, struct clip_cleaner *cleaner, const char *line,
                         size_t length, struct clip_error *error)
{
    const char *text;
    size_t n, step;
    if (clip_clean(cleaner, line, length, &text, &n, error) != 0)
        return -1;
    for (size_t i = 0; i < n; i += step) {
        enum clip_piece piece;
        step = clip_next_piece(text + i, n - i, &piece);
        if (piece == CLIP_PIECE_TEXT && step > 1 && count_word(trainer, text + i, step, error) != 0)
            return -1;
    }
    return 0;
}

static int count_words(struct trainer *trainer, FILE *in, struct clip_error *error)
{
    struct clip_cleaner *cleaner = clip_cleaner_new(error);
    if (!cleaner)
        return -1;
    struct clip_lines lines = {.file = in};
    char *line;
    size_t length;
    int got = 0, status = 0;
    while (status == 0 && (got = clip_lines_next(&lines, &line, &length, error)) > 0)
        status = count_caption(trainer, cleaner, line, length, error);
    clip_lines_free(&lines);
    clip_cleaner_free(cleaner);
    return got < 0 ? -1 : status;
}

/* --- pairs --- */

static uint64_t hash_of_pair(const void *context, uint32_t number)
{
    const struct pair *pair = &((const struct trainer *)context)->pairs[number];
    return clip_hash_pair(pair->left, pair->right);
}

/* The pair of these tokens, created if it is new; NULL with error. */
static struct pair *pair_of(struct trainer *trainer, int32_t left, int32_t right, struct clip_error *error)
{
    struct clip_slots *table = &trainer->pairs_by_tokens;
    if (clip_slots_grow(table, hash_of_pair, trainer, error) != 0)
        return NULL;
    size_t slot = clip_hash_pair(left, right) & (table->room - 1);
    for (; table->slots[slot]; slot = clip_slots_next(table, slot)) {
        struct pair *pair = &trainer->pairs[table->slots[slot] - 1];
        if (pair->left == left && pair->right == right)
            return pair;
    }
    struct pair *pairs =
        reserve(trainer->pairs, trainer->pair_count + 1, &trainer->pair_room, sizeof *pairs, error);
    if (!pairs)
        return NULL;
    trainer->pairs = pairs;
    clip_slots_set(table, slot, trainer->pair_count);
    pairs[trainer->pair_count] = (struct pair){.left = left, .right = right};
    return &pairs[trainer->pair_count++];
}

/* Counts the word's pairs: those that contain `token`, which are new, and records the word for them; all
 * pairs if `token` is -1. */
static int count_pairs(struct trainer *trainer, uint32_t number, int32_t token, struct clip_error *error)
{
    const struct word *word = &trainer->words[number];
    const int32_t *symbols = trainer->symbols + word->at;
    for (size_t i = 0; i + 1 < word->length; i++) {
        struct pair *pair = pair_of(trainer, symbols[i], symbols[i + 1], error);
        if (!pair)
            return -1;
        pair->count += word->count;
        int is_new = token < 0 || symbols[i] == token || symbols[i + 1] == token;
        if (!is_new || (pair->word_count > 0 && pair->words[pair->word_count - 1] == number))
            continue;
        uint32_t *words = reserve(pair->words, pair->word_count + 1, &pair->word_room, sizeof *words, error);
        if (!words)
            return -1;
        pair->words = words;
        words[pair->word_count++] = number;
    }
    return 0;
}

static int uncount_pairs(struct trainer *trainer, const struct word *word, struct clip_error *error)
{
    const int32_t *symbols = trainer->symbols + word->at;
    for (size_t i = 0; i + 1 < word->length; i++) {
        struct pair *pair = pair_of(trainer, symbols[i], symbols[i + 1], error);
        if (!pair)
            return -1;
        pair->count -= word->count;
    }
    return 0;
}

/* --- the heap: the most frequent pair first; of equal ones, the one of lower ids --- */

static int comes_before(const struct trainer *trainer, const struct entry *a, const struct entry *b)
{
    const struct pair *x = &trainer->pairs[a->pair], *y = &trainer->pairs[b->pair];
    if (a->count != b->count)
        return a->count > b->count;
    return x->left != y->left ? x->left < y->left : x->right < y->right;
}

static int push(struct trainer *trainer, size_t pair, struct clip_error *error)
{
    struct entry *heap =
        reserve(trainer->heap, trainer->heap_size + 1, &trainer->heap_room, sizeof *heap, error);
    if (!heap)
        return -1;
    trainer->heap = heap;
    struct entry entry = {trainer->pairs[pair].count, (uint32_t)pair};
    size_t i = trainer->heap_size++;
    for (; i > 0 && comes_before(trainer, &entry, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = entry;
    return 0;
}

/* Replaces the first entry by `entry`. */
static void replace_first(struct trainer *trainer, struct entry entry)
{
    struct entry *heap = trainer->heap;
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < trainer->heap_size; i = child) {
        if (child + 1 < trainer->heap_size && comes_before(trainer, &heap[child + 1], &heap[child]))
            child++;
        if (!comes_before(trainer, &heap[child], &entry))
            break;
        heap[i] = heap[child];
    }
    heap[i] = entry;
}

/* Removes the most frequent pair: 1 and *pair, or 0 if there is none. */
static int pop(struct trainer *trainer, uint32_t *pair)
{
    while (trainer->heap_size > 0) {
        struct entry first = trainer->heap[0];
        uint64_t count = trainer->pairs[first.pair].count;
        if (first.count != count && count > 0) { /* it became rarer: moves it to its new place */
            replace_first(trainer, (struct entry){count, first.pair});
            continue;
        }
        trainer->heap_size--;
        if (trainer->heap_size > 0)
            replace_first(trainer, trainer->heap[trainer->heap_size]);
        *pair = first.pair;
        if (count > 0)
            return 1;
    }
    return 0;
}

/* --- merging --- */

/* Replaces the pair by `token` wherever it is in the word. */
static void merge_in_word(int32_t *symbols, struct word *word, int32_t left, int32_t right, int32_t token)
{
    size_t length = 0;
    for (size_t i = 0; i < word->length; i++) {
        int here = symbols[i] == left && i + 1 < word->length && symbols[i + 1] == right;
        symbols[length++] = here ? token : symbols[i];
        i += (size_t)here;
    }
    word->length = length;
}

static int has_pair(const int32_t *symbols, const struct word *word, int32_t left, int32_t right)
{
    for (size_t i = 0; i + 1 < word->length; i++)
        if (symbols[i] == left && symbols[i + 1] == right)
            return 1;
    return 0;
}

/* The same in all words that contain it; new pairs go into the heap. */
static int merge_in_words(struct trainer *trainer, uint32_t number, int32_t token, struct clip_error *error)
{
    size_t first_new = trainer->pair_count;
    struct pair pair = trainer->pairs[number]; /* pairs may move */
    for (size_t i = 0; i < pair.word_count; i++) {
        struct word *word = &trainer->words[pair.words[i]];
        if (!has_pair(trainer->symbols + word->at, word, pair.left, pair.right))
            continue;
        if (uncount_pairs(trainer, word, error) != 0)
            return -1;
        merge_in_word(trainer->symbols + word->at, word, pair.left, pair.right, token);
        if (count_pairs(trainer, pair.words[i], token, error) != 0)
            return -1;
    }
    for (size_t i = first_new; i < trainer->pair_count; i++)
        if (push(trainer, i, error) != 0)
            return -1;
    free(trainer->pairs[number].words);
    trainer->pairs[number].words = NULL;
    trainer->pairs[number].word_count = trainer->pairs[number].word_room = 0;
    return 0;
}

/* Adds the merge of the pair to the vocabulary. 1 and its *token; 0 if another merge made that token
 * already, because a second one would take its id; -1 with error. */
static int add_merge(struct clip_vocabulary *vocabulary, const struct pair *pair, int32_t *token,
                     struct clip_error *error)
{
    const char *left = vocabulary->names[pair->left], *right = vocabulary->names[pair->right];
    size_t left_length = strlen(left), length = left_length + strlen(right);
    char *name = malloc(length + 1);
    if (!name)
        return clip_fail_memory(error, "a token");
    memcpy(name, left, left_length);
    strcpy(name + left_length, right);
    int status = clip_vocabulary_id(vocabulary, name, length) < 0;
    *token = (int32_t)vocabulary->size;
    if (status == 1 && (clip_vocabulary_add_token(vocabulary, *token, name, length, error) != 0 ||
                        clip_vocabulary_add_merge(
                            vocabulary, (struct clip_merge){pair->left, pair->right, *token}, error) != 0))
        status = -1;
    free(name);
    return status;
}

/* Sets the words to byte tokens, and counts their pairs. */
static int start(struct trainer *trainer, struct clip_error *error)
{
    trainer->symbols = reallocarray(NULL, trainer->byte_count + 1, sizeof *trainer->symbols);
    if (!trainer->symbols)
        return clip_fail_memory(error, "the words of the text");
    for (uint32_t number = 0; number < trainer->word_count; number++) {
        const struct word *word = &trainer->words[number];
        for (size_t i = 0; i < word->size; i++)
            trainer->symbols[word->at + i] =
                trainer->vocabulary->bytes[i + 1 == word->size][(unsigned char)trainer->bytes[word->at + i]];
        if (count_pairs(trainer, number, -1, error) != 0)
            return -1;
    }
    for (size_t i = 0; i < trainer->pair_count; i++)
        if (push(trainer, i, error) != 0)
            return -1;
    return 0;
}

/* Merges until the vocabulary, including the start and end tokens to come, has `size` tokens. */
static int merge_all(struct trainer *trainer, size_t size, struct clip_error *error)
{
    struct clip_vocabulary *vocabulary = trainer->vocabulary;
    while (vocabulary->size + 2 < size) {
        uint32_t pair;
        int32_t token = 0;
        if (!pop(trainer, &pair))
            return clip_fail(error, "the text has enough words for %zu tokens only, not for %zu",
                             vocabulary->size + 2, size);
        int added = add_merge(vocabulary, &trainer->pairs[pair], &token, error);
        if (added < 0 || (added > 0 && merge_in_words(trainer, pair, token, error) != 0))
            return -1;
    }
    return 0;
}

struct clip_vocabulary *clip_vocabulary_train(FILE *in, size_t size, struct clip_error *error)
{
    if (size < CLIP_BYTE_TOKENS + 2 || size > CLIP_MAX_TOKENS) {
        clip_fail(error, "a vocabulary has from %d to %u tokens, not %zu", CLIP_BYTE_TOKENS + 2,
                  CLIP_MAX_TOKENS, size);
        return NULL;
    }
    struct trainer trainer = {.vocabulary = clip_vocabulary_new(error)};
    if (!trainer.vocabulary)
        return NULL;
    int status = clip_vocabulary_add_bytes(trainer.vocabulary, error);
    if (status == 0)
        status = count_words(&trainer, in, error);
    if (status == 0)
        status = start(&trainer, error);
    if (status == 0)
        status = merge_all(&trainer, size, error);
    if (status == 0)
        status = clip_vocabulary_add_ends(trainer.vocabulary, error);
    if (status == 0)
        status = clip_vocabulary_finish(trainer.vocabulary, error);
    free_trainer(&trainer);
    if (status != 0) {
        clip_vocabulary_free(trainer.vocabulary);
        return NULL;
    }
    return trainer.vocabulary;
}
