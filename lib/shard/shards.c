#include "shard/shards.h"
#include "base/array.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 64 /* depth of braces within braces */

/* A piece of a pattern, not terminated. */
struct text {
    const char *at;
    size_t size;
};

/* Appends the expansion of `pattern` to `out`; on error `out` stays valid and must be freed. */
static int expand(struct clip_shards *out, struct text pattern, int depth, struct clip_error *error);

/* Takes over `name`; NULL means out of memory. */
static int add_name(struct clip_shards *list, char *name, struct clip_error *error)
{
    if (!name)
        return clip_fail_memory(error, "names of shards");
    if (list->count == CLIP_MAX_SHARDS) {
        free(name);
        return clip_fail(error, "more than %d shards", CLIP_MAX_SHARDS);
    }
    if (CLIP_GROW(list->names, list->count, list->room) != 0) {
        free(name);
        return clip_fail_memory(error, "names of shards");
    }
    list->names[list->count++] = name;
    return 0;
}

static int add_text(struct clip_shards *list, const char *at, size_t size, struct clip_error *error)
{
    return add_name(list, strndup(at, size), error);
}

void clip_shards_free(struct clip_shards *shards)
{
    for (size_t i = 0; i < shards->count; i++)
        free(shards->names[i]);
    free(shards->names);
    *shards = (struct clip_shards){0};
}

uint64_t clip_shard_bytes(const char *name)
{
    struct stat about;
    int failed = strcmp(name, "-") == 0 ? fstat(STDIN_FILENO, &about) : stat(name, &about);
    return failed || !S_ISREG(about.st_mode) || about.st_size < 0 ? 0 : (uint64_t)about.st_size;
}

uint64_t clip_shards_bytes(const struct clip_shards *shards)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->count; i++) {
        uint64_t bytes = clip_shard_bytes(shards->names[i]);
        if (bytes == 0 || bytes > UINT64_MAX / UINT32_MAX - sum)
            return 0;
        sum += bytes;
    }
    return sum;
}

static int join_names(struct clip_shards *product, const char *head, const char *tail,
                      struct clip_error *error)
{
    char *name;
    if (asprintf(&name, "%s%s", head, tail) < 0)
        name = NULL;
    return add_name(product, name, error);
}

/* Replaces heads by each of its names followed by each of `tails`, which is freed. */
static int multiply_names(struct clip_shards *heads, struct clip_shards *tails, struct clip_error *error)
{
    struct clip_shards product = {0};
    int status = 0;
    for (size_t i = 0; i < heads->count && status == 0; i++)
        for (size_t k = 0; k < tails->count && status == 0; k++)
            status = join_names(&product, heads->names[i], tails->names[k], error);
    clip_shards_free(heads);
    clip_shards_free(tails);
    *heads = product;
    return status;
}

/* The position of the brace that closes the one at `open`; pattern.size if there is none. */
static size_t closing(struct text pattern, size_t open)
{
    int depth = 0;
    for (size_t i = open; i < pattern.size; i++) {
        if (pattern.at[i] == '\\')
            i++;
        else if (pattern.at[i] == '{')
            depth++;
        else if (pattern.at[i] == '}' && --depth == 0)
            return i;
    }
    return pattern.size;
}

/* --- ranges --- */

#define MAX_DIGITS 18

/* Removes a number such as "-12" from the front of the text. */
static int take_integer(struct text *text, struct text *digits, long *value)
{
    char copy[MAX_DIGITS + 2];
    size_t n = text->size > 0 && text->at[0] == '-', first = n;
    while (n < text->size && text->at[n] >= '0' && text->at[n] <= '9')
        n++;
    if (n == first || n > MAX_DIGITS)
        return -1;
    *digits = (struct text){text->at, n};
    memcpy(copy, text->at, n);
    copy[n] = '\0';
    *value = strtol(copy, NULL, 10);
    text->at += n;
    text->size -= n;
    return 0;
}

