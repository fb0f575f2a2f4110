#include "train/encoder.h"

#include "model/kind.h"
#include "tower/fields.h"
#include "tower/learner.h"
#include "tower/tower.h"

#include <stdlib.h>
#include <string.h>

/* Items at once where nothing else is said. */
enum { CHUNK = 16 };

struct encoder {
    struct clip_trainee *trainee;
    const struct clip_arch *arch;
    int text;
    size_t room;                          /* items that the learner or tower is open for */
    struct clip_learner *learner;         /* NULL where frozen */
    struct clip_image_tower *image_tower; /* where frozen, one of the two */
    struct clip_text_tower *text_tower;
};

/* A learner's tape, and the items that it refers to. */
struct tape {
    struct clip_tape *tape;
    union clip_item *items; /* [room] */
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
    void *tokens = clip_items_add(items, (size_t)encoder->arch->text.context * sizeof(int32_t), error);
    return tokens ? clip_record_tokens(record, encoder->arch, tokens) : -1;
}

static size_t pixels(const struct clip_arch *arch)
{
    return 3 * (size_t)arch->vision.image_size * (size_t)arch->vision.image_size;
}

/* Item i as towers take it; whether an image is bytes or floats its size tells. */
static union clip_item item_of(const struct encoder *encoder, const struct clip_items *items, size_t i)
{
    size_t size;
    const void *data = clip_items_get(items, i, &size);
    union clip_item item = {0};
    if (encoder->text)
        item.caption = (struct clip_caption){data, size / sizeof(int32_t)};
    else if (size == pixels(encoder->arch))
        item.image.bytes = data;
    else
        item.image.floats = data;
    return item;
}

/* --- learning --- */

static int reserve_learner(void *context, size_t n, struct clip_error *error)
{
    struct encoder *encoder = context;
    struct clip_trainee *trainee = encoder->trainee;
    clip_learner_free(encoder->learner);
    encoder->room = n;
    encoder->learner = (encoder->text ? clip_text_learner_open : clip_image_learner_open)(
        encoder->arch, &trainee->parameters, trainee->stage.engine, trainee->stage.pool, n, error);
    return encoder->learner ? clip_learner_refresh(encoder->learner, error) : -1;
}

static int refresh_learner(void *context, struct clip_error *error)
{
    struct encoder *encoder = context;
    return clip_learner_refresh(encoder->learner, error);
}

static size_t learner_bytes(void *context)
{
    struct encoder *encoder = context;
    return clip_learner_bytes(encoder->learner);
}

static size_t tape_bytes(void *context, size_t n)
{
    struct encoder *encoder = context;
    return clip_tape_bytes(encoder->learner, n);
}

static void tape_free(void *data)
{
    struct tape *tape = data;
    clip_tape_free(tape->tape);
    free(tape->items);
    free(tape);
}

static void *tape_new(void *context, struct clip_error *error)
{
    struct encoder *encoder = context;
    struct tape *tape = calloc(1, sizeof *tape);
    if (tape)
        tape->items = calloc(encoder->room, sizeof *tape->items);
    if (!tape || !tape->items) {
        free(tape);
        clip_fail_memory(error, "a tape");
        return NULL;
    }
    tape->tape = clip_tape_new(encoder->learner, error);
    if (tape->tape)
        return tape;
    tape_free(tape);
    return NULL;
}

static int forward(void *context, const struct clip_items *items, int again, void *data, float *features,
                   struct clip_error *error)
{
    struct encoder *encoder = context;
    struct tape *tape = data;
    for (size_t i = 0; i < items->count; i++)
        tape->items[i] = item_of(encoder, items, i);
    return clip_learner_forward(encoder->learner, tape->items, items->count, again, tape->tape, features,
                                error);
}

static int backward(void *context, const struct clip_items *items, void *data, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    (void)items;
    (void)input_gradients;
    struct encoder *encoder = context;
    struct tape *tape = data;
    return clip_learner_backward(encoder->learner, tape->tape, gradients, error);
}

