/* Keys and labels, in one piece of memory. */
#ifndef CLIP_SCORE_NAMES_H
#define CLIP_SCORE_NAMES_H

#include <stddef.h>

/* Zeroed, it is empty. */
struct clip_names {
    char *text;
    size_t size, room;
    struct clip_name {
        size_t key, label; /* where they begin in `text`: the same where the label is the key */
    } * list;
    size_t count, list_room;
};

void clip_names_free(struct clip_names *names);

/* Adds copies of key[key_size] and label[label_size] (label NULL: the key). -1 when out of memory. */
int clip_names_add(struct clip_names *names, const char *key, size_t key_size, const char *label,
                   size_t label_size);

/* Makes it empty, keeping its memory. */
void clip_names_clear(struct clip_names *names);

/* Terminated, and valid until more are added; a label that is the key is the same pointer. */
static inline const char *clip_names_key(const struct clip_names *names, size_t i)
{
    return names->text + names->list[i].key;
}

static inline const char *clip_names_label(const struct clip_names *names, size_t i)
{
    return names->text + names->list[i].label;
}

#endif
