#include "tower/fields.h"

#include "stream/vector.h"

#include <string.h>

const char *const clip_input_fields[CLIP_SIDES] = {"image", "tokens"};
const char *const clip_feature_fields[CLIP_SIDES] = {"image_features", "text_features"};

int clip_record_image(struct clip_record *record, const struct clip_arch *arch, struct clip_tensor *image)
{
    const struct clip_field *field = clip_record_find(record, "image");
    size_t height = (size_t)arch->vision.image_size, width = (size_t)clip_image_width(&arch->vision);
    struct clip_error error;
    char found[128];
    if (!field)
        return clip_record_fail(record, "no field 'image'");
    if (clip_field_tensor(field, image, &error) != 0)
        return clip_record_fail(record, "image: %s", error.text);
    if ((image->dtype == CLIP_F16 || image->dtype == CLIP_F64) &&
        clip_record_floats(record, "image", image) != 0)
        return -1;
    if (image->ndim != 3 || image->shape[0] != 3 || image->shape[1] != height || image->shape[2] != width ||
        (image->dtype != CLIP_U8 && image->dtype != CLIP_F32))
        return clip_record_fail(record, "image: %s, but the model takes u1 or f4 [3, %zu, %zu]",
                                clip_tensor_describe(image, found, sizeof found), height, width);
    return 0;
}

/* 1 where padding at the end of a caption changes nothing. */
static int may_be_short(const struct clip_arch *arch)
{
    return (arch->text.text.flags & (CLIP_TEXT_HIDES_PADDING | CLIP_TEXT_GUARDED)) &&
           !clip_pooling_of(&arch->text)->at_end;
}

int clip_record_tokens(struct clip_record *record, const struct clip_arch *arch, int32_t *tokens)
{
    size_t context = (size_t)arch->text.context;
    const struct clip_caption caption = {tokens, context};
    struct clip_tensor tensor;
    struct clip_error error;
    char found[128];
    if (clip_record_tensor(record, "tokens", CLIP_I32, &tensor) != 0)
        return -1;
    if (tensor.ndim != 1 || tensor.shape[0] > context || (tensor.shape[0] < context && !may_be_short(arch)))
        return clip_record_fail(record, "tokens: %s, but the model takes i4 [%zu]",
                                clip_tensor_describe(&tensor, found, sizeof found), context);
    memcpy(tokens, tensor.data, clip_tensor_bytes(&tensor));
    for (size_t i = tensor.shape[0]; i < context; i++)
        tokens[i] = arch->text.pad;
    if (clip_caption_check(arch, &caption, &error) != 0)
        return clip_record_fail(record, "tokens: %s", error.text);
    return 0;
}

size_t clip_item_bytes(const struct clip_arch *arch, enum clip_side side)
{
    return side == CLIP_SIDE_TEXT
               ? (size_t)arch->text.context * sizeof(int32_t)
               : 3 * (size_t)arch->vision.image_size * (size_t)clip_image_width(&arch->vision);
}

union clip_item clip_item_of(const struct clip_arch *arch, enum clip_side side, const void *data, size_t size)
{
    if (side == CLIP_SIDE_TEXT)
        return (union clip_item){.caption = {data, size / sizeof(int32_t)}};
    int bytes = size == clip_item_bytes(arch, side);
    return (union clip_item){.image = {.bytes = bytes ? data : NULL, .floats = bytes ? NULL : data}};
}
