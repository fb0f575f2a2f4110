#include "text/hash.h"

#include <stdlib.h>

int clip_slots_grow(struct clip_slots *table, uint64_t (*hash)(const void *context, uint32_t number),
                    const void *context, struct clip_error *error)
{
    if (2 * (table->used + 1) <= table->room)
        return 0;
    struct clip_slots larger = {.room = table->room ? 2 * table->room : 2048, .used = table->used};
    larger.slots = calloc(larger.room, sizeof *larger.slots);
    if (!larger.slots)
        return clip_fail_memory(error, "a table");
    for (size_t i = 0; i < table->room; i++) {
        if (!table->slots[i])
            continue;
        size_t slot = hash(context, table->slots[i] - 1) & (larger.room - 1);
        while (larger.slots[slot])
            slot = clip_slots_next(&larger, slot);
        larger.slots[slot] = table->slots[i];
    }
    clip_slots_free(table);
    *table = larger;
    return 0;
}

void clip_slots_set(struct clip_slots *table, size_t slot, size_t number)
{
    table->used += !table->slots[slot];
    table->slots[slot] = (uint32_t)number + 1;
}

void clip_slots_free(struct clip_slots *table)
{
    free(table->slots);
    *table = (struct clip_slots){0};
}
