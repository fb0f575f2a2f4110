#include "train/chunks.h"

#include "base/file.h"

#include <stdlib.h>
#include <unistd.h>

enum { NONE = -1 };
#define UNSAVED UINT64_MAX

/* A chunk in memory. */
struct slot {
    struct clip_items items;
    struct clip_tape *tape;
    ssize_t chunk; /* the chunk whose items and tape these are, or NONE */
};

struct clip_chunks {
    const struct clip_stage_work *work;
    struct clip_tower *tower; /* opened for chunks of up to `room` items */
    size_t room;
    union clip_item *items; /* [room], of the chunk in its forward pass */
    /* Chunk i is kept in slot i; all chunks after the last slot share that one. */
    struct slot *slots;
    size_t slots_count;
    size_t count;      /* number of chunks of the batch */
    size_t *sizes;     /* [places]: items of each chunk */
    uint64_t *offsets; /* [places]: offset of its inputs in the file */
    size_t places;
    int file; /* or -1 */
    uint64_t end;
    float *out; /* [room][widths], of a repeated forward pass */
};

static void free_tapes(struct clip_chunks *chunks)
{
    for (size_t i = 0; i < chunks->slots_count; i++) {
        clip_tape_free(chunks->slots[i].tape);
        chunks->slots[i].tape = NULL;
    }
}

void clip_chunks_free(struct clip_chunks *chunks)
{
    if (!chunks)
        return;
    free_tapes(chunks);
    for (size_t i = 0; i < chunks->slots_count; i++)
        clip_items_free(&chunks->slots[i].items);
    if (chunks->file >= 0)
        close(chunks->file);
    free(chunks->slots);
    free(chunks->sizes);
    free(chunks->offsets);
    free(chunks->out);
    free(chunks->items);
    clip_tower_free(chunks->tower);
    free(chunks);
}

static int reserve(struct clip_chunks *chunks, size_t n, struct clip_error *error)
{
    const struct clip_stage_work *work = chunks->work;
    size_t width = 0;
    if (n <= chunks->room)
        return 0;
    free_tapes(chunks);
    clip_tower_free(chunks->tower);
    chunks->tower = NULL;
    free(chunks->out);
    free(chunks->items);
    for (size_t f = 0; f < CLIP_STAGE_FIELDS; f++)
        width += work->outputs[f].name ? work->outputs[f].width : 0;
    chunks->out = reallocarray(NULL, n, width * sizeof *chunks->out);
    chunks->items = calloc(n, sizeof *chunks->items);
    if (!chunks->out || !chunks->items)
        return clip_fail_memory(error, "a chunk");
    chunks->tower = work->open(work->context, n, error);
    if (!chunks->tower)
        return -1;
    chunks->room = n;
    return 0;
}

/* The number of slots that fit into the memory, at least one. */
static size_t count_slots(const struct clip_chunks *chunks, size_t memory)
{
    const struct clip_stage_work *work = chunks->work;
    const struct clip_tower *tower = chunks->tower;
    if (work->chunk == 0 || work->frozen)
        return 1;
    size_t tape = tower->type->tape_bytes(tower, work->chunk), beside = tower->type->bytes(tower);
    size_t slots = (memory > beside ? memory - beside : 0) / (tape + work->chunk * work->item_bytes + 1);
    return slots ? slots : 1;
}

struct clip_chunks *clip_chunks_new(const struct clip_stage_work *work, size_t memory,
                                    struct clip_error *error)
{
    struct clip_chunks *chunks = calloc(1, sizeof *chunks);
    if (!chunks) {
        clip_fail_memory(error, "chunks");
        return NULL;
    }
    chunks->work = work;
    chunks->file = -1;
    if (reserve(chunks, work->chunk, error) == 0) {
        size_t slots = count_slots(chunks, memory);
        chunks->slots = calloc(slots, sizeof *chunks->slots);
        if (chunks->slots) {
            chunks->slots_count = slots;
            clip_chunks_clear(chunks);
            return chunks;
        }
        clip_fail_memory(error, "chunks");
    }
    clip_chunks_free(chunks);
    return NULL;
}

