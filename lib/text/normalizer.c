#include "text/normalizer.h"
#include "base/array.h"

#include <unictype.h>

#define SPACE "\xe2\x96\x81" /* U+2581 */

struct clip_normal_step *clip_normalizer_add(struct clip_normalizer *normalizer, enum clip_normal_kind kind,
                                             int first, struct clip_error *error)
{
    struct clip_normal_step *steps =
        reallocarray(normalizer->steps, normalizer->count + 1, sizeof *normalizer->steps);
    if (!steps) {
        clip_fail_memory(error, "a tokenizer");
        return NULL;
    }
    normalizer->steps = steps;
    size_t at = first ? 0 : normalizer->count;
    memmove(steps + at + 1, steps + at, (normalizer->count++ - at) * sizeof *steps);
    memset(&steps[at], 0, sizeof steps[at]);
    steps[at].kind = kind;
    return &steps[at];
}

void clip_normalizer_free(struct clip_normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        struct clip_normal_step *step = &normalizer->steps[i];
        clip_buffer_free(&step->from);
        clip_buffer_free(&step->to);
        clip_pattern_free(step->pattern);
        clip_charsmap_free(&step->map);
    }
    free(normalizer->steps);
    *normalizer = (struct clip_normalizer){0};
}

void clip_normal_work_free(struct clip_normal_work *work)
{
    clip_buffer_free(&work->buffers[0]);
    clip_buffer_free(&work->buffers[1]);
    clip_points_free(&work->points);
    clip_points_free(&work->spare);
}

/* One step's input and output. */
struct run {
    const struct clip_normal_step *step;
    struct clip_normal_work *work;
    const char *text;
    size_t n;
    struct clip_buffer *out;
    struct clip_error *error;
};

/* The next character of a text that is UTF-8; *i is moved on. */
static uint32_t next_point(const char *text, size_t n, size_t *i)
{
    uint32_t point = (unsigned char)text[*i];
    if (point < 0x80) {
        ++*i;
        return point;
    }
    int taken = clip_utf8_read(&point, (const uint8_t *)text + *i, n - *i);
    *i += (size_t)(taken > 0 ? taken : -taken);
    return taken > 0 ? point : CLIP_REPLACEMENT;
}

static int is_ascii(const char *text, size_t n)
{
    unsigned char all = 0;
    for (size_t i = 0; i < n; i++)
        all |= (unsigned char)text[i];
    return all < 0x80;
}

static int read_points(struct run *run)
{
    struct clip_points *points = &run->work->points;
    points->n = 0;
    if (clip_points_reserve(points, run->n, run->error) != 0)
        return -1;
    for (size_t i = 0; i < run->n;)
        points->at[points->n++] = next_point(run->text, run->n, &i);
    return 0;
}

static int put_points(struct run *run)
{
    const struct clip_points *points = &run->work->points;
    if (clip_buffer_reserve(run->out, 4 * points->n, run->error) != 0)
        return -1;
    for (size_t i = 0; i < points->n; i++)
        run->out->n += clip_utf8_write((uint8_t *)run->out->at + run->out->n, points->at[i]);
    return 0;
}

static int run_form(struct run *run)
{
    if (is_ascii(run->text, run->n))
        return clip_buffer_add(run->out, run->text, run->n, run->error);
    struct clip_points *points = &run->work->points, *spare = &run->work->spare;
    if (read_points(run) != 0)
        return -1;
    int status = run->step->form == CLIP_NFC ? clip_nfc(points, spare, run->error)
                                             : clip_normal(run->step->form, points, spare, run->error);
    return status != 0 ? -1 : put_points(run);
}

/* Appends the small form of a character, for which there is room: at most 3 bytes for each of its own. */
static void put_lower(struct clip_buffer *out, uint32_t point)
{
    uint8_t *to = (uint8_t *)out->at + out->n;
    if (point == 0x130) { /* the one capital whose small form is two code points */
        *to = 'i';
        out->n += 1 + clip_utf8_write(to + 1, 0x307);
    } else {
        out->n += clip_utf8_write(to, clip_lower_point(point));
    }
}

