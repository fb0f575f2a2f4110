/* clip-simmatrix: cosine similarities of the embeddings of one stream with those of another. */
#include "base/cli.h"
#include "model/open.h"
#include "score/embedding.h"
#include "score/retrieval.h"
#include "score/rows.h"
#include "score/similarity.h"
#include "stream/reader.h"
#include "stream/writer.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY ((size_t)64 << 20) /* of embeddings; more of them go to a temporary file */
#define TILE ((size_t)16 << 20)   /* elements of a part of the matrix that is written whole */

/* Columns that go by at once: where there are few rows, so few that they stay in the cache. */
enum { FULL_COLUMNS = 256, FEW_COLUMNS = 64, FEW_ROWS = 16 };

enum { MOST_ROWS = 256 }; /* that are answered at once */

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

/* One operand, and what is kept of it. */
struct side {
    struct clip_reader *reader;
    const char *fields[2]; /* the first that a record has is its embedding */
    struct clip_vectors *vectors;
    float *unit; /* [width], of the last one read */
    int ended;
};

struct matrix {
    struct clip_shared shared;
    struct clip_pool *pool;
    struct clip_similarity *similarity; /* made when the first embedding tells the width */
    size_t width;
    struct side rows, columns;
    struct clip_rows_output out;
    struct clip_wanted wanted;
    const char **keys, **labels; /* of the columns, where each row has all */
    int cut; /* the rows ended too early, as `cut_error` says: what came is answered first */
    struct clip_error cut_error;
    uint64_t skipped;
    struct clip_progress progress;
};

/* --- reading --- */

/* Everything has the width of the first embedding. */
static int set_width(struct matrix *m, struct clip_error *error)
{
    m->similarity = clip_similarity_new(m->pool, m->width, error);
    m->rows.vectors = m->similarity ? clip_vectors_new(m->width, MEMORY, error) : NULL;
    m->columns.vectors = m->rows.vectors ? clip_vectors_new(m->width, MEMORY, error) : NULL;
    return m->columns.vectors ? 0 : -1;
}

static int keep(struct matrix *m, struct side *side, const struct clip_record *record,
                struct clip_error *error)
{
    struct clip_record_text key, label;
    if (!m->similarity && set_width(m, error) != 0)
        return -1;
    clip_key_read(&key, record);
    clip_label_read(&label, record, label_field);
    return clip_vectors_add(side->vectors, side->unit, key.data, key.size, label.data, label.size, error);
}

/* Ends the run at a bad record, or names and counts it. */
static int bad_record(struct matrix *m, struct clip_record *record, struct clip_error *error)
{
    char name[400];
    clip_record_name(record, name, sizeof name);
    if (!m->shared.skip_bad)
        return clip_fail(error, "%s: %s", name, record->error.text);
    clip_message("%s: %s (skipped)", name, record->error.text);
    m->skipped++;
    return 0;
}

static int take_record(struct matrix *m, struct side *side, struct clip_record *record,
                       struct clip_error *error)
{
    if (clip_embedding_read(record, side->fields, &m->width, &side->unit) != 0)
        return bad_record(m, record, error);
    return keep(m, side, record, error);
}

static void show_progress(struct matrix *m, int last)
{
    uint64_t count = clip_reader_count(m->rows.reader);
    double waited = clip_reader_waited(m->rows.reader);
    if (m->columns.reader) {
        count += clip_reader_count(m->columns.reader);
        waited += clip_reader_waited(m->columns.reader);
    }
    clip_progress_show(&m->progress, count, 0, waited, m->out.writer ? clip_writer_waited(m->out.writer) : 0,
                       last);
}

/* Keeps the next embedding of a side, waiting for it. Returns 0, or -1 with error; sets `ended`. */
static int read_one(struct matrix *m, struct side *side, struct clip_error *error)
{
    struct clip_record *record;
    if (!m->out.writer && !clip_reader_ready(side->reader) && fflush(stdout) != 0)
        return clip_fail_errno(error, "standard output");
    int got = clip_reader_next(side->reader, &record, error);
    side->ended = got == 0;
    if (got <= 0)
        return got;
    int status = clip_record_find(record, "__key__") ? take_record(m, side, record, error) : 0;
    clip_record_free(record);
    show_progress(m, 0);
    return status;
}

