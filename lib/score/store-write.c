#include "score/store-write.h"
#include "base/array.h"
#include "model/weight.h"
#include "score/names.h"
#include "score/store-header.h"
#include "score/store-lists.h"
#include "text/hash.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Keys, of which each is there once. */
struct key_set {
    struct clip_names names;
    struct clip_slots slots;
};

/* A segment that is being written: what follows the embeddings is kept until they are all there. */
struct segment_out {
    char *path;
    FILE *file;
    uint64_t count;
    struct file_of { /* the file that an embedding is of */
        int64_t size;
        double time;
    } * files; /* [room] */
    size_t room;
};

struct clip_store_writer {
    char *path;   /* of the index */
    char *folder; /* that is written: the same, or one beside it that gets its name when it is whole */
    int lock;
    struct clip_store_manifest manifest; /* of the last commit, and as it will be next */
    struct clip_store *index;            /* of the last commit, or NULL */
    struct key_set added, forgotten;
    size_t first; /* of `added` those that the segment being written has */
    struct segment_out out;
    uint16_t *halves; /* [width] */
    size_t lists;     /* to make; 0: those that the index has */
    int threads;      /* for lists */
};

/* --- keys --- */

static uint64_t hash_key(const void *context, uint32_t number)
{
    const struct clip_names *names = context;
    const char *key = clip_names_key(names, number);
    return clip_hash(key, strlen(key));
}

/* The number of the key, or -1; *slot is where it is, or belongs. */
static int64_t find_key(const struct key_set *set, const char *key, size_t size, size_t *slot)
{
    if (set->slots.room == 0)
        return -1;
    *slot = clip_hash(key, size) & (set->slots.room - 1);
    for (; set->slots.slots[*slot]; *slot = clip_slots_next(&set->slots, *slot)) {
        uint32_t number = set->slots.slots[*slot] - 1;
        const char *other = clip_names_key(&set->names, number);
        if (strlen(other) == size && memcmp(other, key, size) == 0)
            return number;
    }
    return -1;
}

/* 0; 1 if it is there already; -1 with error. */
static int add_key(struct key_set *set, const char *key, size_t size, const char *label,
                   struct clip_error *error)
{
    size_t slot;
    if (set->names.count >= UINT32_MAX - 1)
        return clip_fail(error, "too many keys");
    if (clip_slots_grow(&set->slots, hash_key, &set->names, error) != 0)
        return -1;
    if (find_key(set, key, size, &slot) >= 0)
        return 1;
    if (clip_names_add(&set->names, key, size, label && *label ? label : NULL, label ? strlen(label) : 0) !=
        0)
        return clip_fail_memory(error, "keys");
    clip_slots_set(&set->slots, slot, set->names.count - 1);
    return 0;
}

static void free_keys(struct key_set *set)
{
    clip_names_free(&set->names);
    clip_slots_free(&set->slots);
    *set = (struct key_set){0};
}

/* --- the folder --- */

static int sync_parent(const char *path, struct clip_error *error)
{
    char *parent = strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
    if (!parent)
        return clip_fail_memory(error, "a file name");
    if (slash)
        slash[slash == parent] = '\0';
    int status = clip_folder_sync(slash ? parent : ".", error);
    free(parent);
    return status;
}

/* Whether the manifest names the file; -1: it is not one of an index. */
static int is_named(const struct clip_store_manifest *manifest, const char *name)
{
    char *end;
    if (strncmp(name, CLIP_STORE_FILE ".", sizeof CLIP_STORE_FILE) == 0)
        return 0; /* cut while it was written */
    unsigned long number = strtoul(name, &end, 10);
    if (!isdigit((unsigned char)name[0]) || end - name < 8 ||
        (strcmp(end, CLIP_STORE_SEGMENT) != 0 && strcmp(end, CLIP_STORE_REMOVED) != 0 &&
         strcmp(end, CLIP_STORE_LISTS) != 0 && strcmp(end, CLIP_STORE_CENTROIDS) != 0))
        return -1;
    if (strcmp(end, CLIP_STORE_CENTROIDS) == 0)
        return number == manifest->centroids_number;
    for (size_t i = 0; i < manifest->count; i++) {
        const struct clip_store_part *part = &manifest->parts[i];
        if (number == (strcmp(end, CLIP_STORE_REMOVED) == 0 ? part->removed_number
                       : strcmp(end, CLIP_STORE_LISTS) == 0 ? part->lists_number
                                                            : part->number))
            return 1;
    }
    return 0;
}

