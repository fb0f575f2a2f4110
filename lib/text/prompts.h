/* Prompts that captions are put into, as "a photo of a {c}" (CLIP's paper, section 3.1.4): in training,
 * another one each time that a caption comes. */
#ifndef CLIP_TEXT_PROMPTS_H
#define CLIP_TEXT_PROMPTS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct clip_prompts;

/* Reads a prompt a line; empty lines do not count. NULL with error where there is none, or one has no {c} for
 * its caption. clip_prompts_free takes NULL. */
struct clip_prompts *clip_prompts_read(const char *path, struct clip_error *error);
void clip_prompts_free(struct clip_prompts *prompts);

/* The caption in the place of each {c} of the prompt that belongs to seed, epoch and key: from malloc, not
 * terminated, its bytes in *filled; NULL when out of memory. */
char *clip_prompts_fill(const struct clip_prompts *prompts, uint64_t seed, uint32_t epoch, const char *key,
                        size_t key_size, const char *caption, size_t size, size_t *filled);

#endif
