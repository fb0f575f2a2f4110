#include "score/names.h"
#include "base/array.h"

#include <stdlib.h>
#include <string.h>

void clip_names_free(struct clip_names *names)
{
    free(names->text);
    free(names->list);
    *names = (struct clip_names){0};
}

void clip_names_clear(struct clip_names *names)
{
    names->size = names->count = 0;
}

static int make_room(struct clip_names *names, size_t text)
{
    if (CLIP_GROW(names->list, names->count, names->list_room) != 0)
        return -1;
    if (text > names->room - names->size) {
        size_t room = 2 * names->room + text;
        char *grown = realloc(names->text, room);
        if (!grown)
            return -1;
        names->text = grown;
        names->room = room;
    }
    return 0;
}

static size_t append_text(struct clip_names *names, const char *text, size_t size)
{
    size_t at = names->size;
    memcpy(names->text + at, text, size);
    names->text[at + size] = '\0';
    names->size += size + 1;
    return at;
}

int clip_names_add(struct clip_names *names, const char *key, size_t key_size, const char *label,
                   size_t label_size)
{
    if (make_room(names, key_size + label_size + 2) != 0)
        return -1;
    struct clip_name *name = &names->list[names->count++];
    name->label = name->key = append_text(names, key, key_size);
    if (label)
        name->label = append_text(names, label, label_size);
    return 0;
}
