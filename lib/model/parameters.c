#include "model/parameters.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values lie side by side, and so do gradients: adjacent tensors may be read as one (tower/weights.h). */
static void place_values(void *context)
{
    struct clip_parameters *parameters = context;
    for (size_t i = 0; i < parameters->count; i++) {
        struct clip_parameter *p = &parameters->items[i];
        if (!p->slot.integer)
            p->value = clip_arena_take(&parameters->owned_values, p->count, sizeof(float));
    }
}

static void place_gradients(void *context)
{
    struct clip_parameters *parameters = context;
    for (size_t i = 0; i < parameters->count; i++) {
        struct clip_parameter *p = &parameters->items[i];
        if (!p->slot.integer && !p->slot.buffer)
            p->gradient = clip_arena_take(&parameters->owned_gradients, p->count, sizeof(float));
    }
}

static int read_values(struct clip_parameter *p, const struct clip_model *model, struct clip_error *error)
{
    if (p->slot.integer)
        return clip_model_has(model, p->slot.name)
                   ? clip_model_copy(model, p->slot.name, 0, 1, &p->integer, error)
                   : 0;
    int status = clip_model_floats(model, p->slot.name, p->slot.ndim, p->slot.shape, p->value, error);
    clip_model_release_pages(model, p->slot.name);
    return status;
}

int clip_parameters_load(struct clip_parameters *parameters, const struct clip_model *model,
                         enum clip_part part, struct clip_error *error)
{
    const struct clip_layout *layout = clip_model_layout(model);
    *parameters = (struct clip_parameters){.items = calloc(layout->count, sizeof *parameters->items)};
    if (!parameters->items)
        return clip_fail_memory(error, "parameters");
    for (size_t i = 0; i < layout->count; i++)
        if (layout->slots[i].part == part)
            parameters->items[parameters->count++] = (struct clip_parameter){
                .slot = layout->slots[i], .count = (size_t)clip_slot_count(&layout->slots[i])};
    struct clip_arena *values = &parameters->owned_values, *gradients = &parameters->owned_gradients;
    if (clip_arena_build(values, "parameters", place_values, parameters, error) != 0 ||
        clip_arena_build(gradients, "gradients", place_gradients, parameters, error) != 0)
        return -1;
    parameters->values = values->memory;
    parameters->value_bytes = values->size;
    parameters->gradients = gradients->memory;
    parameters->gradient_bytes = gradients->size;
    for (size_t i = 0; i < parameters->count; i++)
        if (read_values(&parameters->items[i], model, error) != 0)
            return -1;
    return 0;
}

void clip_parameters_free(struct clip_parameters *parameters)
{
    free(parameters->items);
    clip_arena_free(&parameters->owned_values);
    clip_arena_free(&parameters->owned_gradients);
    *parameters = (struct clip_parameters){0};
}

struct clip_parameter *clip_parameters_get(const struct clip_parameters *parameters, const char *format, ...)
{
    char name[sizeof parameters->items->slot.name];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    for (size_t i = 0; i < parameters->count; i++)
        if (strcmp(parameters->items[i].slot.name, name) == 0)
            return &parameters->items[i];
    return NULL;
}

static float *moved(const float *at, const char *from, char *to)
{
    return (float *)(to + ((const char *)at - from));
}

void clip_parameters_move(struct clip_parameters *parameters, void *values, void *gradients)
{
    memcpy(values, parameters->values, parameters->value_bytes);
    for (size_t i = 0; i < parameters->count; i++) {
        struct clip_parameter *p = &parameters->items[i];
        if (p->value)
            p->value = moved(p->value, parameters->values, values);
        if (p->gradient)
            p->gradient = moved(p->gradient, parameters->gradients, gradients);
    }
    parameters->values = values;
    parameters->gradients = gradients;
    clip_arena_free(&parameters->owned_values);
    clip_arena_free(&parameters->owned_gradients);
}

/* FNV-1a over words in several lanes, so that a multiplication does not wait for the one before it. (The
 * arena is a multiple of 64 bytes, with zeros between the values.) */
uint64_t clip_parameters_hash(const struct clip_parameters *parameters)
{
    const char *bytes = parameters->values;
    uint64_t hashes[8], word, hash = 14695981039346656037u;
    for (size_t lane = 0; lane < 8; lane++)
        hashes[lane] = hash + lane;
    for (size_t i = 0; i + sizeof hashes <= parameters->value_bytes; i += sizeof hashes)
        for (size_t lane = 0; lane < 8; lane++) {
            memcpy(&word, bytes + i + lane * sizeof word, sizeof word);
            hashes[lane] = (hashes[lane] ^ word) * 1099511628211u;
        }
    for (size_t lane = 0; lane < 8; lane++)
        hash = (hash ^ hashes[lane]) * 1099511628211u;
    return hash;
}
