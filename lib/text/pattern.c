#include "text/pattern.h"
#include "base/array.h"
#include "text/unicode.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>

enum {
    MOST_OPS = 4096,
    MOST_SETS = 512,
    MOST_ITEMS = 256,    /* of a set */
    DEEPEST = 32,        /* groups within each other */
    MOST_REPEATS = 1000, /* in braces */
    MOST_STEPS = 10000   /* of looking through a pattern */
};
#define FOREVER UINT32_MAX

/* A set of characters. */
struct item {
    enum { RANGE, LETTER, NUMBER, CATEGORY, SPACE, DIGIT, WORD } kind;
    int negated;
    uint32_t low, high;
    uc_general_category_t category;
};

struct set {
    uint64_t ascii[2];
    int negated;
    size_t count;
    struct item *items;
};

enum code {
    MATCH_SET, /* `least` to `most` characters of set a, as many as can be; fewer if that fails, unless
                  possessive */
    FORK,      /* a first, then b */
    JUMP,      /* to a */
    LOOK, /* what is from the next op on to its MATCHED, which must (negated: must not) be there; go on at a
           */
    BEGIN,
    END,
    MATCHED
};

struct op {
    enum code code;
    uint32_t a, b, least, most;
    int negated, possessive;
};

struct clip_pattern {
    struct op *ops;
    size_t count, op_room;
    struct set *sets;
    size_t set_count;
    uint64_t first[2];   /* the ASCII characters that a match may begin with */
    uint32_t start[128]; /* of each: the first op that does not fail at once */
};

/* --- sets --- */

static int item_has(const struct item *item, uint32_t point)
{
    switch (item->kind) {
    case RANGE:
        return point >= item->low && point <= item->high;
    case LETTER:
        return (clip_point_classes(point) & CLIP_LETTER) != 0;
    case NUMBER:
        return (clip_point_classes(point) & CLIP_NUMBER) != 0;
    case CATEGORY:
        return uc_is_general_category(point, item->category);
    case SPACE:
        return clip_is_white_space(point);
    case DIGIT:
        return uc_is_general_category(point, UC_DECIMAL_DIGIT_NUMBER);
    case WORD:
        return clip_is_word(point);
    }
    return 0;
}

static int set_finds(const struct set *set, uint32_t point)
{
    for (size_t i = 0; i < set->count; i++)
        if (item_has(&set->items[i], point) != set->items[i].negated)
            return !set->negated;
    return set->negated;
}

/* The bytes of the character at text[n] if it is in the set, else 0. */
static inline size_t set_takes(const struct set *set, const char *text, size_t n)
{
    unsigned char byte = (unsigned char)text[0];
    if (byte < 0x80)
        return set->ascii[byte >> 6] >> (byte & 63) & 1;
    uint32_t point = CLIP_REPLACEMENT;
    int taken = clip_utf8_read(&point, (const uint8_t *)text, n);
    return set_finds(set, point) ? (size_t)(taken > 0 ? taken : -taken) : 0;
}

/* --- compiling --- */

struct parser {
    struct clip_pattern *pattern;
    const char *begin, *at, *end;
    int fold, depth;
    struct clip_error *error;
};

static int fail(struct parser *parser, const char *what)
{
    char shown[60];
    return clip_fail(parser->error, "pattern: %s is not supported: %s", what,
                     clip_printable(shown, sizeof shown, parser->at, (size_t)(parser->end - parser->at)));
}

static int add_op(struct parser *parser, struct op op)
{
    struct clip_pattern *pattern = parser->pattern;
    if (pattern->count == MOST_OPS)
        return clip_fail(parser->error, "pattern: it is too long");
    if (CLIP_GROW(pattern->ops, pattern->count, pattern->op_room) != 0)
        return clip_fail_memory(parser->error, "a pattern");
    pattern->ops[pattern->count++] = op;
    return 0;
}

/* A new set, empty; NULL with error. */
static struct set *add_set(struct parser *parser)
{
    struct clip_pattern *pattern = parser->pattern;
    if (pattern->set_count == MOST_SETS) {
        clip_fail(parser->error, "pattern: it is too long");
        return NULL;
    }
    struct set *sets = reallocarray(pattern->sets, pattern->set_count + 1, sizeof *sets);
    if (!sets) {
        clip_fail_memory(parser->error, "a pattern");
        return NULL;
    }
    pattern->sets = sets;
    sets[pattern->set_count] = (struct set){.count = 0};
    return &sets[pattern->set_count++];
}

