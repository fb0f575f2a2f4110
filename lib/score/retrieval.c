#include "score/retrieval.h"
#include "base/array.h"
#include "score/matches.h"
#include "score/names.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY ((size_t)32 << 20) /* of matches; more of them go to a temporary file */

struct clip_retrieval {
    struct clip_similarity *similarity;
    struct clip_wanted wanted;
    const struct clip_vectors *rows;
    clip_column_namer *namer;
    void *context;
    struct clip_ranking *rankings; /* [rows]: the best, or the softmax alone; NULL where neither is wanted */
    struct clip_matches *matches;  /* NULL with top */
    uint64_t first;                /* what the columns that are looked at now begin with */
    atomic_uchar *matched;         /* [their number], without a namer: those of which a name must be kept */
    struct clip_names names;       /* of the columns kept[], which grow */
    uint64_t *kept;
    size_t kept_room;
};

struct clip_retrieval *clip_retrieval_new(struct clip_similarity *similarity,
                                          const struct clip_wanted *wanted, const struct clip_vectors *rows,
                                          clip_column_namer *namer, void *context, struct clip_error *error)
{
    struct clip_retrieval *retrieval = calloc(1, sizeof *retrieval);
    if (!retrieval) {
        clip_fail_memory(error, "matches");
        return NULL;
    }
    *retrieval = (struct clip_retrieval){similarity, *wanted, rows, namer, context, .rankings = NULL};
    size_t n = clip_vectors_count(rows);
    if (wanted->top || wanted->softmax) {
        retrieval->rankings = calloc(n + 1, sizeof *retrieval->rankings);
        for (size_t r = 0; r < n && retrieval->rankings; r++)
            clip_ranking_init(&retrieval->rankings[r], wanted->top,
                              wanted->softmax ? -INFINITY : wanted->least, wanted->softmax);
        if (!retrieval->rankings)
            clip_fail_memory(error, "the best matches");
    }
    if (!wanted->top)
        retrieval->matches = clip_matches_new(CLIP_MATCHES_BY_ROW, 0, MEMORY, error);
    if (wanted->top || wanted->softmax ? retrieval->rankings && (wanted->top || retrieval->matches)
                                       : retrieval->matches != NULL)
        return retrieval;
    clip_retrieval_free(retrieval);
    return NULL;
}

void clip_retrieval_free(struct clip_retrieval *retrieval)
{
    if (!retrieval)
        return;
    for (size_t r = 0; retrieval->rankings && r < clip_vectors_count(retrieval->rows); r++)
        clip_ranking_free(&retrieval->rankings[r]);
    free(retrieval->rankings);
    clip_matches_free(retrieval->matches);
    clip_names_free(&retrieval->names);
    free(retrieval->kept);
    free(retrieval->matched);
    free(retrieval);
}

/* --- looking at columns --- */

/* Pairs on their way to where they are collected, which is locked. */
struct batch {
    struct clip_matches *to;
    struct clip_pair pairs[256];
    size_t count;
};

static int add_pair(struct batch *batch, float score, uint64_t row, uint64_t column, struct clip_error *error)
{
    batch->pairs[batch->count++] = (struct clip_pair){score, row, column};
    if (batch->count < CLIP_COUNT_OF(batch->pairs))
        return 0;
    size_t n = batch->count;
    batch->count = 0;
    return clip_matches_add(batch->to, batch->pairs, n, error);
}

/* All of a row that reach the least score. */
static int take_all(void *context, const struct clip_tile *tile, const float *scores, size_t r,
                    struct clip_error *error)
{
    struct clip_retrieval *retrieval = context;
    struct batch batch = {.to = retrieval->matches, .count = 0};
    for (size_t c = 0; c < tile->column_count; c++) {
        float score = scores[c];
        if (retrieval->wanted.softmax)
            score = clip_ranking_softmax(&retrieval->rankings[tile->row + r], score);
        if (!(score >= retrieval->wanted.least))
            continue;
        if (retrieval->matched)
            atomic_store_explicit(&retrieval->matched[tile->column + c], 1, memory_order_relaxed);
        if (add_pair(&batch, score, tile->row + r, retrieval->first + tile->column + c, error) != 0)
            return -1;
    }
    return clip_matches_add(batch.to, batch.pairs, batch.count, error);
}

/* The best of a row, or its softmax. */
static int take_best(void *context, const struct clip_tile *tile, const float *scores, size_t r,
                     struct clip_error *error)
{
    struct clip_retrieval *retrieval = context;
    return clip_ranking_add(&retrieval->rankings[tile->row + r], scores, tile->column_count,
                            retrieval->namer ? NULL : tile->columns, tile->column,
                            retrieval->first + tile->column, error);
}

