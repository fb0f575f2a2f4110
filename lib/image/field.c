#include "image/field.h"

#include <string.h>
#include <strings.h>

/* The record's first field whose name is name[size] or, with `ending`, ends in a dot and name[size]. */
static const struct clip_field *find_named(const struct clip_record *record, const char *name, size_t size,
                                           int ending)
{
    for (size_t i = 0; i < record->count; i++) {
        const struct clip_field *field = &record->fields[i];
        size_t before = field->name_size - size;
        if (field->name_size < size || strncasecmp(field->name + before, name, size) != 0)
            continue;
        if (ending ? before > 0 && field->name[before - 1] == '.' : before == 0)
            return field;
    }
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

const struct clip_field *clip_find_picture_in(const struct clip_record *record, const char *list)
{
    const struct clip_field *found = NULL;
    for (const char *name = list, *comma; name && !found; name = comma ? comma + 1 : NULL) {
        comma = strchr(name, ',');
        found = clip_record_field(record, name, comma ? (size_t)(comma - name) : strlen(name));
    }
    return found;
}
