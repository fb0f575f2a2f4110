/* The loop that all filters share: reads records, writes records, in order, in batches of those that have
 * arrived. */
#ifndef CLIP_STREAM_FILTER_H
#define CLIP_STREAM_FILTER_H

#include "base/cli.h"
#include "base/error.h"
#include "stream/reader.h"
#include "stream/writer.h"

#include <stddef.h>

/* A filter's work. `process` changes records[0..n) in place, n <= batch. It marks a record that it cannot
 * process with clip_record_fail, and returns 0, or -1 with error if the run cannot continue. The loop
 * prints all messages on stderr. */
struct clip_filter {
    int (*process)(void *context, struct clip_record **records, size_t n, struct clip_error *error);
    /* Optional: writes the results of a record instead of the record itself. */
    int (*write)(void *context, struct clip_record *record, struct clip_writer *out,
                 struct clip_error *error);
    /* Optional: called for each control object, after everything before it, and the object itself, was
     * written. */
    int (*control)(void *context, const struct clip_record *object, struct clip_error *error);
    /* Optional: called once at the end of all input, before the end object is written. */
    int (*finish)(void *context, struct clip_writer *out, struct clip_error *error);
    void *context;
    size_t batch;
    const char *lines;   /* the inputs are text: see clip_reader_lines; or NULL. The batch is 1. */
    const char *rejects; /* the file that gets the bad records (stream/rejects.h), each of which is then named
                          * only with -v; or NULL */
    int no_output;       /* records and control objects are consumed; only `finish` writes */
};

/* Runs over the inputs operands[0..n) (none: standard input) to standard output. Returns the program's
 * exit status: 0; 1 after a message, without an end object. A bad record ends the run or, with --skip-bad,
 * is named and dropped. A cut input ends the run after the records before the cut were written. */
int clip_filter_run(const struct clip_filter *filter, const struct clip_shared *shared, char *const *operands,
                    size_t n);

#endif