static int run_lower(struct run *run)
{
    if (clip_buffer_reserve(run->out, 3 * run->n, run->error) != 0)
        return -1;
    for (size_t i = 0; i < run->n;) {
        unsigned char c = (unsigned char)run->text[i];
        if (c < 0x80) {
            run->out->at[run->out->n++] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
            i++;
        } else {
            put_lower(run->out, next_point(run->text, run->n, &i));
        }
    }
    return 0;
}

/* The white space that ends text[n], in bytes. */
size_t clip_trailing_space(const char *text, size_t n)
{
    size_t end = n;
    while (end > 0) {
        size_t begin = end - 1;
        while (begin > 0 && end - begin < 4 && (text[begin] & 0xc0) == 0x80)
            begin--;
        size_t at = begin;
        if (!clip_is_white_space(next_point(text, end, &at)) || at != end)
            break;
        end = begin;
    }
    return n - end;
}

size_t clip_leading_space(const char *text, size_t n)
{
    size_t begin = 0;
    for (size_t at = 0; at < n && clip_is_white_space(next_point(text, n, &at)); begin = at)
        ;
    return begin;
}

static int run_strip(struct run *run)
{
    size_t begin = run->step->left ? clip_leading_space(run->text, run->n) : 0;
    size_t end = run->n - (run->step->right ? clip_trailing_space(run->text + begin, run->n - begin) : 0);
    return clip_buffer_add(run->out, run->text + begin, end - begin, run->error);
}

/* BertNormalizer's accents; StripAccents takes marks of all kinds. */
static int is_accent(uint32_t point)
{
    return point >= 0x300 && uc_is_general_category(point, UC_NON_SPACING_MARK);
}

static int is_mark(uint32_t point)
{
    return point >= 0x300 && uc_is_general_category(point, UC_MARK);
}

static int run_strip_accents(struct run *run)
{
    if (clip_buffer_reserve(run->out, run->n, run->error) != 0)
        return -1;
    for (size_t i = 0, before = 0; i < run->n; before = i)
        if (!is_mark(next_point(run->text, run->n, &i)))
            clip_buffer_put(run->out, run->text + before, i - before);
    return 0;
}

static int replace_text(struct run *run)
{
    const struct clip_buffer *from = &run->step->from, *to = &run->step->to;
    size_t at = 0;
    while (from->n > 0 && at < run->n) {
        const char *found = memmem(run->text + at, run->n - at, from->at, from->n);
        if (!found)
            break;
        size_t before = (size_t)(found - run->text) - at;
        if (clip_buffer_reserve(run->out, before + to->n, run->error) != 0)
            return -1;
        clip_buffer_put(run->out, run->text + at, before);
        clip_buffer_put(run->out, to->at, to->n);
        at += before + from->n;
    }
    return clip_buffer_add(run->out, run->text + at, run->n - at, run->error);
}

static int run_replace(struct run *run)
{
    if (!run->step->pattern)
        return replace_text(run);
    struct clip_search search = {run->step->pattern, run->text, run->n, 0};
    const struct clip_buffer *to = &run->step->to;
    size_t at = 0, begin, end;
    int found;
    while ((found = clip_pattern_next(&search, at, &begin, &end, run->error)) > 0) {
        if (clip_buffer_reserve(run->out, begin - at + to->n, run->error) != 0)
            return -1;
        clip_buffer_put(run->out, run->text + at, begin - at);
        clip_buffer_put(run->out, to->at, to->n);
        at = end;
    }
    return found < 0 ? -1 : clip_buffer_add(run->out, run->text + at, run->n - at, run->error);
}

static int run_prepend(struct run *run)
{
    const struct clip_buffer *to = &run->step->to;
    if (run->n > 0 && clip_buffer_add(run->out, to->at, to->n, run->error) != 0)
        return -1;
    return clip_buffer_add(run->out, run->text, run->n, run->error);
}

static int run_charsmap(struct run *run)
{
    return clip_charsmap_apply(&run->step->map, run->text, run->n, run->out, run->error);
}

/* --- BERT --- */

