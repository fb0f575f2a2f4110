/* The directory of a mapped zip archive.
 *
 * libarchive reads entries as a stream and does not say where their data lies in the file; weights are to be
 * used where they are mapped. So this reads the directory alone: offsets, sizes, zip64. PyTorch stores its
 * entries, so no decompression is needed. It is strict: what the central directory, the local headers and the
 * end records say must agree, and no two entries may share bytes. */
#ifndef CLIP_MODEL_ZIP_H
#define CLIP_MODEL_ZIP_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct clip_zip_entry {
    const char *name; /* in the archive, not terminated */
    size_t length;
    const unsigned char *data; /* as stored */
    size_t stored, size;       /* bytes there, and once decompressed */
    uint16_t method;           /* 0: stored as it is */
    uint32_t crc;
    size_t header; /* where its local header begins */
};

struct clip_zip {
    struct clip_zip_entry *entries; /* sorted by name */
    size_t count;
};

/* Reads the directory of data[size]. clip_zip_free afterwards, also after an error. */
int clip_zip_read(struct clip_zip *zip, const unsigned char *data, size_t size, struct clip_error *error);
void clip_zip_free(struct clip_zip *zip);

/* The entry of that name, or NULL. */
const struct clip_zip_entry *clip_zip_find(const struct clip_zip *zip, const char *name, size_t length);

#endif
