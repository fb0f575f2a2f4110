/* What a tokenizer does to a text before it is cut: the normalizers of Hugging Face's tokenizers, and that of
 * SentencePiece. */
#ifndef CLIP_TEXT_NORMALIZER_H
#define CLIP_TEXT_NORMALIZER_H

#include "base/error.h"
#include "text/buffer.h"
#include "text/charsmap.h"
#include "text/pattern.h"
#include "text/trie.h"
#include "text/unicode.h"

#include <stddef.h>

struct clip_normal_step {
    enum clip_normal_kind {
        CLIP_NORMAL_FORM,          /* `form` */
        CLIP_NORMAL_LOWER,         /* each character by itself */
        CLIP_NORMAL_STRIP,         /* white space at the ends, of left and right */
        CLIP_NORMAL_STRIP_ACCENTS, /* marks (M) away */
        CLIP_NORMAL_REPLACE,       /* the text `from`, or what the pattern matches, becomes `to` */
        CLIP_NORMAL_PREPEND,       /* `to` before a text that is not empty */
        CLIP_NORMAL_CHARSMAP,
        CLIP_NORMAL_BERT,
        CLIP_NORMAL_SIGLIP, /* lower case, no ASCII punctuation, white space to single spaces, none at the
                               ends */
        CLIP_NORMAL_SENTENCEPIECE
    } kind;
    enum clip_normal_form form;
    int left, right;                    /* strip */
    int clean, chinese, accents, lower; /* BertNormalizer's */
    int dummy, extra, escape;           /* SentencePiece's: a space before, runs and ends of spaces away,
                                           spaces as U+2581 */
    struct clip_buffer from, to;
    struct clip_pattern *pattern;
    struct clip_charsmap map;
    const struct clip_trie *pieces; /* SentencePiece: user-defined ones, which stay as they are */
};

/* Zeroed, it does nothing. */
struct clip_normalizer {
    struct clip_normal_step *steps;
    size_t count;
};

/* Adds a step, zeroed but for its kind: NULL with error. `first`: before the others. */
struct clip_normal_step *clip_normalizer_add(struct clip_normalizer *normalizer, enum clip_normal_kind kind,
                                             int first, struct clip_error *error);
void clip_normalizer_free(struct clip_normalizer *normalizer);

/* Buffers of one thread. Zeroed, they are empty. */
struct clip_normal_work {
    struct clip_buffer buffers[2];
    struct clip_points points, spare;
};
void clip_normal_work_free(struct clip_normal_work *work);

/* The white space at the end of text[n], UTF-8, and at its begin, in bytes. */
size_t clip_trailing_space(const char *text, size_t n);
size_t clip_leading_space(const char *text, size_t n);

/* Normalizes text[n], UTF-8 (for SentencePiece any bytes), to *out[*out_n], which is the work's until its
 * next use, or the text itself. */
int clip_normalize(const struct clip_normalizer *normalizer, struct clip_normal_work *work, const char *text,
                   size_t n, const char **out, size_t *out_n, struct clip_error *error);

#endif
