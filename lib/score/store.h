/* An index of embeddings on disk: a folder that is whole at every moment.
 *
 * index.json names the folder's segments; what it does not name does not count. A segment is a safetensors
 * file,
 * "%08u.safetensors": embeddings [n][width], keys and labels (each terminated) with their offsets, sizes and
 * times of the files that they are of. Embeddings that are removed are bits of another file,
 * "%08u.removed.safetensors". Lists of the embeddings for FAISS, and their centroids, are files, too
 * (score/store-lists.h). Files never change: a change writes new ones, and then index.json. */
#ifndef CLIP_SCORE_STORE_H
#define CLIP_SCORE_STORE_H

#include "base/error.h"
#include "base/file.h"
#include "model/weight.h"
#include "score/vectors.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_STORE_FILE "index.json"
enum { CLIP_STORE_VERSION = 1, CLIP_STORE_SEGMENTS = 1024, CLIP_STORE_WIDTH = 1 << 20 };

/* What index.json says. */
struct clip_store_manifest {
    size_t width;                     /* 0: nothing was ever put in */
    int halves;                       /* the embeddings are f16, not f32 */
    uint32_t next;                    /* the number of the next file */
    uint32_t lists, centroids_number; /* how many, and the file of their centroids; 0: none */
    size_t count;
    struct clip_store_part {
        uint32_t number, removed_number; /* of its files; 0: nothing is removed */
        uint32_t lists_number;           /* 0: it has none */
        uint64_t count, removed;         /* embeddings, and how many of them are removed */
    } parts[CLIP_STORE_SEGMENTS];
};

enum { CLIP_STORE_MOST_LISTS = 1 << 16 };

/* text[size] is checked. -1 with error. */
int clip_store_manifest_parse(struct clip_store_manifest *manifest, const char *text, size_t size,
                              struct clip_error *error);

/* What a segment's file holds: views into it. */
struct clip_store_segment {
    uint64_t count;
    const unsigned char *embeddings;                  /* [count][width] */
    const unsigned char *key_offsets, *label_offsets; /* i64 [count + 1], not aligned */
    const unsigned char *sizes, *times;               /* i64, f64 [count], not aligned */
    const char *keys, *labels;
    size_t keys_size, labels_size;
};

/* Reads data[size], aligned to 4 bytes, a file of `manifest`. -1 with error. */
int clip_store_segment_read(struct clip_store_segment *segment, const struct clip_store_manifest *manifest,
                            const unsigned char *data, size_t size, struct clip_error *error);

/* One embedding: the key, the label ("": the key), both terminated, and of the file that it is of the size
 * (-1: not known) and the time. */
struct clip_store_entry {
    const char *key, *label;
    int64_t size;
    double time;
};
int clip_store_segment_entry(const struct clip_store_segment *segment, uint64_t i,
                             struct clip_store_entry *entry, struct clip_error *error);

/* An index that is read. It stays as it was when it was opened, whatever others write. */
struct clip_store {
    char *path;
    struct clip_store_manifest manifest;
    struct clip_store_open_part {
        struct clip_mapping file, removed;
        struct clip_store_segment segment;
        const unsigned char *bits; /* of `removed`, or NULL */
        struct clip_vectors *vectors;
        uint64_t first; /* the number, in the index, of its first embedding */
    } * parts;          /* [manifest.count] */
};

struct clip_store *clip_store_open(const char *path, struct clip_error *error);
/* The same of what `manifest` says, in the folder `path`. */
struct clip_store *clip_store_load(const char *path, const struct clip_store_manifest *manifest,
                                   struct clip_error *error);
void clip_store_close(struct clip_store *index);

/* Embeddings that are not removed. */
uint64_t clip_store_count(const struct clip_store *index);

/* The entry of embedding `number`, which begins with 0 and counts removed ones too. */
int clip_store_entry(const struct clip_store *index, uint64_t number, struct clip_store_entry *entry,
                     struct clip_error *error);

/* The next embedding that is not removed: its entry, and *number, which begins with 0 and is then one
 * further. 1; 0 after the last; -1 with error. */
int clip_store_next(const struct clip_store *index, uint64_t *number, struct clip_store_entry *entry,
                    struct clip_error *error);

/* Whether embedding i of a part is removed. */
static inline int clip_store_removed(const struct clip_store_open_part *part, uint64_t i)
{
    return part->bits && part->bits[i / 8] >> i % 8 & 1;
}

/* Maps a file of the index. -1 with error and errno. */
int clip_store_map(const char *path, uint32_t number, const char *ending, struct clip_mapping *mapping,
                   struct clip_error *error);

/* The data of the tensor `name` of that type and shape, [n], or [n][m] where m is not 0; *n SIZE_MAX: any,
 * and set. NULL with error. */
const unsigned char *clip_store_tensor(const struct clip_weights *weights, const char *name,
                                       enum clip_weight_type type, size_t *n, size_t m,
                                       struct clip_error *error);

/* The path of a file of the index, from malloc; NULL with error. */
char *clip_store_path(const char *path, uint32_t number, const char *ending, struct clip_error *error);
#define CLIP_STORE_SEGMENT ".safetensors"
#define CLIP_STORE_REMOVED ".removed.safetensors"
#define CLIP_STORE_LISTS ".lists.safetensors"
#define CLIP_STORE_CENTROIDS ".centroids.safetensors"

#endif
