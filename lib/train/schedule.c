#include "train/schedule.h"

#include <math.h>

int clip_schedule_check(const struct clip_schedule *schedule, struct clip_error *error)
{
    uint64_t needed = schedule->warmup;
    if (schedule->kind == CLIP_CONSTANT && schedule->steps == 0)
        return 0;
    if (schedule->kind == CLIP_COOLDOWN && __builtin_add_overflow(needed, schedule->cooldown, &needed))
        needed = UINT64_MAX;
    if (schedule->steps == 0)
        return clip_fail(error, "the schedule needs the number of steps");
    if (needed > schedule->steps || (schedule->kind == CLIP_COSINE && needed == schedule->steps))
        return clip_fail(error, "%llu steps are too few for a warm-up of %llu%s",
                         (unsigned long long)schedule->steps, (unsigned long long)schedule->warmup,
                         schedule->kind == CLIP_COOLDOWN ? " and the cool-down" : "");
    return 0;
}

/* The share of [begin, end) that is done at `step`, in [0, 1]. */
static double share_done(uint64_t step, uint64_t begin, uint64_t end)
{
    if (step >= end)
        return 1;
    return (double)(step - begin) / (double)(end - begin);
}

double clip_schedule_lr(const struct clip_schedule *schedule, uint64_t step)
{
    if (step < schedule->warmup)
        return schedule->lr * (double)(step + 1) / (double)schedule->warmup;
    if (schedule->kind == CLIP_COSINE)
        return 0.5 * (1 + cos(M_PI * share_done(step, schedule->warmup, schedule->steps))) * schedule->lr;
    if (schedule->kind == CLIP_COOLDOWN && step >= schedule->steps - schedule->cooldown) {
        double left = 1 - share_done(step, schedule->steps - schedule->cooldown, schedule->steps);
        return schedule->end_lr + (schedule->lr - schedule->end_lr) * pow(left, schedule->power);
    }
    return schedule->lr;
}
