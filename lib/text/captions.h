/* The captions of a record's field: the lines of a text, or the strings under a path in a JSON object. */
#ifndef CLIP_TEXT_CAPTIONS_H
#define CLIP_TEXT_CAPTIONS_H

#include "base/error.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdint.h>

/* Where captions are: "txt"; or "json:a.b", the member b of the member a of the JSON object in the field
 * json. */
struct clip_caption_place {
    char *name;       /* name of the field; owned */
    const char *path; /* or NULL */
};
int clip_caption_place_read(struct clip_caption_place *place, const char *text, struct clip_error *error);

struct clip_caption_text {
    const char *text; /* UTF-8 without a byte order mark, or bytes that were not text; not terminated */
    size_t size;
};

struct clip_captions {
    struct clip_caption_text whole; /* the whole text; strings of JSON with newlines between them */
    struct clip_caption_text *all;  /* [count]: lines, or strings of JSON, except blank ones */
    size_t count, room;
    char *owned, *joined;
    struct json_object *object;
};

/* Reads the captions; of a text only the whole unless `split`. They point into their own memory or into
 * the record, which must not change. A path continues into each element of an array; a key that contains a
 * dot is found, too. -1 with error if the field or the member is missing, or not text. */
int clip_captions_read(struct clip_captions *captions, const struct clip_record *record,
                       const struct clip_caption_place *place, int split, struct clip_error *error);
void clip_captions_free(struct clip_captions *captions);

/* The caption of all[count], count > 0, for a seed, epoch and key. */
const struct clip_caption_text *clip_captions_draw(const struct clip_captions *captions, uint64_t seed,
                                                   uint32_t epoch, const char *key, size_t key_size);

#endif
