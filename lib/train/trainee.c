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

/* Rank 0 takes hold of the run; the others start where it does. */
static int open_run(struct clip_trainee *trainee, const char *dir, const char *part, struct clip_error *error)
{
    uint64_t steps = 0;
    if (clip_ranks_open(&trainee->ranks, part, error) != 0)
        return -1;
    int first = clip_ranks_rank(trainee->ranks) == 0;
    if (first && clip_run_open(&trainee->run, dir, part, error) != 0)
        return -1;
    if (first)
        steps = trainee->run.steps;
    if (clip_ranks_broadcast(trainee->ranks, &steps, sizeof steps, error) != 0)
        return -1;
    return first ? 0 : clip_run_join(&trainee->run, dir, part, steps, error);
}

/* Where all ranks have the gradients, they are summed without a copy. */
static int share_gradients(struct clip_trainee *trainee, enum clip_part part, struct clip_error *error)
{
    size_t bytes = clip_parameters_gradient_bytes(&trainee->parameters);
    if (!trainee->ranks || trainee->frozen || part == CLIP_PART_LOSS || bytes == 0)
        return 0;
    if (!(trainee->shared = clip_ranks_memory(trainee->ranks, bytes, error)))
        return -1;
    trainee->shared_count = bytes / sizeof *trainee->shared;
    clip_parameters_move_gradients(&trainee->parameters, trainee->shared);
    return 0;
}

int clip_trainee_open(struct clip_trainee *trainee, const struct clip_train_options *options,
                      enum clip_part part, enum clip_precision precision, int threads,
                      struct clip_error *error)
{
    *trainee = (struct clip_trainee){.frozen = options->freeze, .run.lock = -1};
    if (open_run(trainee, options->dir, clip_train_parts[part], error) != 0)
        return -1;
    trainee->steps = trainee->run.steps;
    if (clip_compute_open(&trainee->compute, trainee->run.model, NULL, precision, threads, error) != 0 ||
        check_part(trainee->compute.model, part, error) != 0 ||
        clip_parameters_load(&trainee->parameters, trainee->compute.model, part, error) != 0 ||
        share_gradients(trainee, part, error) != 0)
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
    clip_ranks_close(trainee->ranks);
}

int clip_trainee_end(struct clip_trainee *trainee, struct clip_error *error)
{
    return clip_ranks_end(trainee->ranks, error);
}

void clip_trainee_fail(struct clip_trainee *trainee, const struct clip_error *error)
{
    clip_ranks_fail(trainee->ranks, error->text);
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
        if (trainee->shared &&
            clip_ranks_sum(trainee->ranks, trainee->shared, trainee->shared_count, error) != 0)
            return clip_fail_prefix(error, "step %" PRId64, step->number);
        if (clip_optimizer_step(trainee->optimizer, step->lr, &trainee->gradient_norm, error) != 0)
            return clip_fail_prefix(error, "step %" PRId64 ": %s", step->number, trainee->run.part);
        clip_parameters_zero_gradients(&trainee->parameters);
    }
    trainee->steps++;
    return 0;
}

/* All ranks have the same weights, or something is wrong that no later step would show. (None is past this
 * call before rank 0 has saved.) */
static int compare_ranks(const struct clip_trainee *trainee, struct clip_error *error)
{
    uint64_t own = clip_parameters_hash(&trainee->parameters), first = own;
    if (clip_ranks_broadcast(trainee->ranks, &first, sizeof first, error) != 0)
        return -1;
    return own == first ? 0 : clip_fail(error, "the weights of this rank are not those of rank 0");
}

int clip_trainee_save(const struct clip_trainee *trainee, const struct clip_step *step,
                      struct clip_error *error)
{
    if (!step->save)
        return 0;
    if (clip_ranks_rank(trainee->ranks) == 0 &&
        clip_run_save(&trainee->run, trainee->compute.model, &trainee->parameters, trainee->optimizer,
                      (uint64_t)step->number, (uint64_t)step->keep, error) != 0)
        return -1;
    return trainee->ranks ? compare_ranks(trainee, error) : 0;
}