/* Removes what earlier writers left, or was replaced. It is in nobody's way, so failing is no matter. */
static void remove_leftovers(const struct clip_store_writer *writer,
                             const struct clip_store_manifest *manifest)
{
    DIR *folder = opendir(writer->folder);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (is_named(manifest, entry->d_name) == 0)
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
}

/* --- the lock --- */

static int lock_held(struct clip_store_writer *writer, int fd, struct clip_error *error)
{
    char text[200];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (!*text && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
        snprintf(text, sizeof text, "process %ld", (long)lock.l_pid);
    return clip_fail(error, "%s: locked by %s", writer->path, *text ? text : "another process");
}

static int sign_lock(int fd)
{
    char host[64] = "", text[200];
    gethostname(host, sizeof host - 1);
    int n = snprintf(text, sizeof text, "process %ld on %s\n", (long)getpid(), host);
    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n ? 0 : -1;
}

/* Locks the folder, and makes sure that the lock is still that of a folder of this name: 1; 0: try again. */
static int lock_folder(struct clip_store_writer *writer, struct clip_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat here, there;
    char *path;
    if (asprintf(&path, "%s/lock", writer->folder) < 0)
        return clip_fail_memory(error, "a file name");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666), result = -1;
    if (fd < 0)
        clip_fail_errno(error, "%s", path);
    else if (fcntl(fd, F_SETLK, &lock) != 0)
        errno == EACCES || errno == EAGAIN ? lock_held(writer, fd, error)
                                           : clip_fail_errno(error, "%s", path);
    else if (fstat(fd, &here) != 0 || stat(path, &there) != 0 || here.st_ino != there.st_ino)
        result = 0;
    else if (sign_lock(fd) != 0)
        clip_fail_errno(error, "%s", path);
    else
        result = 1;
    if (fd >= 0 && result != 1)
        close(fd);
    if (result == 1)
        writer->lock = fd;
    free(path);
    return result;
}

/* --- opening --- */

/* x/y.index -> x/.y.index.new */
static char *folder_beside(const char *path)
{
    const char *slash = strrchr(path, '/');
    int before = slash ? (int)(slash - path + 1) : 0;
    char *folder;
    return asprintf(&folder, "%.*s.%s.new", before, path, path + before) < 0 ? NULL : folder;
}

/* Whether there is an index: 1, 0 where there is nothing, -1 with error. */
static int find_index(const char *path, struct clip_error *error)
{
    struct stat status;
    char *file;
    if (stat(path, &status) != 0)
        return errno == ENOENT ? 0 : clip_fail_errno(error, "%s", path);
    if (asprintf(&file, "%s/%s", path, CLIP_STORE_FILE) < 0)
        return clip_fail_memory(error, "a file name");
    int there = stat(file, &status) == 0;
    free(file);
    return there ? 1 : clip_fail(error, "%s: exists, and is not an index", path);
}

/* Sets the folder that is written, and locks it. */
static int take_folder(struct clip_store_writer *writer, enum clip_store_way way, struct clip_error *error)
{
    int locked = 0;
    while (locked == 0) {
        int there = way == CLIP_STORE_CHANGE ? 1 : find_index(writer->path, error);
        if (there < 0)
            return -1;
        free(writer->folder);
        writer->folder = there ? strdup(writer->path) : folder_beside(writer->path);
        if (!writer->folder)
            return clip_fail_memory(error, "a file name");
        if (!there && mkdir(writer->folder, 0777) != 0 && errno != EEXIST)
            return clip_fail_errno(error, "%s", writer->folder);
        locked = lock_folder(writer, error);
    }
    return locked < 0 ? -1 : 0;
}

static int read_before(struct clip_store_writer *writer, enum clip_store_way way, int halves,
                       struct clip_error *error)
{
    struct clip_error ignored;
    int there = strcmp(writer->folder, writer->path) == 0;
    writer->index = clip_store_open(writer->folder, way == CLIP_STORE_REPLACE || !there ? &ignored : error);
    if (writer->index) {
        writer->manifest = writer->index->manifest;
        remove_leftovers(writer, &writer->manifest);
    }
    if (there && way != CLIP_STORE_REPLACE)
        return writer->index ? 0 : -1;
    clip_store_close(writer->index); /* it stays until this is committed */
    writer->index = NULL;
    uint32_t next = writer->manifest.next ? writer->manifest.next : 1;
    writer->manifest = (struct clip_store_manifest){.halves = halves, .next = next};
    if (!there)
        remove_leftovers(writer, &writer->manifest);
    return 0;
}

