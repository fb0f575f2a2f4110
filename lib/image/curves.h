/* Curves of numbers from a log, step by step, in panels one above the other. */
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

/* The curves that `list` names: "loss,top1_image+top1_text" is two panels, the second with two curves.
 * Free them with clip_curves_free, also after an error: an empty name, or too many. */
int clip_curves_name(struct clip_curves *curves, const char *list, struct clip_error *error);
void clip_curves_free(struct clip_curves *curves);

/* Reads all of `file`, named `name` in messages: one JSON object a line. -1 with error: a line is not one,
 * a curve has no number at all, or there are no lines. */
int clip_curves_read(struct clip_curves *curves, FILE *file, const char *name, struct clip_error *error);

/* Draws to `file`, which stays open: each curve as a pale line and, with more than 100 points, its mean
 * over a hundredth of them on both sides as a strong line. `title` and `missing` may be NULL. -1 if it cannot
 * be written. */
int clip_figure_curves(const struct clip_curves *curves, const char *title, enum clip_figure_format format,
                       FILE *file, struct clip_missing *missing, struct clip_error *error);

#endif
