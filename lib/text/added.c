/* Finds tokens as Hugging Face's tokenizers library does. lstrip and rstrip remove white space beside a
 * token, which only separates words here, so they change no ids. */
#include "text/added.h"
#include "text/clean.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

static int compare_tokens(const void *a, const void *b)
{
    const struct clip_found_token *x = a, *y = b;
    int order = (unsigned char)x->text[0] - (unsigned char)y->text[0];
    if (order || x->length != y->length)
        return order ? order : (x->length < y->length ? 1 : -1);
    return memcmp(x->text, y->text, x->length);
}

/* The token's text to search for; an empty text is never found. */
static int add_token(struct clip_finder *finder, const struct clip_added_token *token,
                     struct clip_cleaner *cleaner, struct clip_error *error)
{
    const char *text = token->text;
    size_t length = strlen(text);
    if (token->normalized && clip_clean(cleaner, text, length, &text, &length, error) != 0)
        return -1;
    if (length == 0)
        return 0;
    struct clip_found_token *found = &finder->tokens[finder->count];
    *found = (struct clip_found_token){strndup(text, length), length, token->id, token->single_word};
    if (!found->text)
        return clip_fail_memory(error, "added tokens");
    finder->count++;
    return 0;
}

int clip_finder_make(struct clip_finder *finder, const struct clip_vocabulary *vocabulary, int normalized,
                     struct clip_error *error)
{
    *finder = (struct clip_finder){0};
    if (vocabulary->added_count == 0)
        return 0;
    struct clip_cleaner *cleaner = clip_cleaner_new(error);
    finder->tokens = calloc(vocabulary->added_count, sizeof *finder->tokens);
    int result = cleaner && finder->tokens ? 0 : clip_fail_memory(error, "added tokens");
    for (size_t i = 0; result == 0 && i < vocabulary->added_count; i++)
        if (!vocabulary->added[i].normalized == !normalized)
            result = add_token(finder, &vocabulary->added[i], cleaner, error);
    clip_cleaner_free(cleaner);
    if (result != 0)
        return -1;
    if (finder->count)
        qsort(finder->tokens, finder->count, sizeof *finder->tokens, compare_tokens);
    for (size_t i = 0, byte = 0; byte <= 256; byte++) {
        while (i < finder->count && (unsigned char)finder->tokens[i].text[0] < byte)
            i++;
        finder->first[byte] = i;
    }
    return 0;
}

void clip_finder_free(struct clip_finder *finder)
{
    for (size_t i = 0; i < finder->count; i++)
        free(finder->tokens[i].text);
    free(finder->tokens);
    *finder = (struct clip_finder){0};
}

/* 1 if text[length] ends in a character of words. */
static int ends_with_word(const char *text, size_t length)
{
    uint32_t point = 0;
    size_t begin = length;
    while (begin > 0 && length - begin < 4 && ((unsigned char)text[--begin] & 0xc0) == 0x80)
        ;
    return begin < length && clip_utf8_read(&point, (const uint8_t *)text + begin, length - begin) > 0 &&
           clip_is_word(point);
}

static int starts_with_word(const char *text, size_t length)
{
    uint32_t point;
    return length > 0 && clip_utf8_read(&point, (const uint8_t *)text, length) > 0 && clip_is_word(point);
}

/* The longest token that the text begins with, or NULL. */
static const struct clip_found_token *match(const struct clip_finder *finder, const char *text, size_t length)
{
    unsigned char byte = (unsigned char)text[0];
    for (size_t i = finder->first[byte]; i < finder->first[byte + 1]; i++) {
        const struct clip_found_token *token = &finder->tokens[i];
        if (token->length <= length && memcmp(token->text, text, token->length) == 0)
            return token;
    }
    return NULL;
}

int clip_finder_next(const struct clip_finder *finder, const char *text, size_t length, size_t at,
                     size_t *begin, size_t *end, int32_t *id)
{
    while (finder->count > 0 && at < length) {
        const struct clip_found_token *token = match(finder, text + at, length - at);
        if (!token) {
            at++;
            continue;
        }
        size_t after = at + token->length;
        if (!token->single_word ||
            (!ends_with_word(text, at) && !starts_with_word(text + after, length - after))) {
            *begin = at;
            *end = after;
            *id = token->id;
            return 1;
        }
        at = after;
    }
    return 0;
}