static int take_dots(struct text *text)
{
    if (text->size < 2 || memcmp(text->at, "..", 2) != 0)
        return -1;
    text->at += 2;
    text->size -= 2;
    return 0;
}

/* "..STEP", or nothing: 1. The sign does not matter, and 0 counts as 1. */
static int take_step(struct text *text, long *step)
{
    struct text digits;
    *step = 1;
    if (text->size == 0)
        return 0;
    if (take_dots(text) != 0 || take_integer(text, &digits, step) != 0 || text->size > 0)
        return -1;
    *step = labs(*step) ? labs(*step) : 1;
    return 0;
}

static int is_padded(struct text digits)
{
    size_t sign = digits.at[0] == '-';
    return digits.size > sign + 1 && digits.at[sign] == '0';
}

/* Both ends and a step; -1 where the expression is not a range of integers. */
static int parse_integers(struct text expression, long *first, long *last, long *step, int *width)
{
    struct text left, right;
    if (take_integer(&expression, &left, first) != 0 || take_dots(&expression) != 0 ||
        take_integer(&expression, &right, last) != 0 || take_step(&expression, step) != 0)
        return -1;
    *width = 0;
    if (is_padded(left) || is_padded(right))
        *width = (int)(left.size > right.size ? left.size : right.size);
    return 0;
}

static int integer_range(struct clip_shards *out, long first, long last, long step, int width,
                         struct clip_error *error)
{
    long steps = labs(last - first) / step;
    for (long i = 0; i <= steps; i++) {
        char *name;
        if (asprintf(&name, "%0*ld", width, first < last ? first + i * step : first - i * step) < 0)
            name = NULL;
        if (add_name(out, name, error) != 0)
            return -1;
    }
    return 0;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* The ends as positions in the alphabet; -1 where the expression is not a range of letters. */
static int parse_letters(struct text expression, long *first, long *last, long *step)
{
    if (expression.size < 4 || memcmp(expression.at + 1, "..", 2) != 0 || !expression.at[0] ||
        !expression.at[3])
        return -1;
    const char *left = strchr(alphabet, expression.at[0]), *right = strchr(alphabet, expression.at[3]);
    if (!left || !right)
        return -1;
    *first = left - alphabet;
    *last = right - alphabet;
    expression.at += 4;
    expression.size -= 4;
    return take_step(&expression, step);
}

static int letter_range(struct clip_shards *out, long first, long last, long step, struct clip_error *error)
{
    for (long i = 0; i <= labs(last - first) / step; i++)
        if (add_text(out, alphabet + (first < last ? first + i * step : first - i * step), 1, error) != 0)
            return -1;
    return 0;
}

/* --- sequences and patterns --- */

/* The next comma outside of inner braces, from `at`; text.size where there is none. */
static size_t next_comma(struct text text, size_t at)
{
    for (; at < text.size; at++) {
        if (text.at[at] == '\\')
            at++;
        else if (text.at[at] == '{')
            at = closing(text, at);
        else if (text.at[at] == ',')
            return at;
    }
    return text.size;
}

static int expand_sequence(struct clip_shards *out, struct text sequence, int depth, struct clip_error *error)
{
    for (size_t at = 0, comma; at <= sequence.size; at = comma + 1) {
        comma = next_comma(sequence, at);
        if (expand(out, (struct text){sequence.at + at, comma - at}, depth, error) != 0)
            return -1;
    }
    return 0;
}

/* Expands the text between two braces. */
static int expand_expression(struct clip_shards *out, struct text expression, int depth,
                             struct clip_error *error)
{
    long first, last, step;
    int width;
    if (parse_integers(expression, &first, &last, &step, &width) == 0)
        return integer_range(out, first, last, step, width, error);
    if (parse_letters(expression, &first, &last, &step) == 0)
        return letter_range(out, first, last, step, error);
    if (next_comma(expression, 0) < expression.size)
        return expand_sequence(out, expression, depth, error);
    struct clip_shards inner = {0}, brace = {0}; /* neither a range nor a sequence: the braces are ordinary */
    int status = add_text(out, "{", 1, error) == 0 && expand(&inner, expression, depth, error) == 0 ? 0 : -1;
    if (status == 0 && (status = multiply_names(out, &inner, error)) == 0 &&
        (status = add_text(&brace, "}", 1, error)) == 0)
        status = multiply_names(out, &brace, error);
    clip_shards_free(&inner);
    clip_shards_free(&brace);
    return status;
}

static int expand_product(struct clip_shards *product, struct text pattern, int depth,
                          struct clip_error *error)
{
    for (size_t at = 0, end; at < pattern.size; at = end) {
        struct clip_shards part = {0};
        int status;
        if (pattern.at[at] == '{') {
            size_t close = closing(pattern, at);
            if (close == pattern.size)
                return clip_fail(error, "unbalanced braces");
            status = expand_expression(&part, (struct text){pattern.at + at + 1, close - at - 1}, depth + 1,
                                       error);
            end = close + 1;
        } else {
            for (end = at; end < pattern.size && pattern.at[end] != '{'; end++) {
                if (pattern.at[end] == '}')
                    return clip_fail(error, "unbalanced braces");
                if (pattern.at[end] == '\\' && end + 1 < pattern.size)
                    end++;
            }
            status = add_text(&part, pattern.at + at, end - at, error);
        }
        if (status == 0)
            status = multiply_names(product, &part, error);
        clip_shards_free(&part);
        if (status != 0)
            return -1;
    }
    return 0;
}

static int expand(struct clip_shards *out, struct text pattern, int depth, struct clip_error *error)
{
    struct clip_shards product = {0};
    if (depth > MAX_DEPTH)
        return clip_fail(error, "braces nested more than %d deep", MAX_DEPTH);
    int status = add_text(&product, "", 0, error);
    if (status == 0)
        status = expand_product(&product, pattern, depth, error);
    for (size_t i = 0; i < product.count && status == 0; i++) {
        status = add_name(out, product.names[i], error);
        product.names[i] = NULL;
    }
    clip_shards_free(&product);
    return status;
}

static void remove_backslashes(char *name)
{
    char *to = name;
    for (const char *from = name; *from; from++) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from;
    }
    *to = '\0';
}