/* --- writing --- */

/* What names the columns. */
static int begin_rows(struct matrix *m, struct clip_error *error)
{
    const struct clip_vectors *columns = m->columns.vectors;
    size_t n = clip_vectors_count(columns);
    m->keys = calloc(n, sizeof *m->keys);
    m->labels = calloc(n, sizeof *m->labels);
    if (!m->keys || !m->labels)
        return clip_fail_memory(error, "keys");
    for (size_t c = 0; c < n; c++) {
        m->keys[c] = clip_vectors_key(columns, c);
        m->labels[c] = clip_vectors_label(columns, c);
    }
    return clip_rows_begin(&m->out, m->keys, m->labels, n, error);
}

/* --- the two ways through the matrix --- */

/* Row `r`, whose cosines become scores in place. */
static int finish_row(struct matrix *m, size_t r, float *scores, struct clip_error *error)
{
    size_t n = clip_vectors_count(m->columns.vectors);
    struct clip_ranking ranking;
    clip_ranking_init(&ranking, 0, 0, softmax);
    for (size_t c = 0; c < n; c++)
        scores[c] = clip_score_of(m->wanted.scoring, scores[c]);
    if (clip_ranking_add(&ranking, scores, n, NULL, 0, 0, error) != 0)
        return -1;
    for (size_t c = 0; c < n && softmax; c++)
        scores[c] = clip_ranking_softmax(&ranking, scores[c]);
    struct clip_row row = {clip_vectors_key(m->rows.vectors, r),
                           clip_vectors_label(m->rows.vectors, r),
                           n,
                           m->keys,
                           m->labels,
                           scores};
    return clip_rows_write(&m->out, &row, error);
}

/* All rows that are kept, each with all columns. */
static int write_whole_rows(struct matrix *m, struct clip_error *error)
{
    struct clip_tile tile = {.rows = m->rows.vectors, .columns = m->columns.vectors};
    size_t count = clip_vectors_count(tile.rows), tall = MOST_ROWS;
    tile.column_count = clip_vectors_count(tile.columns);
    if (tall > TILE / tile.column_count)
        tall = TILE / tile.column_count > 0 ? TILE / tile.column_count : 1;
    if (tall > count)
        tall = count;
    float *scores = reallocarray(NULL, tall * sizeof *scores, tile.column_count);
    int status = scores ? 0 : clip_fail_memory(error, "a tile of the matrix");
    for (; tile.row < count && status == 0; tile.row += tile.row_count) {
        tile.row_count = count - tile.row < tall ? count - tile.row : tall;
        status = clip_similarity_tile(m->similarity, &tile, scores, error);
        for (size_t r = 0; r < tile.row_count && status == 0; r++)
            status = finish_row(m, tile.row + r, scores + r * tile.column_count, error);
    }
    free(scores);
    return status;
}

static int name_column(void *context, uint64_t column, const char **key, const char **label,
                       struct clip_error *error)
{
    (void)error;
    const struct clip_vectors *columns = context;
    *key = clip_vectors_key(columns, column);
    *label = clip_vectors_label(columns, column);
    return 0;
}

/* All rows that are kept, against all columns. */
static int write_rows(struct matrix *m, struct clip_error *error)
{
    if (!m->rows.vectors || clip_vectors_count(m->rows.vectors) == 0)
        return 0;
    if (!m->out.best)
        return write_whole_rows(m, error);
    struct clip_retrieval *retrieval = clip_retrieval_new(m->similarity, &m->wanted, m->rows.vectors,
                                                          name_column, m->columns.vectors, error);
    int status = retrieval ? clip_retrieval_add(retrieval, m->columns.vectors, 0, error) : -1;
    if (status == 0)
        status = clip_retrieval_write(retrieval, &m->out, error);
    clip_retrieval_free(retrieval);
    return status;
}

/* Keeps the next row; where there is none, for whatever reason, the rows have ended. */
static void read_row(struct matrix *m)
{
    if (read_one(m, &m->rows, &m->cut_error) != 0)
        m->cut = m->rows.ended = 1;
}

