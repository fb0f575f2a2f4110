#include "train/projection.h"

#include "stream/vector.h"
#include "tower/project.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 };

struct clip_projector {
    struct clip_projection_learner *learner;
    struct clip_vector_field features[CLIP_STAGE_FIELDS];
    const float *rows[CHUNK]; /* of a chunk: the features of both sides, one after the other */
};

static int take(void *context, struct clip_record *record, struct clip_items *items, struct clip_error *error)
{
    struct clip_projector *projector = context;
    const struct clip_vector_field *fields = projector->features;
    float *place = clip_items_add(items, (fields[0].width + fields[1].width) * sizeof *place, error);
    if (!place)
        return -1;
    for (int f = 0; f < CLIP_STAGE_FIELDS; f++) {
        size_t width = fields[f].width;
        const void *data;
        if (clip_record_vector(record, fields[f].name, &width, &data) != 0)
            return -1;
        memcpy(place, data, width * sizeof *place);
        place += width;
    }
    return 0;
}

static int reserve(void *context, size_t n, struct clip_error *error)
{
    (void)context;
    (void)n;
    (void)error;
    return 0; /* it was opened for CHUNK */
}

static int refresh(void *context, struct clip_error *error)
{
    struct clip_projector *projector = context;
    return clip_projection_learner_refresh(projector->learner, error);
}

static void list_rows(struct clip_projector *projector, const struct clip_items *items)
{
    size_t size;
    for (size_t i = 0; i < items->count; i++)
        projector->rows[i] = clip_items_get(items, i, &size);
}

static int forward(void *context, const struct clip_items *items, int again, void *tape, float *embeddings,
                   struct clip_error *error)
{
    (void)again;
    (void)tape;
    struct clip_projector *projector = context;
    list_rows(projector, items);
    return clip_projection_learner_forward(projector->learner, projector->rows, items->count, embeddings,
                                           error);
}

static int backward(void *context, const struct clip_items *items, void *tape, const float *gradients,
                    float *feature_gradients, struct clip_error *error)
{
    (void)tape;
    struct clip_projector *projector = context;
    list_rows(projector, items);
    return clip_projection_learner_backward(projector->learner, projector->rows, items->count, gradients,
                                            feature_gradients, error);
}

void clip_projector_free(struct clip_projector *projector)
{
    if (projector)
        clip_projection_learner_free(projector->learner);
    free(projector);
}

struct clip_projector *clip_projector_open(struct clip_trainee *trainee, int keep,
                                           struct clip_stage_work *work, struct clip_error *error)
{
    const struct clip_arch *arch = clip_model_arch(trainee->compute.model);
    struct clip_projector *projector = calloc(1, sizeof *projector);
    if (!projector) {
        clip_fail_memory(error, "the projection");
        return NULL;
    }
    const struct clip_tower_setup setup = clip_compute_setup(&trainee->compute, &trainee->parameters, CHUNK);
    projector->learner = clip_projection_learner_open(&setup, error);
    if (!projector->learner) {
        clip_projector_free(projector);
        return NULL;
    }
    size_t image = clip_projection_learner_inputs(projector->learner, CLIP_SIDE_IMAGE);
    size_t text = clip_projection_learner_inputs(projector->learner, CLIP_SIDE_TEXT);
    projector->features[0] = (struct clip_vector_field){"image_features", image};
    projector->features[1] = (struct clip_vector_field){"text_features", text};
    *work = (struct clip_stage_work){
        .context = projector,
        .outputs = {{"image_embedding", (size_t)arch->embed}, {"text_embedding", (size_t)arch->embed}},
        .inputs = {projector->features[0], projector->features[1]},
        .chunk = CHUNK,
        .item_bytes = (image + text) * sizeof(float),
        .take = take,
        .reserve = reserve,
        .refresh = refresh,
        .forward = forward,
        .backward = backward};
    for (int f = 0; f < CLIP_STAGE_FIELDS && !keep; f++)
        work->drops[f] = projector->features[f].name;
    return projector;
}
