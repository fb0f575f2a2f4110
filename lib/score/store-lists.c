#include "score/store-lists.h"
#include "base/random.h"
#include "model/forms.h"
#include "score/faiss-module.h"
#include "score/store-header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PER_LIST =
        256,    /* embeddings that a centroid is learned from: with 64, a tenth of the best are not found */
    SPARE = 64, /* candidates beside twice those that are wanted */
    AT_ONCE = 4096, /* embeddings */
    MOST_FOUND = 1 << 22
};

/* FAISS with the centroids of an index. */
struct quantizer {
    const struct clip_faiss *faiss;
    void *index;
    size_t width, lists;
};

static int fail_faiss(const char *why, struct clip_error *error)
{
    return clip_fail(error, "FAISS: %s", why);
}

static int open_quantizer(struct quantizer *quantizer, const float *centroids, const float *ranges,
                          int threads, struct clip_error *error)
{
    char why[200];
    quantizer->index = quantizer->faiss->open(quantizer->width, quantizer->lists, centroids, ranges, threads,
                                              why, sizeof why);
    return quantizer->index ? 0 : fail_faiss(why, error);
}

/* --- centroids --- */

/* A random sample of sample[n][width] of the embeddings that are not removed, of which there are `live`. */
static int draw_sample(const struct clip_store *index, float *sample, size_t n, uint64_t live,
                       struct clip_error *error)
{
    struct clip_random random;
    size_t width = index->manifest.width;
    clip_random_begin(&random, 0, clip_fnv1a("lists", 5), 0);
    for (size_t p = 0; p < index->manifest.count; p++)
        for (uint64_t i = 0; i < index->parts[p].segment.count && n > 0; i++) {
            if (clip_store_removed(&index->parts[p], i) || clip_random_below(&random, live--) >= n)
                continue;
            const float *x = clip_vectors_floats(index->parts[p].vectors, i, 1, sample, error);
            if (!x)
                return -1;
            if (x != sample)
                memcpy(sample, x, width * sizeof *x);
            sample += width;
            n--;
        }
    return 0;
}

static int write_centroids(const char *folder, uint32_t number, const struct quantizer *quantizer,
                           const float *values, struct clip_error *error)
{
    struct clip_store_header header;
    size_t width = quantizer->width, lists = quantizer->lists, n = (lists + 2) * width;
    char *path = clip_store_path(folder, number, CLIP_STORE_CENTROIDS, error);
    FILE *file = path ? fopen(path, "we") : NULL;
    if (path && !file)
        clip_fail_errno(error, "%s", path);
    clip_store_header_begin(&header);
    clip_store_header_add(&header, "centroids", "F32", lists, width, lists * width * sizeof *values);
    clip_store_header_add(&header, "ranges", "F32", 2, width, 2 * width * sizeof *values);
    clip_store_header_end(&header);
    if (file) {
        fwrite(header.text, 1, CLIP_STORE_HEADER, file);
        fwrite(values, sizeof *values, n, file);
    }
    int status = file ? clip_store_close_file(file, path, error) : -1;
    free(path);
    return status;
}

/* Learns the centroids, writes them, and names them in the manifest. */
static int learn_centroids(struct quantizer *quantizer, const struct clip_store *index,
                           struct clip_store_manifest *next, int threads, struct clip_error *error)
{
    char why[200];
    size_t width = quantizer->width, lists = quantizer->lists;
    uint64_t live = clip_store_count(index);
    size_t n = live < PER_LIST * lists ? live : PER_LIST * lists;
    if (live < lists)
        return clip_fail(error, "%llu embeddings are too few for %zu lists", (unsigned long long)live, lists);
    float *sample = reallocarray(NULL, n * width, sizeof *sample);
    float *values = reallocarray(NULL, (lists + 2) * width, sizeof *values);
    int status = sample && values ? 0 : clip_fail_memory(error, "a sample of the embeddings");
    if (status == 0)
        status = draw_sample(index, sample, n, live, error);
    if (status == 0 && quantizer->faiss->train(sample, n, width, lists, threads, values,
                                               values + lists * width, why, sizeof why) != 0)
        status = fail_faiss(why, error);
    free(sample);
    if (status == 0)
        status = open_quantizer(quantizer, values, values + lists * width, threads, error);
    if (status == 0)
        status = write_centroids(index->path, next->next, quantizer, values, error);
    free(values);
    next->lists = (uint32_t)lists;
    next->centroids_number = next->next++;
    return status;
}

