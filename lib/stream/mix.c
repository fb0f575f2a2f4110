#include "stream/mix.h"

#include <stdlib.h>

int clip_mix_init(struct clip_mix *mix, size_t room, struct clip_error *error)
{
    *mix = (struct clip_mix){.room = room, .held = calloc(room, sizeof(struct clip_record *))};
    return mix->held ? 0 : clip_fail_memory(error, "a buffer to shuffle in");
}

void clip_mix_free(struct clip_mix *mix)
{
    for (size_t i = 0; i < mix->count; i++)
        clip_record_free(mix->held[i]);
    free(mix->held);
    *mix = (struct clip_mix){0};
}

struct clip_record *clip_mix_put(struct clip_mix *mix, struct clip_record *record)
{
    if (mix->count < mix->room) {
        mix->held[mix->count++] = record;
        return NULL;
    }
    size_t turn = (size_t)clip_random_below(&mix->random, mix->count);
    struct clip_record *out = mix->held[turn];
    mix->held[turn] = record;
    return out;
}

struct clip_record *clip_mix_take(struct clip_mix *mix)
{
    if (mix->count == 0)
        return NULL;
    size_t turn = (size_t)clip_random_below(&mix->random, mix->count);
    struct clip_record *out = mix->held[turn];
    mix->held[turn] = mix->held[--mix->count];
    return out;
}
