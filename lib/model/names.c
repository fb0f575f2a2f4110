#include "model/names.h"
#include "base/array.h"

#include "model/kind.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is no tower's. */
static const struct clip_name_pair shared_names[] = {{"logit_scale", "logit_scale", CLIP_NAME_WHOLE, 0, 0},
                                                     {"logit_bias", "logit_bias", CLIP_NAME_WHOLE, 0, 0},
                                                     {0}};

/* What follows `start` in text; NULL if text does not begin so. */
static const char *after_prefix(const char *text, const char *start)
{
    size_t length = strlen(start);
    return strncmp(text, start, length) == 0 ? text + length : NULL;
}

/* The pair of a name on one side, and what follows in it. */
struct found {
    const struct clip_name_pair *pair;
    const char *number,
        *rest; /* of the name: the block's number, at '#'; what follows the pair's beginning */
};

/* 1 if the name begins as the pattern says, in which '#' stands for a number. */
static int fits_pattern(const char *pattern, const char *name, struct found *found)
{
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*name++ != *pattern)
                return 0;
            continue;
        }
        size_t digits = strspn(name, "0123456789");
        if (!digits)
            return 0;
        found->number = name;
        name += digits;
    }
    found->rest = name;
    return 1;
}

static int find_pair(const struct clip_name_pair *pairs, int hf, int part, const char *name,
                     struct found *found)
{
    for (; pairs->hf; pairs++)
        if (fits_pattern(hf ? pairs->hf : pairs->openai, name, found) &&
            (hf || pairs->part == CLIP_NAME_WHOLE || pairs->part == part)) {
            found->pair = pairs;
            return 1;
        }
    return 0;
}

/* Looks a name up by Hugging Face's column, or by OpenAI's and the part of an in_proj that is wanted, in the
 * forms of the two sides. */
static int look_up(const enum clip_hf_form_name forms[CLIP_SIDES], int hf, int part, const char *name,
                   struct found *found)
{
    for (const struct clip_kind *const *kind = clip_kinds; *kind; kind++) {
        const struct clip_name_pair *names = (*kind)->hf[forms[(*kind)->side]].names;
        if (names && find_pair(names, hf, part, name, found))
            return 1;
    }
    return find_pair(shared_names, hf, part, name, found);
}

/* The name on the other side, into out[size]; -1 if it does not fit. */
static int translate(const struct found *found, int to_hf, char *out, size_t size)
{
    const char *pattern = to_hf ? found->pair->hf : found->pair->openai, *at = strchr(pattern, '#');
    int before = at ? (int)(at - pattern) : 0, digits = at ? (int)strspn(found->number, "0123456789") : 0;
    int n = snprintf(out, size, "%.*s%.*s%s%s", before, pattern, digits, at ? found->number : "",
                     at ? at + 1 : pattern, found->rest);
    return n >= 0 && (size_t)n < size ? 0 : -1;
}

void clip_names_open_clip(const char *name, int custom, char *out, size_t size)
{
    snprintf(out, size, "%s%s", custom ? "text." : "", name);
}

int clip_names_hf(const struct clip_hf_model *model, const char *name, int part, struct clip_hf_name *out)
{
    struct found found;
    if (!look_up(model->forms, 0, part, name, &found) ||
        translate(&found, 1, out->name, sizeof out->name) != 0)
        return -1;
    out->parts = found.pair->part == CLIP_NAME_WHOLE ? 1 : 3;
    out->transposed = found.pair->transposed;
    out->shape = found.pair->shape;
    return part < out->parts ? 0 : -1;
}

int clip_names_ignored(const char *name)
{
    static const char *const ignored[] = {"input_resolution", "context_length", "vocab_size",
                                          "attn_mask",        "mask",           "position_ids"};
    /* CoCa's decoder writes captions. */
    static const char *const beside[] = {"loss.",   "loss_fn.", "criterion.",
                                         "metric.", "metrics.", "text_decoder."};
    /* M2M100's fixed positions, in old files. */
    static const char fixed[] = "embed_positions.weights";
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    if (strlen(name) >= strlen(fixed) && strcmp(name + strlen(name) - strlen(fixed), fixed) == 0)
        return 1;
    for (size_t i = 0; i < CLIP_COUNT_OF(ignored); i++)
        if (strcmp(last, ignored[i]) == 0)
            return 1;
    for (size_t i = 0; i < CLIP_COUNT_OF(beside); i++)
        if (after_prefix(name, beside[i]))
            return 1;
    return 0;
}

/* --- sets of weights among the tensors of a file --- */

