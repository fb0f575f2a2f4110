/* Learning rates by step, as open_clip's schedulers have them (open_clip_train/scheduler.py). */
#ifndef CLIP_TRAIN_SCHEDULE_H
#define CLIP_TRAIN_SCHEDULE_H

#include "base/error.h"

#include <stdint.h>

enum clip_schedule_kind { CLIP_CONSTANT, CLIP_COSINE, CLIP_COOLDOWN };

struct clip_schedule {
    enum clip_schedule_kind kind;
    double lr;         /* the full rate */
    uint64_t warmup;   /* steps in which the rate rises to it */
    uint64_t steps;    /* of the whole run; not used by CLIP_CONSTANT */
    uint64_t cooldown; /* CLIP_COOLDOWN: number of last steps in which the rate falls */
    double power;      /* ... as (1 - e / es)^power */
    double end_lr;     /* ... toward this rate */
};

/* 0, or -1 if warm-up and cool-down do not fit into the steps. */
int clip_schedule_check(const struct clip_schedule *schedule, struct clip_error *error);

/* The rate of a step, counted from 0. Warm-up: lr (step + 1) / warmup. Then constant; or, with e steps done
 * of es: cosine: lr (1 + cos(pi e / es)) / 2; cool-down: end_lr + (lr - end_lr) (1 - e / es)^power. Past the
 * last step the rate is that of the end. */
double clip_schedule_lr(const struct clip_schedule *schedule, uint64_t step);

#endif
