/* The grids and windows of a Swin transformer. */
#ifndef CLIP_MODEL_SWIN_H
#define CLIP_MODEL_SWIN_H

#include "model/arch.h"

enum { CLIP_MAX_WINDOW = 64 };

/* Side of a stage's grid: that of the one before, halved and rounded up. */
int clip_swin_side(const struct clip_tower_arch *tower, int stage);

/* Side of its windows, and by how much every second block shifts them. */
int clip_swin_window(const struct clip_tower_arch *tower, int stage);
int clip_swin_shift(const struct clip_tower_arch *tower, int stage);

#endif
