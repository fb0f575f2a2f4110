#include "train/loss-ranks.h"

#include <stdlib.h>
#include <string.h>

void clip_loss_ranks_free(struct clip_loss_ranks *loss)
{
    free(loss->counts);
    free(loss->sizes);
    free(loss->numbers);
    free(loss->group);
}

static int open_ranks(struct clip_loss_ranks *loss, struct clip_ranks *ranks, struct clip_error *error)
{
    size_t size = clip_ranks_size(ranks);
    loss->ranks = ranks;
    loss->counts = calloc(size, sizeof *loss->counts);
    loss->sizes = calloc(size, sizeof *loss->sizes);
    loss->numbers = calloc(size, sizeof *loss->numbers);
    return loss->counts && loss->sizes && loss->numbers ? 0 : clip_fail_memory(error, "a batch");
}

/* numbers[rank] of every rank. (Whole numbers up to 2^53 are exact as double.) */
static int exchange_numbers(struct clip_loss_ranks *loss, size_t own, struct clip_error *error)
{
    size_t size = clip_ranks_size(loss->ranks);
    for (size_t r = 0; r < size; r++)
        loss->numbers[r] = 0;
    loss->numbers[clip_ranks_rank(loss->ranks)] = (double)own;
    return clip_ranks_sum_real(loss->ranks, loss->numbers, size, error);
}

/* How many pairs each rank has, and where this rank's begin. */
static int exchange_counts(struct clip_loss_ranks *loss, size_t own, struct clip_error *error)
{
    size_t rank = clip_ranks_rank(loss->ranks);
    if (exchange_numbers(loss, own, error) != 0)
        return -1;
    loss->n = 0;
    for (size_t r = 0; r < clip_ranks_size(loss->ranks); r++) {
        loss->counts[r] = (size_t)loss->numbers[r];
        if (loss->counts[r] == 0)
            return clip_fail(error, "rank %zu has no pair of the batch: use fewer ranks or a larger batch",
                             r);
        if (r == rank)
            loss->share.first = loss->n;
        loss->n += loss->counts[r];
    }
    loss->share.count = own;
    return 0;
}

/* Memory for the largest batch so far. */
static int make_room(struct clip_loss_ranks *loss, size_t width, struct clip_error *error)
{
    if (loss->n <= loss->room)
        return 0;
    size_t room = loss->room ? 2 * loss->n : loss->n;
    for (int side = 0; side < 2; side++)
        if (!(loss->embeddings[side] = clip_ranks_memory(loss->ranks, room * width * sizeof(float), error)))
            return -1;
    if (!(loss->logs = clip_ranks_memory(loss->ranks, 2 * room * sizeof *loss->logs, error)))
        return -1;
    free(loss->group);
    loss->group = calloc(room, sizeof *loss->group);
    if (!loss->group)
        return clip_fail_memory(error, "a batch");
    loss->room = room;
    return 0;
}

/* Gathers an array of `size` bytes a pair. */
static int gather_rows(struct clip_loss_ranks *loss, void *all, size_t size, struct clip_error *error)
{
    for (size_t r = 0; r < clip_ranks_size(loss->ranks); r++)
        loss->sizes[r] = loss->counts[r] * size;
    return clip_ranks_gather(loss->ranks, all, loss->sizes, error);
}

static int gather_logs(void *context, struct clip_error *error)
{
    struct clip_loss_ranks *loss = context;
    return gather_rows(loss, loss->share.row_log, sizeof(double), error) == 0
               ? gather_rows(loss, loss->share.column_log, sizeof(double), error)
               : -1;
}

static int gather_embeddings(struct clip_loss_ranks *loss, const struct clip_pairs *pairs,
                             struct clip_error *error)
{
    size_t row = pairs->width * sizeof(float);
    for (int side = 0; side < 2; side++) {
        memcpy((char *)loss->embeddings[side] + loss->share.first * row, pairs->embeddings[side],
               pairs->n * row);
        if (gather_rows(loss, loss->embeddings[side], row, error) != 0)
            return -1;
    }
    return 0;
}

/* The groups of all pairs, from the values of all. */
static int gather_groups(struct clip_loss_ranks *loss, const struct clip_pairs *pairs,
                         struct clip_error *error)
{
    size_t rank = clip_ranks_rank(loss->ranks), bytes = 0, begin = 0;
    if (exchange_numbers(loss, clip_pairs_pack_values(pairs, NULL), error) != 0)
        return -1;
    for (size_t r = 0; r < clip_ranks_size(loss->ranks); r++) {
        loss->sizes[r] = (size_t)loss->numbers[r];
        if (r == rank)
            begin = bytes;
        bytes += loss->sizes[r];
    }
    if (bytes > loss->values_room) {
        if (!(loss->values = clip_ranks_memory(loss->ranks, 2 * bytes, error)))
            return -1;
        loss->values_room = 2 * bytes;
    }
    clip_pairs_pack_values(pairs, loss->values + begin);
    return clip_ranks_gather(loss->ranks, loss->values, loss->sizes, error) == 0
               ? clip_pairs_unpack_groups(loss->values, bytes, loss->n, loss->group, error)
               : -1;
}

int clip_loss_gather(struct clip_loss_ranks *loss, struct clip_ranks *ranks, const struct clip_pairs *pairs,
                     struct clip_contrast_batch *batch, struct clip_error *error)
{
    if (!ranks)
        return 0;
    if ((!loss->ranks && open_ranks(loss, ranks, error) != 0) ||
        exchange_counts(loss, pairs->n, error) != 0 || make_room(loss, pairs->width, error) != 0 ||
        gather_embeddings(loss, pairs, error) != 0 || (pairs->by && gather_groups(loss, pairs, error) != 0))
        return -1;
    loss->share.exchange = clip_ranks_exchange(ranks);
    loss->share.row_log = loss->logs;
    loss->share.column_log = loss->logs + loss->n;
    loss->share.gather = gather_logs;
    loss->share.context = loss;
    batch->n = loss->n;
    batch->image = loss->embeddings[0];
    batch->text = loss->embeddings[1];
    batch->group = pairs->by ? loss->group : NULL;
    batch->share = &loss->share;
    return 0;
}