/* Expands one part of a list: its braces, then its backslashes. */
static int add_part(struct clip_shards *shards, struct text part, struct clip_error *error)
{
    size_t before = shards->count;
    if (part.size == 0)
        return clip_fail(error, "an empty name");
    if (expand(shards, part, 0, error) != 0)
        return -1;
    for (size_t i = before; i < shards->count; i++) {
        remove_backslashes(shards->names[i]);
        if (!shards->names[i][0])
            return clip_fail(error, "an empty name");
    }
    return 0;
}

int clip_shards_add(struct clip_shards *shards, const char *operand, struct clip_error *error)
{
    size_t before = shards->count;
    if (access(operand, F_OK) == 0)
        return add_text(shards, operand, strlen(operand), error);
    int status = 0;
    for (const char *part = operand; part && status == 0;) {
        const char *end = strstr(part, "::");
        status = add_part(shards, (struct text){part, end ? (size_t)(end - part) : strlen(part)}, error);
        part = end ? end + 2 : NULL;
    }
    if (status != 0) {
        while (shards->count > before)
            free(shards->names[--shards->count]);
        clip_fail_prefix(error, "%.300s", operand);
    }
    return status;
}

void clip_shards_slice(struct clip_shards *shards, size_t i, size_t n)
{
    size_t kept = 0;
    for (size_t k = 0; k < shards->count; k++) {
        if (k % n == i - 1)
            shards->names[kept++] = shards->names[k];
        else
            free(shards->names[k]);
    }
    shards->count = kept;
}
