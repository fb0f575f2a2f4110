#include "train/encoder.h"

#include "tower/fields.h"
#include "tower/tower.h"

#include <stdlib.h>
#include <string.h>

/* Items at once where nothing else is said. */
enum { CHUNK = 16 };

struct encoder {
    struct clip_trainee *trainee;
    const struct clip_arch *arch;
    enum clip_side side;
    struct clip_tower *tower; /* NULL before the first clip_stage_work.reserve */
    union clip_item *items;   /* [tower->batch], of a chunk that goes forward */
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
    if (encoder->side == CLIP_SIDE_TEXT)
        item.caption = (struct clip_caption){data, size / sizeof(int32_t)};
    else if (size == pixels(encoder->arch))
        item.image.bytes = data;
    else
        item.image.floats = data;
    return item;
}

/* --- running --- */

static void close_encoder(struct encoder *encoder)
{
    clip_tower_free(encoder->tower);
    free(encoder->items);
    encoder->tower = NULL;
    encoder->items = NULL;
}

/* A frozen tower is the model's, in inference. */
static int reserve(void *context, size_t n, struct clip_error *error)
{
    struct encoder *encoder = context;
    struct clip_trainee *trainee = encoder->trainee;
    const struct clip_tower_setup setup =
        clip_compute_setup(&trainee->compute, trainee->frozen ? NULL : &trainee->parameters, n);
    close_encoder(encoder);
    encoder->items = calloc(n, sizeof *encoder->items);
    if (!encoder->items)
        return clip_fail_memory(error, "a chunk");
    encoder->tower = clip_tower_open(encoder->side, &setup, error);
    return encoder->tower ? 0 : -1;
}

static int refresh(void *context, struct clip_error *error)
{
    struct encoder *encoder = context;
    return encoder->tower->type->refresh(encoder->tower, error);
}

static size_t bytes(void *context)
{
    struct encoder *encoder = context;
    return encoder->tower->type->bytes(encoder->tower);
}

static size_t tape_bytes(void *context, size_t n)
{
    struct encoder *encoder = context;
    return encoder->tower->type->tape_bytes(encoder->tower, n);
}

static void *tape_new(void *context, struct clip_error *error)
{
    struct encoder *encoder = context;
    return encoder->tower->type->tape_new(encoder->tower, error);
}

static void tape_free(void *tape)
{
    clip_tape_free(tape);
}

static int forward(void *context, const struct clip_items *items, int again, void *tape, float *features,
                   struct clip_error *error)
{
    struct encoder *encoder = context;
    for (size_t i = 0; i < items->count; i++)
        encoder->items[i] = item_of(encoder, items, i);
    return encoder->tower->type->forward(encoder->tower, encoder->items, items->count, again, tape, features,
                                         error);
}

static int backward(void *context, const struct clip_items *items, void *tape, const float *gradients,
                    float *input_gradients, struct clip_error *error)
{
    (void)items;
    (void)input_gradients;
    struct encoder *encoder = context;
    return encoder->tower->type->backward(encoder->tower, tape, gradients, error);
}

/* --- opening --- */

static struct clip_stage_work work_of(struct encoder *encoder, const struct clip_encoder_options *options)
{
    static const char *const fields[] = {"image", "tokens"}, *const features[] = {"image_features",
                                                                                  "text_features"};
    const struct clip_arch *arch = encoder->arch;
    int text = encoder->side == CLIP_SIDE_TEXT, frozen = encoder->trainee->frozen;
    struct clip_stage_work work = {.context = encoder,
                                   .outputs = {{features[text], clip_feature_width(arch, encoder->side)}},
                                   .drops = {options->keep ? NULL : fields[text]},
                                   .item_bytes =
                                       text ? (size_t)arch->text.context * sizeof(int32_t) : pixels(arch),
                                   .take = text ? take_text : take_image,
                                   .reserve = reserve,
                                   .forward = forward};
    if (frozen) { /* as in inference: each item stands alone, running statistics are used */
        work.chunk = CHUNK;
        work.frozen = 1;
        return work;
    }
    work.mixes = clip_tower_mixes(arch, encoder->side);
    work.chunk = options->chunk || work.mixes ? options->chunk : CHUNK;
    work.refresh = refresh;
    work.bytes = bytes;
    work.tape_bytes = tape_bytes;
    work.tape_new = tape_new;
    work.tape_free = tape_free;
    work.backward = backward;
    return work;
}

int clip_encoder_train(enum clip_side side, const struct clip_encoder_options *options,
                       const struct clip_shared *shared, char *const *operands, size_t n)
{
    struct clip_error error;
    struct clip_trainee trainee;
    int status = 1;
    if (clip_trainee_open(&trainee, options->train, side == CLIP_SIDE_TEXT ? CLIP_PART_TEXT : CLIP_PART_IMAGE,
                          options->precision, (int)shared->threads, &error) == 0) {
        struct encoder encoder = {
            .trainee = &trainee, .arch = clip_model_arch(trainee.compute.model), .side = side};
        struct clip_stage_work work = work_of(&encoder, options);
        clip_verbose("%s", clip_engine_text(trainee.compute.engine));
        status = clip_stage_run(&work, &trainee, options->stage, shared, operands, n);
        close_encoder(&encoder);
    } else
        clip_message("%s", error.text);
    clip_trainee_close(&trainee);
    return status;
}
