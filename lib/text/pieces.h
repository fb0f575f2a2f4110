/* Cutting clean text into the pieces that byte-pair encoding works on. */
#ifndef CLIP_TEXT_PIECES_H
#define CLIP_TEXT_PIECES_H

#include <stddef.h>

enum clip_piece {
    CLIP_PIECE_TEXT,
    CLIP_PIECE_START,  /* <|startoftext|> */
    CLIP_PIECE_END,    /* <|endoftext|> */
    CLIP_PIECE_SKIPPED /* white space, and characters that the pattern does not match */
};

/* The first piece of text[length], clean UTF-8, length >= 1, by the pattern of OpenAI's tokenizer:
 *
 *     <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
 *
 * as Python's regex module matches it ignoring case. Returns its length in bytes. */
size_t clip_next_piece(const char *text, size_t length, enum clip_piece *piece);

#endif
