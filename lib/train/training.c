#include "train/training.h"

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

/* Rank 0 takes hold of the run; the others start where it does. */
static int open_run(struct clip_training *training, const char *dir, const char *part,
                    struct clip_error *error)
{
    uint64_t steps = 0;
    if (clip_ranks_open(&training->ranks, part, error) != 0)
        return -1;
    int first = clip_ranks_rank(training->ranks) == 0;
    if (first && clip_run_open(&training->run, dir, part, error) != 0)
        return -1;
    if (first)
        steps = training->run.steps;
    if (clip_ranks_broadcast(training->ranks, &steps, sizeof steps, error) != 0)
        return -1;
    return first ? 0 : clip_run_join(&training->run, dir, part, steps, error);
}

int clip_training_open(struct clip_training *training, const struct clip_train_options *options,
                       enum clip_part part, enum clip_precision precision, int threads,
                       struct clip_error *error)
{
    *training = (struct clip_training){.frozen = options->freeze, .run.lock = -1};
    if (open_run(training, options->dir, clip_train_parts[part], error) != 0)
        return -1;
    training->steps = training->run.steps;
    if (clip_compute_open(&training->compute, training->run.model, NULL, precision, threads, error) != 0 ||
        check_part(training->compute.model, part, error) != 0 ||
        clip_parameters_load(&training->parameters, training->compute.model, part, error) != 0)
        return -1;
    for (size_t i = 0; options->frozen && i < training->parameters.count; i++)
        training->parameters.items[i].frozen = options->frozen(&training->parameters.items[i].slot);
    struct clip_adamw adamw = clip_train_adamw(options, clip_model_arch(training->compute.model));
    int alone = training->frozen || part == CLIP_PART_LOSS;
    training->optimizer = clip_optimizer_new(&training->parameters, &adamw, options->clip_norm,
                                             training->compute.pool, alone ? NULL : training->ranks, error);
    if (!training->optimizer)
        return -1;
    return clip_run_restore(&training->run, training->optimizer, error);
}

void clip_training_close(struct clip_training *training)
{
    clip_optimizer_free(training->optimizer);
    clip_parameters_free(&training->parameters);
    clip_compute_close(&training->compute);
    clip_run_close(&training->run);
    clip_ranks_close(training->ranks);
}

int clip_training_end(struct clip_training *training, struct clip_error *error)
{
    return clip_ranks_end(training->ranks, error);
}

void clip_training_fail(struct clip_training *training, const struct clip_error *error)
{
    clip_ranks_fail(training->ranks, error->text);
}

int clip_training_expect(const struct clip_training *training, const struct clip_step *step, uint64_t records,
                         struct clip_error *error)
{
    if ((uint64_t)step->number != training->steps + 1)
        return clip_fail(error, "%s: step %" PRId64 " came, but %" PRIu64 " steps are done",
                         training->run.dir, step->number, training->steps);
    if (step->count >= 0 && (uint64_t)step->count != records)
        return clip_fail(error,
                         "step %" PRId64 ": its object counts %" PRId64 " records, but %" PRIu64 " came",
                         step->number, step->count, records);
    if (isnan(step->lr))
        return clip_fail(error, "step %" PRId64 ": its object has no learning rate 'lr'", step->number);
    return 0;
}

int clip_training_update(struct clip_training *training, const struct clip_step *step,
                         struct clip_error *error)
{
    if (!training->frozen &&
        clip_optimizer_step(training->optimizer, step->lr, &training->gradient_norm, error) != 0)
        return clip_fail_prefix(error, "step %" PRId64 ": %s", step->number, training->run.part);
    training->steps++;
    return 0;
}

/* All ranks have the same weights, or something is wrong that no later step would show. (None is past this
 * call before rank 0 has saved.) */
static int compare_ranks(const struct clip_training *training, struct clip_error *error)
{
    uint64_t own = clip_parameters_hash(&training->parameters), first = own;
    if (clip_ranks_broadcast(training->ranks, &first, sizeof first, error) != 0)
        return -1;
    return own == first ? 0 : clip_fail(error, "the weights of this rank are not those of rank 0");
}

int clip_training_save(struct clip_training *training, const struct clip_step *step, struct clip_error *error)
{
    if (!step->save)
        return 0;
    if (clip_optimizer_gather(training->optimizer, error) != 0)
        return -1;
    if (clip_ranks_rank(training->ranks) == 0 &&
        clip_run_save(&training->run, training->compute.model, &training->parameters, training->optimizer,
                      (uint64_t)step->number, (uint64_t)step->keep, error) != 0)
        return -1;
    return training->ranks ? compare_ranks(training, error) : 0;
}