static int keep_name(struct clip_retrieval *retrieval, const struct clip_vectors *columns, size_t c)
{
    const char *key = clip_vectors_key(columns, c), *label = clip_vectors_label(columns, c);
    if (CLIP_GROW(retrieval->kept, retrieval->names.count, retrieval->kept_room) != 0)
        return -1;
    retrieval->kept[retrieval->names.count] = retrieval->first + c;
    return clip_names_add(&retrieval->names, key, strlen(key), label == key ? NULL : label,
                          label == key ? 0 : strlen(label));
}

/* Looks for all that reach the least score, and keeps the names of the columns where they are. */
static int add_all(struct clip_retrieval *retrieval, const struct clip_vectors *columns,
                   const struct clip_rows_taker *taker, struct clip_error *error)
{
    size_t n = clip_vectors_count(columns);
    free(retrieval->matched);
    retrieval->matched = NULL;
    if (!retrieval->namer && !(retrieval->matched = calloc(n + 1, sizeof *retrieval->matched)))
        return clip_fail_memory(error, "matches");
    if (clip_similarity_run(retrieval->similarity, retrieval->rows, columns, taker, error) != 0)
        return -1;
    for (size_t c = 0; c < n && retrieval->matched; c++)
        if (retrieval->matched[c] && keep_name(retrieval, columns, c) != 0)
            return clip_fail_memory(error, "keys");
    return 0;
}

int clip_retrieval_add(struct clip_retrieval *retrieval, const struct clip_vectors *columns, uint64_t first,
                       struct clip_error *error)
{
    struct clip_rows_taker taker = {take_best, retrieval, retrieval->wanted.scoring, 0};
    retrieval->first = first;
    if (retrieval->rankings &&
        clip_similarity_run(retrieval->similarity, retrieval->rows, columns, &taker, error) != 0)
        return -1;
    taker.take = take_all;
    return retrieval->matches ? add_all(retrieval, columns, &taker, error) : 0;
}

int clip_retrieval_add_listed(struct clip_retrieval *retrieval, size_t first_row, size_t n,
                              const struct clip_vectors *columns, uint64_t first, const int64_t *numbers,
                              size_t most, struct clip_error *error)
{
    float *cosines = reallocarray(NULL, n * most, sizeof *cosines);
    if (!cosines)
        return clip_fail_memory(error, "matches");
    int status = clip_similarity_listed(retrieval->similarity, retrieval->rows, first_row, n, columns,
                                        numbers, most, cosines, error);
    for (size_t i = 0; i < n * most && status == 0; i++) {
        if (numbers[i] < 0)
            continue;
        float score = clip_score_of(retrieval->wanted.scoring, cosines[i]);
        status = clip_ranking_add(&retrieval->rankings[first_row + i / most], &score, 1, NULL, 0,
                                  first + (uint64_t)numbers[i], error);
    }
    free(cosines);
    return status;
}

/* --- writing --- */

/* One row's matches on their way out. */
struct found {
    const char **keys, **labels; /* [room] */
    float *scores;
    size_t count, room;
};

static void free_found(struct found *found)
{
    free(found->keys);
    free(found->labels);
    free(found->scores);
}

static int put_found(struct found *found, const char *key, const char *label, float score,
                     struct clip_error *error)
{
    if (found->count == found->room) {
        size_t room = 2 * found->room + 16;
        const char **keys = reallocarray(found->keys, room, sizeof *keys);
        found->keys = keys ? keys : found->keys;
        const char **labels = keys ? reallocarray(found->labels, room, sizeof *labels) : NULL;
        found->labels = labels ? labels : found->labels;
        float *scores = labels ? reallocarray(found->scores, room, sizeof *scores) : NULL;
        if (!scores)
            return clip_fail_memory(error, "matches");
        found->scores = scores;
        found->room = room;
    }
    found->keys[found->count] = key;
    found->labels[found->count] = label;
    found->scores[found->count++] = score;
    return 0;
}

static int write_found(struct clip_retrieval *retrieval, size_t r, struct found *found,
                       const struct clip_rows_output *out, struct clip_error *error)
{
    struct clip_row row = {clip_vectors_key(retrieval->rows, r),
                           clip_vectors_label(retrieval->rows, r),
                           found->count,
                           found->keys,
                           found->labels,
                           found->scores};
    found->count = 0;
    return clip_rows_write(out, &row, error);
}

