/* Cutting clean text into the pieces that byte-pair encoding works on. */
#ifndef CLIP_TEXT_PIECES_H
#define CLIP_TEXT_PIECES_H

#include "text/buffer.h"
#include "text/eight.h"

#include <stddef.h>

enum clip_piece {
    CLIP_PIECE_TEXT,
    CLIP_PIECE_START,  /* <|startoftext|> */
    CLIP_PIECE_END,    /* <|endoftext|> */
    CLIP_PIECE_SKIPPED /* white space, and characters that the pattern does not match */
};

/* The first piece of text[length], clean UTF-8, length >= 1, after which CLIP_TEXT_PADDING bytes may be read,
 * by the pattern of OpenAI's tokenizer:
 *
 *     <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
 *
 * as Python's regex module matches it ignoring case. Returns its length in bytes. */
size_t clip_find_piece(const char *text, size_t length, enum clip_piece *piece);

/* Length of the piece if it is a word of plain letters, as most are; else 0. */
static inline size_t clip_plain_word(const char *text, size_t length)
{
    size_t n = 0, step;
    do
        n += step = clip_eight_letters(clip_eight_load(text + n));
    while (step == 8 && n < length);
    return n >= length ? length : text[n] & 0x80 ? 0 : n;
}

static inline size_t clip_next_piece(const char *text, size_t length, enum clip_piece *piece)
{
    size_t word = clip_plain_word(text, length);
    *piece = CLIP_PIECE_TEXT;
    return word > 0 ? word : clip_find_piece(text, length, piece);
}

#endif
