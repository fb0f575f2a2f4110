/* Records that wait in a buffer of fixed size for a turn at random: shuffling what comes only once. */
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
    struct clip_random random; /* the caller's to begin */
};

/* Makes room for `room` records. -1 with error. */
int clip_mix_init(struct clip_mix *mix, size_t room, struct clip_error *error);
void clip_mix_free(struct clip_mix *mix);

/* Puts a record in, which is then the buffer's. Returns the one whose turn it is, the caller's; NULL as long
 * as the buffer is not full. */
struct clip_record *clip_mix_put(struct clip_mix *mix, struct clip_record *record);

/* The next of those that are left, or NULL where none is. */
struct clip_record *clip_mix_take(struct clip_mix *mix);

#endif
