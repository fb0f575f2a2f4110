/* Unigram, the path of the highest sum of scores, and WordPiece, the longest token first. */
#include "text/subword.h"
#include "text/unicode.h"

/* --- the lattice --- */

static struct clip_lattice *begin_lattice(struct clip_subword_work *work, size_t n, struct clip_error *error)
{
    if (n + 1 > work->lattice_room) {
        size_t room = n + n / 2 + 256;
        struct clip_lattice *lattice = reallocarray(NULL, room, sizeof *lattice);
        if (!lattice) {
            clip_fail_memory(error, "a word");
            return NULL;
        }
        free(work->lattice);
        work->lattice = lattice;
        work->lattice_room = room;
    }
    for (size_t i = 0; i <= n; i++)
        work->lattice[i].from = SIZE_MAX;
    work->lattice[0].score = 0;
    return work->lattice;
}

/* A way to `end`, if it is better than the one there is. */
static void offer(struct clip_lattice *lattice, size_t from, size_t end, double score, int32_t id)
{
    struct clip_lattice *there = &lattice[end];
    if (there->from != SIZE_MAX && score <= there->score)
        return;
    there->score = score;
    there->from = from;
    there->id = id;
}

static size_t character_length(const char *text, size_t n)
{
    uint32_t point;
    if (!(text[0] & 0x80))
        return 1;
    int taken = clip_utf8_read(&point, (const uint8_t *)text, n);
    return (size_t)(taken > 0 ? taken : 1);
}

/* Notes the best way forward. */
static void note_best(struct clip_lattice *lattice, size_t n)
{
    for (size_t end = n; end > 0; end = lattice[end].from)
        lattice[lattice[end].from].to = end;
}

/* The tokens of all bytes of text[n], or the unknown one. There is room for n. */
static void put_unknown(const struct clip_subwords *subwords, const char *text, size_t n,
                        struct clip_ids *ids)
{
    if (clip_put_bytes(subwords, text, n, ids->at + ids->n))
        ids->n += n;
    else
        ids->at[ids->n++] = subwords->unknown;
}

/* --- Hugging Face's --- */

int clip_finish_unigram(struct clip_subwords *subwords, struct clip_error *error)
{
    const struct clip_lexicon *lexicon = &subwords->lexicon;
    int known;
    clip_find_byte_tokens(subwords);
    if (subwords->unknown >= 0 && (size_t)subwords->unknown >= lexicon->size)
        return clip_fail(error, "model.unk_id %ld is outside the vocabulary of %zu", (long)subwords->unknown,
                         lexicon->size);
    for (size_t i = 0; i < lexicon->count; i++) {
        const struct clip_word *word = &lexicon->words[i];
        if (word->length > 0 && clip_trie_add(&subwords->trie, lexicon->text.at + word->at, word->length,
                                              word->id, &known, error) != 0)
            return -1;
    }
    for (size_t i = 0; i < lexicon->size; i++)
        subwords->lowest =
            i == 0 || subwords->scores[i] < subwords->lowest ? subwords->scores[i] : subwords->lowest;
    return 0;
}

/* All tokens that begin at `at`, and, where none is the character alone, the unknown one. */
static void extend(const struct clip_subwords *subwords, struct clip_lattice *lattice, const char *word,
                   size_t n, size_t at, size_t character)
{
    double here = lattice[at].score;
    int alone = 0;
    uint32_t node = 0;
    for (size_t i = at; i < n && (node = clip_trie_step(&subwords->trie, node, (unsigned char)word[i])) != 0;
         i++) {
        int32_t id = subwords->trie.values[node];
        if (id < 0)
            continue;
        offer(lattice, at, i + 1, here + subwords->scores[id], id);
        alone |= i + 1 == at + character;
    }
    if (!alone)
        offer(lattice, at, at + character, here + subwords->lowest - 10, subwords->unknown);
}

int clip_encode_unigram(const struct clip_subwords *subwords, struct clip_subword_work *work,
                        const char *word, size_t n, struct clip_ids *ids, struct clip_error *error)
{
    struct clip_lattice *lattice = begin_lattice(work, n, error);
    if (!lattice || clip_ids_reserve(ids, n, error) != 0)
        return -1;
    for (size_t i = 0, length; i < n; i += length) {
        length = character_length(word + i, n - i);
        extend(subwords, lattice, word, n, i, length);
    }
    note_best(lattice, n);
    for (size_t at = 0, end; at < n; at = end) {
        end = lattice[at].to;
        int32_t id = lattice[end].id;
        if (id == subwords->unknown) { /* neighbours are one, which may spell a token after all */
            while (end < n && lattice[lattice[end].to].id == subwords->unknown)
                end = lattice[end].to;
            id = clip_trie_find(&subwords->trie, word + at, end - at);
        }
        if (id >= 0)
            ids->at[ids->n++] = id;
        else if (subwords->unknown < 0)
            return clip_fail(error, "a character that the vocabulary has no token for, and no unknown one");
        else
            put_unknown(subwords, word + at, end - at, ids);
    }
    return 0;
}

