#include "tower/fastvit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FINAL = 2 };

size_t clip_fastvit_pixels(const struct clip_fastvit_step *step)
{
    return step->to * step->to;
}

struct clip_window clip_fastvit_window(const struct clip_fastvit_step *step, size_t side)
{
    return (struct clip_window){step->from, step->from, step->from * step->in, step->in,
                                step->in,   side,       step->stride,          side / 2};
}

void clip_fastvit_frame(const struct clip_fastvit_step *step, const struct clip_depthwise *d, const float *x,
                        float *framed)
{
    size_t row = clip_depthwise_row(d), height = clip_depthwise_floats(d) / row, width = row / d->channels;
    size_t padding = d->side / 2, times = step->out / step->in, in = step->in;
    size_t columns = width - padding < step->from ? width - padding : step->from;
    for (size_t i = 0; i < height; i++, framed += row) {
        if (i < padding || i - padding >= step->from) {
            memset(framed, 0, row * sizeof *framed);
            continue;
        }
        const float *from = x + (i - padding) * step->from * in;
        float *to = framed + padding * d->channels;
        memset(framed, 0, padding * d->channels * sizeof *framed);
        memset(to + columns * d->channels, 0, (width - padding - columns) * d->channels * sizeof *framed);
        if (times == 1)
            memcpy(to, from, columns * in * sizeof *to);
        else
            for (size_t c = 0; c < columns * d->channels; c++)
                to[c] = from[c / times];
    }
}

void clip_fastvit_read(const struct clip_image *image, size_t size, const float *levels, float *x)
{
    size_t plane = size * size;
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < CLIP_FASTVIT_COLORS; c++)
            *x++ =
                image->bytes ? levels[c * 256 + image->bytes[c * plane + i]] : image->floats[c * plane + i];
}

/* The steps listed so far; side and channels of the picture after them. */
struct plan {
    const struct clip_tower_setup *setup;
    struct clip_fastvit_step *steps;
    size_t count, side, channels;
};