void clip_chunks_clear(struct clip_chunks *chunks)
{
    for (size_t i = 0; i < chunks->slots_count; i++) {
        clip_items_clear(&chunks->slots[i].items);
        chunks->slots[i].chunk = NONE;
    }
    chunks->count = 0;
    chunks->end = 0;
}

size_t clip_chunks_count(const struct clip_chunks *chunks)
{
    return chunks->count;
}

static struct slot *slot_of(struct clip_chunks *chunks, size_t chunk)
{
    size_t last = chunks->slots_count - 1;
    return &chunks->slots[chunk < last ? chunk : last];
}

/* Frees the slot: if the inputs of its chunk are needed again, they go to the file. */
static int make_free(struct clip_chunks *chunks, struct slot *slot, struct clip_error *error)
{
    if (slot->chunk != NONE && chunks->offsets[slot->chunk] == UNSAVED && !chunks->work->frozen) {
        if (chunks->file < 0 && (chunks->file = clip_temporary_file(error)) < 0)
            return -1;
        chunks->offsets[slot->chunk] = chunks->end;
        if (clip_items_write(&slot->items, chunks->file, &chunks->end, error) != 0)
            return -1;
    }
    slot->chunk = NONE;
    clip_items_clear(&slot->items);
    return 0;
}

struct clip_items *clip_chunks_items(struct clip_chunks *chunks, struct clip_error *error)
{
    struct slot *slot = slot_of(chunks, chunks->count);
    if (slot->chunk != NONE && make_free(chunks, slot, error) != 0)
        return NULL;
    return &slot->items;
}

static int make_place(struct clip_chunks *chunks, struct clip_error *error)
{
    if (chunks->count < chunks->places)
        return 0;
    size_t places = 2 * chunks->places + 16;
    size_t *sizes = reallocarray(chunks->sizes, places, sizeof *sizes);
    if (sizes)
        chunks->sizes = sizes;
    uint64_t *offsets = reallocarray(chunks->offsets, places, sizeof *offsets);
    if (offsets)
        chunks->offsets = offsets;
    if (!sizes || !offsets)
        return clip_fail_memory(error, "chunks");
    chunks->places = places;
    return 0;
}

static int run_forward(struct clip_chunks *chunks, struct slot *slot, int again, float *out,
                       struct clip_error *error)
{
    const struct clip_stage_work *work = chunks->work;
    struct clip_tower *tower = chunks->tower;
    if (!slot->tape && !work->frozen && !(slot->tape = tower->type->tape_new(tower, error)))
        return -1;
    for (size_t i = 0; i < slot->items.count; i++) {
        size_t size;
        const void *data = clip_items_get(&slot->items, i, &size);
        chunks->items[i] = work->item(work->context, data, size);
    }
    return tower->type->forward(tower, chunks->items, slot->items.count, again, slot->tape, out, error);
}

int clip_chunks_forward(struct clip_chunks *chunks, float *out, struct clip_error *error)
{
    struct slot *slot = slot_of(chunks, chunks->count);
    if (reserve(chunks, slot->items.count, error) != 0 || make_place(chunks, error) != 0 ||
        run_forward(chunks, slot, 0, out, error) != 0)
        return -1;
    chunks->sizes[chunks->count] = slot->items.count;
    chunks->offsets[chunks->count] = UNSAVED;
    slot->chunk = (ssize_t)chunks->count++;
    return 0;
}

int clip_chunks_backward(struct clip_chunks *chunks, size_t i, const float *gradients, float *input_gradients,
                         size_t *n, struct clip_error *error)
{
    struct slot *slot = slot_of(chunks, i);
    *n = chunks->sizes[i];
    if (chunks->work->frozen)
        return 0;
    if (slot->chunk != (ssize_t)i) {
        if (make_free(chunks, slot, error) != 0 ||
            clip_items_read(&slot->items, chunks->file, chunks->offsets[i], error) != 0)
            return -1;
        slot->chunk = (ssize_t)i;
        if (run_forward(chunks, slot, 1, chunks->out, error) != 0)
            return -1;
    }
    return chunks->tower->type->backward(chunks->tower, slot->tape, gradients, input_gradients, error);
}

int clip_chunks_refresh(struct clip_chunks *chunks, struct clip_error *error)
{
    return !chunks->tower ? 0 : chunks->tower->type->refresh(chunks->tower, error);
}
