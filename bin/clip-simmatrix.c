/* clip-simmatrix: cosine similarities of the embeddings of one stream with those of another. */
#include "base/cli.h"
#include "model/open.h"
#include "score/embedding.h"
#include "score/simmatrix.h"
#include "stream/reader.h"
#include "stream/skips.h"
#include "stream/writer.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *scale_text, *min_text, *row_field, *column_field, *label_field = "caption";
static int softmax, sigmoid, pairs, tsv, jsonl, bars;
static long top;

static const struct clip_option options[] = {
    {"scale", 0, CLIP_TEXT, &scale_text, "X|model",
     "multiply by X, or by the logit scale of -m, and add its logit bias [1]", 0, 0},
    {"softmax", 0, CLIP_FLAG, &softmax, NULL, "write probabilities: the softmax of each row over all columns",
     0, 0},
    {"sigmoid", 0, CLIP_FLAG, &sigmoid, NULL,
     "write probabilities, each by itself, as SigLIP: the sigmoid of each score", 0, 0},
    {"top", 0, CLIP_COUNT, &top, "K", "write only the K best columns of each row, best first", 1, 1e9},
    {"min", 0, CLIP_TEXT, &min_text, "X", "write only scores of at least X, best first", 0, 0},
    {"pairs", 0, CLIP_FLAG, &pairs, NULL, "write each pair of two embeddings of stream A once, best first", 0,
     0},
    {"tsv", 0, CLIP_FLAG, &tsv, NULL, "write a table, for people and for clip-plot", 0, 0},
    {"jsonl", 0, CLIP_FLAG, &jsonl, NULL, "write one line of JSON per row", 0, 0},
    {"bars", 0, CLIP_FLAG, &bars, NULL, "with --softmax or --sigmoid, and --top: print probabilities as bars",
     0, 0},
    {"label", 0, CLIP_TEXT, &label_field, "caption|key|FIELD",
     "labels of rows and columns [caption, else key]", 0, 0},
    {"rows", 0, CLIP_TEXT, &row_field, "FIELD",
     "field of the rows' embeddings [image_embedding, else text_embedding]", 0, 0},
    {"columns", 0, CLIP_TEXT, &column_field, "FIELD",
     "field of the columns' embeddings [text_embedding, else image_embedding]", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-simmatrix",
    .operands = "[A [B]]",
    .purpose =
        "Writes the cosine similarity of each embedding of stream A (rows) with each of stream B (columns),\n"
        "or of the pictures of one stream with its captions.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

/* One operand. */
struct side {
    enum clip_simmatrix_side name;
    struct clip_reader *reader;
    const char *fields[2]; /* the first that a record has is its embedding */
    int ended;
};

struct run {
    struct clip_shared shared;
    struct clip_simmatrix *matrix;
    struct side rows, columns;
    struct clip_rows_output out;
    int cut; /* the rows ended too early, as `cut_error` says: what came is answered first */
    struct clip_error cut_error;
    struct clip_skips skips;
    struct clip_progress progress;
};

/* --- reading --- */

static int take_record(struct run *run, struct side *side, struct clip_record *record,
                       struct clip_error *error)
{
    int status = clip_simmatrix_add(run->matrix, side->name, record, side->fields, label_field, error);
    return status != 0 && record->bad ? clip_skips_add(&run->skips, record, error) : status;
}

static void show_progress(struct run *run, int last)
{
    uint64_t count = clip_reader_count(run->rows.reader);
    double waited = clip_reader_waited(run->rows.reader);
    if (run->columns.reader) {
        count += clip_reader_count(run->columns.reader);
        waited += clip_reader_waited(run->columns.reader);
    }
    clip_progress_show(&run->progress, count, 0, waited,
                       run->out.writer ? clip_writer_waited(run->out.writer) : 0, last);
}

/* Keeps the next embedding of a side, waiting for it. Returns 0, or -1 with error; sets `ended`. */
static int read_one(struct run *run, struct side *side, struct clip_error *error)
{
    struct clip_record *record;
    if (!run->out.writer && !clip_reader_ready(side->reader) && fflush(stdout) != 0)
        return clip_fail_errno(error, "standard output");
    int got = clip_reader_next(side->reader, &record, error);
    side->ended = got == 0;
    if (got <= 0)
        return got;
    int status = clip_record_find(record, "__key__") ? take_record(run, side, record, error) : 0;
    clip_record_free(record);
    show_progress(run, 0);
    return status;
}

/* Keeps the next row; where there is none, for whatever reason, the rows have ended. */
static void read_row(struct run *run)
{
    if (read_one(run, &run->rows, &run->cut_error) != 0)
        run->cut = run->rows.ended = 1;
}

/* --- the ways through the matrix --- */

/* The columns are all there: rows are answered as they come. */
static int stream_rows(struct run *run, struct clip_error *error)
{
    int status = clip_simmatrix_begin(run->matrix, error);
    if (status == 0)
        status = clip_simmatrix_write_rows(run->matrix, error);
    while (status == 0 && !run->rows.ended) {
        do
            read_row(run);
        while (!run->rows.ended &&
               clip_simmatrix_count(run->matrix, CLIP_SIMMATRIX_ROWS) < CLIP_SIMMATRIX_MOST_ROWS &&
               clip_reader_ready(run->rows.reader));
        status = clip_simmatrix_write_rows(run->matrix, error);
    }
    return status;
}

/* The rows are all there and their best are wanted: columns go by, a block at a time. */
static int stream_columns(struct run *run, struct clip_error *error)
{
    size_t block = clip_simmatrix_block(run->matrix);
    int status = 0;
    while (status == 0 && !run->columns.ended) {
        while (status == 0 && !run->columns.ended &&
               clip_simmatrix_count(run->matrix, CLIP_SIMMATRIX_COLUMNS) < block)
            status = read_one(run, &run->columns, error);
        if (status == 0)
            status = clip_simmatrix_pass_columns(run->matrix, error);
    }
    return status == 0 ? clip_simmatrix_end_columns(run->matrix, error) : -1;
}

static int is_empty(const struct run *run)
{
    return clip_simmatrix_count(run->matrix, CLIP_SIMMATRIX_ROWS) == 0 &&
           clip_simmatrix_count(run->matrix, CLIP_SIMMATRIX_COLUMNS) == 0;
}

/* Reads both sides in turn until one ends, the smaller; rows are not waited for. */
static int two_streams(struct run *run, struct clip_error *error)
{
    int status = 0;
    while (status == 0 && !run->columns.ended && !run->rows.ended) {
        status = read_one(run, &run->columns, error);
        if (status == 0 && !run->columns.ended && clip_reader_ready(run->rows.reader))
            read_row(run);
    }
    if (status == 0 && !run->columns.ended && run->out.best && (top || !softmax) && !is_empty(run))
        status = stream_columns(run, error);
    else {
        while (status == 0 && !run->columns.ended)
            status = read_one(run, &run->columns, error);
        if (status == 0 && clip_simmatrix_count(run->matrix, CLIP_SIMMATRIX_COLUMNS) == 0)
            status = clip_fail(error, "%s: no embeddings", clip_reader_source(run->columns.reader));
        if (status == 0)
            status = stream_rows(run, error);
    }
    if (status == 0 && run->cut) {
        *error = run->cut_error;
        status = -1;
    }
    return status;
}

/* Pictures against captions of one stream: a record may have either or both. */
static int one_stream(struct run *run, struct clip_error *error)
{
    struct clip_record *record;
    const struct side *sides[] = {&run->rows, &run->columns};
    int got, status = 0;
    while (status == 0 && (got = clip_reader_next(run->rows.reader, &record, error)) > 0) {
        int is_row = clip_record_find(record, run->rows.fields[0]) != NULL;
        int is_column = clip_record_find(record, run->columns.fields[0]) != NULL;
        if (clip_record_find(record, "__key__")) {
            if (is_row || !is_column)
                status = take_record(run, &run->rows, record, error);
            if (is_column && status == 0 && !record->bad)
                status = take_record(run, &run->columns, record, error);
        }
        clip_record_free(record);
        show_progress(run, 0);
    }
    if (status != 0 || got < 0)
        return -1;
    for (size_t i = 0; i < 2; i++)
        if (clip_simmatrix_count(run->matrix, sides[i]->name) == 0)
            return clip_fail(error, "%s: no record with field '%s'", clip_reader_source(run->rows.reader),
                             sides[i]->fields[0]);
    run->rows.ended = 1;
    return stream_rows(run, error);
}

/* Each embedding of one stream with each other. */
static int pairs_of_stream(struct run *run, struct clip_error *error)
{
    int status = 0;
    while (status == 0 && !run->rows.ended)
        status = read_one(run, &run->rows, error);
    if (status != 0)
        return -1;
    if (is_empty(run))
        return clip_fail(error, "%s: no embeddings", clip_reader_source(run->rows.reader));
    return clip_simmatrix_write_pairs(run->matrix, error);
}

/* --- the program --- */

static struct clip_scoring read_scoring(const struct clip_shared *shared)
{
    struct clip_error error;
    float logit_scale, logit_bias;
    char *end;
    if (!scale_text) {
        if (softmax || sigmoid)
            clip_note("the %s of unscaled cosines is nearly uniform: did you mean --scale model%s?",
                      softmax ? "softmax" : "sigmoid", shared->model ? "" : " -m MODEL");
        return (struct clip_scoring){1, 0};
    }
    double scale = strtod(scale_text, &end);
    if (strcmp(scale_text, "model") != 0) {
        if (end == scale_text || *end || !isfinite(scale))
            clip_usage("--scale: '%s' is neither a number nor 'model'", scale_text);
        return (struct clip_scoring){scale, 0};
    }
    if (!shared->model)
        clip_usage("--scale model needs a model (-m)");
    struct clip_model *model = clip_open_scalars(shared, &error);
    if (!model || clip_model_logit_scale(model, &logit_scale, &error) != 0 ||
        clip_model_logit_bias(model, &logit_bias, &error) != 0)
        clip_die("%s", error.text);
    if (sigmoid && !clip_model_arch(model)->logit_bias)
        clip_note(
            "%s: the model has no logit bias, so it was not trained for --sigmoid: did you mean --softmax?",
            shared->model);
    clip_model_close(model);
    return (struct clip_scoring){exp(logit_scale), logit_bias};
}

static float read_min(void)
{
    float min = clip_min_score(min_text);
    return min_text && sigmoid ? clip_sigmoid_least(min) : min;
}

static void check_usage(char **operands, int n)
{
    if (n > 2)
        clip_usage("at most two streams");
    if (n == 2 && strcmp(operands[0], operands[1]) == 0 && strcmp(operands[0], "-") == 0)
        clip_usage("standard input can be only one of the streams");
    if (tsv + jsonl + bars > 1)
        clip_usage("--tsv, --jsonl and --bars are mutually exclusive");
    if (softmax && sigmoid)
        clip_usage("--softmax and --sigmoid are mutually exclusive");
    if (bars && ((!softmax && !sigmoid) || !top))
        clip_usage("--bars needs --softmax or --sigmoid, and --top");
    if (pairs && n == 2)
        clip_usage("--pairs takes one stream");
    if (pairs && softmax)
        clip_usage("--pairs and --softmax are mutually exclusive");
    if (pairs && column_field)
        clip_usage("--pairs has no columns: use --rows");
}

static void set_fields(struct run *run, int two)
{
    const char *const *names = clip_embedding_fields;
    run->rows.fields[0] = row_field ? row_field : names[0];
    run->columns.fields[0] = column_field ? column_field : names[1];
    if ((two || pairs) && !row_field)
        run->rows.fields[1] = names[1];
    if (two && !column_field)
        run->columns.fields[1] = names[0];
}

static void open_readers(struct run *run, char **operands, int n)
{
    struct clip_error error;
    run->rows.reader = clip_reader_new(operands, n > 0, run->shared.max_record, &error);
    if (!run->rows.reader)
        clip_die("%s", error.text);
    clip_reader_lend(run->rows.reader);
    if (n > 1 && !(run->columns.reader = clip_reader_new(operands + 1, 1, run->shared.max_record, &error)))
        clip_die("%s", error.text);
    if (n > 1)
        clip_reader_lend(run->columns.reader);
    if (run->out.form != CLIP_ROWS_RECORDS)
        return;
    clip_refuse_terminal();
    run->out.writer = clip_writer_new(STDOUT_FILENO, "standard output", &error);
    if (!run->out.writer)
        clip_die("%s", error.text);
    clip_reader_tie(run->rows.reader, run->out.writer);
}

int main(int argc, char **argv)
{
    struct run run = {.rows.name = CLIP_SIMMATRIX_ROWS, .columns.name = CLIP_SIMMATRIX_COLUMNS};
    struct clip_error error;
    int first = clip_start(&program, &run.shared, argc, argv), n = argc - first;
    check_usage(argv + first, n);
    setlocale(LC_CTYPE, "");
    struct clip_wanted wanted = {.top = (size_t)top, .least = read_min(), .softmax = softmax};
    wanted.scoring = read_scoring(&run.shared);
    run.skips.shared = &run.shared;
    run.out = (struct clip_rows_output){.form = tsv     ? CLIP_ROWS_TABLE
                                                : jsonl ? CLIP_ROWS_JSON
                                                : bars  ? CLIP_ROWS_BARS
                                                        : CLIP_ROWS_RECORDS,
                                        .best = top > 0 || min_text || pairs,
                                        .scale = wanted.scoring.scale,
                                        .sigmoid = sigmoid,
                                        .text = stdout};
    set_fields(&run, n == 2);
    struct clip_pool *pool = clip_pool_new((int)run.shared.threads, &error);
    run.matrix = pool ? clip_simmatrix_new(pool, &wanted, &run.out, &error) : NULL;
    if (!run.matrix)
        clip_die("%s", error.text);
    open_readers(&run, argv + first, n);
    clip_progress_start(&run.progress, &run.shared, n > 0 ? argv[first] : "standard input");
    int status = (pairs ? pairs_of_stream : n == 2 ? two_streams : one_stream)(&run, &error);
    show_progress(&run, 1);
    clip_skips_note(&run.skips);
    if (run.out.writer)
        status = clip_writer_finish(run.out.writer, status, &error);
    if (status != 0)
        clip_message("%s", error.text);
    clip_simmatrix_free(run.matrix);
    clip_reader_free(run.rows.reader);
    clip_reader_free(run.columns.reader);
    clip_writer_free(run.out.writer);
    clip_pool_free(pool);
    return run.out.form == CLIP_ROWS_RECORDS ? status != 0 : clip_finish(status != 0);
}
