#include "model/write.h"
#include "base/array.h"
#include "base/file.h"
#include "model/forms.h"
#include "model/kind.h"
#include "model/names.h"
#include "model/place.h"
#include "text/tokenizer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 }; /* elements that are in memory at a time */

/* --- safetensors --- */

static int compare_infos(const void *a, const void *b)
{
    const struct clip_tensor_info *x = a, *y = b;
    size_t s = clip_weight_size(x->type), t = clip_weight_size(y->type);
    return s != t ? (s < t ? 1 : -1) : strcmp(x->name, y->name);
}

static void put_json_string(FILE *file, const char *text)
{
    putc('"', file);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20)
            fprintf(file, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else
            putc(c, file);
    }
    putc('"', file);
}

/* The header's JSON; `begin` counts from the first byte after it. */
static void put_header(FILE *file, const struct clip_tensor_info *tensors, size_t count, const char *arch)
{
    uint64_t begin = 0;
    fputs("{\"__metadata__\":{\"format\":\"pt\"", file);
    if (arch) {
        fputs(",\"" CLIP_METADATA_ARCH "\":", file);
        put_json_string(file, arch);
    }
    putc('}', file);
    for (size_t i = 0; i < count; i++) {
        putc(',', file);
        put_json_string(file, tensors[i].name);
        fprintf(file, ":{\"dtype\":\"%s\",\"shape\":[", clip_weight_type_name(tensors[i].type));
        for (int d = 0; d < tensors[i].ndim; d++)
            fprintf(file, d ? ",%zu" : "%zu", tensors[i].shape[d]);
        fprintf(file, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + tensors[i].bytes);
        begin += tensors[i].bytes;
    }
    putc('}', file);
}

int clip_safetensors_begin(FILE *file, struct clip_tensor_info *tensors, size_t count, const char *arch,
                           struct clip_error *error)
{
    char *text = NULL;
    size_t length = 0;
    qsort(tensors, count, sizeof *tensors, compare_infos);
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes = clip_weight_size(tensors[i].type);
        for (int d = 0; d < tensors[i].ndim; d++)
            if (__builtin_mul_overflow(bytes, tensors[i].shape[d], &bytes))
                return clip_fail(error, "tensor %s: its shape overflows", tensors[i].name);
        tensors[i].bytes = bytes;
    }
    FILE *memory = open_memstream(&text, &length);
    if (memory)
        put_header(memory, tensors, count, arch);
    if (!memory || fclose(memory) != 0) {
        free(text);
        return clip_fail_memory(error, "a header");
    }
    /* Pads with blanks to a multiple of eight, so that the data is aligned in the file. */
    uint64_t padded = (length + 7) / 8 * 8, offset = sizeof padded + padded;
    fwrite(&padded, sizeof padded, 1, file);
    fprintf(file, "%-*s", (int)padded, text);
    free(text);
    for (size_t i = 0; i < count; i++) {
        tensors[i].offset = offset;
        offset += tensors[i].bytes;
    }
    return 0;
}

/* --- folders --- */

static int fail_exists(const char *path, struct clip_error *error)
{
    return clip_fail(error, "%s: it already exists; folders are not overwritten", path);
}

/* Makes a folder of the name `temporary`, whose last six characters are X, with the rights that others have.
 */
static int make_folder(char *temporary)
{
    mode_t mask = umask(0);
    umask(mask);
    if (!mkdtemp(temporary))
        return -1;
    if (chmod(temporary, 0777 & ~mask) == 0)
        return 0;
    rmdir(temporary);
    return -1;
}

int clip_folder_begin(struct clip_folder_output *folder, const char *path, struct clip_error *error)
{
    struct stat status;
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    *folder = (struct clip_folder_output){.path = strndup(path, length)};
    if (!folder->path)
        return clip_fail_memory(error, "a file name");
    if (lstat(folder->path, &status) == 0) {
        fail_exists(folder->path, error);
    } else if (asprintf(&folder->temporary, "%s.XXXXXX", folder->path) < 0) {
        folder->temporary = NULL;
        clip_fail_memory(error, "a file name");
    } else if (make_folder(folder->temporary) == 0) {
        return 0;
    } else {
        clip_fail_errno(error, "%s", folder->path);
        free(folder->temporary);
        folder->temporary = NULL;
    }
    clip_folder_abandon(folder);
    return -1;
}