/* The columns are all there: rows are answered as they come. */
static int stream_rows(struct matrix *m, struct clip_error *error)
{
    int status = write_rows(m, error);
    while (status == 0 && !m->rows.ended) {
        clip_vectors_clear(m->rows.vectors);
        do
            read_row(m);
        while (!m->rows.ended && clip_vectors_count(m->rows.vectors) < MOST_ROWS &&
               clip_reader_ready(m->rows.reader));
        status = write_rows(m, error);
    }
    return status;
}

/* The rows are all there and their best are wanted: columns go by, a block at a time. */
static int stream_columns(struct matrix *m, struct clip_error *error)
{
    uint64_t seen = 0;
    size_t block = clip_vectors_count(m->rows.vectors) <= FEW_ROWS ? FEW_COLUMNS : FULL_COLUMNS;
    int status = 0;
    struct clip_retrieval *retrieval =
        clip_retrieval_new(m->similarity, &m->wanted, m->rows.vectors, NULL, NULL, error);
    if (!retrieval)
        return -1;
    do {
        while (status == 0 && !m->columns.ended && clip_vectors_count(m->columns.vectors) < block)
            status = read_one(m, &m->columns, error);
        if (status == 0)
            status = clip_retrieval_add(retrieval, m->columns.vectors, seen, error);
        seen += clip_vectors_count(m->columns.vectors);
        clip_vectors_clear(m->columns.vectors);
    } while (status == 0 && !m->columns.ended);
    if (status == 0)
        status = clip_retrieval_write(retrieval, &m->out, error);
    clip_retrieval_free(retrieval);
    return status;
}

/* Reads both sides in turn until one ends, the smaller; rows are not waited for. */
static int two_streams(struct matrix *m, struct clip_error *error)
{
    int status = 0;
    while (status == 0 && !m->columns.ended && !m->rows.ended) {
        status = read_one(m, &m->columns, error);
        if (status == 0 && !m->columns.ended && clip_reader_ready(m->rows.reader))
            read_row(m);
    }
    if (status == 0 && !m->columns.ended && m->out.best && (top || !softmax) && m->similarity)
        status = stream_columns(m, error);
    else {
        while (status == 0 && !m->columns.ended)
            status = read_one(m, &m->columns, error);
        if (status == 0 && (!m->columns.vectors || clip_vectors_count(m->columns.vectors) == 0))
            status = clip_fail(error, "%s: no embeddings", clip_reader_source(m->columns.reader));
        if (status == 0)
            status = begin_rows(m, error);
        if (status == 0)
            status = stream_rows(m, error);
    }
    if (status == 0 && m->cut) {
        *error = m->cut_error;
        status = -1;
    }
    return status;
}

/* Pictures against captions of one stream: a record may have either or both. */
static int one_stream(struct matrix *m, struct clip_error *error)
{
    struct clip_record *record;
    int got, status = 0;
    while (status == 0 && (got = clip_reader_next(m->rows.reader, &record, error)) > 0) {
        int is_row = clip_record_find(record, m->rows.fields[0]) != NULL;
        int is_column = clip_record_find(record, m->columns.fields[0]) != NULL;
        if (clip_record_find(record, "__key__")) {
            if (is_row || !is_column)
                status = take_record(m, &m->rows, record, error);
            if (is_column && status == 0 && !record->bad)
                status = take_record(m, &m->columns, record, error);
        }
        clip_record_free(record);
        show_progress(m, 0);
    }
    if (status != 0 || got < 0)
        return -1;
    if (!m->similarity || clip_vectors_count(m->rows.vectors) == 0)
        return clip_fail(error, "%s: no record with field '%s'", clip_reader_source(m->rows.reader),
                         m->rows.fields[0]);
    if (clip_vectors_count(m->columns.vectors) == 0)
        return clip_fail(error, "%s: no record with field '%s'", clip_reader_source(m->rows.reader),
                         m->columns.fields[0]);
    return begin_rows(m, error) == 0 ? write_rows(m, error) : -1;
}

