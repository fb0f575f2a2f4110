/* clip-index: keeps embeddings on disk, and finds those nearest to others. */
#include "base/array.h"
#include "base/cli.h"
#include "score/embedding.h"
#include "score/faiss-module.h"
#include "score/search.h"
#include "score/store-lists.h"
#include "score/store-records.h"
#include "stream/reader.h"
#include "stream/skips.h"
#include "stream/writer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOT_GIVEN = -1, SAVE_SECONDS = 60, TOP = 10 };

static const char *output, *field, *label_field, *min_text, *folder;
static int dtype = NOT_GIVEN, tsv, jsonl, hits, keys_only, null, missing, changed, create;
static long top, save_seconds, list_count, probes;
static struct clip_shared shared;
static struct clip_error error;

static const struct clip_option options[] = {
    {"output", 'o', CLIP_TEXT, &output, "INDEX", "build: the folder to write", 0, 0},
    {"dtype", 'd', CLIP_CHOICE, &dtype, "f32|f16", "build: type of the stored embeddings [f32]", 0, 0},
    {"field", 0, CLIP_TEXT, &field, "FIELD", "field of the embeddings [image_embedding, else text_embedding]",
     0, 0},
    {"label", 0, CLIP_TEXT, &label_field, "caption|key|FIELD", "labels of embeddings [caption, else key]", 0,
     0},
    {"lists", 0, CLIP_COUNT, &list_count, "N", "build: make N lists for search --probes, by FAISS", 1,
     CLIP_STORE_MOST_LISTS},
    {"create", 0, CLIP_FLAG, &create, NULL, "add: create the index if it does not exist", 0, 0},
    {"save", 0, CLIP_COUNT, &save_seconds, "SECONDS", "add: commit what was added every SECONDS [60]", 1,
     1e6},
    {"null", '0', CLIP_FLAG, &null, NULL, "remove, search --keys: keys are separated by NUL", 0, 0},
    {"missing", 0, CLIP_FLAG, &missing, NULL, "remove: those whose key is not the path of a file", 0, 0},
    {"changed", 0, CLIP_FLAG, &changed, NULL, "remove: the same, and those whose file has changed", 0, 0},
    {"top", 0, CLIP_COUNT, &top, "K", "search: write the K best of each query [10; with --min: all]", 1, 1e9},
    {"min", 0, CLIP_TEXT, &min_text, "X", "search: write only scores of at least X", 0, 0},
    {"probes", 0, CLIP_COUNT, &probes, "P",
     "search: look into the P nearest of the index's lists [all embeddings]", 1, CLIP_STORE_MOST_LISTS},
    {"tsv", 0, CLIP_FLAG, &tsv, NULL, "search: write a table, one line per match", 0, 0},
    {"jsonl", 0, CLIP_FLAG, &jsonl, NULL, "search: write one line of JSON per query", 0, 0},
    {"hits", 0, CLIP_FLAG, &hits, NULL, "search: write one line per match, its score and its key", 0, 0},
    {"keys", 0, CLIP_FLAG, &keys_only, NULL, "search: write one line per match, its key", 0, 0},
    {"folder", 0, CLIP_TEXT, &folder, "FOLDER", "search: keys that begin with ./ are paths below FOLDER", 0,
     0},
    {0}};

