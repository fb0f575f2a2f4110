#include "train/encoder.h"

#include "stream/filter.h"
#include "tower/encoder.h"
#include "tower/fields.h"

#include <stdlib.h>
#include <string.h>

/* Items at once where nothing else is said. */
enum { CHUNK = 16 };

struct encoder {
    struct clip_training *training;
    const struct clip_arch *arch;
    enum clip_side side;
};

/* --- items --- */

static int take_image(void *context, struct clip_record *record, struct clip_items *items,
                      struct clip_error *error)
{
    struct encoder *encoder = context;
    struct clip_tensor image;
    if (clip_record_image(record, encoder->arch, &image) != 0)
        return -1;
    size_t size = clip_tensor_bytes(&image);
    void *place = clip_items_add(items, size, error);
    if (!place)
        return -1;
    memcpy(place, image.data, size);
    return 0;
}

static int take_text(void *context, struct clip_record *record, struct clip_items *items,
                     struct clip_error *error)
{
    struct encoder *encoder = context;
    void *tokens = clip_items_add(items, clip_item_bytes(encoder->arch, encoder->side), error);
    return tokens ? clip_record_tokens(record, encoder->arch, tokens) : -1;
}

static union clip_item item_of(void *context, const void *data, size_t size)
{
    const struct encoder *encoder = context;
    return clip_item_of(encoder->arch, encoder->side, data, size);
}

/* --- opening --- */

/* A frozen tower is the model's, in inference. */
static struct clip_tower *open_tower(void *context, size_t n, struct clip_error *error)
{
    const struct encoder *encoder = context;
    struct clip_training *training = encoder->training;
    struct clip_tower_setup setup =
        clip_compute_setup(&training->compute, training->frozen ? NULL : &training->parameters, n);
    setup.exchange = clip_ranks_exchange(training->ranks);
    return clip_tower_open(encoder->side, &setup, error);
}

static struct clip_stage_work work_of(struct encoder *encoder, const struct clip_encoder_options *options)
{
    const struct clip_arch *arch = encoder->arch;
    int frozen = encoder->training->frozen;
    struct clip_stage_work work = {
        .context = encoder,
        .outputs = {{clip_feature_fields[encoder->side], clip_feature_width(arch, encoder->side)}},
        .drops = {options->keep ? NULL : clip_input_fields[encoder->side]},
        .item_bytes = clip_item_bytes(arch, encoder->side),
        .take = encoder->side == CLIP_SIDE_TEXT ? take_text : take_image,
        .item = item_of,
        .open = open_tower};
    work.frozen = frozen;
    if (frozen) { /* as in inference: each item stands alone, running statistics are used */
        work.chunk = CHUNK;
        return work;
    }
    work.mixes = clip_tower_mixes(arch, encoder->side);
    work.chunk = options->chunk || work.mixes ? (size_t)options->chunk : CHUNK;
    return work;
}

static const enum clip_precision precisions[] = {CLIP_PRECISION_F32, CLIP_PRECISION_BF16, CLIP_PRECISION_INT8,
                                                 CLIP_PRECISION_F32};

/* NULL: none was given. */
static const enum clip_precision *precision_of(const struct clip_encoder_options *options)
{
    return options->precision < 0 ? NULL : &precisions[options->precision];
}

static int is_int8(const struct clip_encoder_options *options)
{
    const enum clip_precision *precision = precision_of(options);
    return precision && *precision == CLIP_PRECISION_INT8;
}

static int train_side(enum clip_side side, const struct clip_encoder_options *options,
                      const struct clip_shared *shared, char *const *operands, size_t n)
{
    struct clip_error error;
    struct clip_training training;
    int status = 1;
    if (clip_training_open(&training, &options->train, clip_side_parts[side],
                           precision_of(options) ? *precision_of(options) : CLIP_PRECISION_F32,
                           (int)shared->threads, &error) == 0 &&
        (training.frozen ||
         clip_tower_need_training(clip_model_arch(training.compute.model), side, &error) == 0)) {
        struct encoder encoder = {
            .training = &training, .arch = clip_model_arch(training.compute.model), .side = side};
        struct clip_stage_work work = work_of(&encoder, options);
        clip_verbose("%s", clip_engine_text(training.compute.engine));
        status = clip_stage_run(&work, &training, &options->stage, shared, operands, n);
    } else {
        clip_message("%s", error.text);
        clip_training_fail(&training, &error);
    }
    clip_training_close(&training);
    return status;
}

static int encode_side(enum clip_side side, const struct clip_encoder_options *options,
                       const struct clip_shared *shared, char *const *operands, size_t n)
{
    struct clip_error error;
    struct clip_encoder encoder;
    const struct clip_filter filter = {
        .process = clip_encoder_batch, .context = &encoder, .batch = (size_t)shared->batch};
    int status = 1;
    if (clip_encoder_open(&encoder, side, shared, precision_of(options), (size_t)options->int8_keep,
                          options->keep, &error) == 0) {
        const struct clip_compute *compute = &encoder.compute;
        clip_verbose("%s", clip_engine_text(compute->int8.engine ? compute->int8.engine : compute->engine));
        status = clip_filter_run(&filter, shared, operands, n);
    } else
        clip_message("%s", error.text);
    clip_encoder_close(&encoder);
    return status;
}

int clip_encoder_run(enum clip_side side, const struct clip_encoder_options *options,
                     const struct clip_shared *shared, char *const *operands, size_t n)
{
    struct clip_error error;
    if (is_int8(options) && options->train.dir)
        clip_usage("--precision int8 is for inference, not for --train");
    if (options->int8_keep && !is_int8(options))
        clip_usage("--int8-keep needs --precision int8");
    if (clip_train_check(&options->train, shared, options->stage.grad_in, &error) != 0)
        clip_usage("%s", error.text);
    if (!options->train.dir && !shared->model)
        clip_usage("give a model (-m)");
    return (options->train.dir ? train_side : encode_side)(side, options, shared, operands, n);
}