/* Returns the tensor of that name, or NULL. */
static const struct clip_slot *find_slot(const struct plan *plan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static const struct clip_slot *find_slot(const struct plan *plan, const char *format, ...)
{
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return clip_setup_slot(plan->setup, name);
}

/* Appends a step that gives `out` channels. */
static struct clip_fastvit_step *add_step(struct plan *plan, enum clip_fastvit_operation operation,
                                          size_t out, size_t stride)
{
    struct clip_fastvit_step *step = &plan->steps[plan->count++];
    *step = (struct clip_fastvit_step){.operation = operation,
                                       .from = plan->side,
                                       .to = (plan->side - 1) / stride + 1,
                                       .in = plan->channels,
                                       .out = out,
                                       .side = 1,
                                       .stride = stride};
    plan->side = step->to;
    plan->channels = out;
    return step;
}

/* --- branches --- */

/* Appends a branch if the tower has its tensors: at.conv and at.norm, either of which may be "". */
static void add_branch(const struct plan *plan, struct clip_fastvit_step *step, const char *at,
                       const char *conv, const char *norm)
{
    struct clip_fastvit_branch branch = {.side = 1};
    if (*conv)
        snprintf(branch.conv, sizeof branch.conv, "%.64s.%s", at, conv);
    if (*norm)
        snprintf(branch.norm, sizeof branch.norm, "%.64s.%s", at, norm);
    const struct clip_slot *slot =
        *conv ? find_slot(plan, "%s.weight", branch.conv) : find_slot(plan, "%s.running_mean", branch.norm);
    if (!slot)
        return;
    if (*conv)
        branch.side = slot->shape[3];
    if (branch.side > step->side)
        step->side = branch.side;
    step->branches[step->branch_count++] = branch;
}

/* Appends the branches of a MobileOne block or of a downsampling, or the convolution that they were fused
 * into. */
static void add_branches(const struct plan *plan, struct clip_fastvit_step *step, const char *at)
{
    add_branch(plan, step, at, "reparam_conv", "");
    add_branch(plan, step, at, "large_conv.conv", "large_conv.bn");
    add_branch(plan, step, at, "small_conv.conv", "small_conv.bn");
    add_branch(plan, step, at, "conv_kxk.0.conv", "conv_kxk.0.bn");
    add_branch(plan, step, at, "conv_scale.conv", "conv_scale.bn");
    add_branch(plan, step, at, "", "identity");
}

/* Ends a step with squeeze and excitation, if the tower has its tensors, and GELU. */
static void add_end(const struct plan *plan, struct clip_fastvit_step *step, const char *at)
{
    const struct clip_slot *slot = find_slot(plan, "%s.se.fc1.bias", at);
    step->activates = 1;
    if (!slot)
        return;
    snprintf(step->first, sizeof step->first, "%.64s.se.fc1", at);
    snprintf(step->second, sizeof step->second, "%.64s.se.fc2", at);
    step->hidden = slot->shape[0];
}

static void add_block(struct plan *plan, const char *at, int dense, size_t out, size_t stride)
{
    struct clip_fastvit_step *step = add_step(plan, CLIP_FASTVIT_SUM, out, stride);
    step->dense = dense;
    add_branches(plan, step, at);
    add_end(plan, step, at);
}

/* --- stages --- */

/* x + conv(x); fused, conv(x). */
static void add_positions(struct plan *plan, int stage)
{
    char at[64];
    struct clip_fastvit_step *step = add_step(plan, CLIP_FASTVIT_SUM, plan->channels, 1);
    snprintf(at, sizeof at, "visual.trunk.stages.%d.pos_emb", stage);
    add_branch(plan, step, at, "reparam_conv", "");
    step->residual = !step->branch_count;
    add_branch(plan, step, at, "pos_enc", "");
}

/* x + gamma (mixer(x) - norm(x)); fused, conv(x). */
static void add_mixer(struct plan *plan, const char *block)
{
    char at[80], mixer[96], norm[96];
    struct clip_fastvit_step *step = add_step(plan, CLIP_FASTVIT_SUM, plan->channels, 1);
    snprintf(at, sizeof at, "%.64s.token_mixer", block);
    snprintf(mixer, sizeof mixer, "%s.mixer", at);
    snprintf(norm, sizeof norm, "%s.norm", at);
    add_branches(plan, step, at);
    if (step->branch_count)
        return;
    add_branches(plan, step, mixer);
    add_branch(plan, step, norm, "", "identity");
    step->branches[step->branch_count - 1].subtracted = 1;
    step->residual = 1;
    snprintf(step->gamma, sizeof step->gamma, "%s.layer_scale", at);
}

/* Sets the two linear layers and the layer scale of HIDDEN and ATTEND. */
static void add_linears(const struct plan *plan, struct clip_fastvit_step *step, const char *at,
                        const char *first, const char *second, const char *gamma)
{
    snprintf(step->first, sizeof step->first, "%.64s.%s", at, first);
    snprintf(step->second, sizeof step->second, "%.64s.%s", at, second);
    snprintf(step->gamma, sizeof step->gamma, "%.64s.%s", at, gamma);
    step->hidden = find_slot(plan, "%s.weight", step->first)->shape[0];
    step->residual = 1;
}

static void add_hidden(struct plan *plan, const char *at, const char *gamma)
{
    struct clip_fastvit_step *step = add_step(plan, CLIP_FASTVIT_HIDDEN, plan->channels, 1);
    add_branch(plan, step, at, "mlp.conv.conv", "mlp.conv.bn");
    add_linears(plan, step, at, "mlp.fc1", "mlp.fc2", gamma);
}

static void add_attention(struct plan *plan, const char *at)
{
    struct clip_fastvit_step *step = add_step(plan, CLIP_FASTVIT_ATTEND, plan->channels, 1);
    snprintf(step->norm, sizeof step->norm, "%.64s.norm", at);
    add_branch(plan, step, at, "", "norm");
    add_linears(plan, step, at, "token_mixer.qkv", "token_mixer.proj", "layer_scale_1");
}

static void add_stage(struct plan *plan, const struct clip_tower_arch *arch, int stage)
{
    int attends = stage >= arch->fastvit.stages - arch->fastvit.attending;
    char at[64];
    if (stage > 0) {
        snprintf(at, sizeof at, "visual.trunk.stages.%d.downsample.proj.0", stage);
        add_block(plan, at, 0, (size_t)arch->widths[stage], 2);
        snprintf(at, sizeof at, "visual.trunk.stages.%d.downsample.proj.1", stage);
        add_block(plan, at, 1, plan->channels, 1);
    }
    if (attends)
        add_positions(plan, stage);
    for (int i = 0; i < arch->blocks[stage]; i++) {
        snprintf(at, sizeof at, "visual.trunk.stages.%d.blocks.%d", stage, i);
        if (attends)
            add_attention(plan, at);
        else
            add_mixer(plan, at);
        add_hidden(plan, at, attends ? "layer_scale_2" : "layer_scale");
    }
}

int clip_fastvit_steps(const struct clip_tower_setup *setup, struct clip_fastvit_step **steps, size_t *count,
                       struct clip_error *error)
{
    const struct clip_tower_arch *arch = &setup->arch->vision;
    size_t stem = (size_t)arch->widths[0], most = 4; /* three of the stem, and the last one */
    for (int i = 0; i < arch->fastvit.stages; i++)
        most += 3 + 2 * (size_t)arch->blocks[i];
    struct plan plan = {.setup = setup,
                        .steps = calloc(most, sizeof *plan.steps),
                        .side = (size_t)arch->image_size,
                        .channels = CLIP_FASTVIT_COLORS};
    if (!plan.steps)
        return clip_fail_memory(error, "the image tower");
    add_block(&plan, "visual.trunk.stem.0", 1, stem, 2);
    add_block(&plan, "visual.trunk.stem.1", 0, stem, 2);
    add_block(&plan, "visual.trunk.stem.2", 1, stem, 1);
    for (int i = 0; i < arch->fastvit.stages; i++)
        add_stage(&plan, arch, i);
    add_block(&plan, "visual.trunk.final_conv", 0, FINAL * plan.channels, 1);
    *steps = plan.steps;
    *count = plan.count;
    return 0;
}
