/* The regular expressions of tokenizers: what cuts a text into words before its tokens are looked for.
 *
 * Known are characters, classes ([...], \p{..}, \P{..}, \s, \S, \d, \D, \w, \W, .), groups ((?:...),
 * (?i:...), (...)), alternatives, the greedy quantifiers ?, *, +, {m}, {m,}, {m,n} and their possessive
 * forms, (?=...), (?!...), ^ and $ (of the whole text). Matching is as Perl's: the first alternative that
 * leads to a match, each quantifier as much as it can. */
#ifndef CLIP_TEXT_PATTERN_H
#define CLIP_TEXT_PATTERN_H

#include "base/error.h"

#include <stddef.h>

struct clip_pattern;

/* GPT-2's, of which the words of RoBERTa, ByteLevel and tiktoken's r50k_base are. */
#define CLIP_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Compiles text[n], UTF-8. What is not known is an error that names it. */
struct clip_pattern *clip_pattern_new(const char *text, size_t n, struct clip_error *error);
void clip_pattern_free(struct clip_pattern *pattern);

/* A search in one text. Zero `steps` for each text: they are counted, so that none takes more time than in
 * proportion to its length. */
struct clip_search {
    const struct clip_pattern *pattern;
    const char *text; /* UTF-8 */
    size_t n, steps;
};

/* The first match at or after `at`, not empty: 1, 0 where there is none, -1 with error where the text takes
 * the pattern too long. */
int clip_pattern_next(struct clip_search *search, size_t at, size_t *begin, size_t *end,
                      struct clip_error *error);

#endif
