/* Vocabularies of parts of words, and how a word is made of them: byte-pair encoding, Unigram, WordPiece. */
#ifndef CLIP_TEXT_SUBWORD_H
#define CLIP_TEXT_SUBWORD_H

#include "base/error.h"
#include "text/buffer.h"
#include "text/lexicon.h"
#include "text/merge.h"
#include "text/trie.h"

#include <stddef.h>
#include <stdint.h>

struct clip_subwords;

/* What one thread works with. */
struct clip_subword_work {
    struct clip_merge_work *merge;
    struct clip_lattice {
        double score;
        size_t from, to; /* where the token that ends here begins (SIZE_MAX: none does), and on the best way
                            the one that begins here ends */
        int32_t id;      /* of the token that ends here */
    } * lattice;         /* of each byte of a word, and its end */
    size_t lattice_room;
};
void clip_subword_work_free(struct clip_subword_work *work);

/* A way to make words of tokens. Each appends those of word[n], n > 0. */
typedef int clip_subword_encode(const struct clip_subwords *subwords, struct clip_subword_work *work,
                                const char *word, size_t n, struct clip_ids *ids, struct clip_error *error);
clip_subword_encode clip_encode_merges; /* Hugging Face's BPE: a list of merges */
clip_subword_encode clip_encode_ranks;  /* tiktoken's: neighbours join if the vocabulary has them as one */
clip_subword_encode clip_encode_sentence_bpe; /* SentencePiece's BPE, the same by score */
clip_subword_encode clip_encode_unigram;      /* Hugging Face's Unigram */
clip_subword_encode clip_encode_sentence_unigram;
clip_subword_encode clip_encode_wordpiece;

/* What a token of SentencePiece is. */
enum clip_piece_type {
    CLIP_PIECE_NORMAL = 1,
    CLIP_PIECE_UNKNOWN,
    CLIP_PIECE_CONTROL,
    CLIP_PIECE_USER,
    CLIP_PIECE_UNUSED,
    CLIP_PIECE_BYTE
};

/* Zeroed but for `encode`; its members are set by the reader of a file, then finished. */
struct clip_subwords {
    clip_subword_encode *encode;
    struct clip_lexicon lexicon; /* names as the file spells them */
    int32_t unknown;             /* -1: what is unknown vanishes (merges), or is an error to need */
    int fuse_unknown;
    int byte_fallback;
    int32_t bytes[256]; /* byte_fallback: <0x00> and on, or -1 */

    /* merges */
    int byte_level;        /* names spell bytes by GPT-2's characters */
    int ignore_merges;     /* a word that is a token is that one */
    char suffix[32];       /* of the last token of a word, or "" */
    int32_t first[2][256]; /* bytes, or ASCII characters; those that end a word; -1: none */
    struct clip_word_merge {
        int32_t left, right, result;
    } * merges; /* by rank */
    size_t merge_count, merge_room;
    struct clip_slots ranks;
    struct clip_lexicon whole_words; /* byte_level and ignore_merges: tokens as bytes */
    const char *boundary; /* no token goes across the begin of this text, but for several of it; or NULL */

    /* ranks, SentencePiece, Unigram */
    uint32_t *order; /* of each id: how early it is joined */
    double *scores;  /* of each id */
    uint8_t *types;  /* of each id: enum clip_piece_type */
    double lowest, highest;
    struct clip_trie trie, user; /* tokens by name; user-defined ones */

    /* WordPiece */
    struct clip_trie inner; /* tokens within a word, without their prefix */
    size_t most_characters;
};
void clip_subwords_free(struct clip_subwords *subwords);

/* The character by which GPT-2 names a byte: itself where it is printable; the others are U+0100 and on. */
uint32_t clip_byte_character(int byte);
/* The same as UTF-8, to out[4]; returns the length. */
size_t clip_byte_spelling(char out[4], int byte);
/* Appends the bytes that a name spells; 0, 1 where it spells none, -1 with error. */
int clip_spelt_bytes(const char *name, size_t n, struct clip_buffer *out, struct clip_error *error);

/* Adds the merge of the next rank, of tokens that the lexicon has. */
int clip_subwords_add_merge(struct clip_subwords *subwords, const char *left, size_t left_n,
                            const char *right, size_t right_n, struct clip_error *error);

/* Make what was read ready for use. */
int clip_finish_merges(struct clip_subwords *subwords, struct clip_error *error);
int clip_finish_ranks(struct clip_subwords *subwords, struct clip_error *error);
int clip_finish_sentence(struct clip_subwords *subwords, struct clip_error *error);
int clip_finish_unigram(struct clip_subwords *subwords, struct clip_error *error);
int clip_finish_wordpiece(struct clip_subwords *subwords, const char *prefix, struct clip_error *error);

/* For those: finds where words of SentencePiece's BPE can be encoded one by one; finds <0x00> to <0xFF>. */
void clip_find_sentence_boundary(struct clip_subwords *subwords);
void clip_find_byte_tokens(struct clip_subwords *subwords);
/* Sets ids[n] to the tokens of the bytes of text[n]: 1; 0 if not all are there, or it is not to be done. */
int clip_put_bytes(const struct clip_subwords *subwords, const char *text, size_t n, int32_t *ids);

#endif
