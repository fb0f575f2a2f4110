/* Searching an index (score/store.h): queries are kept, and answered some at a time. */
#ifndef CLIP_SCORE_SEARCH_H
#define CLIP_SCORE_SEARCH_H

#include "base/error.h"
#include "score/retrieval.h"
#include "stream/record.h"

#include <stddef.h>

enum { CLIP_SEARCH_MOST_QUERIES = 4096 }; /* that are best answered at once */

struct clip_search_options {
    struct clip_wanted wanted; /* without softmax */
    size_t probes; /* with top: of the index's lists, the nearest are looked into; 0: all embeddings are */
    const char *folder; /* keys that begin with ./ are written as paths below it; or NULL */
    int threads;
};

struct clip_search;

/* NULL with error. What the options point at must outlive it. */
struct clip_search *clip_search_open(const char *path, const struct clip_search_options *options,
                                     struct clip_error *error);
void clip_search_close(struct clip_search *search);

/* Width of the index's embeddings; 0: nothing was ever put in. */
size_t clip_search_width(const struct clip_search *search);

/* Keeps the record's embedding, unit[width], called as clip_label_read says. */
int clip_search_add(struct clip_search *search, const float *unit, const struct clip_record *record,
                    const char *label, struct clip_error *error);
/* Queries that are kept. */
size_t clip_search_count(const struct clip_search *search);

/* Writes a row for each query that is kept, and drops them. */
int clip_search_answer(struct clip_search *search, const struct clip_rows_output *out,
                       struct clip_error *error);

#endif
