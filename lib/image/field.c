#include "image/field.h"

#include <string.h>
#include <strings.h>

/* 1 if the field's name is name[size] or, with `ending`, ends in a dot and name[size]. */
static int has_name(const struct clip_field *field, const char *name, size_t size, int ending)
{
    size_t before = field->name_size - size;
    if (field->name_size < size || strncasecmp(field->name + before, name, size) != 0)
        return 0;
    return ending ? before > 0 && field->name[before - 1] == '.' : before == 0;
}

/* The record's first field of that name. */
static const struct clip_field *find_named(const struct clip_record *record, const char *name, size_t size,
                                           int ending)
{
    for (size_t i = 0; i < record->count; i++)
        if (has_name(&record->fields[i], name, size, ending))
            return &record->fields[i];
    return NULL;
}

const struct clip_field *clip_find_picture(const struct clip_record *record)
{
    const struct clip_field *found = NULL;
    for (int ending = 0; ending <= 1 && !found; ending++)
        for (const char *name = CLIP_PICTURE_NAMES; *name && !found;) {
            size_t size = strcspn(name, ", ");
            found = find_named(record, name, size, ending);
            name += size + strspn(name + size, ", ");
        }
    return found;
}

int clip_is_picture_name(const char *text, size_t text_size)
{
    const struct clip_field field = {.name = text, .name_size = text_size};
    for (const char *name = CLIP_PICTURE_NAMES; *name;) {
        size_t size = strcspn(name, ", ");
        if (has_name(&field, name, size, 0) || has_name(&field, name, size, 1))
            return 1;
        name += size + strspn(name + size, ", ");
    }
    return 0;
}

size_t clip_count_pictures(const struct clip_record *record)
{
    size_t count = 0;
    for (size_t i = 0; i < record->count; i++)
        count += (size_t)clip_is_picture_name(record->fields[i].name, record->fields[i].name_size);
    return count;
}

const struct clip_field *clip_find_picture_in(const struct clip_record *record, const char *list)
{
    const struct clip_field *found = NULL;
    for (const char *name = list, *comma; name && !found; name = comma ? comma + 1 : NULL) {
        comma = strchr(name, ',');
        found = clip_record_field(record, name, comma ? (size_t)(comma - name) : strlen(name));
    }
    return found;
}