struct clip_store_writer *clip_store_edit(const char *path, enum clip_store_way way, int halves,
                                          struct clip_error *error)
{
    struct clip_store_writer *writer = calloc(1, sizeof *writer);
    size_t size = strlen(path);
    int status = 0;
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (writer) {
        writer->lock = -1;
        writer->path = strndup(path, size);
    }
    if (!writer || !writer->path) {
        free(writer);
        clip_fail_memory(error, "an index");
        return NULL;
    }
    if (way == CLIP_STORE_CHANGE) { /* else a lock would be left where no index is */
        struct clip_store *before = clip_store_open(path, error);
        status = before ? 0 : -1;
        clip_store_close(before);
    }
    if (status == 0 && (take_folder(writer, way, error) != 0 || read_before(writer, way, halves, error) != 0))
        status = -1;
    if (status == 0)
        return writer;
    clip_store_writer_free(writer);
    return NULL;
}

static void abandon_segment(struct segment_out *out)
{
    if (out->file) {
        fclose(out->file);
        unlink(out->path);
    }
    free(out->path);
    free(out->files);
    *out = (struct segment_out){0};
}

void clip_store_writer_free(struct clip_store_writer *writer)
{
    if (!writer)
        return;
    abandon_segment(&writer->out);
    if (writer->lock >= 0 && strcmp(writer->folder, writer->path) != 0) {
        struct clip_store_manifest none = {0}; /* it never got its name */
        char *lock;
        remove_leftovers(writer, &none);
        if (asprintf(&lock, "%s/lock", writer->folder) >= 0) {
            unlink(lock);
            free(lock);
        }
        rmdir(writer->folder);
    }
    if (writer->lock >= 0)
        close(writer->lock);
    clip_store_close(writer->index);
    free_keys(&writer->added);
    free_keys(&writer->forgotten);
    free(writer->halves);
    free(writer->folder);
    free(writer->path);
    free(writer);
}

void clip_store_writer_lists(struct clip_store_writer *writer, size_t lists, int threads)
{
    writer->lists = lists;
    writer->threads = threads;
}

size_t clip_store_writer_width(const struct clip_store_writer *writer)
{
    return writer->manifest.width;
}

const struct clip_store *clip_store_writer_index(const struct clip_store_writer *writer)
{
    return writer->index;
}

/* --- writing a segment --- */

static int begin_segment(struct clip_store_writer *writer, struct segment_out *out, uint32_t number,
                         struct clip_error *error)
{
    *out = (struct segment_out){.path = clip_store_path(writer->folder, number, CLIP_STORE_SEGMENT, error)};
    if (!out->path)
        return -1;
    out->file = fopen(out->path, "we");
    static const char blank[CLIP_STORE_HEADER];
    if (!out->file || fwrite(blank, 1, CLIP_STORE_HEADER, out->file) != CLIP_STORE_HEADER)
        return clip_fail_errno(error, "%s", out->path);
    return 0;
}

/* Adds an embedding as it is stored. */
static int put_embedding(struct segment_out *out, const void *bytes, size_t size, int64_t file_size,
                         double file_time, struct clip_error *error)
{
    if (CLIP_GROW(out->files, out->count, out->room) != 0)
        return clip_fail_memory(error, "an index");
    if (fwrite(bytes, 1, size, out->file) != size)
        return clip_fail_errno(error, "%s", out->path);
    out->files[out->count++] = (struct file_of){file_size, file_time};
    return 0;
}

static void put_integer(FILE *file, int64_t value)
{
    fwrite(&value, sizeof value, 1, file);
}

/* What clip_names holds of [first, first + count): offsets and texts, each with its zero. */
static uint64_t put_offsets(FILE *file, const struct clip_names *names, size_t first, size_t count,
                            int labels)
{
    uint64_t at = 0;
    put_integer(file, 0);
    for (size_t i = first; i < first + count; i++) {
        const char *key = clip_names_key(names, i), *label = clip_names_label(names, i);
        at += (!labels ? strlen(key) : label == key ? 0 : strlen(label)) + 1;
        put_integer(file, (int64_t)at);
    }
    return at;
}

