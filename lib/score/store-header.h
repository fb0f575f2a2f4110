/* Writing safetensors files of an index. What they begin with has a fixed size, so that data can be written
 * before it is known. */
#ifndef CLIP_SCORE_STORE_HEADER_H
#define CLIP_SCORE_STORE_HEADER_H

#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

enum { CLIP_STORE_HEADER = 1024 };

struct clip_store_header {
    char text[CLIP_STORE_HEADER];
    int used;
    uint64_t at; /* bytes of the tensors so far */
};

void clip_store_header_begin(struct clip_store_header *header);
/* The next tensor, [n] or [n][m] where m is not 0, of `bytes` bytes. */
void clip_store_header_add(struct clip_store_header *header, const char *name, const char *dtype, uint64_t n,
                           uint64_t m, uint64_t bytes);
/* Fills it up with blanks: `text` is then complete. */
void clip_store_header_end(struct clip_store_header *header);

/* Closes a file when it is on the disk. -1 with error, also where writing failed before. */
int clip_store_close_file(FILE *file, const char *path, struct clip_error *error);

#endif
