/* Vocabularies of byte-pair encoding with "</w>" at the end of a piece: reading and writing every form. */
#ifndef CLIP_TEXT_VOCABULARY_H
#define CLIP_TEXT_VOCABULARY_H

#include "base/error.h"
#include "text/hash.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLIP_START_TOKEN "<|startoftext|>"
#define CLIP_END_TOKEN "<|endoftext|>"
#define CLIP_BYTE_TOKENS 512       /* bytes inside a piece, then bytes at its end */
#define CLIP_MAX_TOKENS (1u << 22) /* ids are below this */

struct clip_merge {
    int32_t left, right, result;
};

/* An added token, found in captions before they are cut into words: "<sks>". The flags are those of
 * Hugging Face's tokenizers: it is searched for in the original text or (normalized) in clean text, and
 * may have to stand alone (single_word). lstrip, rstrip and special are kept only for writing. */
struct clip_added_token {
    char *text;
    int32_t id;
    int normalized, single_word, lstrip, rstrip, special;
};

/* Read-only once it is finished; then any number of threads may use it. */
struct clip_vocabulary {
    size_t size;           /* ids are in [0, size) */
    size_t token_count;    /* number of used ids */
    int32_t start, end;    /* ids of the start and end token */
    int32_t bytes[2][256]; /* id of a byte inside a piece, and of one at its end */
    char **names;          /* name of each id, as files spell it; NULL if the id is not used */
    size_t name_room;
    struct clip_slots ids;          /* by name */
    struct clip_added_token *added; /* without the start and end token; their names are not in `ids` */
    size_t added_count;

    struct clip_merge *merges; /* by rank */
    size_t merge_count, merge_room;
    struct clip_slots ranks; /* index of merges, by left and right */
};

/* Opens `path`: bpe_simple_vocab_16e6.txt.gz or a text like it (of which at most 48,894 merges are used,
 * as in OpenAI's code); vocab.json or merges.txt beside the other (and tokenizer.json,
 * tokenizer_config.json or added_tokens.json for added tokens); tokenizer.json; or a folder with one of
 * these. It is an error if a tokenizer.json asks for something that is not CLIP's. NULL with error. */
struct clip_vocabulary *clip_vocabulary_open(const char *path, struct clip_error *error);
void clip_vocabulary_free(struct clip_vocabulary *vocabulary);

/* The id of a token as files spell it (bytes as printable characters), or -1. */
int32_t clip_vocabulary_id(const struct clip_vocabulary *vocabulary, const char *name, size_t length);

/* The merge of two neighbours, or NULL. Its rank is its place in vocabulary->merges. */
const struct clip_merge *clip_vocabulary_find(const struct clip_vocabulary *vocabulary, int32_t left,
                                              int32_t right);

/* Writes vocab.json, merges.txt and tokenizer.json (and added_tokens.json, if tokens were added), as
 * Hugging Face's and open_clip's code reads them, into `folder`, which is created if it does not exist. */
int clip_vocabulary_write(const struct clip_vocabulary *vocabulary, const char *folder,
                          struct clip_error *error);

/* Learns a vocabulary of `size` tokens from the captions of `in`, one a line, cleaned and cut as for
 * tokenizing: 512 bytes, merges, start and end. Of equally frequent pairs the one with lower ids comes
 * first: the same text gives the same vocabulary. Memory grows with the number of distinct words. NULL
 * with error, also if the text has too few words for so many tokens. */
struct clip_vocabulary *clip_vocabulary_train(FILE *in, size_t size, struct clip_error *error);

/* --- making one --- */

/* An unfinished vocabulary without tokens. NULL with error. */
struct clip_vocabulary *clip_vocabulary_new(struct clip_error *error);

/* Adds OpenAI's 512 byte tokens, ids 0 to 511. */
int clip_vocabulary_add_bytes(struct clip_vocabulary *vocabulary, struct clip_error *error);

/* Gives `id`, which has no name yet, this name. Of ids with the same name the last is found. */
int clip_vocabulary_add_token(struct clip_vocabulary *vocabulary, int32_t id, const char *name, size_t length,
                              struct clip_error *error);

/* Adds a token (its text is copied) that is searched for in captions; `id` has no name yet, or this one. */
int clip_vocabulary_add_added(struct clip_vocabulary *vocabulary, const struct clip_added_token *token,
                              struct clip_error *error);

/* Adds the merge of the next rank, of tokens that exist. */
int clip_vocabulary_add_merge(struct clip_vocabulary *vocabulary, struct clip_merge merge,
                              struct clip_error *error);

/* Adds the start and end tokens, as OpenAI does after all merges. */
int clip_vocabulary_add_ends(struct clip_vocabulary *vocabulary, struct clip_error *error);

/* Finds the byte, start and end tokens, and makes the vocabulary ready for use. */
int clip_vocabulary_finish(struct clip_vocabulary *vocabulary, struct clip_error *error);

#endif