static void put_texts(FILE *file, const struct clip_names *names, size_t first, size_t count, int labels)
{
    for (size_t i = first; i < first + count; i++) {
        const char *key = clip_names_key(names, i), *label = clip_names_label(names, i);
        const char *text = !labels ? key : label == key ? "" : label;
        fwrite(text, 1, strlen(text) + 1, file);
    }
}

/* What the file begins with. */
static void make_header(struct clip_store_header *header, uint64_t n, size_t width, int halves, uint64_t keys,
                        uint64_t labels)
{
    clip_store_header_begin(header);
    clip_store_header_add(header, "embeddings", halves ? "F16" : "F32", n, width,
                          n * width * (halves ? 2 : 4));
    clip_store_header_add(header, "key_offsets", "I64", n + 1, 0, 8 * (n + 1));
    clip_store_header_add(header, "label_offsets", "I64", n + 1, 0, 8 * (n + 1));
    clip_store_header_add(header, "sizes", "I64", n, 0, 8 * n);
    clip_store_header_add(header, "times", "F64", n, 0, 8 * n);
    clip_store_header_add(header, "keys", "U8", keys, 0, keys);
    clip_store_header_add(header, "labels", "U8", labels, 0, labels);
    clip_store_header_end(header);
}

/* Ends a segment whose keys and labels are names [first, first + count). */
static int end_segment(struct segment_out *out, const struct clip_store_manifest *manifest,
                       const struct clip_names *names, size_t first, struct clip_error *error)
{
    struct clip_store_header header;
    FILE *file = out->file;
    uint64_t keys = put_offsets(file, names, first, out->count, 0);
    uint64_t labels = put_offsets(file, names, first, out->count, 1);
    for (uint64_t i = 0; i < out->count; i++)
        put_integer(file, out->files[i].size);
    for (uint64_t i = 0; i < out->count; i++)
        fwrite(&out->files[i].time, sizeof out->files[i].time, 1, file);
    put_texts(file, names, first, out->count, 0);
    put_texts(file, names, first, out->count, 1);
    make_header(&header, out->count, manifest->width, manifest->halves, keys, labels);
    int bad = fseeko(file, 0, SEEK_SET) != 0 ||
              fwrite(header.text, 1, CLIP_STORE_HEADER, file) != CLIP_STORE_HEADER;
    if (bad)
        clip_fail_errno(error, "%s", out->path);
    out->file = NULL;
    if (clip_store_close_file(file, out->path, error) != 0 || bad) {
        unlink(out->path);
        bad = 1;
    }
    abandon_segment(out);
    return bad ? -1 : 0;
}

/* --- what is asked for --- */

int clip_store_put(struct clip_store_writer *writer, const float *unit, size_t width,
                   const struct clip_store_entry *entry, struct clip_error *error)
{
    struct clip_store_manifest *manifest = &writer->manifest;
    if (manifest->width == 0) {
        manifest->width = width;
        if (manifest->halves && !(writer->halves = calloc(width, sizeof *writer->halves)))
            return clip_fail_memory(error, "an index");
    }
    if (width != manifest->width)
        return clip_fail(error, "an embedding of width %zu, where the index has %zu", width, manifest->width);
    if (manifest->halves && !writer->halves && !(writer->halves = calloc(width, sizeof *writer->halves)))
        return clip_fail_memory(error, "an index");
    if (!writer->out.file) {
        writer->first = writer->added.names.count;
        if (begin_segment(writer, &writer->out, manifest->next, error) != 0)
            return -1;
    }
    int status = add_key(&writer->added, entry->key, strlen(entry->key), entry->label, error);
    if (status != 0)
        return status;
    for (size_t i = 0; i < width && manifest->halves; i++)
        writer->halves[i] = clip_f16_round(unit[i]);
    const void *bytes = manifest->halves ? (const void *)writer->halves : unit;
    return put_embedding(&writer->out, bytes, width * (manifest->halves ? 2 : 4), entry->size, entry->time,
                         error);
}

int clip_store_remove(struct clip_store_writer *writer, const char *key, size_t size,
                      struct clip_error *error)
{
    return add_key(&writer->forgotten, key, size, NULL, error) < 0 ? -1 : 0;
}

/* --- committing --- */

