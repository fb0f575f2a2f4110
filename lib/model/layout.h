/* The tensors of an architecture: OpenAI's names, shapes, and how each is drawn at first. */
#ifndef CLIP_MODEL_LAYOUT_H
#define CLIP_MODEL_LAYOUT_H

#include "base/error.h"
#include "model/arch.h"

#include <stddef.h>
#include <stdint.h>

/* How a tensor's first values are drawn (FACTS: initial weights). */
enum clip_draw {
    CLIP_DRAW_CONSTANT, /* every element is `scale` */
    CLIP_DRAW_NORMAL,   /* N(0, scale) */
    CLIP_DRAW_UNIFORM   /* U(-scale, scale) */
};

enum clip_part { CLIP_PART_VISION, CLIP_PART_TEXT, CLIP_PART_BOTH };

struct clip_slot {
    char name[72]; /* the longest is visual.transformer.resblocks.1023.attn.in_proj_weight */
    int ndim;
    size_t shape[4];
    enum clip_part part; /* the tower it belongs to; the logit scale to both */
    int buffer;          /* not a parameter: batch norm's running statistics */
    int integer;         /* num_batches_tracked: int64, and absent from old files */
    enum clip_draw draw;
    double scale;
};

struct clip_layout {
    struct clip_slot *slots; /* in PyTorch's order of named_parameters(), buffers beside their weights */
    size_t count;
};

/* Lists the tensors of a checked architecture. clip_layout_free afterwards. */
int clip_layout_make(struct clip_layout *layout, const struct clip_arch *arch, struct clip_error *error);
void clip_layout_free(struct clip_layout *layout);

/* Elements of a slot. */
uint64_t clip_slot_count(const struct clip_slot *slot);

/* Elements of all parameters, the logit scale among them, running statistics not. */
uint64_t clip_layout_parameters(const struct clip_layout *layout);

#endif