/* --- frozen --- */

static int reserve_tower(void *context, size_t n, struct clip_error *error)
{
    struct encoder *encoder = context;
    struct clip_stage *stage = &encoder->trainee->stage;
    encoder->room = n;
    if (encoder->text)
        encoder->text_tower = clip_text_tower_open(stage->model, stage->engine, stage->pool, n, error);
    else
        encoder->image_tower = clip_image_tower_open(stage->model, stage->engine, stage->pool, n, error);
    return encoder->text_tower || encoder->image_tower ? 0 : -1;
}

static int forward_frozen(void *context, const struct clip_items *items, int again, void *tape,
                          float *features, struct clip_error *error)
{
    (void)again;
    (void)tape;
    struct encoder *encoder = context;
    struct clip_image images[CHUNK];
    struct clip_caption captions[CHUNK];
    for (size_t i = 0; i < items->count; i++) {
        union clip_item item = item_of(encoder, items, i);
        if (encoder->text)
            captions[i] = item.caption;
        else
            images[i] = item.image;
    }
    if (encoder->text)
        return clip_text_tower_run(encoder->text_tower, captions, items->count, features, error);
    return clip_image_tower_run(encoder->image_tower, images, items->count, features, error);
}

/* --- opening --- */

static void close_encoder(struct encoder *encoder)
{
    clip_learner_free(encoder->learner);
    clip_image_tower_free(encoder->image_tower);
    clip_text_tower_free(encoder->text_tower);
}

static struct clip_stage_work work_of(struct encoder *encoder, const struct clip_encoder_options *options)
{
    const struct clip_arch *arch = encoder->arch;
    struct clip_stage_work work = {.context = encoder, .chunk = options->chunk};
    if (encoder->text) {
        work.outputs[0] = (struct clip_vector_field){"text_features", (size_t)arch->text.width};
        work.drops[0] = options->keep ? NULL : "tokens";
        work.item_bytes = (size_t)arch->text.context * sizeof(int32_t);
        work.take = take_text;
    } else {
        work.outputs[0] =
            (struct clip_vector_field){"image_features", clip_feature_width(arch, CLIP_SIDE_IMAGE)};
        work.drops[0] = options->keep ? NULL : "image";
        work.item_bytes = pixels(arch);
        work.take = take_image;
        work.mixes = arch->vision.kind == &clip_kind_resnet;
    }
    if (encoder->trainee->frozen) { /* as in inference: each item stands alone, running statistics are used */
        work.chunk = CHUNK;
        work.mixes = 0;
        work.forgets = 1;
        work.reserve = reserve_tower;
        work.forward = forward_frozen;
        return work;
    }
    if (!work.chunk && !work.mixes)
        work.chunk = CHUNK;
    work.reserve = reserve_learner;
    work.refresh = refresh_learner;
    work.bytes = learner_bytes;
    work.tape_bytes = tape_bytes;
    work.tape_new = tape_new;
    work.tape_free = tape_free;
    work.forward = forward;
    work.backward = backward;
    return work;
}

int clip_encoder_train(enum clip_side side, const struct clip_encoder_options *options,
                       const struct clip_shared *shared, char *const *operands, size_t n)
{
    struct clip_error error;
    struct clip_trainee trainee;
    int text = side == CLIP_SIDE_TEXT, status = 1;
    if (clip_trainee_open(&trainee, options->train, text ? CLIP_PART_TEXT : CLIP_PART_IMAGE,
                          options->precision, (int)shared->threads, &error) == 0) {
        struct encoder encoder = {
            .trainee = &trainee, .arch = clip_model_arch(trainee.stage.model), .text = text};
        struct clip_stage_work work = work_of(&encoder, options);
        clip_verbose("%s", clip_engine_text(trainee.stage.engine));
        status = clip_stage_run(&work, &trainee, options->stage, shared, operands, n);
        close_encoder(&encoder);
    } else
        clip_message("%s", error.text);
    clip_trainee_close(&trainee);
    return status;
}