static int add_item(struct parser *parser, struct set *set, struct item item)
{
    if (set->count == MOST_ITEMS)
        return clip_fail(parser->error, "pattern: a class is too long");
    struct item *items = reallocarray(set->items, set->count + 1, sizeof *items);
    if (!items)
        return clip_fail_memory(parser->error, "a pattern");
    set->items = items;
    items[set->count++] = item;
    return 0;
}

/* Adds a range and, where case is ignored, the other forms of one character. */
static int add_range(struct parser *parser, struct set *set, uint32_t low, uint32_t high)
{
    if (add_item(parser, set, (struct item){.kind = RANGE, .low = low, .high = high}) != 0)
        return -1;
    if (!parser->fold)
        return 0;
    if (high - low > 100)
        return fail(parser, "a long range without case");
    for (uint32_t c = low; c <= high; c++) {
        uint32_t others[] = {uc_tolower(c), uc_toupper(c),
                             (c | 32) == 's'   ? 0x17f
                             : (c | 32) == 'k' ? 0x212a
                                               : c};
        for (int i = 0; i < 3; i++)
            if ((others[i] < low || others[i] > high) &&
                add_item(parser, set, (struct item){.kind = RANGE, .low = others[i], .high = others[i]}) != 0)
                return -1;
    }
    return 0;
}

static void finish_set(struct set *set)
{
    for (uint32_t c = 0; c < 128; c++)
        if (set_finds(set, c))
            set->ascii[c >> 6] |= UINT64_C(1) << (c & 63);
}

/* The name in braces after \p. */
static int add_property(struct parser *parser, struct set *set, int negated)
{
    const char *close = parser->at < parser->end && *parser->at == '{'
                            ? memchr(parser->at, '}', (size_t)(parser->end - parser->at))
                            : NULL;
    char name[24];
    if (!close || close - parser->at - 1 >= (int)sizeof name)
        return fail(parser, "a property");
    const char *from = parser->at + 1;
    if (*from == '^') {
        negated = !negated;
        from++;
    }
    memcpy(name, from, (size_t)(close - from));
    name[close - from] = 0;
    struct item item = {.kind = CATEGORY, .negated = negated, .category = uc_general_category_byname(name)};
    if (strcmp(name, "L") == 0)
        item.kind = LETTER;
    else if (strcmp(name, "N") == 0)
        item.kind = NUMBER;
    else if (strcmp(name, "White_Space") == 0)
        item.kind = SPACE;
    else if (item.category.bitmask == 0)
        return fail(parser, "a property");
    parser->at = close + 1;
    return add_item(parser, set, item);
}

static int hex_digits(struct parser *parser, int most, uint32_t *point)
{
    int n = 0;
    for (*point = 0; n < most && parser->at < parser->end; n++, parser->at++) {
        const char *digits = "0123456789abcdef",
                   *found = *parser->at ? strchr(digits, *parser->at | 32) : NULL;
        if (!found)
            break;
        *point = *point * 16 + (uint32_t)(found - digits);
    }
    return n > 0 && *point <= CLIP_MAX_POINT ? 0 : fail(parser, "a character's number");
}

