#include "text/splitter.h"
#include "base/array.h"
#include "text/unicode.h"

#include <unictype.h>

struct clip_split_step *clip_splitter_add(struct clip_splitter *splitter, enum clip_split_kind kind,
                                          enum clip_split how, struct clip_error *error)
{
    struct clip_split_step *steps =
        reallocarray(splitter->steps, splitter->count + 1, sizeof *splitter->steps);
    if (!steps) {
        clip_fail_memory(error, "a tokenizer");
        return NULL;
    }
    splitter->steps = steps;
    steps[splitter->count] = (struct clip_split_step){.kind = kind, .how = how};
    return &steps[splitter->count++];
}

void clip_splitter_free(struct clip_splitter *splitter)
{
    for (size_t i = 0; i < splitter->count; i++) {
        clip_buffer_free(&splitter->steps[i].text);
        clip_pattern_free(splitter->steps[i].pattern);
    }
    free(splitter->steps);
    *splitter = (struct clip_splitter){0};
}

void clip_split_work_free(struct clip_split_work *work)
{
    clip_buffer_free(&work->buffers[0]);
    clip_buffer_free(&work->buffers[1]);
    free(work->spans.at);
    free(work->spare.at);
    *work = (struct clip_split_work){0};
}

static int add_span(struct clip_spans *spans, struct clip_span span, struct clip_error *error)
{
    if (CLIP_GROW(spans->at, spans->n, spans->room) != 0)
        return clip_fail_memory(error, "words");
    spans->at[spans->n++] = span;
    return 0;
}

/* --- what matches --- */

/* One word of one step: text[at .. end) is looked through. */
struct run {
    const struct clip_split_step *step;
    const char *text;
    size_t begin, end;
    int first; /* the word is the begin of the input */
    struct clip_search search;
    struct clip_spans *out;
    struct clip_error *error;
};

static int is_punctuation(uint32_t point)
{
    if (point < 0x80)
        return point > ' ' && point < 0x7f && !(point - '0' < 10) && !((point | 32) - 'a' < 26);
    return uc_is_general_category(point, UC_PUNCTUATION);
}

static int is_match(const struct clip_split_step *step, uint32_t point)
{
    switch (step->kind) {
    case CLIP_SPLIT_SPACE:
        return clip_is_white_space(point);
    case CLIP_SPLIT_PUNCTUATION:
        return is_punctuation(point);
    default:
        return (clip_point_classes(point) & CLIP_NUMBER) != 0;
    }
}

/* The next character that matches, at or after `at`. */
static int next_character(struct run *run, size_t at, size_t *begin, size_t *end)
{
    const uint8_t *text = (const uint8_t *)run->text;
    while (at < run->end) {
        uint32_t point = text[at];
        int taken = point < 0x80 ? 1 : clip_utf8_read(&point, text + at, run->end - at);
        size_t length = (size_t)(taken > 0 ? taken : -taken);
        if (is_match(run->step, taken > 0 ? point : CLIP_REPLACEMENT)) {
            *begin = at;
            *end = at + length;
            return 1;
        }
        at += length;
    }
    return 0;
}

/* The next match at or after `at`: 1, 0, or -1 with error. */
static int next_match(struct run *run, size_t at, size_t *begin, size_t *end)
{
    const struct clip_split_step *step = run->step;
    if (step->kind == CLIP_SPLIT_PATTERN) {
        int found = clip_pattern_next(&run->search, at - run->begin, begin, end, run->error);
        *begin += run->begin;
        *end += run->begin;
        return found;
    }
    if (step->kind != CLIP_SPLIT_TEXT && step->kind != CLIP_SPLIT_METASPACE)
        return next_character(run, at, begin, end);
    const char *found =
        step->text.n ? memmem(run->text + at, run->end - at, step->text.at, step->text.n) : NULL;
    if (!found)
        return 0;
    *begin = (size_t)(found - run->text);
    *end = *begin + step->text.n;
    return 1;
}

/* --- what becomes of it --- */

struct part {
    size_t begin, end;
    int matches;
};

/* The parts of a word as they come; what is put out is kept back while a later part may still join it. */
struct joiner {
    struct run *run;
    struct part held;
    int holds;
};

static int flush(struct joiner *joiner)
{
    struct run *run = joiner->run;
    if (!joiner->holds)
        return 0;
    joiner->holds = 0;
    struct clip_span span = {joiner->held.begin, joiner->held.end,
                             run->first && joiner->held.begin == run->begin};
    return add_span(run->out, span, run->error);
}

/* 1 if `part` joins the one before it. */
static int joins(enum clip_split how, const struct part *before, const struct part *part)
{
    switch (how) {
    case CLIP_SPLIT_WITH_PREVIOUS:
        return part->matches && !before->matches;
    case CLIP_SPLIT_WITH_NEXT:
        return before->matches && !part->matches;
    case CLIP_SPLIT_CONTIGUOUS:
        return before->matches == part->matches;
    default:
        return 0;
    }
}

