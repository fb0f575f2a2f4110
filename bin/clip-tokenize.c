/* clip-tokenize: captions to token ids, exactly as the tokenizer of each model. */
#include "base/cli.h"
#include "base/datadir.h"
#include "model/open.h"
#include "model/vocabulary.h"
#include "stream/filter.h"
#include "text/captions.h"
#include "text/prompts.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *vocab, *field = "txt", *tab, *prompts_path, *classes_path;
static int lines, truncate_long, drop, bare, captions_of = -1, clean = -1;
static long context, seed;

/* --captions; the default is ONE in training, else WHOLE. */
enum { WHOLE, ONE, ALL };

static const struct clip_option options[] = {
    {"vocab", 0, CLIP_TEXT, &vocab, "FILE", "vocabulary, in any form [the model's, or the installed one]", 0,
     0},
    {"lines", 'l', CLIP_FLAG, &lines, NULL, "read plain text: each line is a caption, its number the key", 0,
     0},
    {"tab", 0, CLIP_TEXT, &tab, "FIELD",
     "with --lines: put the text before the first tab of a line into FIELD", 0, 0},
    {"field", 0, CLIP_TEXT, &field, "NAME",
     "field of the caption; NAME:PATH: a member of its JSON, such as json:caption [txt]", 0, 0},
    {"captions", 0, CLIP_CHOICE, &captions_of, "whole|one|all",
     "of several lines: use all as one text, one per epoch, or write a record for each [one with __epoch__, "
     "else "
     "whole]",
     0, 0},
    {"context", 0, CLIP_COUNT, &context, "N", "number of ids, including start and end [the model's, or 77]",
     2, 1 << 20},
    {"clean", 0, CLIP_CHOICE, &clean, "none|lower|canonicalize|whitespace|whitespace_underscore",
     "how to clean captions, as open_clip's functions of these names [as the model says]", 0, 0},
    {"bare", 0, CLIP_FLAG, &bare, NULL, "write a caption's own ids alone, i4 [count]", 0, 0},
    {"truncate", 't', CLIP_FLAG, &truncate_long, NULL,
     "truncate captions that are too long, and report their number", 0, 0},
    {"prompts", 0, CLIP_TEXT, &prompts_path, "FILE",
     "insert each caption into one of these prompts, in place of {c} or {}", 0, 0},
    {"seed", 0, CLIP_COUNT, &seed, "N", "seed for the choice of prompts and lines [0]", 0, 0},
    {"classes", 0, CLIP_TEXT, &classes_path, "FILE",
     "read class names, one per line; write a record for each of them in each prompt", 0, 0},
    {"drop", 0, CLIP_FLAG, &drop, NULL, "drop the field of the caption", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-tokenize",
    .operands = "[FILE...]",
    .purpose = "Puts the token ids of each record's caption into the field tokens, i4 [context]:\n"
               "start, caption, end, padding, as the model's tokenizer has them.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

struct job {
    struct clip_tokenizer *tokenizer;
    struct clip_prompts *prompts; /* or NULL */
    struct clip_caption_place place;
    int most;                    /* number of ids that the model has */
    char head[CLIP_TENSOR_HEAD]; /* of all tokens but those of --bare */
    size_t head_size;
    uint64_t truncated;
    struct clip_record **each; /* --captions all: the records made of the record just processed */
    size_t each_count;
};

/* Splits a line at its first tab. Returns as tokenize. */
static int split_line(struct clip_record *record, struct clip_error *error)
{
    const char *text = NULL;
    size_t size = 0;
    if (clip_field_bytes(clip_record_find(record, field), &text, &size) != 0)
        return clip_record_fail(record, "field '%s' is not text", field);
    const char *found = memchr(text, '\t', size);
    if (!found)
        return clip_record_fail(record, "no tab (--tab %s)", tab);
    size_t before = (size_t)(found - text);
    char *caption = malloc(size - before);
    if (!caption)
        return clip_fail_memory(error, "a line");
    memcpy(caption, found + 1, size - before - 1);
    int status = clip_record_put_string(record, tab, text, before, error);
    if (status == 0)
        status = clip_record_put_bytes(record, field, caption, size - before - 1, error);
    free(caption);
    return status;
}

/* Refuses a token that the model has no row for. Returns as tokenize. */
static int check_known(const struct job *job, struct clip_record *record, const int32_t *ids, size_t count)
{
    char shown[100];
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= job->most) {
            size_t length = 0;
            const char *name = clip_tokenizer_name(job->tokenizer, ids[i], &length);
            return clip_record_fail(record, "token '%s' has the id %ld, but the model has %d tokens",
                                    clip_printable(shown, sizeof shown, name ? name : "", length),
                                    (long)ids[i], job->most);
        }
    return 0;
}

/* Sets the ids of a text, in the template, padded. Returns as tokenize. */
static int put_tokens(struct job *job, struct clip_record *record, const char *text, size_t size,
                      struct clip_error *error)
{
    static const char *const frames[] = {"", " with the template's", " with start and end"};
    size_t count, frame = clip_tokenizer_frame(job->tokenizer), most = (size_t)context - frame;
    const int32_t *ids;
    struct clip_error why;
    if (clip_tokenize(job->tokenizer, text, size, &ids, &count, &why) != 0)
        return clip_record_fail(record, "%s", why.text);
    if (bare) {
        if (check_known(job, record, ids, count) != 0)
            return -1;
        struct clip_tensor own = {CLIP_I32, 1, {count}, (void *)ids};
        return clip_record_put_tensor(record, "tokens", &own, error);
    }
    if (count > most && !truncate_long)
        return clip_record_fail(record, "%zu tokens%s, but the context is %ld (see --truncate)",
                                count + frame, frames[frame < 2 ? frame : 2], context);
    job->truncated += count > most;
    count = count < most ? count : most;
    if (clip_tokenizer_size(job->tokenizer) > (size_t)job->most && check_known(job, record, ids, count) != 0)
        return -1;
    int32_t *to = clip_record_put_head(record, "tokens", job->head, job->head_size,
                                       (size_t)context * sizeof *to, error);
    if (!to)
        return -1;
    clip_tokenizer_lay(job->tokenizer, ids, count, to, (size_t)context);
    return 0;
}

/* Sets the ids of a caption, or of the prompt that it is inserted into. Returns as tokenize. */
static int put_caption(struct job *job, struct clip_record *record, uint32_t epoch,
                       const struct clip_caption_text *caption, struct clip_error *error)
{
    if (!job->prompts)
        return put_tokens(job, record, caption->text, caption->size, error);
    size_t size, key_size;
    const char *key = clip_record_key(record, &key_size);
    size_t i = clip_prompts_draw(job->prompts, (uint64_t)seed, epoch, key, key_size);
    char *prompt = clip_prompts_fill(job->prompts, i, caption->text, caption->size, &size);
    int status = prompt ? put_tokens(job, record, prompt, size, error) : clip_fail_memory(error, "a prompt");
    free(prompt);
    return status;
}

/* Adds a record for one caption: the key, the caption, its ids. */
static int add_each(struct job *job, struct clip_record *record, uint32_t epoch,
                    const struct clip_caption_text *caption, struct clip_error *error)
{
    const char *key, *name = job->place.path ? "txt" : field;
    size_t key_size;
    struct clip_record *one = job->each[job->each_count] = clip_record_new();
    if (!one)
        return clip_fail_memory(error, "a record");
    job->each_count++;
    key = clip_record_key(record, &key_size);
    if (clip_record_put_string(one, "__key__", key, key_size, error) != 0 ||
        (!drop && clip_record_put_bytes(one, name, caption->text, caption->size, error) != 0))
        return -1;
    if (put_caption(job, one, epoch, caption, error) == 0)
        return 0;
    return one->bad ? clip_record_fail(record, "%s", one->error.text) : -1;
}

static void drop_each(struct job *job)
{
    for (size_t i = 0; i < job->each_count; i++)
        clip_record_free(job->each[i]);
    free(job->each);
    job->each = NULL;
    job->each_count = 0;
}

/* Uses the captions as --captions says. Returns as tokenize. */
static int use_captions(struct job *job, struct clip_record *record, const struct clip_captions *captions,
                        int which, struct clip_error *error)
{
    size_t key_size;
    uint32_t epoch = 0;
    if ((which == ONE || job->prompts) && clip_record_epoch(record, &epoch) != 0)
        return -1;
    if (which == WHOLE)
        return put_caption(job, record, epoch, &captions->whole, error);
    if (captions->count == 0)
        return clip_record_fail(record, "the caption '%s' is empty", field);
    if (which == ONE) {
        const char *key = clip_record_key(record, &key_size);
        return put_caption(job, record, epoch,
                           clip_captions_draw(captions, (uint64_t)seed, epoch, key, key_size), error);
    }
    job->each = calloc(captions->count, sizeof(struct clip_record *));
    if (!job->each)
        return clip_fail_memory(error, "captions");
    for (size_t i = 0; i < captions->count; i++)
        if (add_each(job, record, epoch, &captions->all[i], error) != 0)
            return -1;
    return 0;
}

/* --clean none: the caption is the bytes of the field, with a byte order mark if there is one. */
static int is_plain(const struct job *job, const struct clip_record *record, struct clip_captions *captions)
{
    const struct clip_field *plain = clip_record_find(record, job->place.name);
    *captions = (struct clip_captions){0};
    return plain && !job->place.path &&
           clip_field_bytes(plain, &captions->whole.text, &captions->whole.size) == 0;
}

/* Returns 0; -1 with the record marked as bad, or, where it is not, with error. */
static int tokenize(struct job *job, struct clip_record *record, struct clip_error *error)
{
    struct clip_captions captions;
    struct clip_error why;
    drop_each(job);
    if (tab && split_line(record, error) != 0)
        return -1;
    int which = captions_of >= 0 ? captions_of : clip_record_find(record, "__epoch__") ? ONE : WHOLE;
    if (clean == 0 && which == WHOLE && is_plain(job, record, &captions))
        ;
    else if (clip_captions_read(&captions, record, &job->place, which != WHOLE, &why) != 0)
        return clip_record_fail(record, "%s", why.text);
    int status = use_captions(job, record, &captions, which, error);
    clip_captions_free(&captions);
    if (status == 0 && drop)
        clip_record_drop(record, job->place.name);
    return status;
}

static int tokenize_batch(void *context_of_run, struct clip_record **records, size_t n,
                          struct clip_error *error)
{
    for (size_t i = 0; i < n; i++)
        if (tokenize(context_of_run, records[i], error) != 0 && !records[i]->bad)
            return -1;
    return 0;
}

/* Refuses a vocabulary larger than the model's, except for added tokens, which are an error only when a
 * caption has them. */
static void check_size(const struct clip_tokenizer *tokenizer, const char *path, int most)
{
    const struct clip_vocabulary *vocabulary = clip_tokenizer_vocabulary(tokenizer);
    size_t size = vocabulary ? vocabulary->size : 0;
    for (size_t i = 0; vocabulary && i < vocabulary->added_count; i++)
        if ((size_t)vocabulary->added[i].id < size && vocabulary->added[i].id >= most)
            size = (size_t)vocabulary->added[i].id;
    if (size > (size_t)most)
        clip_die("%s: %zu tokens, but the model has %d", path, size, most);
    int32_t largest = clip_tokenizer_largest(tokenizer);
    if (largest >= most)
        clip_die("%s: its template has the token %ld, but the model has %d tokens", path, (long)largest,
                 most);
}

/* --captions all: writes the records of the captions instead of the record. */
static int write_each(void *context_of_run, struct clip_record *record, struct clip_writer *out,
                      struct clip_error *error)
{
    struct job *job = context_of_run;
    (void)record;
    for (size_t i = 0; i < job->each_count; i++)
        if (clip_writer_record(out, job->each[i], error) != 0)
            return -1;
    return 0;
}

/* Where the tokenizer is that the options name; the settings, context and number of tokens of the model. */
static char *find_vocabulary(const struct clip_shared *shared, struct clip_tokenizer_settings *settings,
                             int *most)
{
    struct clip_error error;
    struct clip_model *model = NULL;
    char *path = NULL;
    if (shared->model) {
        model = clip_open_settings(shared, CLIP_SIDE_TEXT, &error);
        if (!model)
            clip_die("%s", error.text);
        *most = clip_model_arch(model)->text.vocabulary;
        *settings = clip_model_arch(model)->tokenizer;
        if (!context)
            context = clip_model_arch(model)->text.context;
    }
    if (vocab)
        path = strdup(vocab);
    else if (model)
        path = clip_find_vocabulary(model, shared->model, &error);
    else
        path = clip_data_path("vocab/default", &error);
    if (!path)
        clip_die("%s", vocab ? "out of memory" : error.text);
    clip_model_close(model);
    return path;
}

static void open_vocabulary(struct job *job, const struct clip_shared *shared)
{
    struct clip_error error;
    struct clip_tokenizer_settings settings = {0};
    job->most = CLIP_MAX_TOKENS;
    char *path = find_vocabulary(shared, &settings, &job->most);
    if (clean >= 0)
        settings.cleaning = (enum clip_cleaning)(CLIP_CLEANING_NONE + clean);
    job->tokenizer = clip_tokenizer_open(path, &settings, &error);
    if (!job->tokenizer)
        clip_die("%s", error.text);
    check_size(job->tokenizer, path, job->most);
    if (!context)
        context = 77;
    if ((size_t)context < clip_tokenizer_frame(job->tokenizer))
        clip_die("%s: its template has %zu tokens, but the context is %ld", path,
                 clip_tokenizer_frame(job->tokenizer), context);
    free(path);
}

/* --- classes --- */

/* Class i in prompt k, as a record. */
static int write_prompt(struct job *job, const struct clip_classes *classes, size_t i, size_t k,
                        struct clip_writer *out, struct clip_error *error)
{
    char key[48];
    const char *name = classes->names[i];
    size_t size = strlen(name);
    char *text = job->prompts ? clip_prompts_fill(job->prompts, k, name, size, &size) : strdup(name);
    struct clip_record *record = clip_record_new();
    int status = text && record ? 0 : clip_fail_memory(error, "a prompt");
    int key_size = snprintf(key, sizeof key, "%zu/%zu", i, k);
    if (status == 0)
        status = clip_record_put_string(record, "__key__", key, (size_t)key_size, error);
    if (status == 0)
        status = clip_record_put_integer(record, "cls", (int64_t)i, error);
    if (status == 0)
        status = clip_record_put_string(record, "class", name, strlen(name), error);
    if (status == 0 && !drop)
        status = clip_record_put_bytes(record, "txt", text, size, error);
    if (status == 0 && put_tokens(job, record, text, size, error) != 0)
        status = record->bad ? clip_fail(error, "class '%.100s': %s", name, record->error.text) : -1;
    if (status == 0)
        status = clip_writer_record(out, record, error);
    clip_record_free(record);
    free(text);
    return status;
}

static int write_classes(struct job *job, const struct clip_classes *classes, struct clip_writer *out,
                         struct clip_error *error)
{
    size_t prompts = job->prompts ? clip_prompts_count(job->prompts) : 1;
    for (size_t i = 0; i < classes->count; i++)
        for (size_t k = 0; k < prompts; k++)
            if (write_prompt(job, classes, i, k, out, error) != 0)
                return -1;
    return 0;
}

static int run_classes(struct job *job)
{
    struct clip_error error;
    struct clip_classes classes = {0};
    struct clip_writer *out = NULL;
    clip_refuse_terminal();
    int status = clip_classes_read(&classes, classes_path, &error);
    if (status == 0 && !(out = clip_writer_new(STDOUT_FILENO, "standard output", &error)))
        status = -1;
    if (status == 0)
        status = clip_writer_finish(out, write_classes(job, &classes, out, &error), &error);
    if (status != 0)
        clip_message("%s", error.text);
    clip_writer_free(out);
    clip_classes_free(&classes);
    return status != 0;
}

static int run_filter(struct job *job, const struct clip_shared *shared, char **operands, size_t n)
{
    struct clip_filter filter = {.process = tokenize_batch,
                                 .write = captions_of == ALL ? write_each : NULL,
                                 .context = job,
                                 .batch = (size_t)shared->batch,
                                 .lines = lines ? field : NULL};
    int status = clip_filter_run(&filter, shared, operands, n);
    drop_each(job);
    return status;
}

static void check_usage(struct job *job, size_t operands)
{
    struct clip_error error;
    if (tab && (!lines || strcmp(tab, field) == 0))
        clip_usage("--tab needs --lines, and a field other than the caption's");
    if (lines && captions_of >= 0)
        clip_usage("--captions and --lines are mutually exclusive");
    if (classes_path && (operands || lines || captions_of >= 0))
        clip_usage("--classes takes no other input, and no --lines or --captions");
    if (seed && !prompts_path && captions_of != ONE)
        clip_usage("--seed needs --prompts or --captions one");
    if (clip_caption_place_read(&job->place, field, &error) != 0)
        clip_usage("--field: %s", error.text);
    if (bare && (context || truncate_long))
        clip_usage("--bare takes no --context and no --truncate");
    if (lines && strcmp(field, "__key__") == 0)
        clip_usage("--field: the key of a line is its number");
    if (lines && job->place.path)
        clip_usage("--field: a path is not allowed with --lines");
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {.batch = 1}; /* larger batches gain nothing */
    struct clip_error error;
    struct job job = {0};
    int first = clip_start(&program, &shared, argc, argv);
    check_usage(&job, (size_t)(argc - first));
    if (prompts_path && !(job.prompts = clip_prompts_read(prompts_path, &error)))
        clip_die("%s", error.text);
    open_vocabulary(&job, &shared);
    const struct clip_tensor tokens = {CLIP_I32, 1, {(size_t)context}, NULL};
    job.head_size = clip_tensor_head(&tokens, job.head);
    int status =
        classes_path ? run_classes(&job) : run_filter(&job, &shared, argv + first, (size_t)(argc - first));
    if (job.truncated)
        clip_note("%" PRIu64 " captions truncated to %ld tokens", job.truncated, context);
    clip_tokenizer_free(job.tokenizer);
    clip_prompts_free(job.prompts);
    free(job.place.name);
    return status;
}