static int is_dropped(uint32_t point)
{
    if (point == 0 || point == CLIP_REPLACEMENT)
        return 1;
    if (point == '\t' || point == '\n' || point == '\r')
        return 0;
    if (point < 0x7f)
        return point < 0x20;
    /* What is not assigned stays, though Unicode has it among the others (C). */
    return uc_is_general_category_withtable(point,
                                            UC_CATEGORY_MASK_Cc | UC_CATEGORY_MASK_Cf | UC_CATEGORY_MASK_Co);
}

/* As the Rust library has it, of which the seventh range is narrower than BERT's own. */
static int is_chinese(uint32_t point)
{
    static const uint32_t ranges[][2] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df},
                                         {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf},
                                         {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
    if (point < 0x3400)
        return 0;
    for (size_t i = 0; i < CLIP_COUNT_OF(ranges); i++)
        if (point >= ranges[i][0] && point <= ranges[i][1])
            return 1;
    return 0;
}

/* The characters that stay, with blanks around the Chinese ones, as points. */
static int bert_points(struct run *run)
{
    const struct clip_normal_step *step = run->step;
    struct clip_points *points = &run->work->points;
    points->n = 0;
    if (clip_points_reserve(points, 3 * run->n, run->error) != 0)
        return -1;
    for (size_t i = 0; i < run->n;) {
        uint32_t point = next_point(run->text, run->n, &i);
        if (step->clean && is_dropped(point))
            continue;
        if (step->clean && clip_is_white_space(point))
            point = ' ';
        int apart = step->chinese && is_chinese(point);
        if (apart)
            points->at[points->n++] = ' ';
        points->at[points->n++] = point;
        if (apart)
            points->at[points->n++] = ' ';
    }
    return 0;
}