static int add_part(struct joiner *joiner, size_t begin, size_t end, int matches)
{
    struct part part = {begin, end, matches != joiner->run->step->inverted};
    enum clip_split how = joiner->run->step->how;
    if (begin == end)
        return 0;
    if (joiner->holds && joins(how, &joiner->held, &part)) {
        joiner->held.end = end;
        joiner->held.matches = part.matches;
        return 0;
    }
    if (flush(joiner) != 0)
        return -1;
    joiner->holds = how != CLIP_SPLIT_REMOVED || !part.matches;
    joiner->held = part;
    return 0;
}

static int split(struct run *run)
{
    struct joiner joiner = {.run = run};
    size_t at = run->begin, begin = 0, end = 0;
    int found;
    run->search = (struct clip_search){run->step->pattern, run->text + run->begin, run->end - run->begin, 0};
    while (at < run->end && (found = next_match(run, at, &begin, &end)) != 0) {
        if (found < 0 || add_part(&joiner, at, begin, 0) != 0 || add_part(&joiner, begin, end, 1) != 0)
            return -1;
        at = end;
    }
    return add_part(&joiner, at, run->end, 0) != 0 ? -1 : flush(&joiner);
}

/* --- Metaspace --- */

/* Appends the word to `out` with its spaces replaced, and the replacement before it. */
static int replace_spaces(const struct run *run, struct clip_buffer *out)
{
    const struct clip_split_step *step = run->step;
    const char *text = run->text + run->begin, *to = step->text.at;
    size_t n = run->end - run->begin, to_n = step->text.n;
    int has = n > 0 && (*text == ' ' || (n >= to_n && memcmp(text, to, to_n) == 0));
    int wanted = step->prepend == CLIP_PREPEND_ALWAYS || (step->prepend == CLIP_PREPEND_FIRST && run->first);
    if (clip_buffer_reserve(out, (n + 1) * to_n, run->error) != 0)
        return -1;
    if (!has && wanted)
        clip_buffer_put(out, to, to_n);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ')
            clip_buffer_put(out, to, to_n);
        else
            out->at[out->n++] = text[i];
    }
    return 0;
}

static int run_metaspace(struct run *run, struct clip_buffer *out)
{
    size_t begin = out->n;
    if (replace_spaces(run, out) != 0)
        return -1;
    struct run words = *run;
    words.text = out->at;
    words.begin = begin;
    words.end = out->n;
    if (run->step->whole)
        return begin == out->n
                   ? 0
                   : add_span(run->out, (struct clip_span){begin, out->n, run->first}, run->error);
    return split(&words);
}

static int run_prefix(struct run *run, struct clip_buffer *out)
{
    size_t begin = out->n, n = run->end - run->begin;
    if (clip_buffer_reserve(out, n + 1, run->error) != 0)
        return -1;
    if (run->text[run->begin] != ' ')
        out->at[out->n++] = ' ';
    clip_buffer_put(out, run->text + run->begin, n);
    return add_span(run->out, (struct clip_span){begin, out->n, run->first}, run->error);
}

/* --- all steps --- */

int clip_split_words(const struct clip_splitter *splitter, struct clip_split_work *work, const char *text,
                     size_t n, int first, const char **out, struct clip_error *error)
{
    size_t written = 0;
    work->spans.n = 0;
    if (n > 0 && add_span(&work->spans, (struct clip_span){0, n, first}, error) != 0)
        return -1;
    for (size_t i = 0; i < splitter->count; i++) {
        const struct clip_split_step *step = &splitter->steps[i];
        struct clip_buffer *to = &work->buffers[written % 2];
        int writes = step->kind == CLIP_SPLIT_METASPACE || step->kind == CLIP_SPLIT_PREFIX;
        to->n = 0;
        work->spare.n = 0;
        for (size_t k = 0; k < work->spans.n; k++) {
            struct clip_span *span = &work->spans.at[k];
            struct run run = {.step = step,
                              .text = text,
                              .begin = span->begin,
                              .end = span->end,
                              .first = span->first,
                              .out = &work->spare,
                              .error = error};
            if ((step->kind == CLIP_SPLIT_METASPACE ? run_metaspace(&run, to)
                 : step->kind == CLIP_SPLIT_PREFIX  ? run_prefix(&run, to)
                                                    : split(&run)) != 0)
                return -1;
        }
        if (writes && clip_buffer_reserve(to, 0, error) != 0)
            return -1;
        text = writes ? to->at : text;
        written += (size_t)writes;
        struct clip_spans swapped = work->spans;
        work->spans = work->spare;
        work->spare = swapped;
    }
    *out = text;
    return 0;
}