static int write_best(struct clip_retrieval *retrieval, size_t r, struct found *found,
                      const struct clip_rows_output *out, struct clip_error *error)
{
    struct clip_ranking *ranking = &retrieval->rankings[r];
    clip_ranking_sort(ranking);
    for (size_t i = 0; i < ranking->count; i++) {
        const struct clip_match *match = &ranking->matches[i];
        const char *key = match->key, *label = match->label ? match->label : key;
        float score = retrieval->wanted.softmax ? clip_ranking_softmax(ranking, match->score) : match->score;
        if (!(score >= retrieval->wanted.least))
            break;
        if (retrieval->namer && retrieval->namer(retrieval->context, match->column, &key, &label, error) != 0)
            return -1;
        if (put_found(found, key, label, score, error) != 0)
            return -1;
    }
    return write_found(retrieval, r, found, out, error);
}

static int name_column(const struct clip_retrieval *retrieval, uint64_t column, const char **key,
                       const char **label, struct clip_error *error)
{
    if (retrieval->namer)
        return retrieval->namer(retrieval->context, column, key, label, error);
    size_t low = 0, high = retrieval->names.count;
    while (low + 1 < high) {
        size_t middle = (low + high) / 2;
        if (retrieval->kept[middle] <= column)
            low = middle;
        else
            high = middle;
    }
    *key = clip_names_key(&retrieval->names, low);
    *label = clip_names_label(&retrieval->names, low);
    return 0;
}

/* All matches come row by row. */
static int write_all(struct clip_retrieval *retrieval, struct found *found,
                     const struct clip_rows_output *out, struct clip_error *error)
{
    struct clip_pair pair;
    const char *key, *label;
    if (clip_matches_sort(retrieval->matches, error) != 0)
        return -1;
    int got = clip_matches_next(retrieval->matches, &pair, error);
    for (size_t r = 0; r < clip_vectors_count(retrieval->rows) && got >= 0; r++) {
        while (got > 0 && pair.row == r) {
            if (name_column(retrieval, pair.column, &key, &label, error) != 0 ||
                put_found(found, key, label, pair.score, error) != 0)
                return -1;
            got = clip_matches_next(retrieval->matches, &pair, error);
        }
        if (got >= 0 && write_found(retrieval, r, found, out, error) != 0)
            return -1;
    }
    return got < 0 ? -1 : 0;
}

int clip_retrieval_write(struct clip_retrieval *retrieval, const struct clip_rows_output *out,
                         struct clip_error *error)
{
    struct found found = {0};
    int status = 0;
    if (retrieval->matches)
        status = write_all(retrieval, &found, out, error);
    for (size_t r = 0; r < clip_vectors_count(retrieval->rows) && !retrieval->matches && status == 0; r++)
        status = write_best(retrieval, r, &found, out, error);
    free_found(&found);
    return status;
}

/* --- pairs --- */

struct pairs {
    const struct clip_wanted *wanted;
    struct clip_matches *matches;
};

static int take_pairs(void *context, const struct clip_tile *tile, const float *scores, size_t r,
                      struct clip_error *error)
{
    const struct pairs *pairs = context;
    struct batch batch = {.to = pairs->matches, .count = 0};
    uint64_t row = tile->row + r;
    float least = clip_matches_bar(pairs->matches);
    if (!(least >= pairs->wanted->least))
        least = pairs->wanted->least;
    for (size_t c = row < tile->column ? 0 : row + 1 - tile->column; c < tile->column_count; c++)
        if (scores[c] >= least && add_pair(&batch, scores[c], row, tile->column + c, error) != 0)
            return -1;
    return clip_matches_add(batch.to, batch.pairs, batch.count, error);
}

static int write_pairs(const struct clip_vectors *vectors, struct clip_matches *matches,
                       const struct clip_rows_output *out, struct clip_error *error)
{
    struct clip_pair pair;
    int got;
    while ((got = clip_matches_next(matches, &pair, error)) > 0) {
        const char *key = clip_vectors_key(vectors, pair.column),
                   *label = clip_vectors_label(vectors, pair.column);
        struct clip_row row = {clip_vectors_key(vectors, pair.row),
                               clip_vectors_label(vectors, pair.row),
                               1,
                               &key,
                               &label,
                               &pair.score};
        if (clip_rows_write(out, &row, error) != 0)
            return -1;
    }
    return got;
}

int clip_find_pairs(struct clip_similarity *similarity, const struct clip_wanted *wanted,
                    const struct clip_vectors *vectors, const struct clip_rows_output *out,
                    struct clip_error *error)
{
    struct pairs pairs = {wanted, clip_matches_new(CLIP_MATCHES_BY_SCORE, wanted->top, MEMORY, error)};
    struct clip_rows_taker taker = {take_pairs, &pairs, wanted->scoring, 1};
    int status = pairs.matches ? clip_similarity_run(similarity, vectors, vectors, &taker, error) : -1;
    if (status == 0)
        status = clip_matches_sort(pairs.matches, error);
    if (status == 0)
        status = write_pairs(vectors, pairs.matches, out, error);
    clip_matches_free(pairs.matches);
    return status;
}
