/* The captions that a record's field holds: the lines of a text, or what lies under a path in a JSON object.
 */
#ifndef CLIP_TEXT_CAPTIONS_H
#define CLIP_TEXT_CAPTIONS_H

#include "base/error.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdint.h>

/* Where captions are: "txt", or "json:a.b", the member b of the member a of the JSON object in the field
 * json. */
struct clip_caption_place {
    char *name;       /* of the field; owned */
    const char *path; /* or NULL */
};
int clip_caption_place_read(struct clip_caption_place *place, const char *text, struct clip_error *error);

struct clip_caption_text {
    const char *text; /* UTF-8 without a byte order mark, or what was not text before; not terminated */
    size_t size;
};

struct clip_captions {
    struct clip_caption_text whole; /* all of it; strings of JSON with newlines between them */
    struct clip_caption_text *all;  /* [count]: lines, or strings of JSON, that are not blank */
    size_t count, room;
    char *owned, *joined;
    struct json_object *object;
};

/* Reads the captions, of a text only the whole unless `split`; all that they point at is theirs or the
 * record's, which must stay as it is. A path goes through arrays, into each of their elements; a key that has
 * a dot in it is found as it is. -1 with error where the field or the member is missing, or no text. */
int clip_captions_read(struct clip_captions *captions, const struct clip_record *record,
                       const struct clip_caption_place *place, int split, struct clip_error *error);
void clip_captions_free(struct clip_captions *captions);

/* The one of all[count], count > 0, that belongs to seed, epoch and key. */
const struct clip_caption_text *clip_captions_draw(const struct clip_captions *captions, uint64_t seed,
                                                   uint32_t epoch, const char *key, size_t key_size);

#endif
