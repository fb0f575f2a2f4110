#include "model/layout.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* How many tensors the parts have at most: what room is made for before they are listed. */
enum { PER_BLOCK = 12, PER_BOTTLENECK = 24, REST = 48 };

#define SHAPE(...) ((const size_t[4]){__VA_ARGS__})

struct draw {
    enum clip_draw kind;
    double scale;
};

static const struct draw ones = {CLIP_DRAW_CONSTANT, 1}, zeros = {CLIP_DRAW_CONSTANT, 0};

static struct draw normal(double deviation)
{
    return (struct draw){CLIP_DRAW_NORMAL, deviation};
}

static struct draw uniform(double bound)
{
    return (struct draw){CLIP_DRAW_UNIFORM, bound};
}

/* PyTorch's default of linear and convolution layers. */
static struct draw fan_in(size_t n)
{
    return uniform(1 / sqrt((double)n));
}

/* One tensor more. A shape ends at its first 0. The name is printed from `format`. */
__attribute__((format(printf, 5, 6))) static struct clip_slot *add(struct clip_layout *layout,
                                                                   enum clip_part part, struct draw draw,
                                                                   const size_t shape[4], const char *format,
                                                                   ...)
{
    struct clip_slot *slot = &layout->slots[layout->count++];
    *slot = (struct clip_slot){.part = part, .draw = draw.kind, .scale = draw.scale};
    for (; slot->ndim < 4 && shape[slot->ndim]; slot->ndim++)
        slot->shape[slot->ndim] = shape[slot->ndim];
    va_list args;
    va_start(args, format);
    vsnprintf(slot->name, sizeof slot->name, format, args);
    va_end(args);
    return slot;
}

static void add_norm(struct clip_layout *layout, enum clip_part part, size_t width, const char *name)
{
    add(layout, part, ones, SHAPE(width), "%s.weight", name);
    add(layout, part, zeros, SHAPE(width), "%s.bias", name);
}

/* What the two transformers draw differently. */
struct block_draws {
    struct draw in_proj, out_proj, c_fc, c_proj;
};

static void add_blocks(struct clip_layout *layout, enum clip_part part, const char *prefix, int layers,
                       size_t width, size_t mlp, const struct block_draws *draws)
{
    for (int i = 0; i < layers; i++) {
        char at[48], name[64];
        snprintf(at, sizeof at, "%stransformer.resblocks.%d", prefix, i);
        add(layout, part, draws->in_proj, SHAPE(3 * width, width), "%s.attn.in_proj_weight", at);
        add(layout, part, zeros, SHAPE(3 * width), "%s.attn.in_proj_bias", at);
        add(layout, part, draws->out_proj, SHAPE(width, width), "%s.attn.out_proj.weight", at);
        add(layout, part, zeros, SHAPE(width), "%s.attn.out_proj.bias", at);
        snprintf(name, sizeof name, "%s.ln_1", at);
        add_norm(layout, part, width, name);
        add(layout, part, draws->c_fc, SHAPE(mlp, width), "%s.mlp.c_fc.weight", at);
        add(layout, part, fan_in(width), SHAPE(mlp), "%s.mlp.c_fc.bias", at);
        add(layout, part, draws->c_proj, SHAPE(width, mlp), "%s.mlp.c_proj.weight", at);
        add(layout, part, fan_in(mlp), SHAPE(width), "%s.mlp.c_proj.bias", at);
        snprintf(name, sizeof name, "%s.ln_2", at);
        add_norm(layout, part, width, name);
    }
}

static void add_transformer(struct clip_layout *layout, const struct clip_vision_arch *vision, size_t embed)
{
    const enum clip_part part = CLIP_PART_VISION;
    size_t width = (size_t)vision->width, mlp = (size_t)vision->mlp, patch = (size_t)vision->patch;
    size_t grid = (size_t)vision->image_size / patch;
    struct draw scaled = normal(1 / sqrt((double)width));
    add(layout, part, scaled, SHAPE(width), "visual.class_embedding");
    add(layout, part, scaled, SHAPE(grid * grid + 1, width), "visual.positional_embedding");
    if (!vision->unprojected)
        add(layout, part, scaled, SHAPE(width, embed), "visual.proj");
    add(layout, part, fan_in(3 * patch * patch), SHAPE(width, 3, patch, patch), "visual.conv1.weight");
    add_norm(layout, part, width, "visual.ln_pre");
    /* Xavier's bound for in_proj [3 width, width]; PyTorch's defaults for the rest. */
    struct block_draws draws = {uniform(sqrt(6.0 / (4.0 * (double)width))), fan_in(width), fan_in(width),
                                fan_in(mlp)};
    add_blocks(layout, part, "visual.", vision->layers, width, mlp, &draws);
    add_norm(layout, part, width, "visual.ln_post");
}

static void add_conv(struct clip_layout *layout, size_t out, size_t in, size_t side, const char *name)
{
    add(layout, CLIP_PART_VISION, fan_in(in * side * side), SHAPE(out, in, side, side), "%s.weight", name);
}

static void add_batch_norm(struct clip_layout *layout, size_t width, struct draw weight, const char *name)
{
    const enum clip_part part = CLIP_PART_VISION;
    add(layout, part, weight, SHAPE(width), "%s.weight", name);
    add(layout, part, zeros, SHAPE(width), "%s.bias", name);
    add(layout, part, zeros, SHAPE(width), "%s.running_mean", name)->buffer = 1;
    add(layout, part, ones, SHAPE(width), "%s.running_var", name)->buffer = 1;
    struct clip_slot *batches = add(layout, part, zeros, SHAPE(0), "%s.num_batches_tracked", name);
    batches->buffer = batches->integer = 1;
}