/* Sets bits for what of a part is replaced or forgotten, beside those that are removed already. */
static int mark_removed(struct clip_store_writer *writer, size_t p, unsigned char *bits,
                        struct clip_store_part *part, struct clip_store_changes *changes,
                        struct clip_error *error)
{
    const struct clip_store_open_part *open = &writer->index->parts[p];
    struct clip_store_entry entry;
    size_t slot;
    for (uint64_t i = 0; i < open->segment.count; i++) {
        if (clip_store_removed(open, i)) {
            bits[i / 8] |= (unsigned char)(1 << i % 8);
            continue;
        }
        if (clip_store_entry(writer->index, open->first + i, &entry, error) != 0)
            return -1;
        size_t size = strlen(entry.key);
        int64_t number = find_key(&writer->added, entry.key, size, &slot);
        int replaced = writer->out.count > 0 && number >= (int64_t)writer->first;
        if (!replaced && find_key(&writer->forgotten, entry.key, size, &slot) < 0)
            continue;
        bits[i / 8] |= (unsigned char)(1 << i % 8);
        part->removed++;
        *(replaced ? &changes->replaced : &changes->removed) += 1;
    }
    return 0;
}

static int write_removed(struct clip_store_writer *writer, uint32_t number, const unsigned char *bits,
                         size_t size, struct clip_error *error)
{
    char header[256] = "";
    uint64_t length = 120;
    char *path = clip_store_path(writer->folder, number, CLIP_STORE_REMOVED, error);
    FILE *file = path ? fopen(path, "we") : NULL;
    if (path && !file)
        clip_fail_errno(error, "%s", path);
    snprintf(header, sizeof header,
             "{\"removed\": {\"dtype\": \"U8\", \"shape\": [%zu], \"data_offsets\": [0, %zu]}}%120s", size,
             size, "");
    if (file) {
        fwrite(&length, sizeof length, 1, file);
        fwrite(header, 1, length, file);
        fwrite(bits, 1, size, file);
    }
    int status = file ? clip_store_close_file(file, path, error) : -1;
    free(path);
    return status;
}

static int update_part(struct clip_store_writer *writer, size_t p, struct clip_store_manifest *next,
                       struct clip_store_changes *changes, struct clip_error *error)
{
    struct clip_store_part part = writer->manifest.parts[p];
    size_t size = (part.count + 7) / 8;
    uint64_t before = part.removed;
    unsigned char *bits = calloc(size, 1);
    if (!bits)
        return clip_fail_memory(error, "an index");
    int status = mark_removed(writer, p, bits, &part, changes, error);
    if (status == 0 && part.removed != before) {
        part.removed_number = next->next++;
        status = write_removed(writer, part.removed_number, bits, size, error);
    }
    if (part.removed < part.count)
        next->parts[next->count++] = part;
    free(bits);
    return status;
}

static int copy_part(const struct clip_store *index, size_t p, struct segment_out *out,
                     struct clip_names *names, struct clip_error *error)
{
    const struct clip_store_open_part *part = &index->parts[p];
    size_t bytes = index->manifest.width * (index->manifest.halves ? 2 : 4);
    struct clip_store_entry entry;
    for (uint64_t i = 0; i < part->segment.count; i++) {
        if (clip_store_removed(part, i))
            continue;
        if (clip_store_entry(index, part->first + i, &entry, error) != 0 ||
            put_embedding(out, part->segment.embeddings + i * bytes, bytes, entry.size, entry.time, error) !=
                0)
            return -1;
        if (clip_names_add(names, entry.key, strlen(entry.key), *entry.label ? entry.label : NULL,
                           strlen(entry.label)) != 0)
            return clip_fail_memory(error, "keys");
    }
    return 0;
}

/* Makes one segment of those from `from` on. */
static int join_parts(struct clip_store_writer *writer, struct clip_store_manifest *next, size_t from,
                      struct clip_error *error)
{
    struct clip_store *index = clip_store_load(writer->folder, next, error);
    struct clip_names names = {0};
    struct segment_out out = {0};
    struct clip_store_part part = {.number = next->next};
    int status = index ? begin_segment(writer, &out, part.number, error) : -1;
    for (size_t p = from; p < next->count && status == 0; p++)
        status = copy_part(index, p, &out, &names, error);
    part.count = out.count;
    if (status == 0)
        status = end_segment(&out, next, &names, 0, error);
    else
        abandon_segment(&out);
    clip_names_free(&names);
    clip_store_close(index);
    next->count = from;
    next->next++;
    next->parts[next->count++] = part;
    return status;
}

