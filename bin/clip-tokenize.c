/* clip-tokenize: captions to token ids, exactly as OpenAI's tokenizer. */
#include "base/cli.h"
#include "base/datadir.h"
#include "model/open.h"
#include "model/vocabulary.h"
#include "stream/filter.h"
#include "text/prompts.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *vocab, *field = "txt", *tab, *prompts_path;
static int lines, truncate_long, refuse_empty, drop;
static long context, seed;

static const struct clip_option options[] = {
    {"vocab", 0, CLIP_TEXT, &vocab, "FILE", "vocabulary, in any form [the model's, or the shipped one]", 0,
     0},
    {"lines", 'l', CLIP_FLAG, &lines, NULL, "read plain text: a caption a line, its number the key", 0, 0},
    {"tab", 0, CLIP_TEXT, &tab, "FIELD", "with --lines: what is before a line's first tab goes to FIELD", 0,
     0},
    {"field", 0, CLIP_TEXT, &field, "NAME", "the field of the caption [txt]", 0, 0},
    {"context", 0, CLIP_COUNT, &context, "N",
     "ids of a caption, start and end among them [the model's, or 77]", 2, 1 << 20},
    {"truncate", 't', CLIP_FLAG, &truncate_long, NULL, "cut captions that are too long, and count them", 0,
     0},
    {"refuse-empty", 0, CLIP_FLAG, &refuse_empty, NULL, "take empty captions for bad records", 0, 0},
    {"prompts", 0, CLIP_TEXT, &prompts_path, "FILE",
     "put each caption in the place of {c} of one of these prompts", 0, 0},
    {"seed", 0, CLIP_COUNT, &seed, "N", "which prompt: of seed, epoch and key [0]", 0, 0},
    {"drop", 0, CLIP_FLAG, &drop, NULL, "drop the caption's field", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-tokenize",
    .operands = "[FILE...]",
    .purpose = "Puts the token ids of each record's caption in the field tokens, i4 [context]:\n"
               "start, caption, end, zeros.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

struct job {
    struct clip_vocabulary *vocabulary;
    struct clip_tokenizer *tokenizer;
    struct clip_prompts *prompts; /* or NULL */
    int most;                     /* ids that the model knows */
    int32_t *ids;                 /* [context] */
    uint64_t truncated;
};

/* Parts a line at its first tab. Returns as tokenize. */
static int split_line(struct clip_record *record, struct clip_error *error)
{
    const char *text = NULL;
    size_t size = 0;
    if (clip_field_bytes(clip_record_find(record, field), &text, &size) != 0)
        return clip_record_fail(record, "field '%s' is no text", field);
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

/* 1 where there is nothing but ASCII's white space. */
static int is_blank(const char *text, size_t size)
{
    size_t i = 0;
    while (i < size && memchr(" \t\n\v\f\r", text[i], 6))
        i++;
    return i == size;
}

/* The ids of the record's caption, or of the prompt that it is put into. Returns as tokenize. */
static int find_ids(struct job *job, struct clip_record *record, const int32_t **ids, size_t *count,
                    struct clip_error *error)
{
    const char *text, *key;
    size_t size, key_size;
    uint32_t epoch;
    const struct clip_field *found = clip_record_find(record, field);
    if (!found)
        return clip_record_fail(record, "no field '%s'", field);
    if (clip_field_bytes(found, &text, &size) != 0)
        return clip_record_fail(record, "field '%s' is not text", field);
    if (refuse_empty && is_blank(text, size))
        return clip_record_fail(record, "field '%s': the caption is empty", field);
    if (!job->prompts)
        return clip_tokenize(job->tokenizer, text, size, ids, count, error);
    if (clip_record_epoch(record, &epoch) != 0)
        return -1;
    key = clip_record_key(record, &key_size);
    char *prompt = clip_prompts_fill(job->prompts, (uint64_t)seed, epoch, key, key_size, text, size, &size);
    int status = prompt ? clip_tokenize(job->tokenizer, prompt, size, ids, count, error)
                        : clip_fail_memory(error, "a prompt");
    free(prompt);
    return status;
}

/* Returns 0; -1 with the record marked as bad, or, where it is not, with error. */
static int tokenize(struct job *job, struct clip_record *record, struct clip_error *error)
{
    size_t count, most = (size_t)context - 2;
    const int32_t *ids;
    if (tab && split_line(record, error) != 0)
        return -1;
    if (find_ids(job, record, &ids, &count, error) != 0)
        return -1;
    if (count == 0 && refuse_empty)
        return clip_record_fail(record, "field '%s': the caption is empty", field);
    if (count > most && !truncate_long)
        return clip_record_fail(record,
                                "%zu tokens with start and end, but the context is %ld (--truncate cuts)",
                                count + 2, context);
    for (size_t i = 0; i < count && i < most; i++)
        if (ids[i] >= job->most) {
            char name[100];
            const char *text = job->vocabulary->names[ids[i]];
            return clip_record_fail(record, "token '%s' has the id %ld, but the model knows %d",
                                    clip_printable(name, sizeof name, text, strlen(text)), (long)ids[i],
                                    job->most);
        }
    job->truncated += count > most;
    count = count < most ? count : most;
    memset(job->ids, 0, (size_t)context * sizeof *job->ids);
    job->ids[0] = job->vocabulary->start;
    memcpy(job->ids + 1, ids, count * sizeof *ids);
    job->ids[count + 1] = job->vocabulary->end;
    if (drop)
        clip_record_drop(record, field);
    struct clip_tensor tensor = {CLIP_I32, 1, {(size_t)context}, job->ids};
    return clip_record_put_tensor(record, "tokens", &tensor, error);
}

static int tokenize_batch(void *context_of_run, struct clip_record **records, size_t n,
                          struct clip_error *error)
{
    for (size_t i = 0; i < n; i++)
        if (tokenize(context_of_run, records[i], error) != 0 && !records[i]->bad)
            return -1;
    return 0;
}

/* Tokens that were added beyond the model's ids are an error once a caption has them. */
static void check_size(const struct clip_vocabulary *vocabulary, const char *path, int most)
{
    size_t size = vocabulary->size;
    for (size_t i = 0; i < vocabulary->added_count; i++)
        if ((size_t)vocabulary->added[i].id < size && vocabulary->added[i].id >= most)
            size = (size_t)vocabulary->added[i].id;
    if (size > (size_t)most)
        clip_die("%s: %zu tokens, but the model knows %d", path, size, most);
}

/* The vocabulary that the options name, and the context that goes with it. */
static void open_vocabulary(struct job *job, const struct clip_shared *shared)
{
    struct clip_error error;
    struct clip_model *model = NULL;
    char *path = NULL;
    int most = CLIP_MAX_TOKENS;
    if (shared->model) {
        model = clip_open_model(shared, CLIP_PART_TEXT, &error);
        if (!model)
            clip_die("%s", error.text);
        most = clip_model_arch(model)->text.vocabulary;
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
    job->vocabulary = clip_vocabulary_open(path, &error);
    if (!job->vocabulary)
        clip_die("%s", error.text);
    check_size(job->vocabulary, path, most);
    job->most = most;
    free(path);
    clip_model_close(model);
    if (!context)
        context = 77;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {.batch = 1}; /* nothing is gained by more at once */
    struct clip_error error;
    struct job job = {0};
    int first = clip_start(&program, &shared, argc, argv);
    if (tab && (!lines || strcmp(tab, field) == 0))
        clip_usage("--tab goes with --lines, and names another field than the caption's");
    if (seed && !prompts_path)
        clip_usage("--seed goes with --prompts");
    open_vocabulary(&job, &shared);
    if (prompts_path && !(job.prompts = clip_prompts_read(prompts_path, &error)))
        clip_die("%s", error.text);
    job.tokenizer = clip_tokenizer_new(job.vocabulary, &error);
    job.ids = calloc((size_t)context, sizeof *job.ids);
    if (!job.tokenizer || !job.ids)
        clip_die("%s", job.tokenizer ? "out of memory" : error.text);
    struct clip_filter filter = {.process = tokenize_batch,
                                 .context = &job,
                                 .batch = (size_t)shared.batch,
                                 .lines = lines ? field : NULL};
    int status = clip_filter_run(&filter, &shared, argv + first, (size_t)(argc - first));
    if (job.truncated)
        clip_note("%" PRIu64 " captions truncated to %ld tokens", job.truncated, context);
    clip_tokenizer_free(job.tokenizer);
    clip_vocabulary_free(job.vocabulary);
    clip_prompts_free(job.prompts);
    free(job.ids);
    return status;
}
