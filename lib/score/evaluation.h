/* What clip-eval --save leaves of a zero-shot classification. */
#ifndef CLIP_SCORE_EVALUATION_H
#define CLIP_SCORE_EVALUATION_H

#include "base/error.h"
#include "score/page.h"
#include "score/results.h"

#include <stddef.h>

/* Reads the folder: the classes of classes.clip, the keys of pictures.clip, and best.tsv, of which each
 * picture becomes a row with its best classes. Pictures without a class are left out. `names` is a file of
 * the classes' names, a line each; NULL: their numbers. -1 with error; both are to be freed also then. */
int clip_evaluation_read(const char *folder, const char *names, size_t max_record,
                         struct clip_results *results, struct clip_page_classes *classes,
                         struct clip_error *error);
void clip_page_classes_free(struct clip_page_classes *classes);

#endif