/* Segments stay few, and each is written again seldom: the last ones are joined while the one before them is
 * no larger than they are together, or mostly removed. */
static int join_last(struct clip_store_writer *writer, struct clip_store_manifest *next,
                     struct clip_error *error)
{
    size_t from = next->count, wanted = next->count;
    uint64_t live = 0;
    while (from-- > 0) {
        const struct clip_store_part *part = &next->parts[from];
        uint64_t here = part->count - part->removed;
        if (here <= live || part->removed > here || next->count == CLIP_STORE_SEGMENTS)
            wanted = from;
        live += here;
    }
    if (wanted == next->count || (wanted + 1 == next->count && next->parts[wanted].removed == 0))
        return 0;
    return join_parts(writer, next, wanted, error);
}

static int write_manifest(struct clip_store_writer *writer, const struct clip_store_manifest *manifest,
                          struct clip_error *error)
{
    struct clip_output output;
    char *path;
    if (asprintf(&path, "%s/%s", writer->folder, CLIP_STORE_FILE) < 0)
        return clip_fail_memory(error, "a file name");
    int status = clip_output_open(&output, path, error);
    free(path);
    if (status != 0)
        return -1;
    fprintf(output.file,
            "{\"format\": \"clip-index\", \"version\": %d, \"dtype\": \"%s\", \"width\": %zu, \"next\": "
            "%u, \"lists\": %u, \"centroids_file\": %u,\n \"segments\": [",
            CLIP_STORE_VERSION, manifest->halves ? "f16" : "f32", manifest->width, manifest->next,
            manifest->lists, manifest->centroids_number);
    for (size_t i = 0; i < manifest->count; i++) {
        const struct clip_store_part *part = &manifest->parts[i];
        fprintf(output.file,
                "%s\n  {\"file\": %u, \"embeddings\": %" PRIu64 ", \"removed\": %" PRIu64
                ", \"removed_file\": %u, \"lists_file\": %u}",
                i ? "," : "", part->number, part->count, part->removed, part->removed_number,
                part->lists_number);
    }
    fprintf(output.file, "]}\n");
    if (clip_folder_sync(writer->folder, error) != 0) {
        clip_output_abandon(&output);
        return -1;
    }
    return clip_output_commit(&output, error) == 0 ? clip_folder_sync(writer->folder, error) : -1;
}

/* A folder that was made beside the index's place gets its name. */
static int give_name(struct clip_store_writer *writer, struct clip_error *error)
{
    if (strcmp(writer->folder, writer->path) == 0)
        return 0;
    if (rename(writer->folder, writer->path) != 0)
        return clip_fail_errno(error, "%s", writer->path);
    free(writer->folder);
    writer->folder = strdup(writer->path);
    return writer->folder ? sync_parent(writer->path, error) : clip_fail_memory(error, "a file name");
}

/* Writes the segment, and what else changes, and says in *next what the index then is. */
static int write_changes(struct clip_store_writer *writer, struct clip_store_manifest *next,
                         struct clip_store_changes *changes, struct clip_error *error)
{
    struct clip_store_part part = {.number = next->next, .count = writer->out.count};
    next->count = 0;
    if (part.count > 0)
        next->next++;
    changes->added = part.count;
    for (size_t p = 0; p < writer->manifest.count; p++)
        if (update_part(writer, p, next, changes, error) != 0)
            return -1;
    if (part.count > 0) {
        if (end_segment(&writer->out, next, &writer->added.names, writer->first, error) != 0)
            return -1;
        next->parts[next->count++] = part;
    } else {
        abandon_segment(&writer->out);
    }
    if (join_last(writer, next, error) != 0)
        return -1;
    return clip_store_lists_make(writer->folder, next, writer->lists, writer->threads, error);
}

int clip_store_commit(struct clip_store_writer *writer, struct clip_store_changes *changes,
                      struct clip_error *error)
{
    struct clip_store_manifest next = writer->manifest;
    *changes = (struct clip_store_changes){0};
    if (write_changes(writer, &next, changes, error) != 0 || write_manifest(writer, &next, error) != 0 ||
        give_name(writer, error) != 0)
        return -1;
    remove_leftovers(writer, &next);
    free_keys(&writer->forgotten);
    clip_store_close(writer->index);
    writer->manifest = next;
    writer->index = clip_store_load(writer->folder, &next, error);
    return writer->index ? 0 : -1;
}