/* A set: names that begin alike. */
struct set {
    const char *name; /* one of them; the first `length` characters are the beginning, with its dot */
    size_t length;
    unsigned towers; /* bit `side` of each that it has */
    int hf, custom, average;
    enum clip_hf_form_name forms[CLIP_SIDES]; /* Hugging Face's, of each tower */
    int flat; /* all in one dict, under keys that hold the whole of OpenAI's names */
    const char *before;
    const struct clip_weight *anchor;
};

enum { MAX_SETS = 64 };
struct sets {
    struct set items[MAX_SETS];
    size_t count;
};

/* Parts of names that wrappers put anywhere in them. */
static int is_wrapper(const char *part, size_t length)
{
    static const char *const wrappers[] = {"_orig_mod", "module", "_fsdp_wrapped_module",
                                           "_checkpoint_wrapped_module"};
    for (size_t i = 0; i < CLIP_COUNT_OF(wrappers); i++)
        if (strlen(wrappers[i]) == length && memcmp(wrappers[i], part, length) == 0)
            return 1;
    return 0;
}

/* The begin of the last part of text[length]. */
static size_t last_part(const char *text, size_t length)
{
    while (length > 0 && text[length - 1] != '.')
        length--;
    return length;
}

/* Where the parts of `ending`, wrappers between them aside, begin at the end of the name; -1 if it does not
 * end so. */
static long ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), e = strlen(ending);
    for (;;) {
        size_t begin = last_part(name, n), wanted = last_part(ending, e);
        if (!is_wrapper(name + begin, n - begin)) {
            if (n - begin != e - wanted || memcmp(name + begin, ending + wanted, e - wanted) != 0)
                return -1;
            if (wanted == 0)
                return (long)begin;
            e = wanted - 1;
        }
        if (begin == 0)
            return -1;
        n = begin - 1;
    }
}

/* 1 if a part of the key says that these are averages of the weights. */
static int is_average(const char *key, size_t length)
{
    static const char *const words[] = {"ema", "emas", "swa", "avg", "average", "averaged", "shadow"};
    for (size_t i = 0, end; i < length; i = end + 1) {
        for (end = i; end < length && !strchr("._-", key[end]); end++)
            ;
        for (size_t w = 0; w < CLIP_COUNT_OF(words); w++)
            if (strlen(words[w]) == end - i && strncasecmp(words[w], key + i, end - i) == 0)
                return 1;
    }
    return 0;
}

static void add_anchor(struct sets *sets, const struct clip_weight *weight, const struct clip_anchor *anchor,
                       enum clip_side side, size_t length)
{
    struct set *set = sets->items;
    while (set < sets->items + sets->count &&
           (set->length != length || strncmp(set->name, weight->name, length) != 0))
        set++;
    if (set == sets->items + sets->count) {
        if (sets->count == MAX_SETS)
            return;
        *set = (struct set){.name = weight->name,
                            .length = length,
                            .before = anchor->before,
                            .average = is_average(weight->name, length),
                            .flat = 1,
                            .anchor = weight};
        sets->count++;
    }
    set->flat &= weight->key <= length && weight->holder == set->anchor->holder;
    set->towers |= 1u << side;
    set->hf |= anchor->hf != 0;
    if (anchor->hf)
        set->forms[side] = (enum clip_hf_form_name)(anchor->hf - 1);
    set->custom |= anchor->custom;
    if (!*anchor->before)
        set->before = "";
}

/* The anchor that a tensor is, and what stands before it; NULL if it is none. */
static const struct clip_anchor *find_anchor(const struct clip_kind *kind, const char *name, long *length)
{
    for (const struct clip_anchor *anchor = kind->anchors; anchor->name; anchor++)
        if ((*length = ends_in(name, anchor->name)) >= 0)
            return anchor;
    return NULL;
}

static void find_sets(struct sets *sets, const struct clip_weights *weights)
{
    sets->count = 0;
    for (size_t i = 0; i < weights->count; i++)
        for (const struct clip_kind *const *kind = clip_kinds; *kind; kind++) {
            long length;
            const struct clip_anchor *anchor = find_anchor(*kind, weights->items[i].name, &length);
            if (!anchor)
                continue;
            if (!anchor->hints)
                add_anchor(sets, &weights->items[i], anchor, (*kind)->side, (size_t)length);
            break;
        }
}

size_t clip_names_count(const struct clip_weights *weights)
{
    struct sets sets;
    find_sets(&sets, weights);
    return sets.count;
}

/* --- choosing one --- */

