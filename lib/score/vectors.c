#include "score/vectors.h"
#include "base/file.h"
#include "math/dots.h"
#include "math/unit.h"
#include "score/names.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct clip_vectors {
    size_t width;
    float **blocks;       /* [memory_blocks]: NULL where there never was one */
    size_t memory_blocks; /* at least 1; those after them are in the file, each at its place as if all were */
    int fd;               /* the file, or -1 */
    float *filled;        /* the block that is being filled, on its way into the file */
    struct clip_names names;
    const char *mapped; /* or NULL */
    size_t mapped_count;
    int halves;
    const uint8_t *removed;
};

static size_t block_bytes(const struct clip_vectors *vectors)
{
    return CLIP_VECTORS_BLOCK * vectors->width * sizeof(float);
}

struct clip_vectors *clip_vectors_new(size_t width, size_t memory, struct clip_error *error)
{
    struct clip_vectors *vectors = calloc(1, sizeof *vectors);
    if (vectors) {
        vectors->width = width;
        vectors->fd = -1;
        vectors->memory_blocks = memory / block_bytes(vectors);
        if (vectors->memory_blocks == 0)
            vectors->memory_blocks = 1;
        vectors->blocks = calloc(vectors->memory_blocks, sizeof *vectors->blocks);
        if (vectors->blocks)
            return vectors;
        free(vectors);
    }
    clip_fail_memory(error, "vectors");
    return NULL;
}

struct clip_vectors *clip_vectors_map(size_t width, size_t count, const void *data, int halves,
                                      const uint8_t *removed, struct clip_error *error)
{
    struct clip_vectors *vectors = clip_vectors_new(width, 0, error);
    if (!vectors)
        return NULL;
    vectors->mapped = data;
    vectors->mapped_count = count;
    vectors->halves = halves;
    vectors->removed = removed;
    return vectors;
}

void clip_vectors_clear(struct clip_vectors *vectors)
{
    clip_names_clear(&vectors->names);
}

void clip_vectors_free(struct clip_vectors *vectors)
{
    if (!vectors)
        return;
    for (size_t b = 0; b < vectors->memory_blocks; b++)
        free(vectors->blocks[b]);
    free(vectors->blocks);
    free(vectors->filled);
    clip_names_free(&vectors->names);
    if (vectors->fd >= 0)
        close(vectors->fd);
    free(vectors);
}

static int write_block(struct clip_vectors *vectors, size_t b, struct clip_error *error)
{
    if (vectors->fd < 0 && (vectors->fd = clip_temporary_file(error)) < 0)
        return -1;
    return clip_pwrite_all(vectors->fd, vectors->filled, block_bytes(vectors), b * block_bytes(vectors),
                           error);
}

/* The place of the vector to be added; a block of the file that has been filled goes there. */
static float *next_place(struct clip_vectors *vectors, struct clip_error *error)
{
    size_t b = vectors->names.count / CLIP_VECTORS_BLOCK, i = vectors->names.count % CLIP_VECTORS_BLOCK;
    float **block = b < vectors->memory_blocks ? &vectors->blocks[b] : &vectors->filled;
    if (i == 0 && b > vectors->memory_blocks && write_block(vectors, b - 1, error) != 0)
        return NULL;
    if (!*block && !(*block = aligned_alloc(64, block_bytes(vectors)))) { /* a multiple of 64 bytes */
        clip_fail_memory(error, "vectors");
        return NULL;
    }
    return *block + i * vectors->width;
}

int clip_vectors_add(struct clip_vectors *vectors, const float *x, const char *key, size_t key_size,
                     const char *label, size_t label_size, struct clip_error *error)
{
    float *place = next_place(vectors, error);
    if (!place)
        return -1;
    if (clip_names_add(&vectors->names, key, key_size, label, label_size) != 0)
        return clip_fail_memory(error, "keys");
    memcpy(place, x, vectors->width * sizeof *x);
    return 0;
}

size_t clip_vectors_count(const struct clip_vectors *vectors)
{
    return vectors->mapped ? vectors->mapped_count : vectors->names.count;
}

int clip_vectors_any_removed(const struct clip_vectors *vectors)
{
    return vectors->removed != NULL;
}

int clip_vectors_removed(const struct clip_vectors *vectors, size_t i)
{
    return vectors->removed && vectors->removed[i / 8] >> i % 8 & 1;
}

const char *clip_vectors_key(const struct clip_vectors *vectors, size_t i)
{
    return clip_names_key(&vectors->names, i);
}

const char *clip_vectors_label(const struct clip_vectors *vectors, size_t i)
{
    return clip_names_label(&vectors->names, i);
}

/* A half may round to zero where the vector is long and flat; such a one is like nothing. */
static const float *read_halves(const struct clip_vectors *vectors, size_t first, size_t n, float *buffer)
{
    struct clip_error ignored;
    size_t width = vectors->width;
    clip_dot_kernels(clip_level())
        ->from_halves(n * width, vectors->mapped + first * width * sizeof(uint16_t), buffer);
    for (size_t i = 0; i < n; i++)
        if (clip_unit_vector(width, buffer + i * width, buffer + i * width, &ignored) != 0)
            memset(buffer + i * width, 0, width * sizeof *buffer);
    return buffer;
}

const float *clip_vectors_floats(const struct clip_vectors *vectors, size_t first, size_t n, float *buffer,
                                 struct clip_error *error)
{
    size_t b = first / CLIP_VECTORS_BLOCK, row = vectors->width * sizeof *buffer;
    if (vectors->mapped)
        return vectors->halves ? read_halves(vectors, first, n, buffer)
                               : (const float *)(const void *)(vectors->mapped + first * row);
    const float *block = b < vectors->memory_blocks                             ? vectors->blocks[b]
                         : b == (vectors->names.count - 1) / CLIP_VECTORS_BLOCK ? vectors->filled
                                                                                : NULL;
    if (block)
        return block + first % CLIP_VECTORS_BLOCK * vectors->width;
    return clip_pread_all(vectors->fd, buffer, n * row, first * row, error) == 0 ? buffer : NULL;
}
