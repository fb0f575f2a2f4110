#include "image/listed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

enum { RECORD_HEAD = 100 /* bytes of a record besides its contents */ };

void clip_listed_free(struct clip_listed *listed)
{
    clip_loose_free(&listed->file);
}

/* "column 2 (title): why"; of JSON lines "title: why". */
static int fail_column(const struct clip_row *row, const struct clip_row *header, size_t place,
                       struct clip_error *error, const char *why)
{
    char shown[80];
    const struct clip_cell *cell = &(header ? header : row)->cells[place];
    clip_printable(shown, sizeof shown, cell->name, cell->name_size);
    return header ? clip_fail(error, "column %zu (%s): %s", place + 1, shown, why)
                  : clip_fail(error, "%s: %s", shown, why);
}

/* The names of the columns, as far as they have room. */
static const char *list_names(const struct clip_row *names, char *out, size_t size)
{
    size_t used = 0;
    char shown[60];
    out[0] = '\0';
    for (size_t i = 0; i < names->count && used + sizeof shown + 8 < size; i++)
        used += (size_t)snprintf(
            out + used, size - used, "%s%s", i ? ", " : "",
            clip_printable(shown, sizeof shown, names->cells[i].name, names->cells[i].name_size));
    return out;
}

/* The place of a column that must be there. Returns 1, or 0 with error. */
static int find_column(const struct clip_row *row, const struct clip_row *header, const char *word,
                       size_t size, size_t *place, struct clip_error *error)
{
    char shown[80], names[300];
    int found = clip_row_find(row, header, word, size, place);
    if (found > 0)
        return 1;
    clip_printable(shown, sizeof shown, word, size);
    if (found < 0)
        clip_fail(error, "several columns are named '%s': give its number", shown);
    else
        clip_fail(error, "there is no %s '%s' (there is: %s)", header ? "column" : "member", shown,
                  list_names(header ? header : row, names, sizeof names));
    return 0;
}

/* --- which columns --- */

static int plan_column(const struct clip_row *row, const struct clip_row *header, const char *word,
                       size_t *place, struct clip_error *error)
{
    *place = CLIP_NOWHERE;
    return !word || find_column(row, header, word, strlen(word), place, error);
}

/* Those that are kept of `fields`; a member that a row of JSON lines lacks is left out. */
static int plan_fields(const struct clip_listed *listed, const struct clip_row *row,
                       const struct clip_row *header, struct clip_listed_plan *plan, struct clip_error *error)
{
    size_t place;
    memset(plan->kept, listed->fields == NULL, sizeof plan->kept);
    for (const char *word = listed->fields, *comma; word && *word; word = comma ? comma + 1 : NULL) {
        comma = strchr(word, ',');
        size_t size = comma ? (size_t)(comma - word) : strlen(word);
        if (header && !find_column(row, header, word, size, &place, error))
            return 0;
        if (header || clip_row_find(row, NULL, word, size, &place) > 0)
            plan->kept[place] = 1;
    }
    return 1;
}

static int is_made(const struct clip_listed *listed, const struct clip_cell *cell)
{
    static const char *const pictures[] = {"jpg", "png", "webp"};
    const char *name = cell->name;
    size_t size = cell->name_size;
    if (size == 7 && memcmp(name, "__key__", 7) == 0)
        return 1;
    if (listed->caption && size == 3 && memcmp(name, "txt", 3) == 0)
        return 1;
    for (size_t i = 0; listed->image && i < 3; i++)
        if (size == strlen(pictures[i]) && memcmp(name, pictures[i], size) == 0)
            return 1;
    return 0;
}

/* Refuses two fields of one name. */
static int check_names(const struct clip_listed *listed, const struct clip_row *row,
                       const struct clip_row *header, const struct clip_listed_plan *plan,
                       struct clip_error *error)
{
    const struct clip_row *names = header ? header : row;
    for (size_t i = 0; i < names->count; i++) {
        const struct clip_cell *cell = &names->cells[i];
        if (!plan->kept[i])
            continue;
        int twice = is_made(listed, cell);
        for (size_t j = 0; j < i && header && !twice; j++) /* an object has a member once */
            twice = plan->kept[j] && names->cells[j].name_size == cell->name_size &&
                    memcmp(names->cells[j].name, cell->name, cell->name_size) == 0;
        if (twice) {
            fail_column(row, header, i, error,
                        "the record has another field of this name (choose columns with --fields)");
            return 0;
        }
    }
    return 1;
}

/* Returns 1; 0 with error. */
static int make_plan(const struct clip_listed *listed, const struct clip_row *row,
                     const struct clip_row *header, struct clip_listed_plan *plan, struct clip_error *error)
{
    if (!plan_fields(listed, row, header, plan, error) ||
        !plan_column(row, header, listed->key, &plan->key, error) ||
        !plan_column(row, header, listed->caption, &plan->caption, error) ||
        !plan_column(row, header, listed->image, &plan->image, error))
        return 0;
    const size_t used[] = {plan->key, plan->caption, plan->image};
    for (size_t i = 0; i < 3; i++)
        if (used[i] != CLIP_NOWHERE)
            plan->kept[used[i]] = 0;
    return check_names(listed, row, header, plan, error);
}

int clip_listed_check(struct clip_listed *listed, const struct clip_row *header, struct clip_error *error)
{
    return make_plan(listed, header, header, &listed->plan, error) ? 0 : -1;
}

/* --- the record --- */

/* A row that is being made into a record. */
struct making {
    struct clip_listed *listed;
    const struct clip_row *row, *header;
    struct clip_record *record;
    size_t left; /* bytes that the record may still take */
    struct clip_error *error;
};

