/* Compares records field by field: how far apart they are. */
#ifndef CLIP_STREAM_COMPARE_H
#define CLIP_STREAM_COMPARE_H

#include "base/error.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdint.h>

/* Results for the fields of one name. */
struct clip_field_comparison {
    char *name; /* not terminated */
    size_t name_size;
    uint64_t both, only_a, only_b; /* records that have it */
    uint64_t unequal;              /* of `both`: those of different kind or shape, or beyond the tolerances */
    int numeric;                   /* the two below are set */
    double absolute;               /* largest |a - b| of an element; infinite for a NaN against a number */
    double relative; /* largest |a - b| / max(|a|, |b|), || being a value's length as a vector */
    char at[120];    /* the record of the first difference, then that of the largest; printable */
    double at_absolute;
};

/* Zero it, except for the tolerances, to begin. A value passes if it is within either of them. */
struct clip_comparison {
    double tolerance, relative_tolerance;
    const char *only; /* names with commas between them: compare these and the keys; NULL: all */
    struct clip_field_comparison *fields;
    size_t count, room;
};

void clip_comparison_free(struct clip_comparison *comparison);

/* Adds a pair of records, matched by the caller. Either may be NULL; then only the other's key is counted.
 * -1 with error when out of memory, or past CLIP_MAX_FIELDS names. */
int clip_compare_records(struct clip_comparison *comparison, const struct clip_record *a,
                         const struct clip_record *b, struct clip_error *error);

/* 1 if a value did not pass or only one side had it, else 0. */
int clip_comparison_differs(const struct clip_comparison *comparison);

#endif