/* conv1, bn1 ... of `at`; the last batch norm's weight is drawn as `last`. */
static void add_conv3(struct clip_layout *layout, const char *at, const size_t width[4], const size_t side[3],
                      struct draw last)
{
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.conv%d", at, i + 1);
        add_conv(layout, width[i + 1], width[i], side[i], name);
        snprintf(name, sizeof name, "%s.bn%d", at, i + 1);
        add_batch_norm(layout, width[i + 1], i == 2 ? last : ones, name);
    }
}

static void add_stage(struct clip_layout *layout, int stage, int blocks, size_t in, size_t planes)
{
    for (int i = 0; i < blocks; i++) {
        char at[40], name[64];
        snprintf(at, sizeof at, "visual.layer%d.%d", stage, i);
        /* A bottleneck starts as the identity: its last norm multiplies by 0. */
        add_conv3(layout, at, SHAPE(in, planes, planes, 4 * planes), SHAPE(1, 3, 1), zeros);
        if (i == 0) {
            snprintf(name, sizeof name, "%s.downsample.0", at);
            add_conv(layout, 4 * planes, in, 1, name);
            snprintf(name, sizeof name, "%s.downsample.1", at);
            add_batch_norm(layout, 4 * planes, ones, name);
        }
        in = 4 * planes;
    }
}

static void add_resnet(struct clip_layout *layout, const struct clip_vision_arch *vision, size_t embed)
{
    const enum clip_part part = CLIP_PART_VISION;
    size_t width = (size_t)vision->width, pool = 32 * width, grid = (size_t)vision->image_size / 32;
    add_conv3(layout, "visual", SHAPE(3, width / 2, width / 2, width), SHAPE(3, 3, 3), ones);
    for (int stage = 0; stage < 4; stage++) {
        size_t planes = width << stage;
        add_stage(layout, stage + 1, vision->blocks[stage], stage ? 2 * planes : width, planes);
    }
    struct draw scaled = normal(1 / sqrt((double)pool));
    add(layout, part, scaled, SHAPE(grid * grid + 1, pool), "visual.attnpool.positional_embedding");
    for (const char *p = "kqvc"; *p; p++) {
        size_t out = *p == 'c' ? embed : pool;
        add(layout, part, scaled, SHAPE(out, pool), "visual.attnpool.%c_proj.weight", *p);
        add(layout, part, fan_in(pool), SHAPE(out), "visual.attnpool.%c_proj.bias", *p);
    }
}

static void add_text(struct clip_layout *layout, const struct clip_text_arch *text)
{
    size_t width = (size_t)text->width, mlp = (size_t)text->mlp;
    double scale = 1 / sqrt((double)width), residual = scale / sqrt(2.0 * text->layers);
    struct block_draws draws = {normal(scale), normal(residual), normal(1 / sqrt(2.0 * (double)width)),
                                normal(residual)};
    add_blocks(layout, CLIP_PART_TEXT, "", text->layers, width, mlp, &draws);
    add(layout, CLIP_PART_TEXT, normal(0.02), SHAPE((size_t)text->vocabulary, width),
        "token_embedding.weight");
    add_norm(layout, CLIP_PART_TEXT, width, "ln_final");
}

int clip_layout_make(struct clip_layout *layout, const struct clip_arch *arch, struct clip_error *error)
{
    const struct clip_vision_arch *vision = &arch->vision;
    const struct clip_text_arch *text = &arch->text;
    size_t blocks = (size_t)text->layers + (size_t)vision->layers,
           bottlenecks = 0; /* those of an absent tower are room that is left */
    for (int i = 0; i < 4; i++)
        bottlenecks += (size_t)vision->blocks[i];
    *layout = (struct clip_layout){0};
    layout->slots = calloc(blocks * PER_BLOCK + bottlenecks * PER_BOTTLENECK + REST, sizeof *layout->slots);
    if (!layout->slots)
        return clip_fail_memory(error, "the list of tensors");
    size_t width = (size_t)text->width, embed = (size_t)arch->embed;
    if (!text->absent)
        add(layout, CLIP_PART_TEXT, normal(0.01), SHAPE((size_t)text->context, width),
            "positional_embedding");
    if (!text->absent && !text->unprojected)
        add(layout, CLIP_PART_TEXT, normal(1 / sqrt((double)width)), SHAPE(width, embed), "text_projection");
    struct draw scale = {CLIP_DRAW_CONSTANT, arch->init_logit_scale};
    struct draw bias = {CLIP_DRAW_CONSTANT, arch->init_logit_bias};
    if (!arch->unscaled)
        add(layout, CLIP_PART_BOTH, scale, SHAPE(0), "logit_scale");
    if (arch->logit_bias)
        add(layout, CLIP_PART_BOTH, bias, SHAPE(0), "logit_bias");
    if (!vision->absent)
        (vision->kind == CLIP_RESNET ? add_resnet : add_transformer)(layout, vision, embed);
    if (!text->absent)
        add_text(layout, text);
    return 0;
}

void clip_layout_free(struct clip_layout *layout)
{
    free(layout->slots);
    *layout = (struct clip_layout){0};
}

uint64_t clip_slot_count(const struct clip_slot *slot)
{
    uint64_t count = 1;
    for (int i = 0; i < slot->ndim; i++)
        count *= slot->shape[i];
    return count;
}

uint64_t clip_layout_parameters(const struct clip_layout *layout)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < layout->count; i++)
        if (!layout->slots[i].buffer)
            sum += clip_slot_count(&layout->slots[i]);
    return sum;
}
