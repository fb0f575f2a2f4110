/* Any record as JSON, which a JSON parser must take, and against itself, from which it must not differ. */
#include "stream/compare.h"
#include "stream/print.h"
#include "stream/record.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 512 }; /* values are nested less deeply, but a map in JSON may be three containers */

/* text[size] is one whole value; the NUL after it ends a number. */
static void check_json(const char *text, size_t size)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH);
    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)size + 1);
    if (json_tokener_get_error(tokener) != json_tokener_success)
        abort();
    json_object_put(object);
    json_tokener_free(tokener);
}

static void print(const struct clip_field *field, int whole)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        abort();
    clip_print_value(out, field->value, field->size, whole);
    if (fclose(out) != 0 || size == 0)
        abort();
    check_json(text, size);
    free(text);
    out = open_memstream(&text, &size);
    if (!out)
        abort();
    clip_print_cell(out, field->name, field->name_size);
    if (fclose(out) != 0 || strpbrk(text, "\t\n\r") || strlen(text) != size)
        abort();
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_error error;
    struct clip_comparison comparison = {0};
    struct clip_record *record = clip_record_new();
    uint8_t *bytes = malloc(size ? size : 1);
    if (!record || !bytes)
        abort();
    memcpy(bytes, data, size);
    if (clip_record_set(record, bytes, size, &error) == 0) {
        for (size_t i = 0; i < record->count; i++) {
            print(&record->fields[i], 0);
            print(&record->fields[i], 1);
        }
        if (clip_compare_records(&comparison, record, record, &error) != 0 ||
            clip_comparison_differs(&comparison))
            abort();
        clip_comparison_free(&comparison);
    }
    clip_record_free(record);
    return 0;
}
