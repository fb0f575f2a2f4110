#include "score/search.h"
#include "base/array.h"
#include "score/embedding.h"
#include "score/store-lists.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY ((size_t)64 << 20) /* of queries; more of them go to a temporary file */

struct clip_search {
    struct clip_search_options options;
    struct clip_store *index;
    struct clip_store_lists *lists; /* with probes */
    struct clip_pool *pool;
    struct clip_similarity *similarity;
    struct clip_vectors *queries;
    struct paths { /* of the matches, below the folder; until they are written */
        char **list;
        size_t count, room;
    } paths;
};

static int open_parts(struct clip_search *search, const char *path, struct clip_error *error)
{
    int threads = search->options.threads;
    search->index = clip_store_open(path, error);
    if (!search->index ||
        (search->options.probes && !(search->lists = clip_store_lists_open(search->index, threads, error))))
        return -1;
    size_t width = search->index->manifest.width;
    search->pool = clip_pool_new(threads, error);
    search->similarity = search->pool ? clip_similarity_new(search->pool, width ? width : 1, error) : NULL;
    search->queries = search->similarity ? clip_vectors_new(width ? width : 1, MEMORY, error) : NULL;
    return search->queries ? 0 : -1;
}

struct clip_search *clip_search_open(const char *path, const struct clip_search_options *options,
                                     struct clip_error *error)
{
    struct clip_search *search = calloc(1, sizeof *search);
    if (!search) {
        clip_fail_memory(error, "a search");
        return NULL;
    }
    search->options = *options;
    if (open_parts(search, path, error) == 0)
        return search;
    clip_search_close(search);
    return NULL;
}

void clip_search_close(struct clip_search *search)
{
    if (!search)
        return;
    clip_vectors_free(search->queries);
    clip_similarity_free(search->similarity);
    clip_pool_free(search->pool);
    clip_store_lists_close(search->lists);
    clip_store_close(search->index);
    free(search->paths.list);
    free(search);
}

size_t clip_search_width(const struct clip_search *search)
{
    return search->index->manifest.width;
}

int clip_search_add(struct clip_search *search, const float *unit, const struct clip_record *record,
                    const char *label, struct clip_error *error)
{
    return clip_embedding_keep(search->queries, unit, record, label, error);
}

size_t clip_search_count(const struct clip_search *search)
{
    return clip_vectors_count(search->queries);
}

/* --- names of matches --- */

static void free_paths(struct paths *paths)
{
    while (paths->count > 0)
        free(paths->list[--paths->count]);
}

/* ./x -> FOLDER/x, which stays until free_paths. NULL with error. */
static const char *path_below(struct paths *paths, const char *folder, const char *key,
                              struct clip_error *error)
{
    size_t size = strlen(folder);
    char *path = NULL;
    if (CLIP_GROW(paths->list, paths->count, paths->room) != 0 ||
        asprintf(&path, "%s%s%s", folder, size && folder[size - 1] == '/' ? "" : "/", key + 2) < 0) {
        clip_fail_memory(error, "paths");
        return NULL;
    }
    return paths->list[paths->count++] = path;
}

static int name_match(void *context, uint64_t column, const char **key, const char **label,
                      struct clip_error *error)
{
    struct clip_search *search = context;
    const char *folder = search->options.folder;
    struct clip_store_entry entry;
    if (clip_store_entry(search->index, column, &entry, error) != 0)
        return -1;
    *key = entry.key;
    if (folder && strncmp(*key, "./", 2) == 0 && !(*key = path_below(&search->paths, folder, *key, error)))
        return -1;
    *label = *entry.label ? entry.label : *key;
    return 0;
}

/* --- answers --- */

int clip_search_answer(struct clip_search *search, const struct clip_rows_output *out,
                       struct clip_error *error)
{
    const struct clip_store *index = search->index;
    const struct clip_search_options *options = &search->options;
    struct clip_retrieval *retrieval =
        clip_retrieval_new(search->similarity, &options->wanted, search->queries, name_match, search, error);
    int status = retrieval ? 0 : -1;
    for (size_t p = 0; p < index->manifest.count && status == 0; p++)
        status = search->lists
                     ? clip_store_lists_search(search->lists, p, retrieval, search->queries,
                                               options->wanted.top, options->probes, error)
                     : clip_retrieval_add(retrieval, index->parts[p].vectors, index->parts[p].first, error);
    if (status == 0)
        status = clip_retrieval_write(retrieval, out, error);
    clip_retrieval_free(retrieval);
    clip_vectors_clear(search->queries);
    free_paths(&search->paths);
    return status;
}
