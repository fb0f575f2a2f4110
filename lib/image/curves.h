/* Curves of numbers that are logged step by step, one panel above the other. */
#ifndef CLIP_IMAGE_CURVES_H
#define CLIP_IMAGE_CURVES_H

#include "base/error.h"
#include "image/canvas.h"

#include <stddef.h>
#include <stdio.h>

#define CLIP_MAX_CURVES 32

struct clip_curve {
    char *field;    /* the member of the log's objects */
    int panel;      /* from 0, top down */
    double *values; /* [count of the log], NaN where an object has no such number */
};

struct clip_curves {
    struct clip_curve curves[CLIP_MAX_CURVES];
    int count, panels;
    double *steps; /* [points]: member "step", or the number of the line */
    size_t points, room;
};

/* The curves that `list` names: "loss,top1_image+top1_text" are two panels, the second of two curves. They
 * are given back by clip_curves_free, also on error: an empty name, or too many. */
int clip_curves_name(struct clip_curves *curves, const char *list, struct clip_error *error);
void clip_curves_free(struct clip_curves *curves);

/* Reads the whole of `file`, named `name` in messages: a JSON object a line. -1 with error: a line is not
 * one, a curve has no number at all, or there are no lines. */
int clip_curves_read(struct clip_curves *curves, FILE *file, const char *name, struct clip_error *error);

/* Draws to `file`, which stays open: each curve pale as it is and, of more than 100 points, strong as the
 * mean of a hundredth of them on both sides. `title` and `missing` may be NULL. -1 where it cannot be
 * written. */
int clip_figure_curves(const struct clip_curves *curves, const char *title, enum clip_figure_format format,
                       FILE *file, struct clip_missing *missing, struct clip_error *error);

#endif