/* Each embedding of one stream with each other. */
static int pairs_of_stream(struct matrix *m, struct clip_error *error)
{
    int status = 0;
    while (status == 0 && !m->rows.ended)
        status = read_one(m, &m->rows, error);
    if (status != 0)
        return -1;
    if (!m->similarity)
        return clip_fail(error, "%s: no embeddings", clip_reader_source(m->rows.reader));
    return clip_find_pairs(m->similarity, &m->wanted, m->rows.vectors, &m->out, error);
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

static void set_fields(struct matrix *m, int two)
{
    static const char *const names[2] = {"image_embedding", "text_embedding"};
    m->rows.fields[0] = row_field ? row_field : names[0];
    m->columns.fields[0] = column_field ? column_field : names[1];
    if ((two || pairs) && !row_field)
        m->rows.fields[1] = names[1];
    if (two && !column_field)
        m->columns.fields[1] = names[0];
}

static void open_all(struct matrix *m, char **operands, int n)
{
    struct clip_error error;
    m->pool = clip_pool_new((int)m->shared.threads, &error);
    m->rows.reader = m->pool ? clip_reader_new(operands, n > 0, m->shared.max_record, &error) : NULL;
    if (!m->rows.reader)
        clip_die("%s", error.text);
    clip_reader_lend(m->rows.reader);
    if (n > 1 && !(m->columns.reader = clip_reader_new(operands + 1, 1, m->shared.max_record, &error)))
        clip_die("%s", error.text);
    if (n > 1)
        clip_reader_lend(m->columns.reader);
    if (m->out.form != CLIP_ROWS_RECORDS)
        return;
    clip_refuse_terminal();
    m->out.writer = clip_writer_new(STDOUT_FILENO, "standard output", &error);
    if (!m->out.writer)
        clip_die("%s", error.text);
    clip_reader_tie(m->rows.reader, m->out.writer);
}

static int close_output(struct matrix *m, struct clip_error *error)
{
    if (!m->out.writer)
        return 0; /* stdout: clip_finish */
    if (clip_writer_end(m->out.writer, error) != 0)
        return -1;
    return close(STDOUT_FILENO) == 0 ? 0 : clip_fail_errno(error, "standard output");
}

int main(int argc, char **argv)
{
    struct matrix m = {.out = {.text = stdout}};
    struct clip_error error, flush_error;
    int first = clip_start(&program, &m.shared, argc, argv), n = argc - first;
    check_usage(argv + first, n);
    setlocale(LC_CTYPE, "");
    m.out.form = tsv ? CLIP_ROWS_TABLE : jsonl ? CLIP_ROWS_JSON : bars ? CLIP_ROWS_BARS : CLIP_ROWS_RECORDS;
    m.out.best = top > 0 || min_text || pairs;
    m.wanted = (struct clip_wanted){.top = (size_t)top, .least = read_min(), .softmax = softmax};
    m.wanted.scoring = read_scoring(&m.shared);
    m.out.scale = m.wanted.scoring.scale;
    m.out.sigmoid = sigmoid;
    set_fields(&m, n == 2);
    open_all(&m, argv + first, n);
    clip_progress_start(&m.progress, &m.shared, n > 0 ? argv[first] : "standard input");
    int status = pairs    ? pairs_of_stream(&m, &error)
                 : n == 2 ? two_streams(&m, &error)
                          : one_stream(&m, &error);
    show_progress(&m, 1);
    if (m.skipped)
        clip_message("%llu bad records skipped", (unsigned long long)m.skipped);
    if (status == 0)
        status = close_output(&m, &error);
    else if (m.out.writer)
        clip_writer_flush(m.out.writer, &flush_error); /* the run has failed already; `error` says how */
    if (status != 0)
        clip_message("%s", error.text);
    clip_vectors_free(m.rows.vectors);
    clip_vectors_free(m.columns.vectors);
    free(m.rows.unit);
    free(m.columns.unit);
    free(m.keys);
    free(m.labels);
    clip_similarity_free(m.similarity);
    clip_reader_free(m.rows.reader);
    clip_reader_free(m.columns.reader);
    clip_writer_free(m.out.writer);
    clip_pool_free(m.pool);
    return m.out.form != CLIP_ROWS_RECORDS ? clip_finish(status != 0) : status != 0;
}