/* 0, or with status < 0 that; each part of a record returns 1, 0 where the row is not fit, or -1. */
static int unfit(struct making *making, size_t place, const char *why)
{
    fail_column(making->row, making->header, place, making->error, why);
    return 0;
}

static int count_bytes(struct making *making, size_t place, size_t size)
{
    if (size > making->left)
        return unfit(making, place, "the record is too large (see --max-record)");
    making->left -= size;
    return 1;
}

/* Text of the cell, from malloc. */
static int copy_text(struct making *making, size_t place, char **text, size_t *size)
{
    int got = clip_cell_copy(&making->row->cells[place], text, size, making->error);
    return got ? got : unfit(making, place, "not text");
}

static int put_key(struct making *making, size_t place, uint64_t number)
{
    char digits[24], *text = NULL;
    size_t size;
    int status = 1;
    if (place == CLIP_NOWHERE) {
        size = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, number);
        return clip_record_put_string(making->record, "__key__", digits, size, making->error) == 0 ? 1 : -1;
    }
    if ((status = copy_text(making, place, &text, &size)) <= 0)
        return status;
    status = size == 0 ? unfit(making, place, "the key is empty") : count_bytes(making, place, size);
    if (status > 0 && clip_record_put_string(making->record, "__key__", text, size, making->error) != 0)
        status = -1;
    free(text);
    return status;
}

static int put_caption(struct making *making, size_t place)
{
    char *text = NULL;
    size_t size;
    int status = copy_text(making, place, &text, &size);
    if (status <= 0)
        return status;
    status = count_bytes(making, place, size);
    if (status > 0 && clip_record_put_bytes(making->record, "txt", text, size, making->error) != 0)
        status = -1;
    free(text);
    return status;
}

static int read_picture(struct making *making, size_t place, const char *path)
{
    struct clip_loose *file = &making->listed->file;
    struct clip_error why;
    char shown[200], text[sizeof shown + sizeof why.text];
    if (clip_loose_open(file, path, &why) != 0 || clip_loose_read(file, making->left, &why) <= 0) {
        snprintf(text, sizeof text, "%s: %s", clip_printable(shown, sizeof shown, path, strlen(path)),
                 why.text);
        return unfit(making, place, text);
    }
    making->left -= file->size;
    return clip_record_put_bytes(making->record, file->extension, file->data, file->size, making->error) == 0
               ? 1
               : -1;
}

static int put_picture(struct making *making, size_t place)
{
    const struct clip_cell *cell = &making->row->cells[place];
    const char *root = making->listed->root;
    if (cell->kind != CLIP_CELL_TEXT)
        return unfit(making, place, "not a path");
    if (cell->size == 0 || strlen(cell->text) != cell->size)
        return unfit(making, place, cell->size ? "a zero byte in a path" : "the path is empty");
    if (cell->text[0] == '/' || !root)
        return read_picture(making, place, cell->text);
    char *path = NULL;
    if (asprintf(&path, "%s%s%s", root, root[strlen(root) - 1] == '/' ? "" : "/", cell->text) < 0)
        return clip_fail_memory(making->error, "a path");
    int status = read_picture(making, place, path);
    free(path);
    return status;
}

/* Text that is not UTF-8 is bytes. */
static int put_text(struct making *making, const char *name, const struct clip_cell *cell)
{
    if (u8_check((const uint8_t *)cell->text, cell->size))
        return clip_record_put_bytes(making->record, name, cell->text, cell->size, making->error);
    return clip_record_put_string(making->record, name, cell->text, cell->size, making->error);
}

static int put_field(struct making *making, size_t place)
{
    const struct clip_cell *cell = &making->row->cells[place];
    int status = count_bytes(making, place, cell->name_size + cell->size + 16);
    if (status <= 0 || cell->kind == CLIP_CELL_NULL)
        return status;
    char *name = strndup(cell->name, cell->name_size);
    if (!name)
        return clip_fail_memory(making->error, "a name");
    if (cell->kind == CLIP_CELL_INTEGER)
        status = clip_record_put_integer(making->record, name, cell->integer, making->error);
    else if (cell->kind == CLIP_CELL_REAL)
        status = clip_record_put_real(making->record, name, cell->real, making->error);
    else if (cell->kind == CLIP_CELL_BOOLEAN)
        status = clip_record_put_boolean(making->record, name, (int)cell->integer, making->error);
    else
        status = put_text(making, name, cell);
    free(name);
    return status == 0 ? 1 : -1;
}

static int put_all(struct making *making, uint64_t number)
{
    const struct clip_listed_plan *plan = &making->listed->plan;
    int status = put_key(making, plan->key, number);
    if (status > 0 && plan->image != CLIP_NOWHERE)
        status = put_picture(making, plan->image);
    if (status > 0 && plan->caption != CLIP_NOWHERE)
        status = put_caption(making, plan->caption);
    for (size_t i = 0; i < making->row->count && status > 0; i++)
        if (plan->kept[i])
            status = put_field(making, i);
    return status;
}

int clip_listed_record(struct clip_listed *listed, const struct clip_row *row, const struct clip_row *header,
                       uint64_t number, struct clip_record **record, struct clip_error *error)
{
    struct making making = {listed, row, header, clip_record_new(), 0, error};
    making.left = listed->max_record > RECORD_HEAD ? listed->max_record - RECORD_HEAD : 0;
    int status = making.record ? 1 : clip_fail_memory(error, "a record");
    if (status > 0 && !header)
        status = make_plan(listed, row, NULL, &listed->plan, error);
    if (status > 0)
        status = put_all(&making, number);
    if (status > 0)
        *record = making.record;
    else
        clip_record_free(making.record);
    return status;
}