/* The path of a file to be written into the folder, from malloc; NULL with error. */
static char *folder_file(const struct clip_folder_output *folder, const char *name, struct clip_error *error)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder->temporary, name) >= 0)
        return path;
    clip_fail_memory(error, "a file name");
    return NULL;
}

/* Calls each(folder's descriptor, name) for every entry; -1 with errno as soon as one fails. */
static int each_entry(const char *folder, int (*each)(int fd, const char *name))
{
    DIR *directory = opendir(folder);
    if (!directory)
        return -1;
    int result = 0;
    struct dirent *entry;
    while (result == 0 && (errno = 0, entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = each(dirfd(directory), entry->d_name);
    if (result == 0 && errno)
        result = -1;
    int code = errno;
    closedir(directory);
    errno = code;
    return result;
}

static int sync_entry(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fsync(fd), code = errno;
    close(fd);
    errno = code;
    return result;
}

static int sync_path(const char *path)
{
    return sync_entry(AT_FDCWD, path);
}

static int remove_entry(int folder, const char *name)
{
    return unlinkat(folder, name, 0);
}

/* The folder that `path` stands in. */
static int sync_parent(const char *path)
{
    char *parent = strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
    if (!parent)
        return -1;
    if (slash)
        slash[slash == parent] = 0;
    int result = sync_path(slash ? parent : "."), code = errno;
    free(parent);
    errno = code;
    return result;
}

int clip_folder_commit(struct clip_folder_output *folder, struct clip_error *error)
{
    int bad = 0;
    if (each_entry(folder->temporary, sync_entry) != 0 || sync_path(folder->temporary) != 0)
        bad = clip_fail_errno(error, "%s", folder->path);
    /* A folder that appeared meanwhile is never overwritten, not even an empty one. */
    if (!bad && renameat2(AT_FDCWD, folder->temporary, AT_FDCWD, folder->path, RENAME_NOREPLACE) != 0)
        bad = errno == EEXIST ? fail_exists(folder->path, error) : clip_fail_errno(error, "%s", folder->path);
    if (!bad) {
        free(folder->temporary);
        folder->temporary = NULL;
        if (sync_parent(folder->path) != 0)
            bad = clip_fail_errno(error, "%s", folder->path);
    }
    clip_folder_abandon(folder);
    return bad ? -1 : 0;
}

void clip_folder_abandon(struct clip_folder_output *folder)
{
    if (folder->temporary) {
        each_entry(folder->temporary, remove_entry);
        rmdir(folder->temporary);
    }
    free(folder->temporary);
    free(folder->path);
    *folder = (struct clip_folder_output){0};
}

/* --- models --- */

/* A tensor to be written: a slot, or, in Hugging Face's form, a third of one, one transposed, or two that are
 * one there; or the scales of its rows. */
struct piece {
    const struct clip_slot *slot, *more; /* more: NULL, or a slot whose elements follow */
    char name[136];
    size_t first, count; /* elements of the slot, and of both; or rows of it */
    int transposed, scales;
};

struct pieces {
    struct piece *items;
    struct clip_tensor_info *infos; /* index: of the piece */
    size_t count;
};

static void free_pieces(struct pieces *pieces)
{
    free(pieces->items);
    free(pieces->infos);
}

/* Whose names tensors are written under: Hugging Face's, or the model's own, those of captions in a
 * CustomTextCLIP after "text.". */
struct naming {
    const struct clip_hf_model *hf; /* NULL: the model's own */
    int custom_text;
};

static struct naming naming_of(const struct clip_arch *arch)
{
    return (struct naming){NULL, arch->custom_text};
}

static void set_info(struct clip_tensor_info *info, const struct piece *piece, int type)
{
    *info = (struct clip_tensor_info){
        .name = piece->name, .type = (enum clip_weight_type)type, .ndim = piece->slot->ndim};
    memcpy(info->shape, piece->slot->shape, sizeof piece->slot->shape);
}

/* Lists the scales of the piece that was listed last, if it has any. */
static void add_scales(struct pieces *pieces)
{
    const struct piece *of = &pieces->items[pieces->count - 1];
    const struct clip_tensor_info *matrix = &pieces->infos[pieces->count - 1];
    if (matrix->type != CLIP_WEIGHT_I8 || of->slot->integer)
        return;
    size_t columns = of->slot->shape[1];
    struct piece *piece = &pieces->items[pieces->count];
    *piece = (struct piece){
        .slot = of->slot, .first = of->first / columns, .count = of->count / columns, .scales = 1};
    strcpy(piece->name, of->name);
    strcat(piece->name, "_scale");
    pieces->infos[pieces->count] = (struct clip_tensor_info){.name = piece->name,
                                                             .type = CLIP_WEIGHT_F32,
                                                             .ndim = 2,
                                                             .shape = {piece->count, 1},
                                                             .index = pieces->count};
    pieces->count++;
}

/* A slot whose rows follow those of one that was listed, in one tensor. */
static int add_rows(struct pieces *pieces, const struct clip_slot *slot, const char *name,
                    struct clip_error *error)
{
    for (size_t i = 0; i < pieces->count; i++) {
        struct piece *piece = &pieces->items[i];
        if (strcmp(piece->name, name) != 0)
            continue;
        piece->more = slot;
        piece->count += (size_t)clip_slot_count(slot);
        pieces->infos[i].shape[0] += slot->shape[0];
        return 0;
    }
    return clip_fail(error, "tensor %s lacks its first rows", name);
}

/* Lists what Hugging Face's form has of a slot. */
static int add_hf_pieces(struct pieces *pieces, const struct clip_slot *slot, int type,
                         const struct clip_hf_model *model, struct clip_error *error)
{
    struct clip_hf_name found = {.parts = 1};
    for (int part = 0; part < found.parts; part++) {
        struct piece *piece = &pieces->items[pieces->count];
        struct clip_tensor_info *info = &pieces->infos[pieces->count];
        if (clip_names_hf(model, slot->name, part, &found) != 0)
            return clip_fail(error, "tensor %s cannot be represented in Hugging Face's form", slot->name);
        if (found.shape == CLIP_NAME_LAST_THIRDS)
            return add_rows(pieces, slot, found.name, error);
        *piece = (struct piece){.slot = slot, .transposed = found.transposed};
        strcpy(piece->name, found.name);
        set_info(info, piece, type);
        info->index = pieces->count++;
        piece->count = (size_t)clip_slot_count(slot) / (size_t)found.parts;
        piece->first = piece->count * (size_t)part;
        info->shape[0] /= (size_t)(found.parts > 1 ? found.parts : 1);
        if (found.transposed) {
            info->shape[0] = slot->shape[1];
            info->shape[1] = slot->shape[0];
        }
        if (found.shape == CLIP_NAME_ONE)
            memmove(info->shape, info->shape + 1, (size_t)--info->ndim * sizeof *info->shape);
        if (slot->ndim == 0 && model->sigmoid)
            info->shape[info->ndim++] = 1;
        add_scales(pieces);
    }
    return 0;
}

/* Lists what is written of a slot. */
static int add_pieces(struct pieces *pieces, const struct clip_slot *slot, int type, struct naming naming,
                      struct clip_error *error)
{
    if (naming.hf)
        return add_hf_pieces(pieces, slot, type, naming.hf, error);
    struct piece *piece = &pieces->items[pieces->count];
    *piece = (struct piece){.slot = slot, .count = (size_t)clip_slot_count(slot)};
    clip_names_open_clip(slot->name, naming.custom_text && slot->side == CLIP_SIDE_TEXT, piece->name,
                         sizeof piece->name);
    set_info(&pieces->infos[pieces->count], piece, type);
    pieces->infos[pieces->count].index = pieces->count;
    pieces->count++;
    add_scales(pieces);
    return 0;
}

static int list_pieces(struct pieces *pieces, const struct clip_layout *layout,
                       const struct clip_tensor_source *source, struct naming naming,
                       struct clip_error *error)
{
    /* At most three parts of a slot, each with scales. */
    *pieces = (struct pieces){.items = calloc(6 * layout->count, sizeof *pieces->items),
                              .infos = calloc(6 * layout->count, sizeof *pieces->infos)};
    if (!pieces->items || !pieces->infos)
        return clip_fail_memory(error, "the list of tensors");
    for (size_t i = 0; i < layout->count; i++) {
        int type = source->type(source->context, &layout->slots[i]);
        if (type >= 0 && add_pieces(pieces, &layout->slots[i], type, naming, error) != 0)
            return -1;
    }
    return 0;
}

/* A transposed matrix is held whole: [rows, columns] of the slot becomes [columns, rows]. */
static int put_transposed(FILE *file, const struct piece *piece, size_t size,
                          const struct clip_tensor_source *source, struct clip_error *error)
{
    size_t rows = piece->slot->shape[0], columns = piece->slot->shape[1];
    unsigned char *matrix = reallocarray(NULL, piece->count, size), *column = reallocarray(NULL, rows, size);
    int result = -1;
    if (!matrix || !column)
        clip_fail_memory(error, "a matrix");
    else
        result = source->fill(source->context, piece->slot, 0, piece->count, matrix, error);
    for (size_t j = 0; j < columns && result == 0; j++) {
        for (size_t i = 0; i < rows; i++)
            memcpy(column + i * size, matrix + (i * columns + j) * size, size);
        fwrite(column, size, rows, file);
    }
    free(matrix);
    free(column);
    return result;
}

static int put_elements(FILE *file, const struct clip_slot *slot, size_t first, size_t count, size_t size,
                        const struct clip_tensor_source *source, unsigned char *chunk,
                        struct clip_error *error)
{
    for (size_t done = 0; done < count && !ferror(file); done += CHUNK) {
        size_t n = count - done < CHUNK ? count - done : CHUNK;
        if (source->fill(source->context, slot, first + done, n, chunk, error) != 0)
            return -1;
        fwrite(chunk, size, n, file);
    }
    return 0;
}

static int put_scales(FILE *file, const struct piece *piece, const struct clip_tensor_source *source,
                      struct clip_error *error)
{
    float *scales = calloc(piece->count, sizeof *scales);
    int result = scales
                     ? source->scales(source->context, piece->slot, piece->first, piece->count, scales, error)
                     : clip_fail_memory(error, "scales");
    if (result == 0)
        fwrite(scales, sizeof *scales, piece->count, file);
    free(scales);
    return result;
}

static int put_piece(FILE *file, const struct piece *piece, size_t size,
                     const struct clip_tensor_source *source, unsigned char *chunk, struct clip_error *error)
{
    size_t more = piece->more ? (size_t)clip_slot_count(piece->more) : 0;
    if (piece->scales)
        return put_scales(file, piece, source, error);
    if (piece->transposed)
        return put_transposed(file, piece, size, source, error);
    if (put_elements(file, piece->slot, piece->first, piece->count - more, size, source, chunk, error) != 0)
        return -1;
    return more ? put_elements(file, piece->more, 0, more, size, source, chunk, error) : 0;
}

/* One file of pieces[first, last) of the list, in the list's order. */
static int put_pieces(FILE *file, const struct pieces *pieces, size_t first, size_t last, const char *arch,
                      const struct clip_tensor_source *source, struct clip_error *error)
{
    unsigned char *chunk = malloc(CHUNK * sizeof(double));
    if (!chunk)
        return clip_fail_memory(error, "tensors");
    int result = clip_safetensors_begin(file, pieces->infos + first, last - first, arch, error);
    for (size_t i = first; i < last && result == 0; i++)
        result = put_piece(file, &pieces->items[pieces->infos[i].index],
                           clip_weight_size(pieces->infos[i].type), source, chunk, error);
    free(chunk);
    return result;
}

static int write_pieces(const struct pieces *pieces, size_t first, size_t last, const char *arch,
                        const struct clip_tensor_source *source, const char *path, struct clip_error *error)
{
    struct clip_output output;
    if (clip_output_open(&output, path, error) != 0)
        return -1;
    if (put_pieces(output.file, pieces, first, last, arch, source, error) == 0)
        return clip_output_commit(&output, error);
    clip_output_abandon(&output);
    return -1;
}

static int write_whole(const struct clip_layout *layout, struct naming naming, const char *arch,
                       const struct clip_tensor_source *source, const char *path, struct clip_error *error)
{
    struct pieces pieces;
    int result = list_pieces(&pieces, layout, source, naming, error);
    if (result == 0)
        result = write_pieces(&pieces, 0, pieces.count, arch, source, path, error);
    free_pieces(&pieces);
    return result;
}

int clip_write_weights(const struct clip_layout *layout, const struct clip_tensor_source *source,
                       const char *path, struct clip_error *error)
{
    return write_whole(layout, (struct naming){0}, NULL, source, path, error);
}

int clip_write_lone(const struct clip_arch *arch, const struct clip_layout *layout,
                    const struct clip_tensor_source *source, const char *path, struct clip_error *error)
{
    char *text = clip_arch_print(arch, error);
    int result = text ? write_whole(layout, naming_of(arch), text, source, path, error) : -1;
    free(text);
    return result;
}

/* --- weights of a folder: one file, or several and an index --- */

#define SHARD_SIZE ((uint64_t)5 << 30)

static uint64_t piece_bytes(const struct clip_tensor_info *info, const struct piece *piece)
{
    return piece->count * clip_weight_size(info->type);
}

/* The end of the shard that begins with piece `first`: one tensor at least, and no more than fit. */
static size_t shard_end(const struct pieces *pieces, size_t first, uint64_t size)
{
    uint64_t sum = 0;
    size_t last = first;
    while (last < pieces->count) {
        sum += piece_bytes(&pieces->infos[last], &pieces->items[last]);
        if (sum > size && last > first)
            break;
        last++;
    }
    return last;
}

/* NAME-00001-of-00002.safetensors */
static void shard_name(char out[80], const char *name, size_t number, size_t count)
{
    snprintf(out, 80, "%s-%05zu-of-%05zu.safetensors", name, number, count);
}

/* What the index says of a tensor. */
struct place {
    const char *name;
    size_t shard;
};

static int compare_places(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->name, ((const struct place *)b)->name);
}

/* As transformers writes it: the bytes of all tensors, and each one's file, by name. */
static void put_index(FILE *file, const struct place *places, size_t count, uint64_t total, const char *name,
                      size_t shards)
{
    char shard[80];
    fprintf(file, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {", total);
    for (size_t i = 0; i < count; i++) {
        shard_name(shard, name, places[i].shard, shards);
        fputs(i ? ",\n    " : "\n    ", file);
        put_json_string(file, places[i].name);
        fprintf(file, ": \"%s\"", shard);
    }
    fputs("\n  }\n}\n", file);
}

static int write_index(const struct clip_folder_output *folder, const struct place *places, size_t count,
                       uint64_t total, const char *name, size_t shards, struct clip_error *error)
{
    struct clip_output output;
    char file[80];
    snprintf(file, sizeof file, "%s.safetensors.index.json", name);
    char *path = folder_file(folder, file, error);
    int result = path ? clip_output_open(&output, path, error) : -1;
    if (result == 0) {
        put_index(output.file, places, count, total, name, shards);
        result = clip_output_commit(&output, error);
    }
    free(path);
    return result;
}

/* Writes the shards, the index last: what is listed is there. */
static int write_shards(const struct clip_folder_output *folder, const struct pieces *pieces,
                        const struct clip_tensor_source *source, const char *name, uint64_t size,
                        size_t shards, struct clip_error *error)
{
    struct place *places = calloc(pieces->count, sizeof *places);
    uint64_t total = 0;
    size_t first = 0, number = 0;
    int result = places ? 0 : clip_fail_memory(error, "the index");
    for (; result == 0 && first < pieces->count; number++) {
        char file[80];
        size_t last = shard_end(pieces, first, size);
        for (size_t i = first; i < last; i++) {
            places[i] = (struct place){pieces->items[i].name, number + 1};
            total += piece_bytes(&pieces->infos[i], &pieces->items[i]);
        }
        shard_name(file, name, number + 1, shards);
        char *path = folder_file(folder, file, error);
        result = path ? write_pieces(pieces, first, last, NULL, source, path, error) : -1;
        free(path);
        first = last;
    }
    if (result == 0) {
        qsort(places, pieces->count, sizeof *places, compare_places);
        result = write_index(folder, places, pieces->count, total, name, shards, error);
    }
    free(places);
    return result;
}

/* NAME.safetensors, or, where that would be too large, shards of it. */
static int write_weights_in(const struct clip_folder_output *folder, const char *name,
                            const struct clip_layout *layout, const struct clip_tensor_source *source,
                            struct naming naming, struct clip_error *error)
{
    struct pieces pieces;
    char file[80], *path = NULL;
    uint64_t size = folder->shard_size ? folder->shard_size : SHARD_SIZE;
    size_t shards = 0;
    snprintf(file, sizeof file, "%s.safetensors", name);
    int result = list_pieces(&pieces, layout, source, naming, error);
    for (size_t first = 0; result == 0 && first < pieces.count; shards++)
        first = shard_end(&pieces, first, size);
    if (result == 0 && shards > 1) {
        result = write_shards(folder, &pieces, source, name, size, shards, error);
    } else if (result == 0) {
        path = folder_file(folder, file, error);
        result = path ? write_pieces(&pieces, 0, pieces.count, NULL, source, path, error) : -1;
    }
    free_pieces(&pieces);
    free(path);
    return result;
}

/* A file of the folder that `put` writes. */
static int write_config(const struct clip_folder_output *folder, const char *name, const void *context,
                        int (*put)(const void *context, FILE *file, struct clip_error *error),
                        struct clip_error *error)
{
    struct clip_output output;
    char *path = folder_file(folder, name, error);
    int result = path ? clip_output_open(&output, path, error) : -1;
    if (result == 0 && put(context, output.file, error) != 0) {
        clip_output_abandon(&output);
        result = -1;
    } else if (result == 0) {
        result = clip_output_commit(&output, error);
    }
    free(path);
    return result;
}

/* --- the configuration of a model --- */

/* What a configuration says. */
struct config {
    const struct clip_arch *arch;
    const struct clip_layout *layout;
    const struct clip_tensor_source *source;
    struct naming naming;
    int (*put)(const struct clip_arch *arch, FILE *file, struct clip_error *error);
};

/* 1 if compressed-tensors takes the tensor for a linear layer's weight. */
static int is_linear(const struct piece *piece, const struct clip_tensor_info *info)
{
    size_t length = strlen(piece->name), ending = strlen(".weight");
    return info->ndim == 2 && length > ending && strcmp(piece->name + length - ending, ".weight") == 0 &&
           !strstr(piece->name, "embedding") && !strstr(piece->name, "embed_tokens");
}

/* Names the linear layers that are not rounded. */
static void put_ignored(FILE *file, const struct pieces *pieces)
{
    const char *between = "";
    for (size_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->items[i];
        if (piece->scales || pieces->infos[i].type == CLIP_WEIGHT_I8 || !is_linear(piece, &pieces->infos[i]))
            continue;
        fprintf(file, "%s\n      \"%.*s\"", between, (int)(strlen(piece->name) - strlen(".weight")),
                piece->name);
        between = ",";
    }
    fputs(*between ? "\n    " : "", file);
}

static int has_rounded(const struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->count; i++)
        if (pieces->items[i].scales)
            return 1;
    return 0;
}

/* The member of a configuration by which compressed-tensors knows how matrices are rounded. */
static void put_quantization(FILE *file, const struct pieces *pieces)
{
    fputs("  \"quantization_config\": {\n"
          "    \"quant_method\": \"compressed-tensors\",\n"
          "    \"format\": \"int-quantized\",\n"
          "    \"quantization_status\": \"compressed\",\n"
          "    \"config_groups\": {\n"
          "      \"group_0\": {\n"
          "        \"targets\": [\"Linear\"],\n"
          "        \"weights\": {\"num_bits\": 8, \"type\": \"int\", \"symmetric\": true, \"strategy\": "
          "\"channel\", "
          "\"dynamic\": false},\n"
          "        \"input_activations\": {\"num_bits\": 8, \"type\": \"int\", \"symmetric\": false, "
          "\"strategy\": \"token\", \"dynamic\": true}\n"
          "      }\n"
          "    },\n"
          "    \"ignore\": [",
          file);
    put_ignored(file, pieces);
    fputs("]\n  }\n}\n", file);
}

/* Puts the configuration, and what int8 adds to it as its last member. */
static int put_config(const void *context, FILE *file, struct clip_error *error)
{
    const struct config *config = context;
    struct pieces pieces;
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    int result =
        memory ? config->put(config->arch, memory, error) : clip_fail_memory(error, "a configuration");
    if (memory && fclose(memory) != 0)
        result = clip_fail_memory(error, "a configuration");
    if (result == 0)
        result = list_pieces(&pieces, config->layout, config->source, config->naming, error);
    else
        pieces = (struct pieces){0};
    if (result == 0 && has_rounded(&pieces)) {
        const char *last = strrchr(text, '}');
        while (last > text && (last[-1] == '\n' || last[-1] == ' '))
            last--;
        length = (size_t)(last - text);
        fprintf(file, "%.*s,\n", (int)length, text);
        put_quantization(file, &pieces);
    } else if (result == 0) {
        fputs(text, file);
    }
    free_pieces(&pieces);
    free(text);
    return result;
}

static int put_preprocessor(const void *arch, FILE *file, struct clip_error *error)
{
    return clip_arch_write_hf_preprocessor(arch, file, error);
}

int clip_write_open_clip(const struct clip_folder_output *folder, const struct clip_arch *arch,
                         const struct clip_layout *layout, const struct clip_tensor_source *source,
                         struct clip_error *error)
{
    const struct config config = {arch, layout, source, naming_of(arch), clip_arch_write_open_clip};
    if (write_config(folder, "open_clip_config.json", &config, put_config, error) != 0)
        return -1;
    return write_weights_in(folder, "open_clip_model", layout, source, config.naming, error);
}

int clip_write_hf(const struct clip_folder_output *folder, const struct clip_arch *arch,
                  const struct clip_layout *layout, const struct clip_tensor_source *source,
                  struct clip_error *error)
{
    const struct config config = {
        arch, layout, source, {clip_hf_model_of(arch, error), 0}, clip_arch_write_hf};
    if (!config.naming.hf || write_config(folder, "config.json", &config, put_config, error) != 0)
        return -1;
    if (!arch->vision.absent &&
        write_config(folder, "preprocessor_config.json", arch, put_preprocessor, error) != 0)
        return -1;
    return write_weights_in(folder, "model", layout, source, config.naming, error);
}

static int put_tokenizer(const void *context, FILE *file, struct clip_error *error)
{
    const struct clip_arch *arch = context;
    (void)error;
    fputs("{\n  \"tokenizer_class\": \"CLIPTokenizer\",\n  \"do_lower_case\": true,\n"
          "  \"bos_token\": \"<|startoftext|>\",\n  \"eos_token\": \"<|endoftext|>\",\n"
          "  \"unk_token\": \"<|endoftext|>\",\n  \"pad_token\": \"<|endoftext|>\",\n",
          file);
    fprintf(file, "  \"model_max_length\": %d\n}\n", arch->text.context);
    return 0;
}

int clip_write_tokenizer_config(const struct clip_folder_output *folder, const struct clip_arch *arch,
                                struct clip_error *error)
{
    return write_config(folder, "tokenizer_config.json", arch, put_tokenizer, error);
}

/* Copies the file if it exists. */
static int copy_existing(const char *from, const char *to, int *count, struct clip_error *error)
{
    if (access(from, F_OK) != 0)
        return 0;
    int result = clip_copy_file(from, to, error);
    *count += result == 0;
    return result;
}

/* Copies from/name, if it exists, to the folder as `as`. */
static int copy_named(const struct clip_folder_output *folder, const char *from, const char *name,
                      const char *as, int *count, struct clip_error *error)
{
    char *source, *target = folder_file(folder, as, error);
    if (!target || asprintf(&source, "%s/%s", from, name) < 0) {
        free(target);
        return clip_fail_memory(error, "a file name");
    }
    int result = copy_existing(source, target, count, error);
    free(source);
    free(target);
    return result;
}

/* Copies all files of the folder that end so. */
static int copy_ending(const struct clip_folder_output *folder, const char *from, const char *ending,
                       int *count, struct clip_error *error)
{
    int result = 0;
    DIR *dir = opendir(from);
    for (struct dirent *entry; dir && result == 0 && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name), length = strlen(ending);
        if (*entry->d_name != '.' && n > length && strcmp(entry->d_name + n - length, ending) == 0)
            result = copy_named(folder, from, entry->d_name, entry->d_name, count, error);
    }
    if (dir)
        closedir(dir);
    return result;
}

int clip_copy_vocabulary(const struct clip_folder_output *folder, const char *from, int *count,
                         struct clip_error *error)
{
    int result = 0;
    *count = 0;
    for (const char *const *name = clip_tokenizer_files; *name && result == 0; name++)
        result = **name == '*' ? copy_ending(folder, from, *name + 1, count, error)
                               : copy_named(folder, from, *name, *name, count, error);
    return result;
}

/* 1 if a tokenizer of a folder is read from a file of this name. */
static int is_tokenizer_file(const char *name)
{
    size_t n = strlen(name);
    for (const char *const *known = clip_tokenizer_files; *known; known++) {
        size_t length = strlen(*known) - 1;
        if (strcmp(*known, name) == 0 ||
            (**known == '*' && n > length && strcmp(name + n - length, *known + 1) == 0))
            return 1;
    }
    return 0;
}

int clip_copy_tokenizer(const struct clip_folder_output *folder, const char *path, const char *name,
                        struct clip_error *error)
{
    static const char *const beside[] = {"tokenizer_config.json", "special_tokens_map.json",
                                         "added_tokens.json"};
    struct stat status;
    int count;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return clip_copy_vocabulary(folder, path, &count, error);
    const char *slash = strrchr(path, '/'), *own = slash ? slash + 1 : path;
    char *from = clip_folder_of(path);
    if (!from)
        return clip_fail_memory(error, "a file name");
    if (is_tokenizer_file(own))
        name = own;
    int result = copy_named(folder, from, own, name, &count, error);
    if (result == 0 && strcmp(name, "vocab.json") == 0)
        result = copy_named(folder, from, "merges.txt", "merges.txt", &count, error);
    if (result == 0 && strcmp(name, "merges.txt") == 0)
        result = copy_named(folder, from, "vocab.json", "vocab.json", &count, error);
    for (size_t i = 0; i < CLIP_COUNT_OF(beside) && result == 0; i++)
        result = copy_named(folder, from, beside[i], beside[i], &count, error);
    free(from);
    return result;
}
