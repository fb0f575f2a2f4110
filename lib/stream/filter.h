/* The loop that all filters share: records in, records out, in order, in batches of what has come. */
#ifndef CLIP_STREAM_FILTER_H
#define CLIP_STREAM_FILTER_H

#include "base/cli.h"
#include "base/error.h"
#include "stream/reader.h"
#include "stream/writer.h"

#include <stddef.h>

/* A filter's work. `process` changes records[0..n) in place, n <= batch; a record that cannot be done is
 * marked with clip_record_fail; it returns 0, or -1 with error where the run cannot go on. Messages are put
 * to the program's stderr by the loop. */
struct clip_filter {
    int (*process)(void *context, struct clip_record **records, size_t n, struct clip_error *error);
    /* Optional: writes what has become of a record in the place of the record itself. */
    int (*write)(void *context, struct clip_record *record, struct clip_writer *out,
                 struct clip_error *error);
    /* Optional: each control object, after everything before it was written and after it was passed on
     * itself. */
    int (*control)(void *context, const struct clip_record *object, struct clip_error *error);
    /* Optional: called once at the end of all input, before the end object is written. */
    int (*finish)(void *context, struct clip_writer *out, struct clip_error *error);
    void *context;
    size_t batch;
    const char *lines; /* the inputs are text: see clip_reader_lines; or NULL */
    int no_output;     /* records and control objects are consumed; only `finish` writes */
};

/* Runs over the inputs operands[0..n) (none: standard input) to standard output. Returns the program's exit
 * status: 0; 1 after a message, without an end object. Records that are bad end the run, or are named and
 * dropped with
 * --skip-bad. An input that is cut ends it after what came was written. */
int clip_filter_run(const struct clip_filter *filter, const struct clip_shared *shared, char *const *operands,
                    size_t n);

#endif