static int read_centroids(struct quantizer *quantizer, const struct clip_store *index, int threads,
                          struct clip_error *error)
{
    struct clip_mapping mapping;
    struct clip_weights weights = {0};
    size_t lists = quantizer->lists, two = 2;
    uint32_t number = index->manifest.centroids_number;
    if (clip_store_map(index->path, number, CLIP_STORE_CENTROIDS, &mapping, error) != 0)
        return -1;
    const unsigned char *centroids = NULL, *ranges = NULL;
    int status = clip_safetensors_read(&weights, mapping.data, mapping.size, error);
    if (status == 0 &&
        (!(centroids =
               clip_store_tensor(&weights, "centroids", CLIP_WEIGHT_F32, &lists, quantizer->width, error)) ||
         !(ranges = clip_store_tensor(&weights, "ranges", CLIP_WEIGHT_F32, &two, quantizer->width, error))))
        status = -1;
    if (status == 0 && ((uintptr_t)centroids % 4 != 0 || (uintptr_t)ranges % 4 != 0))
        status = clip_fail(error, "the centroids are not aligned");
    if (status == 0)
        status = open_quantizer(quantizer, (const float *)(const void *)centroids,
                                (const float *)(const void *)ranges, threads, error);
    clip_weights_free(&weights);
    clip_unmap_file(&mapping);
    return status == 0 ? 0 : clip_fail_prefix(error, "%s/%08u%s", index->path, number, CLIP_STORE_CENTROIDS);
}

/* --- writing lists --- */

/* The file of a segment's lists while it is written: mapped, with room for all of it. */
struct lists_out {
    char *path;
    int fd;
    unsigned char *data;
    size_t size;
    int64_t *offsets, *numbers;
    uint8_t *codes;
};

