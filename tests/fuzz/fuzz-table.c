/* Tables of any bytes: the first chooses how they are read. Each row that is not bad has the header's columns
 * or is an object, lies after the one before it, and becomes a record, or is not fit for a reason. */
#include "image/listed.h"
#include "stream/entries.h"
#include "text/listing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static int file_of(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0 && (size_t)write(fd, data, size) == size && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void check_row(struct clip_listed *listed, const struct clip_row *row, const struct clip_row *header,
                      uint64_t number)
{
    struct clip_error error = {""};
    struct clip_record *record = NULL;
    CHECK(!header || row->count == header->count);
    for (size_t i = 0; i < row->count; i++) {
        const struct clip_cell *cell = &row->cells[i];
        char *copy = NULL;
        size_t size;
        if (cell->kind == CLIP_CELL_TEXT || cell->kind == CLIP_CELL_JSON)
            CHECK(cell->text[cell->size] == '\0');
        int got = clip_cell_copy(cell, &copy, &size, &error);
        CHECK(got >= 0 && (got == 0 || copy[size] == '\0'));
        free(copy);
    }
    int got = clip_listed_record(listed, row, header, number, &record, &error);
    CHECK(got >= 0 && (got == 1 || error.text[0]));
    if (got == 1) {
        CHECK(clip_record_find(record, "__key__"));
        clip_record_free(record);
    }
}

static void check_table(uint8_t how, const uint8_t *data, size_t size)
{
    struct clip_listing_options options = {.format = how & 3,
                                           .no_header = how >> 2 & 1,
                                           .no_quotes = how >> 3 & 1,
                                           .max_row = how & 16 ? 64 : 1 << 20};
    struct clip_listed listed = {.key = how & 32 ? "a" : NULL,
                                 .caption = how & 64 ? "2" : NULL,
                                 .fields = how & 128 ? "1,text" : NULL,
                                 .max_record = 4096};
    struct clip_error error = {""};
    struct clip_row *row;
    uint64_t line = 0, number = 0;
    int got = -1, fd = file_of(data, size);
    struct clip_listing *listing = clip_listing_new(fd, &options, NULL, &error);
    CHECK(listing);
    if (clip_listing_begin(listing, &error) == 0) {
        const struct clip_row *header = clip_listing_header(listing);
        got = header ? clip_listed_check(&listed, header, &error) : 0;
        while (got == 0 && (got = clip_listing_next(listing, &row, &error)) > 0) {
            CHECK(row->line >= line && (!row->bad || row->error.text[0]));
            line = row->line;
            if (!row->bad)
                check_row(&listed, row, header, ++number);
            got = 0;
        }
    }
    CHECK(got == 0 || error.text[0]);
    clip_listing_free(listing);
    clip_listed_free(&listed);
    close(fd);
}

/* What is between the separators comes out, and nothing else. */
static void check_list(uint8_t how, const uint8_t *data, size_t size)
{
    static struct clip_entries entries;
    struct clip_error error = {""};
    char *entry;
    int got;
    size_t total = 0;
    entries = (struct clip_entries){.fd = file_of(data, size), .separator = how & 1 ? '\n' : '\0'};
    while ((got = clip_entries_next(&entries, &entry, &error)) > 0) {
        CHECK(*entry && (!entries.separator || !strchr(entry, entries.separator)));
        total += strlen(entry);
    }
    CHECK(total <= size && (got == 0 || error.text[0]));
    close(entries.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    check_table(data[0], data + 1, size - 1);
    check_list(data[0], data + 1, size - 1);
    return 0;
}
