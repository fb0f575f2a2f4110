/* A buffer of fixed size that returns records in random order: shuffles a stream that is read only once. */
#ifndef CLIP_STREAM_MIX_H
#define CLIP_STREAM_MIX_H

#include "base/error.h"
#include "base/random.h"
#include "stream/record.h"

#include <stddef.h>

/* Zeroed to begin with. */
struct clip_mix {
    struct clip_record **held; /* [room] */
    size_t room, count;
    struct clip_random random; /* the caller begins it */
};

/* Makes room for `room` records. -1 with error. */
int clip_mix_init(struct clip_mix *mix, size_t room, struct clip_error *error);
void clip_mix_free(struct clip_mix *mix);

/* Puts a record into the buffer, which takes it over. Returns a record drawn at random, which is the
 * caller's; NULL while the buffer is not full. */
struct clip_record *clip_mix_put(struct clip_mix *mix, struct clip_record *record);

/* The next of the remaining records; NULL when there are none. */
struct clip_record *clip_mix_take(struct clip_mix *mix);

#endif