static const struct clip_program program = {
    .name = "clip-index",
    .operands = "build -o INDEX [STREAM...]\n"
                "       clip-index [OPTION]... add INDEX [STREAM...]\n"
                "       clip-index [OPTION]... remove INDEX\n"
                "       clip-index [OPTION]... search INDEX [QUERIES...]\n"
                "       clip-index [OPTION]... list INDEX\n"
                "       clip-index [OPTION]... info INDEX",
    .purpose = "Keeps embeddings in a folder on disk, by key, and finds those that are nearest to others.",
    .options = options,
    .shared = CLIP_TAKES_THREADS | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

static void die(void)
{
    clip_die("%s", error.text);
}

/* --- records in --- */

struct input {
    struct clip_reader *reader;
    const char *fields[2];
    size_t width;
    float *unit; /* [width], of the last one */
    struct clip_skips skips;
    struct clip_progress progress;
};

static void open_input(struct input *input, char **operands, int n)
{
    *input = (struct input){
        .fields = {field ? field : clip_embedding_fields[0], field ? NULL : clip_embedding_fields[1]},
        .skips = {.shared = &shared}};
    input->reader = clip_reader_new(operands, (size_t)n, shared.max_record, &error);
    if (!input->reader)
        die();
    clip_reader_lend(input->reader);
    clip_progress_start(&input->progress, &shared, n > 0 ? operands[0] : "standard input");
}

static void show_progress(struct input *input, int last)
{
    clip_progress_show(&input->progress, clip_reader_count(input->reader), 0,
                       clip_reader_waited(input->reader), 0, last);
}

static void close_input(struct input *input)
{
    show_progress(input, 1);
    clip_skips_note(&input->skips);
    clip_reader_free(input->reader);
    free(input->unit);
}

/* Reads up to the next record with an embedding, which is then in `unit`. 1; 0 at the end; -1 with error. */
static int next_record(struct input *input, struct clip_record **record)
{
    int got;
    while ((got = clip_reader_next(input->reader, record, &error)) > 0) {
        int taken = clip_record_find(*record, "__key__") != NULL;
        show_progress(input, 0);
        if (taken && clip_embedding_read(*record, input->fields, &input->width, &input->unit) == 0)
            return 1;
        int status = taken ? clip_skips_add(&input->skips, *record, &error) : 0;
        clip_record_free(*record);
        if (status != 0)
            return -1;
    }
    return got;
}

/* --- build, add --- */

static void note_changes(const struct clip_store_changes *changes)
{
    clip_verbose("added: %" PRIu64 ", replaced: %" PRIu64 ", removed: %" PRIu64,
                 changes->added - changes->replaced, changes->replaced, changes->removed);
}

static int commit(struct clip_store_writer *writer)
{
    struct clip_store_changes changes;
    if (clip_store_commit(writer, &changes, &error) != 0)
        return -1;
    note_changes(&changes);
    return 0;
}

/* Puts all records into the index. What was added in a while is kept, whatever comes then, where `save`. */
static int put_all(struct input *input, struct clip_store_writer *writer, int save)
{
    struct clip_record *record;
    double saved = clip_seconds();
    int got;
    while ((got = next_record(input, &record)) > 0) {
        int status = clip_store_put_record(writer, input->unit, input->width, record, label_field, &error);
        if (status != 0 && record->bad)
            status = clip_skips_add(&input->skips, record, &error);
        clip_record_free(record);
        if (status == 0 && save && clip_seconds() - saved > (double)save_seconds) {
            status = commit(writer);
            saved = clip_seconds();
        }
        if (status != 0)
            return -1;
    }
    return got;
}

static int run_put(struct clip_store_writer *writer, int save, char **operands, int n)
{
    struct input input;
    struct clip_error cut;
    if (!writer)
        die();
    clip_store_writer_lists(writer, (size_t)list_count, (int)shared.threads);
    open_input(&input, operands, n);
    input.width = clip_store_writer_width(writer);
    int status = put_all(&input, writer, save);
    cut = error;
    if (status == 0 && !save && input.width == 0)
        status = clip_fail(&cut, "%s: no embeddings", clip_reader_source(input.reader));
    if ((status == 0 || save) && commit(writer) != 0) {
        status = -1;
        cut = error;
    }
    close_input(&input);
    clip_store_writer_free(writer);
    if (status != 0)
        clip_message("%s", cut.text);
    return status != 0;
}

static int run_build(char **operands, int n)
{
    if (list_count && !clip_faiss_load((int)shared.threads, &error)) /* which is said before all is read */
        die();
    return run_put(clip_store_edit(output, CLIP_STORE_REPLACE, dtype == 1, &error), 0, operands, n);
}

static int run_add(char **operands, int n)
{
    enum clip_store_way way = create ? CLIP_STORE_CREATE : CLIP_STORE_CHANGE;
    return run_put(clip_store_edit(operands[0], way, 0, &error), 1, operands + 1, n - 1);
}

/* --- remove --- */

/* Keys from standard input; *requested counts them. */
static int remove_listed(struct clip_store_writer *writer, uint64_t *requested)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    int status = 0, end = null ? '\0' : '\n';
    errno = 0;
    while (status == 0 && (size = getdelim(&line, &room, end, stdin)) > 0) {
        if (line[size - 1] == end)
            size--;
        status = clip_store_remove(writer, line, strnlen(line, (size_t)size), &error);
        ++*requested;
    }
    free(line);
    return status == 0 && ferror(stdin) ? clip_fail_errno(&error, "standard input") : status;
}

