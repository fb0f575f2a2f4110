/* The files of an index on any bytes: index.json, up to the first zero byte, and after it a segment, or
 * lists; every embedding, text and code that it has must be in it. */
#include "score/store-lists.h"
#include "score/store.h"

#include <stdlib.h>
#include <string.h>

static void read_segment(const struct clip_store_manifest *manifest, const unsigned char *data, size_t size)
{
    struct clip_store_segment segment;
    struct clip_store_entry entry;
    struct clip_error error = {""};
    volatile size_t sum = 0;
    if (clip_store_segment_read(&segment, manifest, data, size, &error) != 0) {
        if (error.text[0] == '\0')
            abort(); /* an error without a message */
        return;
    }
    size_t bytes = segment.count * manifest->width * (manifest->halves ? 2 : 4);
    for (size_t i = 0; i < bytes; i++)
        sum = sum + segment.embeddings[i];
    for (uint64_t i = 0; i < segment.count; i++)
        if (clip_store_segment_entry(&segment, i, &entry, &error) == 0)
            sum = sum + strlen(entry.key) + strlen(entry.label);
}

static void read_lists(const struct clip_store_manifest *manifest, const unsigned char *data, size_t size)
{
    struct clip_faiss_lists lists;
    struct clip_error error = {""};
    volatile size_t sum = 0;
    if (clip_store_lists_read(&lists, manifest, SIZE_MAX, data, size, &error) != 0) {
        if (error.text[0] == '\0')
            abort();
        return;
    }
    for (uint32_t l = 0; l < manifest->lists; l++)
        for (int64_t i = lists.offsets[l]; i < lists.offsets[l + 1]; i++)
            sum = sum + (size_t)lists.numbers[i] + lists.codes[(size_t)i * manifest->width];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct clip_store_manifest manifest;
    struct clip_error error = {""};
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t text = zero ? (size_t)(zero - data) : size, rest = zero ? size - text - 1 : 0;
    if (clip_store_manifest_parse(&manifest, (const char *)data, text, &error) != 0) {
        if (error.text[0] == '\0')
            abort();
        return 0;
    }
    unsigned char *segment = malloc(rest + 1);
    if (segment && manifest.width > 0) {
        memcpy(segment, data + text + (zero != NULL), rest);
        read_segment(&manifest, segment, rest);
        if (manifest.lists)
            read_lists(&manifest, segment, rest);
    }
    free(segment);
    return 0;
}
