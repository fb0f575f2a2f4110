/* Records against records, field by field: how far apart they are. */
#ifndef CLIP_STREAM_COMPARE_H
#define CLIP_STREAM_COMPARE_H

#include "base/error.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdint.h>

/* What was seen of the fields of one name. */
struct clip_field_comparison {
    char *name; /* not terminated */
    size_t name_size;
    uint64_t both, only_a, only_b; /* records that have it */
    uint64_t unequal;              /* of `both`: another kind or shape, or past the tolerances */
    int numeric;                   /* the two below were measured */
    double absolute;               /* largest |a - b| of an element; infinite for a NaN against a number */
    double relative; /* largest |a - b| / max(|a|, |b|), || being a value's length as a vector */
    char at[120];    /* the record of the first difference, then of the largest; printable */
    double at_absolute;
};

/* Zero it, but for the tolerances, to begin. A value passes within either of them. */
struct clip_comparison {
    double tolerance, relative_tolerance;
    const char *only; /* names with commas between them: compare these and the keys; NULL: all */
    struct clip_field_comparison *fields;
    size_t count, room;
};

void clip_comparison_free(struct clip_comparison *comparison);

/* Takes in a pair of records, matched by the caller; either may be NULL, which counts only the other's key.
 * -1 with error when out of memory, or past CLIP_MAX_FIELDS names. */
int clip_compare_records(struct clip_comparison *comparison, const struct clip_record *a,
                         const struct clip_record *b, struct clip_error *error);

/* 1 if some value did not pass or was on one side only, else 0. */
int clip_comparison_differs(const struct clip_comparison *comparison);

#endif