static int run_remove(char **operands, int n)
{
    (void)n;
    struct clip_store_changes changes;
    uint64_t requested = 0;
    struct clip_store_writer *writer = clip_store_edit(operands[0], CLIP_STORE_CHANGE, 0, &error);
    if (!writer)
        die();
    int status = missing || changed ? clip_store_remove_outdated(writer, changed, &error)
                                    : remove_listed(writer, &requested);
    if (status == 0)
        status = clip_store_commit(writer, &changes, &error);
    clip_store_writer_free(writer);
    if (status != 0)
        die();
    note_changes(&changes);
    if (requested > changes.removed)
        clip_note("%" PRIu64 " of %" PRIu64 " keys are not in the index", requested - changes.removed,
                  requested);
    return 0;
}

/* --- search --- */

/* Answers the queries that have come, as they come. */
static int answer_all(struct clip_search *search, struct input *input, const struct clip_rows_output *out)
{
    struct clip_record *record;
    int got = 1, status = 0;
    while (got > 0 && status == 0) {
        do {
            if (!out->writer && !clip_reader_ready(input->reader) && fflush(stdout) != 0)
                return clip_fail_errno(&error, "standard output");
            if ((got = next_record(input, &record)) <= 0)
                break;
            status = clip_search_add(search, input->unit, record, label_field, &error);
            clip_record_free(record);
        } while (status == 0 && clip_search_count(search) < CLIP_SEARCH_MOST_QUERIES &&
                 clip_reader_ready(input->reader));
        struct clip_error cut = error;
        if (status == 0 && clip_search_count(search) > 0)
            status = clip_search_answer(search, out, &error);
        if (status == 0 && got < 0)
            error = cut;
    }
    return status == 0 ? got : -1;
}

static struct clip_writer *open_output(void)
{
    clip_refuse_terminal();
    struct clip_writer *out = clip_writer_new(STDOUT_FILENO, "standard output", &error);
    if (!out)
        die();
    return out;
}

static int run_search(char **operands, int n)
{
    struct input input;
    struct clip_search_options options = {.wanted = {.top = top        ? (size_t)top
                                                            : min_text ? 0
                                                                       : TOP,
                                                     .least = clip_min_score(min_text),
                                                     .scoring = {1, 0}},
                                          .probes = (size_t)probes,
                                          .folder = folder,
                                          .threads = (int)shared.threads};
    struct clip_rows_output out = {.form = tsv         ? CLIP_ROWS_TABLE
                                           : jsonl     ? CLIP_ROWS_JSON
                                           : hits      ? CLIP_ROWS_HITS
                                           : keys_only ? CLIP_ROWS_KEYS
                                                       : CLIP_ROWS_RECORDS,
                                   .best = 1,
                                   .separator = null ? '\0' : '\n',
                                   .scale = 1,
                                   .text = stdout};
    struct clip_search *search = clip_search_open(operands[0], &options, &error);
    if (!search)
        die();
    if (out.form == CLIP_ROWS_RECORDS)
        out.writer = open_output();
    open_input(&input, operands + 1, n - 1);
    input.width = clip_search_width(search);
    if (out.writer)
        clip_reader_tie(input.reader, out.writer);
    int status = answer_all(search, &input, &out);
    if (out.writer)
        status = clip_writer_finish(out.writer, status, &error);
    close_input(&input);
    if (status != 0)
        clip_message("%s", error.text);
    clip_search_close(search);
    if (!out.writer)
        return clip_finish(status != 0);
    clip_writer_free(out.writer);
    return status != 0;
}

/* --- list, info --- */

static int run_list(char **operands, int n)
{
    (void)n;
    struct clip_store_entry entry;
    uint64_t number = 0;
    int got;
    struct clip_store *index = clip_store_open(operands[0], &error);
    if (!index)
        die();
    struct clip_writer *out = open_output();
    while ((got = clip_store_next(index, &number, &entry, &error)) > 0) {
        struct clip_record *record = clip_store_entry_record(&entry, &error);
        int status = record ? clip_writer_record(out, record, &error) : -1;
        clip_record_free(record);
        if (status != 0)
            die();
    }
    if (clip_writer_finish(out, got, &error) != 0)
        die();
    clip_writer_free(out);
    clip_store_close(index);
    return 0;
}