static int map_out(struct lists_out *out, const struct clip_store_header *header, struct clip_error *error)
{
    out->size = CLIP_STORE_HEADER + header->at;
    out->fd = open(out->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out->fd < 0)
        return clip_fail_errno(error, "%s", out->path);
    if ((errno = posix_fallocate(out->fd, 0, (off_t)out->size)) != 0) /* else a full disk would be a signal */
        return clip_fail_errno(error, "%s", out->path);
    void *data = mmap(NULL, out->size, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
    if (data == MAP_FAILED)
        return clip_fail_errno(error, "%s", out->path);
    out->data = data;
    memcpy(out->data, header->text, CLIP_STORE_HEADER);
    return 0;
}

static int begin_lists(struct lists_out *out, const char *folder, uint32_t number, size_t lists, size_t width,
                       uint64_t n, struct clip_error *error)
{
    struct clip_store_header header;
    *out = (struct lists_out){.path = clip_store_path(folder, number, CLIP_STORE_LISTS, error), .fd = -1};
    if (!out->path)
        return -1;
    clip_store_header_begin(&header);
    clip_store_header_add(&header, "offsets", "I64", lists + 1, 0, 8 * (lists + 1));
    clip_store_header_add(&header, "numbers", "I64", n, 0, 8 * n);
    clip_store_header_add(&header, "codes", "U8", n, width, n * width);
    clip_store_header_end(&header);
    if (map_out(out, &header, error) != 0)
        return -1;
    out->offsets = (int64_t *)(void *)(out->data + CLIP_STORE_HEADER);
    out->numbers = out->offsets + lists + 1;
    out->codes = (uint8_t *)(out->numbers + n);
    return 0;
}

static int end_lists(struct lists_out *out, int status, struct clip_error *error)
{
    if (status == 0 && (msync(out->data, out->size, MS_SYNC) != 0 || fsync(out->fd) != 0))
        status = clip_fail_errno(error, "%s", out->path);
    if (out->data)
        munmap(out->data, out->size);
    if (out->fd >= 0)
        close(out->fd);
    if (status != 0 && out->path)
        unlink(out->path);
    free(out->path);
    return status;
}

/* Some embeddings on their way through FAISS. */
struct block {
    float *x;         /* [AT_ONCE][width] */
    int64_t *list_of; /* [AT_ONCE] */
    uint8_t *codes;   /* [AT_ONCE][width] */
};

/* Embeddings [first, first + n) into block->x. */
static int read_block(const struct clip_vectors *vectors, uint64_t first, size_t n, size_t width,
                      const struct block *block, struct clip_error *error)
{
    for (size_t i = 0, m; i < n; i += m) {
        m = n - i < CLIP_VECTORS_BLOCK ? n - i : CLIP_VECTORS_BLOCK;
        const float *x = clip_vectors_floats(vectors, first + i, m, block->x + i * width, error);
        if (!x)
            return -1;
        if (x != block->x + i * width)
            memcpy(block->x + i * width, x, m * width * sizeof *x);
    }
    return 0;
}

/* The list of each embedding into list_of[n]; offsets[lists + 1] are where the lists begin. */
static int assign_lists(const struct quantizer *quantizer, const struct clip_vectors *vectors,
                        const struct block *block, uint32_t *list_of, int64_t *offsets,
                        struct clip_error *error)
{
    char why[200];
    uint64_t count = clip_vectors_count(vectors);
    memset(offsets, 0, (quantizer->lists + 1) * sizeof *offsets);
    for (uint64_t i = 0; i < count; i += AT_ONCE) {
        size_t n = count - i < AT_ONCE ? count - i : AT_ONCE;
        if (read_block(vectors, i, n, quantizer->width, block, error) != 0)
            return -1;
        if (quantizer->faiss->assign(quantizer->index, n, block->x, block->list_of, why, sizeof why) != 0)
            return fail_faiss(why, error);
        for (size_t j = 0; j < n; j++) {
            /* What is not a number is near to nothing. */
            list_of[i + j] = block->list_of[j] < 0 ? 0 : (uint32_t)block->list_of[j];
            offsets[list_of[i + j] + 1]++;
        }
    }
    for (size_t l = 0; l < quantizer->lists; l++)
        offsets[l + 1] += offsets[l];
    return 0;
}

/* Puts the code of each embedding into its list. */
static int encode_rows(const struct quantizer *quantizer, const struct clip_vectors *vectors,
                       const struct block *block, const uint32_t *list_of, struct lists_out *out,
                       struct clip_error *error)
{
    char why[200];
    size_t width = quantizer->width;
    uint64_t count = clip_vectors_count(vectors);
    int64_t *next = reallocarray(NULL, quantizer->lists, sizeof *next);
    int status = next ? 0 : clip_fail_memory(error, "lists");
    if (next)
        memcpy(next, out->offsets, quantizer->lists * sizeof *next);
    for (uint64_t i = 0; i < count && status == 0; i += AT_ONCE) {
        size_t n = count - i < AT_ONCE ? count - i : AT_ONCE;
        status = read_block(vectors, i, n, width, block, error);
        for (size_t j = 0; j < n; j++)
            block->list_of[j] = list_of[i + j];
        if (status == 0 && quantizer->faiss->encode(quantizer->index, n, block->x, block->list_of,
                                                    block->codes, why, sizeof why) != 0)
            status = fail_faiss(why, error);
        for (size_t j = 0; j < n && status == 0; j++) {
            int64_t place = next[list_of[i + j]]++;
            out->numbers[place] = (int64_t)(i + j);
            memcpy(out->codes + (size_t)place * width, block->codes + j * width, width);
        }
    }
    free(next);
    return status;
}

static int write_lists(const struct quantizer *quantizer, const struct clip_store *index, size_t p,
                       uint32_t number, struct clip_error *error)
{
    const struct clip_vectors *vectors = index->parts[p].vectors;
    size_t width = quantizer->width;
    uint64_t n = clip_vectors_count(vectors);
    struct block block = {reallocarray(NULL, AT_ONCE * width, sizeof *block.x),
                          reallocarray(NULL, AT_ONCE, sizeof *block.list_of), malloc(AT_ONCE * width)};
    uint32_t *list_of = reallocarray(NULL, n, sizeof *list_of);
    struct lists_out out = {.fd = -1};
    int status = block.x && block.list_of && block.codes && list_of ? 0 : clip_fail_memory(error, "lists");
    if (status == 0)
        status = begin_lists(&out, index->path, number, quantizer->lists, width, n, error);
    if (status == 0)
        status = assign_lists(quantizer, vectors, &block, list_of, out.offsets, error);
    if (status == 0)
        status = encode_rows(quantizer, vectors, &block, list_of, &out, error);
    status = end_lists(&out, status, error);
    free(block.x);
    free(block.list_of);
    free(block.codes);
    free(list_of);
    return status;
}

static int lacks_lists(const struct clip_store_part *part, size_t wanted)
{
    return !part->lists_number && (wanted || part->count >= CLIP_STORE_LISTS_LEAST);
}

static int make_lists(struct quantizer *quantizer, const struct clip_store *index,
                      struct clip_store_manifest *next, size_t wanted, int threads, struct clip_error *error)
{
    int status = wanted ? learn_centroids(quantizer, index, next, threads, error)
                        : read_centroids(quantizer, index, threads, error);
    for (size_t p = 0; p < next->count && status == 0; p++) {
        if (!lacks_lists(&next->parts[p], wanted))
            continue;
        next->parts[p].lists_number = next->next++;
        status = write_lists(quantizer, index, p, next->parts[p].lists_number, error);
    }
    if (quantizer->index)
        quantizer->faiss->close(quantizer->index);
    return status;
}

int clip_store_lists_make(const char *folder, struct clip_store_manifest *next, size_t wanted, int threads,
                          struct clip_error *error)
{
    struct clip_error why;
    int lacks = 0;
    for (size_t p = 0; p < next->count; p++)
        lacks |= lacks_lists(&next->parts[p], wanted);
    if (!wanted && (!next->lists || !lacks))
        return 0;
    struct quantizer quantizer = {.faiss = clip_faiss_load(threads, &why),
                                  .width = next->width,
                                  .lists = wanted ? wanted : next->lists};
    if (!quantizer.faiss) /* others made its lists: what is new is searched exactly */
        return wanted ? clip_fail(error, "%s", why.text) : 0;
    struct clip_store *index = clip_store_load(folder, next, error);
    int status = index ? make_lists(&quantizer, index, next, wanted, threads, error) : -1;
    clip_store_close(index);
    return status;
}

/* --- searching --- */

struct clip_store_lists {
    const struct clip_store *index;
    struct quantizer quantizer;
    struct part_lists {
        struct clip_mapping file;
        struct clip_faiss_lists views; /* codes NULL: it has none */
    } * parts;                         /* [index->manifest.count] */
};

static int check_offsets(const struct clip_faiss_lists *views, size_t lists, struct clip_error *error)
{
    int64_t before = 0;
    for (size_t l = 0; l <= lists; l++) {
        if (views->offsets[l] < before || (l == 0 && views->offsets[l] != 0))
            return clip_fail(error, "the offsets of the lists do not grow");
        before = views->offsets[l];
    }
    return (uint64_t)before == views->count ? 0 : clip_fail(error, "the lists do not have all embeddings");
}

int clip_store_lists_read(struct clip_faiss_lists *lists, const struct clip_store_manifest *manifest,
                          size_t count, const unsigned char *data, size_t size, struct clip_error *error)
{
    struct clip_weights weights = {0};
    size_t ends = (size_t)manifest->lists + 1;
    const unsigned char *offsets = NULL, *numbers = NULL, *codes = NULL;
    int status = clip_safetensors_read(&weights, data, size, error);
    if (status == 0 &&
        (!(offsets = clip_store_tensor(&weights, "offsets", CLIP_WEIGHT_I64, &ends, 0, error)) ||
         !(numbers = clip_store_tensor(&weights, "numbers", CLIP_WEIGHT_I64, &count, 0, error)) ||
         !(codes = clip_store_tensor(&weights, "codes", CLIP_WEIGHT_U8, &count, manifest->width, error))))
        status = -1;
    clip_weights_free(&weights);
    if (status != 0)
        return -1;
    if ((uintptr_t)offsets % 8 != 0 || (uintptr_t)numbers % 8 != 0)
        return clip_fail(error, "the lists are not aligned");
    *lists = (struct clip_faiss_lists){count, (const int64_t *)(const void *)offsets,
                                       (const int64_t *)(const void *)numbers, codes, NULL};
    return check_offsets(lists, manifest->lists, error);
}

static int open_lists(struct clip_store_lists *lists, size_t p, struct clip_error *error)
{
    const struct clip_store *index = lists->index;
    uint32_t number = index->manifest.parts[p].lists_number;
    if (!number)
        return 0;
    if (clip_store_map(index->path, number, CLIP_STORE_LISTS, &lists->parts[p].file, error) != 0)
        return -1;
    struct part_lists *part = &lists->parts[p];
    int status = clip_store_lists_read(&part->views, &index->manifest, index->parts[p].segment.count,
                                       part->file.data, part->file.size, error);
    part->views.removed = index->parts[p].bits;
    if (status == 0)
        return 0;
    return clip_fail_prefix(error, "%s/%08u%s", index->path, number, CLIP_STORE_LISTS);
}

struct clip_store_lists *clip_store_lists_open(const struct clip_store *index, int threads,
                                               struct clip_error *error)
{
    size_t count = index->manifest.count;
    if (!index->manifest.lists) {
        clip_fail(error, "%s: there are no lists in this index (see --lists)", index->path);
        return NULL;
    }
    struct clip_store_lists *lists = calloc(1, sizeof *lists);
    if (!lists || !(lists->parts = calloc(count + 1, sizeof *lists->parts))) {
        free(lists);
        clip_fail_memory(error, "lists");
        return NULL;
    }
    lists->index = index;
    lists->quantizer = (struct quantizer){.faiss = clip_faiss_load(threads, error),
                                          .width = index->manifest.width,
                                          .lists = index->manifest.lists};
    int status = lists->quantizer.faiss ? read_centroids(&lists->quantizer, index, threads, error) : -1;
    for (size_t p = 0; p < count && status == 0; p++)
        status = open_lists(lists, p, error);
    if (status == 0)
        return lists;
    clip_store_lists_close(lists);
    return NULL;
}

void clip_store_lists_close(struct clip_store_lists *lists)
{
    if (!lists)
        return;
    for (size_t p = 0; p < lists->index->manifest.count; p++)
        clip_unmap_file(&lists->parts[p].file);
    if (lists->quantizer.index)
        lists->quantizer.faiss->close(lists->quantizer.index);
    free(lists->parts);
    free(lists);
}

/* Adds what is found for rows [first, first + n), which lie in one block, to the retrieval. */
static int search_rows(struct clip_store_lists *lists, size_t p, struct clip_retrieval *retrieval,
                       const struct clip_vectors *rows, size_t first, size_t n, size_t most, size_t probes,
                       struct clip_error *error)
{
    char why[200];
    const struct quantizer *quantizer = &lists->quantizer;
    const struct clip_store_open_part *part = &lists->index->parts[p];
    int64_t *found = reallocarray(NULL, n * most, sizeof *found);
    float *buffer = reallocarray(NULL, n * quantizer->width, sizeof *buffer);
    int status = found && buffer ? 0 : clip_fail_memory(error, "candidates");
    const float *x = status == 0 ? clip_vectors_floats(rows, first, n, buffer, error) : NULL;
    if (!x)
        status = -1;
    if (status == 0 && quantizer->faiss->search(quantizer->index, &lists->parts[p].views, n, x, most, probes,
                                                found, why, sizeof why) != 0)
        status = fail_faiss(why, error);
    if (status == 0)
        status =
            clip_retrieval_add_listed(retrieval, first, n, part->vectors, part->first, found, most, error);
    free(found);
    free(buffer);
    return status;
}

int clip_store_lists_search(struct clip_store_lists *lists, size_t p, struct clip_retrieval *retrieval,
                            const struct clip_vectors *rows, size_t top, size_t probes,
                            struct clip_error *error)
{
    const struct clip_store_open_part *part = &lists->index->parts[p];
    size_t count = clip_vectors_count(rows), n;
    /* More than is wanted, as the codes are not the embeddings. */
    size_t most = top < part->segment.count ? 2 * top + SPARE : top;
    if (most > part->segment.count)
        most = part->segment.count;
    if (!lists->parts[p].views.codes)
        return clip_retrieval_add(retrieval, part->vectors, part->first, error);
    size_t at_once = MOST_FOUND / most < CLIP_VECTORS_BLOCK ? MOST_FOUND / most + 1 : CLIP_VECTORS_BLOCK;
    for (size_t r = 0; r < count; r += n) {
        n = CLIP_VECTORS_BLOCK - r % CLIP_VECTORS_BLOCK; /* rows are read by blocks */
        n = n < at_once ? n : at_once;
        n = n < count - r ? n : count - r;
        if (search_rows(lists, p, retrieval, rows, r, n, most, probes, error) != 0)
            return -1;
    }
    return 0;
}

uint64_t clip_store_lists_count(const struct clip_store *index)
{
    uint64_t count = 0;
    for (size_t p = 0; p < index->manifest.count; p++)
        count += index->manifest.parts[p].lists_number ? index->manifest.parts[p].count : 0;
    return count;
}
