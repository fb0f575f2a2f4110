#include "train/trainee.h"

#include <inttypes.h>
#include <math.h>

/* The model must have what the part is of. */
static int check_part(const struct clip_model *model, enum clip_part part, struct clip_error *error)
{
    if ((part == CLIP_PART_IMAGE || part == CLIP_PART_PROJECTION) &&
        clip_model_need(model, CLIP_SIDE_IMAGE, error) != 0)
        return -1;
    if ((part == CLIP_PART_TEXT || part == CLIP_PART_PROJECTION) &&
        clip_model_need(model, CLIP_SIDE_TEXT, error) != 0)
        return -1;
    return part == CLIP_PART_LOSS ? clip_model_need(model, CLIP_SIDE_BOTH, error) : 0;
}

int clip_trainee_open(struct clip_trainee *trainee, const struct clip_train_options *options,
                      enum clip_part part, enum clip_precision precision, int threads,
                      struct clip_error *error)
{
    *trainee = (struct clip_trainee){.frozen = options->freeze};
    if (clip_run_open(&trainee->run, options->dir, clip_train_parts[part], error) != 0)
        return -1;
    trainee->steps = trainee->run.steps;
    if (clip_compute_open(&trainee->compute, trainee->run.model, NULL, precision, threads, error) != 0 ||
        check_part(trainee->compute.model, part, error) != 0 ||
        clip_parameters_load(&trainee->parameters, trainee->compute.model, part, error) != 0)
        return -1;
    for (size_t i = 0; options->frozen && i < trainee->parameters.count; i++)
        trainee->parameters.items[i].frozen = options->frozen(&trainee->parameters.items[i].slot);
    struct clip_adamw adamw = clip_train_adamw(options, clip_model_arch(trainee->compute.model));
    trainee->optimizer =
        clip_optimizer_new(&trainee->parameters, &adamw, options->clip_norm, trainee->compute.pool, error);
    if (!trainee->optimizer)
        return -1;
    return clip_run_restore(&trainee->run, trainee->optimizer, error);
}

void clip_trainee_close(struct clip_trainee *trainee)
{
    clip_optimizer_free(trainee->optimizer);
    clip_parameters_free(&trainee->parameters);
    clip_compute_close(&trainee->compute);
    clip_run_close(&trainee->run);
}

int clip_trainee_expect(const struct clip_trainee *trainee, const struct clip_step *step, uint64_t records,
                        struct clip_error *error)
{
    if ((uint64_t)step->number != trainee->steps + 1)
        return clip_fail(error, "%s: step %" PRId64 " came, but %" PRIu64 " steps are done", trainee->run.dir,
                         step->number, trainee->steps);
    if (step->count >= 0 && (uint64_t)step->count != records)
        return clip_fail(error,
                         "step %" PRId64 ": its object counts %" PRId64 " records, but %" PRIu64 " came",
                         step->number, step->count, records);
    if (isnan(step->lr))
        return clip_fail(error, "step %" PRId64 ": its object has no learning rate 'lr'", step->number);
    return 0;
}

int clip_trainee_update(struct clip_trainee *trainee, const struct clip_step *step, struct clip_error *error)
{
    if (!trainee->frozen) {
        if (clip_optimizer_step(trainee->optimizer, step->lr, &trainee->gradient_norm, error) != 0)
            return clip_fail_prefix(error, "step %" PRId64 ": %s", step->number, trainee->run.part);
        clip_parameters_zero_gradients(&trainee->parameters);
    }
    trainee->steps++;
    return 0;
}

int clip_trainee_save(const struct clip_trainee *trainee, const struct clip_step *step,
                      struct clip_error *error)
{
    if (!step->save)
        return 0;
    return clip_run_save(&trainee->run, trainee->compute.model, &trainee->parameters, trainee->optimizer,
                         (uint64_t)step->number, (uint64_t)step->keep, error);
}