static int bert_ascii(struct run *run)
{
    const struct clip_normal_step *step = run->step;
    if (clip_buffer_reserve(run->out, run->n, run->error) != 0)
        return -1;
    char *out = run->out->at + run->out->n, *begin = out;
    for (size_t i = 0; i < run->n; i++) {
        unsigned char c = (unsigned char)run->text[i];
        if (step->clean && (c < 0x20 || c == 0x7f)) {
            if (c != '\t' && c != '\n' && c != '\r')
                continue;
            c = ' ';
        }
        *out++ = (char)(step->lower && c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    run->out->n += (size_t)(out - begin);
    return 0;
}

static int run_bert(struct run *run)
{
    const struct clip_normal_step *step = run->step;
    struct clip_points *points = &run->work->points;
    if (is_ascii(run->text, run->n))
        return bert_ascii(run);
    if (bert_points(run) != 0 ||
        (step->accents && clip_normal(CLIP_NFD, points, &run->work->spare, run->error) != 0) ||
        clip_buffer_reserve(run->out, 4 * points->n, run->error) != 0)
        return -1;
    for (size_t i = 0; i < points->n; i++) {
        if (step->accents && is_accent(points->at[i]))
            continue;
        if (step->lower)
            put_lower(run->out, points->at[i]);
        else
            run->out->n += clip_utf8_write((uint8_t *)run->out->at + run->out->n, points->at[i]);
    }
    return 0;
}

/* --- SigLIP --- */

static int is_ascii_punctuation(uint32_t point)
{
    return point < 0x7f && point > ' ' && !(point - '0' < 10) && !((point | 32) - 'a' < 26);
}

static int run_siglip(struct run *run)
{
    struct clip_points *points = &run->work->points;
    if (read_points(run) != 0 || clip_lower(points, &run->work->spare, run->error) != 0)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < points->n; i++) {
        uint32_t point = points->at[i];
        if (is_ascii_punctuation(point))
            continue;
        if (!clip_is_space(point))
            points->at[n++] = point;
        else if (n > 0 && points->at[n - 1] != ' ')
            points->at[n++] = ' ';
    }
    points->n = n > 0 && points->at[n - 1] == ' ' ? n - 1 : n;
    return put_points(run);
}

/* --- SentencePiece --- */

/* What text[at] and on begins with: a piece that stays, a mapped prefix, a character. Returns its bytes and
 * sets what it becomes. */
static size_t sentence_prefix(const struct run *run, size_t at, const char **to, size_t *to_n)
{
    const struct clip_normal_step *step = run->step;
    const char *text = run->text + at;
    size_t n = run->n - at, length;
    *to = text;
    if (step->pieces && clip_trie_longest(step->pieces, text, n, &length) >= 0) {
        *to_n = length;
        return length;
    }
    if (n > 1 && !((text[0] | text[1]) & 0x80) && step->map.plain[(unsigned char)*text]) {
        *to = &step->map.plain[(unsigned char)*text];
        *to_n = 1;
        return 1;
    }
    const char *mapped = clip_charsmap_find(&step->map, text, n, 0, &length);
    if (mapped) {
        *to = mapped;
        *to_n = strlen(mapped);
        return length;
    }
    uint32_t point;
    int taken = clip_utf8_read(&point, (const uint8_t *)text, n);
    *to_n = taken > 0 ? (size_t)taken : 3;
    if (taken < 0)
        *to = "\xef\xbf\xbd"; /* U+FFFD for each byte */
    return taken > 0 ? (size_t)taken : 1;
}

/* Appends a text, each of its spaces as U+2581 where they are so. */
static int put_sentence(struct run *run, const char *text, size_t n)
{
    if (clip_buffer_reserve(run->out, 3 * n, run->error) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ' && run->step->escape)
            clip_buffer_put(run->out, SPACE, 3);
        else
            run->out->at[run->out->n++] = text[i];
    }
    return 0;
}

static void strip_sentence(struct run *run, size_t begin)
{
    struct clip_buffer *out = run->out;
    const char *space = run->step->escape ? SPACE : " ";
    size_t length = strlen(space);
    while (out->n - begin >= length && memcmp(out->at + out->n - length, space, length) == 0)
        out->n -= length;
}

static int run_sentencepiece(struct run *run)
{
    const struct clip_normal_step *step = run->step;
    const char *to;
    size_t to_n, at = 0, begin = run->out->n;
    if (step->extra)
        for (size_t used;
             at < run->n && (used = sentence_prefix(run, at, &to, &to_n)) && to_n == 1 && *to == ' ';)
            at += used;
    if (at < run->n && step->dummy && put_sentence(run, " ", 1) != 0)
        return -1;
    for (int space = step->extra; at < run->n;) {
        at += sentence_prefix(run, at, &to, &to_n);
        for (; space && to_n > 0 && *to == ' '; to++, to_n--)
            ;
        if (to_n == 0)
            continue;
        if (put_sentence(run, to, to_n) != 0)
            return -1;
        space = step->extra && to[to_n - 1] == ' ';
    }
    if (step->extra)
        strip_sentence(run, begin);
    return clip_buffer_reserve(run->out, 0, run->error);
}

/* --- all of them --- */

static int (*const runs[])(struct run *) = {
    [CLIP_NORMAL_FORM] = run_form,         [CLIP_NORMAL_LOWER] = run_lower,
    [CLIP_NORMAL_STRIP] = run_strip,       [CLIP_NORMAL_STRIP_ACCENTS] = run_strip_accents,
    [CLIP_NORMAL_REPLACE] = run_replace,   [CLIP_NORMAL_PREPEND] = run_prepend,
    [CLIP_NORMAL_CHARSMAP] = run_charsmap, [CLIP_NORMAL_BERT] = run_bert,
    [CLIP_NORMAL_SIGLIP] = run_siglip,     [CLIP_NORMAL_SENTENCEPIECE] = run_sentencepiece};

int clip_normalize(const struct clip_normalizer *normalizer, struct clip_normal_work *work, const char *text,
                   size_t n, const char **out, size_t *out_n, struct clip_error *error)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        struct clip_buffer *to = &work->buffers[i % 2];
        struct run run = {&normalizer->steps[i], work, text, n, to, error};
        to->n = 0;
        if (clip_buffer_reserve(to, 0, error) != 0 || runs[run.step->kind](&run) != 0)
            return -1;
        text = to->at;
        n = to->n;
    }
    *out = text;
    *out_n = n;
    return 0;
}
