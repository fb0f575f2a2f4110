/* The tensors of an architecture: OpenAI's names, shapes, and how each is drawn at first. */
#ifndef CLIP_MODEL_LAYOUT_H
#define CLIP_MODEL_LAYOUT_H

#include "base/error.h"
#include "model/arch.h"

#include <stddef.h>
#include <stdint.h>

/* How a tensor's first values are drawn (FACTS: initial weights). */
enum clip_draw {
    CLIP_DRAW_CONSTANT,  /* every element is `scale` */
    CLIP_DRAW_NORMAL,    /* N(0, scale) */
    CLIP_DRAW_TRUNCATED, /* the same within two deviations */
    CLIP_DRAW_UNIFORM    /* U(-scale, scale) */
};

/* The training stage that owns a tensor: a tower without its projection, the projections, or the loss (logit
 * scale and bias). In the order of clip_train_parts. */
enum clip_part { CLIP_PART_IMAGE, CLIP_PART_TEXT, CLIP_PART_PROJECTION, CLIP_PART_LOSS };

/* The stage of a side's tower; of CLIP_SIDE_BOTH the loss. */
extern const enum clip_part clip_side_parts[CLIP_SIDES + 1];

/* What int8 makes of a tensor, stored or computed. */
enum clip_rounding {
    CLIP_UNROUNDED,
    CLIP_ROUNDED_ROWS, /* 8 bits, with a scale for each row (math/quantize.h): the matrices of blocks */
    CLIP_ROUNDED_F16   /* f16: the token embeddings */
};

struct clip_slot {
    char name[96]; /* the longest is
                      visual.trunk.stages.4.blocks.1023.token_mixer.mixer.conv_kxk.0.bn.num_batches_tracked */
    int ndim;
    size_t shape[4];
    enum clip_side side; /* the tower it belongs to; the logit scale to both */
    enum clip_part part;
    int buffer;  /* not a parameter: batch norm's running statistics */
    int integer; /* num_batches_tracked: int64, and absent from old files */
    enum clip_rounding rounding;
    int block; /* of CLIP_ROUNDED_ROWS: which block of the tower it is of */
    enum clip_draw draw;
    double scale;
    /* Elements from `rest` on are drawn otherwise; 0: none. */
    uint64_t rest;
    enum clip_draw rest_draw;
    double rest_scale;
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

/* Elements of all parameters, including the logit scale, excluding running statistics. */
uint64_t clip_layout_parameters(const struct clip_layout *layout);

/* --- for the kinds of towers, which list their tensors --- */

struct clip_initial {
    enum clip_draw draw;
    double scale;
};
extern const struct clip_initial clip_initial_ones, clip_initial_zeros;
struct clip_initial clip_initial_normal(double deviation);
struct clip_initial clip_initial_uniform(double bound);
/* PyTorch's default of linear and convolution layers of n inputs. */
struct clip_initial clip_initial_fan_in(size_t n);

#define CLIP_SHAPE(...) ((const size_t[4]){__VA_ARGS__})

/* A layout being made. Tensors are listed twice: to count them, and then into slots. */
struct clip_listing {
    struct clip_slot *slots; /* NULL: tensors are only counted */
    size_t count;
    struct clip_slot counted; /* the last one, then */
    enum clip_side side;      /* whose tensors are listed */
};

/* Adds a tensor, whose other members the caller may set. A shape ends at its first 0. The name is printed
 * from `format`. */
struct clip_slot *clip_list_tensor(struct clip_listing *listing, struct clip_initial initial,
                                   const size_t shape[4], const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
