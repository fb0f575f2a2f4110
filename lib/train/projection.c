#include "train/projection.h"

#include "score/embedding.h"
#include "stream/vector.h"
#include "tower/fields.h"
#include "tower/project.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256 };

struct clip_projector {
    struct clip_training *training;
    struct clip_vector_field features[CLIP_STAGE_FIELDS];
};

static int take_features(void *context, struct clip_record *record, struct clip_items *items,
                         struct clip_error *error)
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

static union clip_item features_item(void *context, const void *data, size_t size)
{
    (void)context;
    (void)size;
    return (union clip_item){.features = data};
}

static struct clip_tower *open_learner(void *context, size_t n, struct clip_error *error)
{
    struct clip_projector *projector = context;
    const struct clip_tower_setup setup =
        clip_compute_setup(&projector->training->compute, &projector->training->parameters, n);
    return clip_projection_learner_open(&setup, error);
}

void clip_projector_free(struct clip_projector *projector)
{
    free(projector);
}

struct clip_projector *clip_projector_open(struct clip_training *training, int keep,
                                           struct clip_stage_work *work, struct clip_error *error)
{
    const struct clip_arch *arch = clip_model_arch(training->compute.model);
    struct clip_projector *projector = calloc(1, sizeof *projector);
    if (!projector) {
        clip_fail_memory(error, "the projection");
        return NULL;
    }
    projector->training = training;
    *work = (struct clip_stage_work){.context = projector,
                                     .chunk = CHUNK,
                                     .take = take_features,
                                     .item = features_item,
                                     .open = open_learner};
    for (int side = 0; side < CLIP_SIDES; side++) {
        const struct clip_vector_field features = {clip_feature_fields[side], clip_feature_width(arch, side)};
        projector->features[side] = work->inputs[side] = features;
        work->outputs[side] = (struct clip_vector_field){clip_embedding_fields[side], (size_t)arch->embed};
        work->drops[side] = keep ? NULL : features.name;
        work->item_bytes += features.width * sizeof(float);
    }
    return projector;
}
