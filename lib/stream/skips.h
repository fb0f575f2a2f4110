/* Bad records: each ends the run or, with --skip-bad, is named, counted and dropped. */
#ifndef CLIP_STREAM_SKIPS_H
#define CLIP_STREAM_SKIPS_H

#include "base/cli.h"
#include "base/error.h"
#include "stream/record.h"
#include "stream/rejects.h"

#include <stdint.h>

struct clip_skips {
    const struct clip_shared *shared;
    struct clip_rejects
        *rejects; /* the file that gets them, each of which is then named only with -v; or NULL */
    uint64_t count;
};

/* A record that is marked as bad: 0 after a message that names it, or -1 with error, which names it. */
int clip_skips_add(struct clip_skips *skips, const struct clip_record *record, struct clip_error *error);

/* Prints how many were skipped, if any were. */
void clip_skips_note(const struct clip_skips *skips);

#endif
