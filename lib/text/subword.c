#include "text/subword.h"
#include "text/unicode.h"

#include <float.h>
#include <stdio.h>

void clip_subword_work_free(struct clip_subword_work *work)
{
    clip_merge_work_free(work->merge);
    free(work->lattice);
    *work = (struct clip_subword_work){0};
}

void clip_subwords_free(struct clip_subwords *subwords)
{
    clip_lexicon_free(&subwords->lexicon);
    clip_lexicon_free(&subwords->whole_words);
    clip_slots_free(&subwords->ranks);
    clip_trie_free(&subwords->trie);
    clip_trie_free(&subwords->user);
    clip_trie_free(&subwords->inner);
    free(subwords->merges);
    free(subwords->order);
    free(subwords->scores);
    free(subwords->types);
    *subwords = (struct clip_subwords){0};
}

void clip_find_byte_tokens(struct clip_subwords *subwords)
{
    for (int byte = 0; byte < 256 && subwords->byte_fallback; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        subwords->bytes[byte] = clip_lexicon_id(&subwords->lexicon, name, 6);
    }
}

int clip_put_bytes(const struct clip_subwords *subwords, const char *text, size_t n, int32_t *ids)
{
    for (size_t i = 0; i < n; i++)
        if ((ids[i] = subwords->bytes[(unsigned char)text[i]]) < 0)
            return 0;
    return subwords->byte_fallback;
}

/* --- bytes as printable characters --- */

uint32_t clip_byte_character(int byte)
{
    if (byte <= ' ')
        return 0x100u + (uint32_t)byte;
    if (byte >= 0x7f && byte <= 0xa0)
        return 0x100u + ' ' + 1 + (uint32_t)(byte - 0x7f);
    return byte == 0xad ? 0x143 : (uint32_t)byte;
}

size_t clip_byte_spelling(char out[4], int byte)
{
    return clip_utf8_write((uint8_t *)out, clip_byte_character(byte));
}

static int byte_of(uint32_t point)
{
    if (point >= 0x100 && point <= 0x120)
        return (int)(point - 0x100);
    if (point >= 0x121 && point <= 0x142)
        return (int)(point - 0x121 + 0x7f);
    if (point == 0x143)
        return 0xad;
    return point < 0x100 && clip_byte_character((int)point) == point ? (int)point : -1;
}

int clip_spelt_bytes(const char *name, size_t n, struct clip_buffer *out, struct clip_error *error)
{
    if (clip_buffer_reserve(out, n, error) != 0)
        return -1;
    for (size_t i = 0; i < n;) {
        uint32_t point;
        int taken = clip_utf8_read(&point, (const uint8_t *)name + i, n - i);
        int byte = taken > 0 ? byte_of(point) : -1;
        if (byte < 0)
            return 1;
        out->at[out->n++] = (char)byte;
        i += (size_t)taken;
    }
    return 0;
}

/* --- SentencePiece --- */

struct scored {
    double score;
    uint32_t id;
};

static int compare_scores(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return x->score > y->score ? -1 : x->score < y->score ? 1 : x->id < y->id ? -1 : 1;
}

/* How early each piece is joined: the highest score first; pieces of one score are alike. */
static int order_pieces(struct clip_subwords *subwords, struct clip_error *error)
{
    size_t n = subwords->lexicon.size;
    struct scored *scored = reallocarray(NULL, n + 1, sizeof *scored);
    subwords->order = calloc(n + 1, sizeof *subwords->order);
    if (!scored || !subwords->order) {
        free(scored);
        return clip_fail_memory(error, "a vocabulary");
    }
    for (size_t i = 0; i < n; i++)
        scored[i] = (struct scored){subwords->scores[i], (uint32_t)i};
    qsort(scored, n, sizeof *scored, compare_scores);
    for (size_t i = 0; i < n; i++)
        subwords->order[scored[i].id] =
            i > 0 && scored[i].score == scored[i - 1].score ? subwords->order[scored[i - 1].id] : (uint32_t)i;
    free(scored);
    return 0;
}

int clip_finish_sentence(struct clip_subwords *subwords, struct clip_error *error)
{
    const struct clip_lexicon *lexicon = &subwords->lexicon;
    int known, normal = 0;
    clip_find_byte_tokens(subwords);
    subwords->highest = (double)FLT_MIN; /* as SentencePiece has it, whose scores are negative */
    for (size_t i = 0; i < lexicon->count; i++) {
        const struct clip_word *word = &lexicon->words[i];
        const char *name = lexicon->text.at + word->at;
        int type = subwords->types[word->id];
        double score = subwords->scores[word->id];
        if (word->length > 0 && type == CLIP_PIECE_USER &&
            clip_trie_add(&subwords->user, name, word->length, word->id, &known, error) != 0)
            return -1;
        if (word->length > 0 && (type == CLIP_PIECE_USER || type == CLIP_PIECE_NORMAL) &&
            clip_trie_add(&subwords->trie, name, word->length, word->id, &known, error) != 0)
            return -1;
        if (type != CLIP_PIECE_NORMAL)
            continue;
        subwords->lowest = !normal || score < subwords->lowest ? score : subwords->lowest;
        subwords->highest = score > subwords->highest ? score : subwords->highest;
        normal = 1;
    }
    if (subwords->encode != clip_encode_sentence_bpe)
        return 0;
    clip_find_sentence_boundary(subwords);
    return order_pieces(subwords, error);
}