/* --- SentencePiece's --- */

/* A sum is compared as f64 and kept as f32 there. */
static void extend_sentence(const struct clip_subwords *subwords, struct clip_lattice *lattice,
                            const char *word, size_t n, size_t at, size_t character)
{
    double here = lattice[at].score;
    int alone = 0;
    uint32_t node = 0;
    for (size_t i = at; i < n && (node = clip_trie_step(&subwords->trie, node, (unsigned char)word[i])) != 0;
         i++) {
        int32_t id = subwords->trie.values[node];
        if (id < 0)
            continue;
        double more = subwords->types[id] == CLIP_PIECE_USER
                          ? (double)((float)(i + 1 - at) * (float)subwords->highest) - 0.1
                          : subwords->scores[id];
        struct clip_lattice *there = &lattice[i + 1];
        if (there->from == SIZE_MAX || here + more > there->score)
            *there = (struct clip_lattice){(double)(float)(here + more), at, 0, id};
        alone |= i + 1 == at + character;
    }
    if (!alone)
        offer(lattice, at, at + character, (double)(((float)subwords->lowest - 10.0f) + (float)here),
              subwords->unknown);
}

int clip_encode_sentence_unigram(const struct clip_subwords *subwords, struct clip_subword_work *work,
                                 const char *word, size_t n, struct clip_ids *ids, struct clip_error *error)
{
    struct clip_lattice *lattice = begin_lattice(work, n, error);
    int unknown = 0;
    if (!lattice || clip_ids_reserve(ids, n, error) != 0)
        return -1;
    for (size_t i = 0, length; i < n; i += length) {
        length = character_length(word + i, n - i);
        extend_sentence(subwords, lattice, word, n, i, length);
    }
    note_best(lattice, n);
    for (size_t at = 0, end; at < n; at = end) {
        end = lattice[at].to;
        int32_t id = lattice[end].id;
        if (id != subwords->unknown)
            ids->at[ids->n++] = id;
        else if (subwords->byte_fallback || !unknown)
            put_unknown(subwords, word + at, end - at, ids);
        unknown = id == subwords->unknown;
    }
    return 0;
}

/* --- WordPiece --- */

int clip_finish_wordpiece(struct clip_subwords *subwords, const char *prefix, struct clip_error *error)
{
    const struct clip_lexicon *lexicon = &subwords->lexicon;
    size_t prefix_n = strlen(prefix);
    int known;
    for (size_t i = 0; i < lexicon->count; i++) {
        const struct clip_word *word = &lexicon->words[i];
        const char *name = lexicon->text.at + word->at;
        size_t n = word->length;
        if (n > 0 && clip_trie_add(&subwords->trie, name, n, word->id, &known, error) != 0)
            return -1;
        if (n > prefix_n && memcmp(name, prefix, prefix_n) == 0 &&
            clip_trie_add(&subwords->inner, name + prefix_n, n - prefix_n, word->id, &known, error) != 0)
            return -1;
    }
    return 0;
}

static int has_more_characters(const char *word, size_t n, size_t most)
{
    size_t count = 0;
    for (size_t i = 0; i < n && count <= most; i++)
        count += (word[i] & 0xc0) != 0x80;
    return count > most;
}

int clip_encode_wordpiece(const struct clip_subwords *subwords, struct clip_subword_work *work,
                          const char *word, size_t n, struct clip_ids *ids, struct clip_error *error)
{
    size_t before = ids->n;
    (void)work;
    if (clip_ids_reserve(ids, n, error) != 0)
        return -1;
    int whole = !has_more_characters(word, n, subwords->most_characters);
    for (size_t i = 0, length = 0; whole && i < n; i += length) {
        int32_t id = clip_trie_longest(i ? &subwords->inner : &subwords->trie, word + i, n - i, &length);
        whole = id >= 0;
        ids->at[ids->n++] = id;
    }
    if (!whole) {
        ids->n = before;
        ids->at[ids->n++] = subwords->unknown;
    }
    return 0;
}
