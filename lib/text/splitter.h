/* How a tokenizer cuts normalized text into words: the pre_tokenizers of Hugging Face's tokenizers. */
#ifndef CLIP_TEXT_SPLITTER_H
#define CLIP_TEXT_SPLITTER_H

#include "base/error.h"
#include "text/buffer.h"
#include "text/pattern.h"

#include <stddef.h>

/* What becomes of the parts that match, between those that do not. */
enum clip_split {
    CLIP_SPLIT_REMOVED,
    CLIP_SPLIT_ISOLATED,
    CLIP_SPLIT_WITH_PREVIOUS,
    CLIP_SPLIT_WITH_NEXT,
    CLIP_SPLIT_CONTIGUOUS /* neighbours that match are one */
};

struct clip_split_step {
    enum clip_split_kind {
        CLIP_SPLIT_SPACE,       /* white space matches, each character */
        CLIP_SPLIT_PUNCTUATION, /* ASCII's and category P, each character */
        CLIP_SPLIT_DIGITS,      /* numbers (category N), each character */
        CLIP_SPLIT_TEXT,        /* `text` matches */
        CLIP_SPLIT_PATTERN,
        CLIP_SPLIT_METASPACE, /* ' ' becomes `text`, which a word has before it */
        CLIP_SPLIT_PREFIX     /* a space before a text that has none */
    } kind;
    enum clip_split how;
    int inverted;
    enum { CLIP_PREPEND_ALWAYS, CLIP_PREPEND_FIRST, CLIP_PREPEND_NEVER } prepend; /* Metaspace's */
    int whole; /* Metaspace does not split */
    struct clip_buffer text;
    struct clip_pattern *pattern;
};

/* Zeroed, a text is one word. */
struct clip_splitter {
    struct clip_split_step *steps;
    size_t count;
};

/* Adds a step, zeroed but for its kind and how; NULL with error. */
struct clip_split_step *clip_splitter_add(struct clip_splitter *splitter, enum clip_split_kind kind,
                                          enum clip_split how, struct clip_error *error);
void clip_splitter_free(struct clip_splitter *splitter);

struct clip_span {
    size_t begin, end;
    int first; /* it is the begin of the whole input */
};

struct clip_spans {
    struct clip_span *at;
    size_t n, room;
};

/* Buffers of one thread. Zeroed, they are empty. */
struct clip_split_work {
    struct clip_buffer buffers[2];
    struct clip_spans spans, spare;
};
void clip_split_work_free(struct clip_split_work *work);

/* Cuts text[n], UTF-8, after which CLIP_TEXT_PADDING bytes may be read, into the words work->spans of *out.
 * `first`: it is the begin of the whole input. They are the work's until its next use. */
int clip_split_words(const struct clip_splitter *splitter, struct clip_split_work *work, const char *text,
                     size_t n, int first, const char **out, struct clip_error *error);

#endif