/* Leaves the sets for which keep(set, context), if there are any. */
static void prefer(struct sets *sets, int (*keep)(const struct set *set, const void *context),
                   const void *context)
{
    size_t n = 0;
    struct sets kept;
    for (size_t i = 0; i < sets->count; i++)
        if (keep(&sets->items[i], context))
            kept.items[n++] = sets->items[i];
    if (n > 0) {
        memcpy(sets->items, kept.items, n * sizeof *kept.items);
        sets->count = n;
    }
}

static int is_plain(const struct set *set, const void *context)
{
    (void)context;
    return !set->average;
}

static int is_whole(const struct set *set, const void *context)
{
    (void)context;
    return set->towers == (1u << CLIP_SIDES) - 1;
}

/* Drops sets whose tensors are another's, under a second key. */
static void drop_same(struct sets *sets)
{
    size_t n = 0;
    for (size_t i = 0; i < sets->count; i++) {
        size_t j = 0;
        while (j < n && sets->items[j].anchor->data != sets->items[i].anchor->data)
            j++;
        if (j == n)
            sets->items[n++] = sets->items[i];
    }
    sets->count = n;
}

/* The key of a set: its beginning, without the dot. */
static size_t key_length(const struct set *set)
{
    return set->length ? set->length - 1 : 0;
}

/* 1 if the key is the set's, or its first parts. */
static int begins_in(const struct set *set, const void *key)
{
    size_t n = strlen(key), length = key_length(set);
    return n <= length && strncmp(set->name, key, n) == 0 && (n == length || set->name[n] == '.');
}

/* 1 if the key is some of the set's parts. */
static int has_parts(const struct set *set, const void *key)
{
    size_t n = strlen(key), length = key_length(set);
    for (size_t i = 0; i + n <= length; i++)
        if ((i == 0 || set->name[i - 1] == '.') && strncmp(set->name + i, key, n) == 0 &&
            (i + n == length || set->name[i + n] == '.'))
            return 1;
    return 0;
}

static void list_keys(const struct sets *sets, char *out, size_t size)
{
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < sets->count && used < size; i++) {
        char text[120];
        const struct set *set = &sets->items[i];
        clip_printable(text, sizeof text, set->name, key_length(set));
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", *text ? text : "(no key)");
    }
}

/* Leaves one set, or fails. */
static int choose_set(struct sets *sets, const char *key, struct clip_error *error)
{
    char keys[400];
    list_keys(sets, keys, sizeof keys);
    if (key) {
        size_t before = sets->count;
        prefer(sets, begins_in, key);
        if (sets->count == before && !begins_in(sets->items, key))
            prefer(sets, has_parts, key);
        if (!has_parts(sets->items, key))
            return clip_fail(error, "--weights: there are no weights under '%.100s'; there are under: %s",
                             key, keys);
    }
    prefer(sets, is_plain, NULL);
    prefer(sets, is_whole, NULL);
    drop_same(sets);
    if (sets->count > 1)
        return clip_fail(error, "it holds weights under several keys (--weights KEY chooses one): %s", keys);
    return 0;
}

/* --- names and orientation --- */

/* A name of the set without its beginning and wrappers, with what it lacks before it, into out[size]. */
static int plain_name(const struct set *set, const char *name, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s", set->before);
    for (const char *part = name + set->length; used < size; part++) {
        size_t length = strcspn(part, ".");
        if (!part[length] || !is_wrapper(part, length))
            used += (size_t)snprintf(out + used, size - used, "%.*s%s", (int)length, part,
                                     part[length] ? "." : "");
        part += length;
        if (!*part)
            break;
    }
    return used < size ? 0 : -1;
}

/* [rows, columns] becomes [1, rows, columns]. */
static void add_dimension(struct clip_weight *weight)
{
    memmove(weight->shape + 1, weight->shape, (size_t)weight->ndim * sizeof *weight->shape);
    memmove(weight->stride + 1, weight->stride, (size_t)weight->ndim * sizeof *weight->stride);
    weight->shape[0] = 1;
    weight->stride[0] = 0;
    weight->ndim++;
}

/* A tensor of whose rows ours are thirds: it becomes the first of them, the rest is added. */
static int split_one(struct clip_weights *weights, size_t i, const struct found *found,
                     struct clip_error *error)
{
    struct clip_weight whole = weights->items[i];
    if (whole.ndim < 1 || whole.shape[0] % 3)
        return clip_fail(error, "tensor %s: its rows are not three times as many", whole.name);
    size_t third = whole.shape[0] / 3, row = whole.stride[0] * clip_weight_size(whole.type);
    for (int last = 0; last < 2; last++) {
        struct found part = {found->pair + last, found->number, found->rest};
        struct clip_weight *item = &weights->items[i];
        size_t shape[CLIP_WEIGHT_DIMENSIONS];
        char name[600];
        if (translate(&part, 0, name, sizeof name) != 0)
            return clip_fail(error, "a tensor's name that is too long");
        memcpy(shape, whole.shape, sizeof shape);
        shape[0] = last ? 2 * third : third;
        /* They lie within the whole, which was checked. */
        if (last)
            return clip_weights_add(weights, name, strlen(name), whole.type, whole.ndim, shape, whole.stride,
                                    whole.data + third * row, SIZE_MAX, error);
        free(item->name);
        item->name = strdup(name);
        if (!item->name)
            return clip_fail_memory(error, "a tensor's name");
        item->shape[0] = third;
    }
    return 0;
}

