/* Streams of any bytes before what takes fields from their records: groups, batches of pairs, the towers'
 * inputs, step objects, arrays. What is taken must be what it is said to be. */
#include "shard/npy.h"
#include "stream/reader.h"
#include "stream/writer.h"
#include "tower/fields.h"
#include "score/embedding.h"
#include "score/groups.h"
#include "score/pairs.h"
#include "train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

#define MAX_RECORD (1 << 20)

static const struct clip_arch arch = {.vision = {.image_size = 2},
                                      .text = {.context = 4, .vocabulary = 514, .end_token = -1}};

static int memory_file(const void *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0 && (size_t)write(fd, data, size) == size && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

/* What takes records, each of which says why when it does not. */
struct takers {
    struct clip_groups *groups;
    struct clip_pairs pairs;
    struct clip_npy npy;
};

static void open_takers(struct takers *takers)
{
    struct clip_error error;
    *takers = (struct takers){.groups = clip_groups_new(&error), .pairs = {.by = "by"}};
    CHECK(takers->groups && (takers->npy.file = fdopen(memory_file("", 0), "w+")));
}

/* The next taker finds the record unmarked. */
static void unmark(struct clip_record *record)
{
    CHECK(!record->bad || record->error.text[0]);
    record->bad = 0;
}

static void take_towers(struct clip_record *record)
{
    struct clip_tensor image;
    int32_t tokens[4];
    uint32_t epoch;
    if (clip_record_tokens(record, &arch, tokens) == 0)
        for (int i = 0; i < 4; i++)
            CHECK(tokens[i] >= 0 && tokens[i] < arch.text.vocabulary);
    unmark(record);
    if (clip_record_image(record, &arch, &image) == 0)
        CHECK(clip_tensor_count(&image) == 12);
    unmark(record);
    CHECK(clip_record_epoch(record, &epoch) == 0 || record->bad);
    unmark(record);
}

static void take(struct takers *takers, struct clip_record *record)
{
    static const struct clip_grouping plain = {.by = "by", .fields = clip_embedding_fields, .n = 2},
                                      weighted = {"by", clip_embedding_fields, 2, "__epoch__",
                                                  "image_embedding"};
    struct clip_error error = {""};
    size_t n = takers->pairs.n;
    take_towers(record);
    CHECK(clip_npy_add(&takers->npy, record, "image", &error) == 0);
    unmark(record);
    CHECK(clip_groups_add(takers->groups, record, &plain, &error) == 0 || record->bad);
    unmark(record);
    CHECK(clip_groups_add(takers->groups, record, &weighted, &error) == 0 || record->bad);
    unmark(record);
    if (clip_pairs_take(&takers->pairs, record, &error) == 0) {
        CHECK(takers->pairs.n == n + 1 && takers->pairs.group[n] <= n);
        for (size_t i = 0; i < takers->pairs.width; i++)
            CHECK(isfinite(takers->pairs.embeddings[1][n * takers->pairs.width + i]));
    } else {
        CHECK(takers->pairs.n == n && error.text[0]);
    }
}

static void take_control(const struct clip_record *record)
{
    struct clip_step step;
    struct clip_error error = {""};
    int got = clip_step_read(&step, record, &error);
    CHECK(got >= 0 || error.text[0]);
    CHECK(got != 1 || (step.number >= 1 && step.count >= -1 && step.keep >= 0 && !(step.lr < 0)));
}

static void close_takers(struct takers *takers)
{
    struct clip_error error = {""};
    int fd = memory_file("", 0);
    struct clip_writer *writer = clip_writer_new(fd, "groups", &error);
    CHECK(writer);
    CHECK(clip_groups_write(takers->groups, "by", writer, &error) == 0 || error.text[0]);
    CHECK(clip_npy_end(&takers->npy, &error) == 0 || takers->npy.shape[0] == 0);
    clip_writer_free(writer);
    clip_groups_free(takers->groups);
    clip_pairs_free(&takers->pairs);
    fclose(takers->npy.file);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_error error;
    struct clip_record *record;
    struct takers takers;
    int fd = memory_file(data, size);
    struct clip_reader *reader = clip_reader_fd(fd, "fuzz", MAX_RECORD, &error);
    CHECK(reader);
    open_takers(&takers);
    while (clip_reader_next(reader, &record, &error) == 1) {
        if (clip_record_find(record, "__key__"))
            take(&takers, record);
        else
            take_control(record);
        clip_record_free(record);
    }
    close_takers(&takers);
    clip_reader_free(reader);
    close(fd);
    return 0;
}