static int run_info(char **operands, int n)
{
    (void)n;
    struct clip_store *index = clip_store_open(operands[0], &error);
    if (!index)
        die();
    const struct clip_store_manifest *manifest = &index->manifest;
    uint64_t removed = 0;
    for (size_t p = 0; p < manifest->count; p++)
        removed += manifest->parts[p].removed;
    printf("embeddings  %" PRIu64 "\n", clip_store_count(index));
    printf("width       %zu\n", manifest->width);
    printf("dtype       %s\n", manifest->halves ? "f16" : "f32");
    printf("segments    %zu\n", manifest->count);
    printf("removed     %" PRIu64 " (still in their segments)\n", removed);
    printf("lists       %u", manifest->lists);
    if (manifest->lists)
        printf(" (of %" PRIu64 " embeddings)", clip_store_lists_count(index));
    putchar('\n');
    clip_store_close(index);
    return clip_finish(0);
}

/* --- verbs --- */

/* The options that only some verbs take. */
enum takes { TAKES_BUILD = 1, TAKES_EMBEDDINGS = 2, TAKES_KEYS = 4, TAKES_SEARCH = 8, TAKES_ADD = 16 };

static const struct verb {
    const char *name;
    unsigned takes;
    int least, most; /* operands */
    int (*run)(char **operands, int n);
} verbs[] = {
    {"build", TAKES_BUILD | TAKES_EMBEDDINGS, 0, 1 << 30, run_build},
    {"add", TAKES_ADD | TAKES_EMBEDDINGS, 1, 1 << 30, run_add},
    {"remove", TAKES_KEYS, 1, 1, run_remove},
    {"search", TAKES_EMBEDDINGS | TAKES_SEARCH, 1, 1 << 30, run_search},
    {"list", 0, 1, 1, run_list},
    {"info", 0, 1, 1, run_info},
};

static void check_options(const struct verb *verb)
{
    const struct {
        const char *option;
        int given;
        unsigned takes;
    } given[] = {{"output", output != NULL, TAKES_BUILD},
                 {"dtype", dtype != NOT_GIVEN, TAKES_BUILD},
                 {"field", field != NULL, TAKES_EMBEDDINGS},
                 {"label", label_field != NULL, TAKES_EMBEDDINGS},
                 {"skip-bad", shared.skip_bad, TAKES_EMBEDDINGS},
                 {"lists", list_count != 0, TAKES_BUILD},
                 {"probes", probes != 0, TAKES_SEARCH},
                 {"create", create, TAKES_ADD},
                 {"save", save_seconds != 0, TAKES_ADD},
                 {"null", null, TAKES_KEYS | TAKES_SEARCH},
                 {"missing", missing, TAKES_KEYS},
                 {"changed", changed, TAKES_KEYS},
                 {"top", top != 0, TAKES_SEARCH},
                 {"min", min_text != NULL, TAKES_SEARCH},
                 {"tsv", tsv, TAKES_SEARCH},
                 {"jsonl", jsonl, TAKES_SEARCH},
                 {"hits", hits, TAKES_SEARCH},
                 {"keys", keys_only, TAKES_SEARCH},
                 {"folder", folder != NULL, TAKES_SEARCH}};
    for (size_t i = 0; i < CLIP_COUNT_OF(given); i++)
        if (given[i].given && !(verb->takes & given[i].takes))
            clip_usage("--%s is not for '%s'", given[i].option, verb->name);
    if (verb->takes & TAKES_BUILD && (!output || !*output))
        clip_usage("'build' needs --output");
    if (tsv + jsonl + hits + keys_only > 1)
        clip_usage("--tsv, --jsonl, --hits and --keys are mutually exclusive");
    if (probes && min_text && !top)
        clip_usage("--probes with --min needs --top");
    if (missing && changed)
        clip_usage("--missing and --changed are mutually exclusive");
    if ((missing || changed) && null)
        clip_usage("--%s reads no keys: --null is not for it", missing ? "missing" : "changed");
    if (null && verb->takes & TAKES_SEARCH && !keys_only)
        clip_usage("--null needs --keys");
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(verbs); i++)
        if (name && strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    if (name)
        clip_usage("'%s' is not one of build, add, remove, search, list, info", name);
    clip_usage("build, add, remove, search, list or info expected");
}

int main(int argc, char **argv)
{
    int first = clip_start(&program, &shared, argc, argv);
    const struct verb *verb = find_verb(argv[first]);
    check_options(verb);
    int n = argc - first - 1;
    if (n < verb->least)
        clip_usage("'%s' needs an index", verb->name);
    if (n > verb->most)
        clip_usage("'%s' takes an index, and nothing else", verb->name);
    clip_min_score(min_text);
    if (!label_field)
        label_field = "caption";
    if (!save_seconds)
        save_seconds = SAVE_SECONDS;
    return verb->run(argv + first + 1, n);
}