static int rename_one(struct clip_weights *weights, size_t i, const struct set *set, struct clip_error *error)
{
    struct clip_weight *weight = &weights->items[i];
    struct found found;
    char plain[600], name[600];
    const char *result = plain;
    if (plain_name(set, weight->name, plain, sizeof plain) != 0)
        return clip_fail(error, "a tensor's name that is too long");
    if (set->hf && look_up(set->forms, 1, 0, plain, &found) && translate(&found, 0, name, sizeof name) == 0) {
        if (found.pair->shape == CLIP_NAME_FIRST_THIRD)
            return split_one(weights, i, &found, error);
        result = name;
        if (found.pair->shape == CLIP_NAME_ONE && weight->ndim < CLIP_WEIGHT_DIMENSIONS)
            add_dimension(weight);
        if (found.pair->transposed && weight->ndim == 2)
            clip_weight_transpose(weight);
        weight->part = found.pair->part == CLIP_NAME_WHOLE ? 0 : found.pair->part;
        weight->parts = found.pair->part == CLIP_NAME_WHOLE ? 1 : 3;
    } else if (set->custom && after_prefix(plain, "text.")) {
        result = after_prefix(plain, "text.");
    }
    char *copy = strdup(result);
    if (!copy)
        return clip_fail_memory(error, "a tensor's name");
    free(weight->name);
    weight->name = copy;
    return 0;
}

/* Removes the tensors that are not of the set: those with other beginnings, and, where the set's dict is
 * known, those of other dicts. */
static int leave_set(struct clip_weights *weights, const struct set *set, struct clip_error *error)
{
    uint32_t holder = set->anchor->holder;
    char *start = strndup(set->name, set->length);
    size_t n = 0;
    if (!start)
        return clip_fail_memory(error, "a tensor's name");
    for (size_t i = 0; i < weights->count; i++) {
        struct clip_weight *weight = &weights->items[i];
        if (after_prefix(weight->name, start) && (!set->flat || weight->holder == holder))
            weights->items[n++] = *weight;
        else
            free(weight->name);
    }
    weights->count = n;
    free(start);
    return 0;
}

/* 1 if Hugging Face's names are a SiglipModel's: its pools are heads. */
static int is_siglip(const struct clip_weights *weights, const struct set *set)
{
    for (size_t i = 0; i < weights->count; i++) {
        const char *name = weights->items[i].name + set->length;
        if (after_prefix(name, "vision_model.head.") || after_prefix(name, "text_model.head."))
            return 1;
    }
    return 0;
}

/* There is no model among the tensors. */
static int fail_none(const struct clip_weights *weights, struct clip_error *error)
{
    char text[100] = "";
    if (weights->count > 0)
        clip_printable(text, sizeof text, weights->items[0].name, strlen(weights->items[0].name));
    return clip_fail(
        error,
        "not a CLIP model: none of its %zu tensors (%s%s) is visual.conv1.weight, token_embedding.weight or "
        "Hugging Face's of these",
        weights->count, text, weights->count > 1 ? " ..." : "");
}

int clip_names_openai(struct clip_weights *weights, const char *key, struct clip_error *error)
{
    struct sets sets;
    if (clip_names_apple(weights, error) != 0 || clip_names_big_vision(weights, error) != 0)
        return -1;
    find_sets(&sets, weights);
    if (sets.count == 0)
        return fail_none(weights, error);
    if (choose_set(&sets, key, error) != 0)
        return -1;
    struct set *set = &sets.items[0];
    if (leave_set(weights, set, error) != 0)
        return -1;
    if (set->hf && is_siglip(weights, set))
        set->forms[CLIP_SIDE_IMAGE] = set->forms[CLIP_SIDE_TEXT] = CLIP_HF_SIGLIP;
    for (size_t i = 0, count = weights->count; i < count; i++)
        if (rename_one(weights, i, set, error) != 0)
            return -1;
    return clip_weights_sort(weights, error);
}
