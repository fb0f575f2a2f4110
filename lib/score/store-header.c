#include "score/store-header.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void clip_store_header_begin(struct clip_store_header *header)
{
    header->at = 0;
    header->used = snprintf(header->text, sizeof header->text,
                            "12345678{\"__metadata__\": {\"format\": \"clip-index\"}");
}

void clip_store_header_add(struct clip_store_header *header, const char *name, const char *dtype, uint64_t n,
                           uint64_t m, uint64_t bytes)
{
    char shape[64];
    snprintf(shape, sizeof shape, m ? "%" PRIu64 ", %" PRIu64 : "%" PRIu64, n, m);
    header->used += snprintf(header->text + header->used, (size_t)(CLIP_STORE_HEADER - header->used),
                             ", \"%s\": {\"dtype\": \"%s\", \"shape\": [%s], \"data_offsets\": [%" PRIu64
                             ", %" PRIu64 "]}",
                             name, dtype, shape, header->at, header->at + bytes);
    header->at += bytes;
}

void clip_store_header_end(struct clip_store_header *header)
{
    uint64_t length = CLIP_STORE_HEADER - sizeof length;
    header->text[header->used++] = '}';
    memset(header->text + header->used, ' ', (size_t)(CLIP_STORE_HEADER - header->used));
    memcpy(header->text, &length, sizeof length);
}

int clip_store_close_file(FILE *file, const char *path, struct clip_error *error)
{
    int bad = fflush(file) != 0 || ferror(file) || fsync(fileno(file)) != 0;
    if (bad)
        clip_fail_errno(error, "%s", path);
    if (fclose(file) != 0 && !bad)
        bad = clip_fail_errno(error, "%s", path);
    return bad ? -1 : 0;
}
