#include "train/projection.h"

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
    size_t image = clip_feature_width(arch, CLIP_SIDE_IMAGE), text = clip_feature_width(arch, CLIP_SIDE_TEXT);
    projector->features[0] = (struct clip_vector_field){clip_feature_fields[0], image};
    projector->features[1] = (struct clip_vector_field){clip_feature_fields[1], text};
    *work = (struct clip_stage_work){
        .context = projector,
        .outputs = {{"image_embedding", (size_t)arch->embed}, {"text_embedding", (size_t)arch->embed}},
        .inputs = {projector->features[0], projector->features[1]},
        .chunk = CHUNK,
        .item_bytes = (image + text) * sizeof(float),
        .take = take_features,
        .item = features_item,
        .open = open_learner};
    for (int f = 0; f < CLIP_STAGE_FIELDS && !keep; f++)
        work->drops[f] = projector->features[f].name;
    return projector;
}