/* What is after a backslash: a class, added to the set: 1; a character: 0 and *point; -1. */
static int read_escape(struct parser *parser, struct set *set, uint32_t *point)
{
    static const char classes[] = "sSdDwW", plain[] = "rnt", means[] = "\r\n\t";
    static const int kinds[] = {SPACE, DIGIT, WORD};
    char c = parser->at < parser->end ? *parser->at : 0;
    const char *found = c ? strchr(classes, c) : NULL;
    if (c == 'p' || c == 'P') {
        parser->at++;
        return add_property(parser, set, c == 'P') != 0 ? -1 : 1;
    }
    if (found) {
        parser->at++;
        struct item item = {.kind = kinds[(found - classes) / 2], .negated = (found - classes) % 2};
        return add_item(parser, set, item) != 0 ? -1 : 1;
    }
    if (c == 'x' || c == 'u') {
        parser->at++;
        int braces = parser->at < parser->end && *parser->at == '{';
        parser->at += braces;
        if (hex_digits(parser, braces ? 6 : c == 'x' ? 2 : 4, point) != 0)
            return -1;
        if (braces && (parser->at == parser->end || *parser->at != '}'))
            return fail(parser, "a character's number");
        parser->at += braces;
        return 0;
    }
    found = c ? strchr(plain, c) : NULL;
    if (!found && (c == 0 || (c & 0x80) || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z')))
        return fail(parser, "an escape");
    *point = found ? (unsigned char)means[found - plain] : (unsigned char)c;
    parser->at++;
    return 0;
}

static uint32_t read_character(struct parser *parser)
{
    uint32_t point = CLIP_REPLACEMENT;
    int taken = clip_utf8_read(&point, (const uint8_t *)parser->at, (size_t)(parser->end - parser->at));
    parser->at += taken > 0 ? taken : -taken;
    return point;
}

/* A character of a class, or (1) what an escape added to it. */
static int read_member(struct parser *parser, struct set *set, uint32_t *point)
{
    if (*parser->at == '[' || (parser->end - parser->at > 1 && memcmp(parser->at, "&&", 2) == 0))
        return fail(parser, "a class of classes");
    if (*parser->at == '\\') {
        parser->at++;
        return read_escape(parser, set, point);
    }
    *point = read_character(parser);
    return 0;
}

/* What is after '['. */
static int read_class(struct parser *parser, struct set *set)
{
    set->negated = parser->at < parser->end && *parser->at == '^';
    parser->at += set->negated;
    for (int first = 1; parser->at < parser->end && (*parser->at != ']' || first); first = 0) {
        uint32_t low, high;
        int kind = read_member(parser, set, &low);
        if (kind < 0)
            return -1;
        if (kind == 1)
            continue;
        high = low;
        if (parser->end - parser->at > 1 && parser->at[0] == '-' && parser->at[1] != ']') {
            parser->at++;
            if (read_member(parser, set, &high) != 0 || high < low)
                return fail(parser, "a range");
        }
        if (add_range(parser, set, low, high) != 0)
            return -1;
    }
    if (parser->at == parser->end)
        return fail(parser, "a class that does not end");
    parser->at++;
    return 0;
}

/* One character or class: a MATCH_SET of it. */
static int read_set(struct parser *parser)
{
    struct set *set = add_set(parser);
    uint32_t point;
    if (!set)
        return -1;
    int kind = 1;
    char c = *parser->at;
    if (c == '[' || c == '\\' || c == '.') {
        parser->at++;
        if (c == '.')
            set->negated = 1;
        kind = c == '['   ? read_class(parser, set)
               : c == '.' ? add_range(parser, set, '\n', '\n')
                          : read_escape(parser, set, &point);
        if (kind < 0)
            return -1;
        kind = c == '\\' ? kind : 1;
    } else {
        point = read_character(parser);
        kind = 0;
    }
    if (kind == 0 && add_range(parser, set, point, point) != 0)
        return -1;
    finish_set(set);
    return add_op(
        parser,
        (struct op){.code = MATCH_SET, .a = (uint32_t)parser->pattern->set_count - 1, .least = 1, .most = 1});
}

/* The quantifier at the place, if there is one: 1, 0, or -1. */
static int read_quantifier(struct parser *parser, uint32_t *least, uint32_t *most, int *possessive)
{
    char c = parser->at < parser->end ? *parser->at : 0;
    *least = c == '+';
    *most = c == '?' ? 1 : FOREVER;
    if (c == '{') {
        unsigned low = 0, high = MOST_REPEATS;
        int length = 0;
        char text[24] = "";
        strncpy(text, parser->at,
                (size_t)(parser->end - parser->at) < 23 ? (size_t)(parser->end - parser->at) : 23);
        if (sscanf(text, "{%4u,%4u}%n", &low, &high, &length) == 2 && length > 0)
            *most = high;
        else if (length = 0, sscanf(text, "{%4u,}%n", &low, &length) == 1 && length > 0)
            *most = FOREVER;
        else if (length = 0, sscanf(text, "{%4u}%n", &low, &length) == 1 && length > 0)
            *most = low;
        else
            return fail(parser, "a brace");
        if (low > MOST_REPEATS || (*most != FOREVER && (*most > MOST_REPEATS || *most < low || *most == 0)))
            return fail(parser, "a number of repeats");
        *least = low;
        parser->at += length;
    } else if (c == '?' || c == '*' || c == '+') {
        parser->at++;
    } else {
        return 0;
    }
    *possessive = parser->at < parser->end && *parser->at == '+';
    parser->at += *possessive;
    return parser->at < parser->end && *parser->at == '?' ? fail(parser, "a lazy quantifier") : 1;
}

static int read_alternatives(struct parser *parser);

/* 1 if ops from `from` on can match nothing, or nobody knows within *steps. */
static int may_be_empty(const struct clip_pattern *pattern, size_t from, size_t to, int *steps)
{
    size_t at = from;
    while (at < to && (*steps)-- > 0) {
        const struct op *op = &pattern->ops[at];
        if (op->code == MATCH_SET && op->least > 0)
            return 0;
        if (op->code == FORK)
            return may_be_empty(pattern, op->a, to, steps) || may_be_empty(pattern, op->b, to, steps);
        at = op->code == JUMP || op->code == LOOK ? op->a : at + 1;
    }
    return 1;
}

/* A group whose ops begin at `from` is repeated: as often as it can, or once at most. */
static int repeat_group(struct parser *parser, size_t from, uint32_t least, uint32_t most)
{
    struct clip_pattern *pattern = parser->pattern;
    int steps = MOST_STEPS;
    if (!((least == 0 && most == 1) || (most == FOREVER && least <= 1)) ||
        (most == FOREVER && may_be_empty(pattern, from, pattern->count, &steps)))
        return fail(parser, "a repeated group");
    if (least == 1) /* once more, or on */
        return add_op(parser,
                      (struct op){.code = FORK, .a = (uint32_t)from, .b = (uint32_t)pattern->count + 1});
    if (add_op(parser, (struct op){.code = JUMP}) != 0 ||
        (most == FOREVER && add_op(parser, (struct op){.code = JUMP, .a = (uint32_t)from}) != 0))
        return -1;
    /* The group moves on by one for the fork before it, which may skip it. */
    size_t last = pattern->count - 1 - (most == FOREVER);
    for (size_t i = last; i > from; i--) {
        pattern->ops[i] = pattern->ops[i - 1];
        enum code code = pattern->ops[i].code;
        pattern->ops[i].a += code == FORK || code == JUMP || code == LOOK;
        pattern->ops[i].b += code == FORK;
    }
    pattern->ops[from] = (struct op){.code = FORK, .a = (uint32_t)from + 1, .b = (uint32_t)pattern->count};
    return 0;
}

/* What is after '(': its kind, its alternatives, ')'. */
static int read_group(struct parser *parser)
{
    int fold = parser->fold, look = 0, negated = 0;
    size_t from = parser->pattern->count;
    size_t left = (size_t)(parser->end - parser->at);
    if (++parser->depth > DEEPEST)
        return fail(parser, "a deep group");
    if (left >= 3 && memcmp(parser->at, "?i:", 3) == 0) {
        parser->fold = 1;
        parser->at += 3;
    } else if (left >= 2 && (memcmp(parser->at, "?=", 2) == 0 || memcmp(parser->at, "?!", 2) == 0)) {
        look = 1;
        negated = parser->at[1] == '!';
        parser->at += 2;
        if (add_op(parser, (struct op){.code = LOOK, .negated = negated}) != 0)
            return -1;
    } else if (left >= 2 && memcmp(parser->at, "?:", 2) == 0) {
        parser->at += 2;
    } else if (left >= 1 && *parser->at == '?') {
        return fail(parser, "a group");
    }
    if (read_alternatives(parser) != 0)
        return -1;
    if (parser->at == parser->end)
        return fail(parser, "a group that does not end");
    parser->at++;
    parser->fold = fold;
    parser->depth--;
    if (look) {
        if (add_op(parser, (struct op){.code = MATCHED}) != 0)
            return -1;
        parser->pattern->ops[from].a = (uint32_t)parser->pattern->count;
    }
    return 0;
}

/* One thing and its quantifier. */
static int read_item(struct parser *parser)
{
    uint32_t least, most;
    int possessive = 0, group = *parser->at == '(';
    size_t from = parser->pattern->count;
    char c = *parser->at;
    if (c == '^' || c == '$') {
        parser->at++;
        return add_op(parser, (struct op){.code = c == '^' ? BEGIN : END});
    }
    if (c == '*' || c == '+' || c == '?' || c == '{')
        return fail(parser, "a quantifier of nothing");
    parser->at += group;
    if ((group ? read_group(parser) : read_set(parser)) != 0)
        return -1;
    int found = read_quantifier(parser, &least, &most, &possessive);
    if (found <= 0)
        return found;
    if (group && (possessive || parser->pattern->ops[from].code == LOOK))
        return fail(parser, "a quantifier of this group");
    if (group)
        return repeat_group(parser, from, least, most);
    struct op *op = &parser->pattern->ops[from];
    op->least = least;
    op->most = most;
    op->possessive = possessive;
    return 0;
}

/* Alternatives up to ')' or the end. */
static int read_alternatives(struct parser *parser)
{
    struct clip_pattern *pattern = parser->pattern;
    size_t jumps[MOST_SETS], count = 0;
    for (;;) {
        size_t fork = pattern->count;
        if (add_op(parser, (struct op){.code = FORK, .a = (uint32_t)fork + 1}) != 0)
            return -1;
        while (parser->at < parser->end && *parser->at != '|' && *parser->at != ')')
            if (read_item(parser) != 0)
                return -1;
        if (parser->at == parser->end || *parser->at == ')') {
            pattern->ops[fork] = (struct op){.code = JUMP, .a = (uint32_t)fork + 1}; /* the last */
            break;
        }
        parser->at++;
        if (count == MOST_SETS)
            return fail(parser, "so many alternatives");
        jumps[count++] = pattern->count;
        if (add_op(parser, (struct op){.code = JUMP}) != 0)
            return -1;
        pattern->ops[fork].b = (uint32_t)pattern->count;
    }
    for (size_t i = 0; i < count; i++)
        pattern->ops[jumps[i]].a = (uint32_t)pattern->count;
    return 0;
}

/* Adds to first[2] what a match that is at op `at` may go on with, or all if that takes more than *steps. */
static void find_first(const struct clip_pattern *pattern, size_t at, uint64_t first[2], int *steps)
{
    for (;;) {
        const struct op *op = &pattern->ops[at];
        if ((*steps)-- > 0 && op->code == MATCH_SET) {
            first[0] |= pattern->sets[op->a].ascii[0];
            first[1] |= pattern->sets[op->a].ascii[1];
            if (op->least > 0)
                return;
            at++;
        } else if (*steps > 0 && op->code == FORK && op->b > at) {
            find_first(pattern, op->a, first, steps);
            at = op->b;
        } else if (*steps > 0 && (op->code == JUMP || op->code == LOOK) && op->a > at) {
            at = op->a;
        } else if (*steps > 0 && (op->code == BEGIN || op->code == END)) {
            at++;
        } else { /* a match of nothing; a loop */
            first[0] = first[1] = UINT64_MAX;
            return;
        }
    }
}

/* 1 if the op asks for an ASCII character, and not this one. */
static inline int fails_at_once(const struct clip_pattern *pattern, const struct op *op, unsigned char byte)
{
    return op->code == MATCH_SET && op->least > 0 && byte < 0x80 &&
           !(pattern->sets[op->a].ascii[byte >> 6] >> (byte & 63) & 1);
}

/* Alternatives that a match by its first character does not take need no look. */
static void find_starts(struct clip_pattern *pattern)
{
    const struct op *ops = pattern->ops;
    for (unsigned char byte = 0; byte < 128; byte++) {
        uint32_t at = 0;
        while (ops[at].code == FORK && ops[at].b > at && fails_at_once(pattern, &ops[ops[at].a], byte))
            at = ops[at].b;
        pattern->start[byte] = at;
    }
}

struct clip_pattern *clip_pattern_new(const char *text, size_t n, struct clip_error *error)
{
    struct clip_pattern *pattern = calloc(1, sizeof *pattern);
    struct parser parser = {pattern, text, text, text + n, 0, 0, error};
    int steps = MOST_STEPS;
    if (!pattern) {
        clip_fail_memory(error, "a pattern");
        return NULL;
    }
    int status = read_alternatives(&parser);
    if (status == 0 && parser.at < parser.end)
        status = fail(&parser, "a parenthesis");
    if (status == 0)
        status = add_op(&parser, (struct op){.code = MATCHED});
    if (status != 0) {
        clip_pattern_free(pattern);
        return NULL;
    }
    find_first(pattern, 0, pattern->first, &steps);
    find_starts(pattern);
    return pattern;
}

void clip_pattern_free(struct clip_pattern *pattern)
{
    if (!pattern)
        return;
    for (size_t i = 0; i < pattern->set_count; i++)
        free(pattern->sets[i].items);
    free(pattern->sets);
    free(pattern->ops);
    free(pattern);
}

/* --- matching --- */

enum { STACK = 128 };

/* Where to go on when the way taken leads nowhere: at op `op` and text[at], or, one character after another,
 * less, down to text[low]. */
struct retry {
    uint32_t op;
    size_t at, low;
};

struct stack {
    struct retry at[STACK];
    size_t n;
};

enum outcome { FAILED, FOUND, TOO_LONG };

static enum outcome match(struct clip_search *search, size_t op, size_t from, size_t *end, int depth);

/* Takes characters of a set; 1 if there are enough. */
static int take_set(struct clip_search *search, const struct op *op, size_t *at, size_t *low)
{
    const struct set *set = &search->pattern->sets[op->a];
    uint32_t taken = 0;
    *low = *at;
    for (size_t step; taken < op->most && *at < search->n; taken++, *at += step) {
        step = set_takes(set, search->text + *at, search->n - *at);
        if (step == 0)
            break;
        if (taken < op->least)
            *low = *at + step;
    }
    search->steps += taken + 1;
    return taken >= op->least;
}

/* Goes back to the last place where there was another way. */
static int go_back(struct clip_search *search, struct stack *stack, size_t *op, size_t *at)
{
    if (stack->n == 0)
        return 0;
    struct retry *retry = &stack->at[stack->n - 1];
    search->steps++;
    *op = retry->op;
    if (retry->low != SIZE_MAX) {
        do
            retry->at--;
        while (retry->at > retry->low && (search->text[retry->at] & 0xc0) == 0x80);
    }
    *at = retry->at;
    stack->n -= retry->low == SIZE_MAX || retry->at <= retry->low;
    return 1;
}

/* Whether what a LOOK asks for holds. */
static enum outcome look(struct clip_search *search, size_t op, size_t at, int depth)
{
    size_t ignored;
    enum outcome found = match(search, op + 1, at, &ignored, depth + 1);
    if (found == TOO_LONG)
        return found;
    return (found == FOUND) != search->pattern->ops[op].negated ? FOUND : FAILED;
}

static enum outcome match(struct clip_search *search, size_t op, size_t from, size_t *end, int depth)
{
    const struct op *ops = search->pattern->ops;
    struct stack stack; /* large, and mostly unused: not to be cleared */
    stack.n = 0;
    size_t at = from, most = 200 * search->n + 100000;
    for (;;) {
        const struct op *now = &ops[op];
        size_t low = SIZE_MAX, next = op + 1, before = at;
        int ok = 1;
        if (now->code == MATCHED) {
            *end = at;
            return FOUND;
        }
        if (stack.n == STACK || search->steps > most || depth > DEEPEST)
            return TOO_LONG;
        if (now->code == MATCH_SET) {
            ok = take_set(search, now, &at, &low);
            if (ok && at > low && !now->possessive)
                stack.at[stack.n++] = (struct retry){(uint32_t)next, at, low};
        } else if (now->code == FORK && at < search->n &&
                   fails_at_once(search->pattern, &ops[now->a], (unsigned char)search->text[at])) {
            next = now->b;
        } else if (now->code == FORK) {
            stack.at[stack.n++] = (struct retry){now->b, before, SIZE_MAX};
            next = now->a;
        } else if (now->code == JUMP) {
            next = now->a;
        } else if (now->code == LOOK) {
            enum outcome found = look(search, op, at, depth);
            if (found == TOO_LONG)
                return found;
            ok = found == FOUND;
            next = now->a;
        } else {
            ok = now->code == BEGIN ? at == 0 : at == search->n;
        }
        op = next;
        if (!ok && !go_back(search, &stack, &op, &at))
            return FAILED;
    }
}

int clip_pattern_next(struct clip_search *search, size_t at, size_t *begin, size_t *end,
                      struct clip_error *error)
{
    const uint64_t *first = search->pattern->first;
    while (at < search->n) {
        unsigned char byte = (unsigned char)search->text[at];
        if (byte >= 0x80 || (first[byte >> 6] >> (byte & 63) & 1)) {
            enum outcome found = match(search, byte < 0x80 ? search->pattern->start[byte] : 0, at, end, 0);
            if (found == TOO_LONG)
                return clip_fail(error, "a text that takes the tokenizer's pattern too long");
            if (found == FOUND && *end > at) {
                *begin = at;
                return 1;
            }
        }
        do
            at++;
        while (at < search->n && (search->text[at] & 0xc0) == 0x80);
    }
    return 0;
}
