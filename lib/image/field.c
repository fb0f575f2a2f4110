#include "image/field.h"

#include <string.h>
#include <strings.h>

static int names_picture(const struct clip_field *candidate)
{
    static const char *const extensions[] = {"jpg", "jpeg", "png", "webp"};
    const char *dot = memrchr(candidate->name, '.', candidate->name_size);
    const char *last = dot ? dot + 1 : candidate->name;
    size_t length = candidate->name_size - (size_t)(last - candidate->name);
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
        if (strlen(extensions[i]) == length && strncasecmp(last, extensions[i], length) == 0)
            return 1;
    return 0;
}

const struct clip_field *clip_find_picture(const struct clip_record *record)
{
    for (size_t i = 0; i < record->count; i++)
        if (names_picture(&record->fields[i]))
            return &record->fields[i];
    return NULL;
}
