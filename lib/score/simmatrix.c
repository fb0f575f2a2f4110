#include "score/simmatrix.h"
#include "score/embedding.h"

#include <stdlib.h>

#define MEMORY ((size_t)64 << 20) /* of embeddings of a side; more of them go to a temporary file */
#define TILE ((size_t)16 << 20)   /* elements of a part of the matrix that is written whole */

/* Columns that go by at once: where there are few rows, so few that they stay in the cache. */
enum { FULL_COLUMNS = 256, FEW_COLUMNS = 64, FEW_ROWS = 16 };

struct clip_simmatrix {
    struct clip_pool *pool;
    struct clip_wanted wanted;
    const struct clip_rows_output *out;
    struct clip_similarity *similarity; /* made when the first embedding tells the width */
    size_t width;
    float *unit; /* [width], of the last record */
    struct clip_vectors *rows, *columns;
    const char **keys, **labels;    /* of the columns, where each row has all */
    struct clip_retrieval *passing; /* while columns go by */
    uint64_t passed;
};

struct clip_simmatrix *clip_simmatrix_new(struct clip_pool *pool, const struct clip_wanted *wanted,
                                          const struct clip_rows_output *out, struct clip_error *error)
{
    struct clip_simmatrix *m = calloc(1, sizeof *m);
    if (!m) {
        clip_fail_memory(error, "a matrix of similarities");
        return NULL;
    }
    m->pool = pool;
    m->wanted = *wanted;
    m->out = out;
    return m;
}

void clip_simmatrix_free(struct clip_simmatrix *m)
{
    if (!m)
        return;
    clip_retrieval_free(m->passing);
    clip_vectors_free(m->rows);
    clip_vectors_free(m->columns);
    clip_similarity_free(m->similarity);
    free(m->unit);
    free(m->keys);
    free(m->labels);
    free(m);
}

/* --- embeddings --- */

/* Everything has the width of the first embedding. */
static int set_width(struct clip_simmatrix *m, struct clip_error *error)
{
    m->similarity = clip_similarity_new(m->pool, m->width, error);
    m->rows = m->similarity ? clip_vectors_new(m->width, MEMORY, error) : NULL;
    m->columns = m->rows ? clip_vectors_new(m->width, MEMORY, error) : NULL;
    return m->columns ? 0 : -1;
}

int clip_simmatrix_add(struct clip_simmatrix *m, enum clip_simmatrix_side side, struct clip_record *record,
                       const char *const fields[2], const char *label, struct clip_error *error)
{
    if (clip_embedding_read(record, fields, &m->width, &m->unit) != 0 ||
        (!m->similarity && set_width(m, error) != 0))
        return -1;
    return clip_embedding_keep(side == CLIP_SIMMATRIX_ROWS ? m->rows : m->columns, m->unit, record, label,
                               error);
}

size_t clip_simmatrix_count(const struct clip_simmatrix *m, enum clip_simmatrix_side side)
{
    const struct clip_vectors *vectors = side == CLIP_SIMMATRIX_ROWS ? m->rows : m->columns;
    return vectors ? clip_vectors_count(vectors) : 0;
}

/* --- rows that are answered as they come --- */

int clip_simmatrix_begin(struct clip_simmatrix *m, struct clip_error *error)
{
    size_t n = clip_vectors_count(m->columns);
    m->keys = calloc(n, sizeof *m->keys);
    m->labels = calloc(n, sizeof *m->labels);
    if (!m->keys || !m->labels)
        return clip_fail_memory(error, "keys");
    for (size_t c = 0; c < n; c++) {
        m->keys[c] = clip_vectors_key(m->columns, c);
        m->labels[c] = clip_vectors_label(m->columns, c);
    }
    return clip_rows_begin(m->out, m->keys, m->labels, n, error);
}

/* Row `r`, whose cosines become scores in place. */
static int write_whole_row(struct clip_simmatrix *m, size_t r, float *scores, struct clip_error *error)
{
    size_t n = clip_vectors_count(m->columns);
    struct clip_ranking ranking;
    clip_ranking_init(&ranking, 0, 0, m->wanted.softmax);
    for (size_t c = 0; c < n; c++)
        scores[c] = clip_score_of(m->wanted.scoring, scores[c]);
    if (clip_ranking_add(&ranking, scores, n, NULL, 0, 0, error) != 0)
        return -1;
    for (size_t c = 0; c < n && m->wanted.softmax; c++)
        scores[c] = clip_ranking_softmax(&ranking, scores[c]);
    struct clip_row row = {
        clip_vectors_key(m->rows, r), clip_vectors_label(m->rows, r), n, m->keys, m->labels, scores};
    return clip_rows_write(m->out, &row, error);
}

/* Each row with all columns. */
static int write_whole_rows(struct clip_simmatrix *m, struct clip_error *error)
{
    struct clip_tile tile = {.rows = m->rows, .columns = m->columns};
    size_t count = clip_vectors_count(tile.rows), tall = CLIP_SIMMATRIX_MOST_ROWS;
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
            status = write_whole_row(m, tile.row + r, scores + r * tile.column_count, error);
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

static int write_best_rows(struct clip_simmatrix *m, struct clip_error *error)
{
    struct clip_retrieval *retrieval =
        clip_retrieval_new(m->similarity, &m->wanted, m->rows, name_column, m->columns, error);
    int status = retrieval ? clip_retrieval_add(retrieval, m->columns, 0, error) : -1;
    if (status == 0)
        status = clip_retrieval_write(retrieval, m->out, error);
    clip_retrieval_free(retrieval);
    return status;
}

int clip_simmatrix_write_rows(struct clip_simmatrix *m, struct clip_error *error)
{
    if (clip_simmatrix_count(m, CLIP_SIMMATRIX_ROWS) == 0)
        return 0;
    int status = (m->out->best ? write_best_rows : write_whole_rows)(m, error);
    clip_vectors_clear(m->rows);
    return status;
}

/* --- columns that go by --- */

size_t clip_simmatrix_block(const struct clip_simmatrix *m)
{
    return clip_simmatrix_count(m, CLIP_SIMMATRIX_ROWS) <= FEW_ROWS ? FEW_COLUMNS : FULL_COLUMNS;
}

int clip_simmatrix_pass_columns(struct clip_simmatrix *m, struct clip_error *error)
{
    if (!m->passing &&
        !(m->passing = clip_retrieval_new(m->similarity, &m->wanted, m->rows, NULL, NULL, error)))
        return -1;
    int status = clip_retrieval_add(m->passing, m->columns, m->passed, error);
    m->passed += clip_vectors_count(m->columns);
    clip_vectors_clear(m->columns);
    return status;
}

int clip_simmatrix_end_columns(struct clip_simmatrix *m, struct clip_error *error)
{
    return clip_retrieval_write(m->passing, m->out, error);
}

/* --- pairs --- */

int clip_simmatrix_write_pairs(struct clip_simmatrix *m, struct clip_error *error)
{
    return clip_find_pairs(m->similarity, &m->wanted, m->rows, m->out, error);
}
