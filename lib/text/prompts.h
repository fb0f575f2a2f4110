/* Prompts into which captions or class names are inserted, such as "a photo of a {c}" (CLIP's paper,
 * section 3.1.4). {} is the same as {c}: OpenAI, open_clip and transformers write it so. In a prompt that
 * has both, each is replaced. */
#ifndef CLIP_TEXT_PROMPTS_H
#define CLIP_TEXT_PROMPTS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct clip_prompts;

/* Reads one prompt a line; blank lines are ignored. NULL with error, which names the line, if there is no
 * prompt, or if a line has no placeholder or is Python or JSON. clip_prompts_free takes NULL. */
struct clip_prompts *clip_prompts_read(const char *path, struct clip_error *error);
void clip_prompts_free(struct clip_prompts *prompts);
size_t clip_prompts_count(const struct clip_prompts *prompts);

/* Prompt i with the caption in each placeholder: from malloc, not terminated, *filled bytes; NULL when out
 * of memory. */
char *clip_prompts_fill(const struct clip_prompts *prompts, size_t i, const char *caption, size_t size,
                        size_t *filled);

/* The number of the prompt for a seed, epoch and key. */
size_t clip_prompts_draw(const struct clip_prompts *prompts, uint64_t seed, uint32_t epoch, const char *key,
                         size_t key_size);

/* --- the names of classes --- */

struct clip_classes {
    char **names;
    size_t count;
};

/* Reads one name a line; "-" is standard input; blank lines at the end are ignored. Zero it before. -1
 * with error, which names the line: a name after a blank line; or there is no class. */
int clip_classes_read(struct clip_classes *classes, const char *path, struct clip_error *error);
void clip_classes_free(struct clip_classes *classes);

#endif
