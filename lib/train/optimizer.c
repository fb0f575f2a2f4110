#include "train/optimizer.h"

#include "model/write.h"
#include "train/tensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Elements of a piece of work, and the number of sums kept side by side in it. */
#define PIECE ((size_t)1 << 16)
enum { SUMS = 8 };

/* Elements of a piece that are updated, checked and zeroed before the next ones: they stay in the cache. */
enum { BLOCK = 1 << 11 };

struct piece {
    size_t parameter, first, count;
};

struct clip_optimizer {
    struct clip_parameters *parameters;
    struct clip_pool *pool;
    struct clip_adamw adamw;
    double clip_norm;
    struct clip_ranks *ranks; /* NULL: one */
    size_t rank, size;
    uint64_t steps;           /* done */
    float **mean, **square;   /* the moments, [parameters]: NULL for buffers, and before the first step */
    struct clip_arena memory; /* theirs */
    struct piece *pieces;     /* of all gradients, in order */
    size_t pieces_count;
    size_t *cuts;   /* [size + 1]: pieces [cuts[r], cuts[r + 1]) are rank r's to update */
    size_t *bytes;  /* [size]: of each rank's part in a call */
    float *moments; /* [size][2 PIECE], shared: of a piece of each rank; NULL before the first gather */
    /* of a step */
    double lr;
    float factor;       /* of the gradients */
    double *squares;    /* [pieces]: sums of squared gradients; shared over ranks */
    unsigned char *bad; /* [pieces]: a weight is not finite */
};

void clip_optimizer_free(struct clip_optimizer *optimizer)
{
    if (!optimizer)
        return;
    clip_arena_free(&optimizer->memory);
    free(optimizer->mean);
    free(optimizer->square);
    free(optimizer->pieces);
    free(optimizer->cuts);
    free(optimizer->bytes);
    if (!optimizer->ranks)
        free(optimizer->squares);
    free(optimizer->bad);
    free(optimizer);
}

/* Counts the pieces of all gradients, in order; with `pieces` also lists them. */
static size_t cut_pieces(const struct clip_parameters *parameters, struct piece *pieces)
{
    size_t count = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        const struct clip_parameter *p = &parameters->items[i];
        for (size_t first = 0; p->gradient && first < p->count; first += PIECE) {
            size_t left = p->count - first;
            if (pieces)
                pieces[count] = (struct piece){i, first, left < PIECE ? left : PIECE};
            count++;
        }
    }
    return count;
}

static int is_frozen(const struct clip_optimizer *o, size_t piece)
{
    return o->parameters->items[o->pieces[piece].parameter].frozen;
}

static int is_own(const struct clip_optimizer *o, size_t piece)
{
    return piece >= o->cuts[o->rank] && piece < o->cuts[o->rank + 1];
}

/* Gives each rank pieces with about as many elements to update. */
static void cut_parts(struct clip_optimizer *o)
{
    size_t all = 0, sum = 0, r = 0;
    for (size_t i = 0; i < o->pieces_count; i++)
        all += is_frozen(o, i) ? 0 : o->pieces[i].count;
    for (size_t i = 0; i < o->pieces_count; i++) {
        size_t begin;
        for (; r < o->size && (clip_ranks_share(all, r, o->size, &begin), begin <= sum); r++)
            o->cuts[r] = i;
        sum += is_frozen(o, i) ? 0 : o->pieces[i].count;
    }
    for (; r <= o->size; r++)
        o->cuts[r] = o->pieces_count;
}

/* Moves what the ranks exchange to memory that they share. */
static int share_memory(struct clip_optimizer *o, struct clip_error *error)
{
    struct clip_parameters *parameters = o->parameters;
    void *values = clip_ranks_memory(o->ranks, parameters->value_bytes, error);
    void *gradients = values ? clip_ranks_memory(o->ranks, parameters->gradient_bytes, error) : NULL;
    o->squares =
        gradients ? clip_ranks_memory(o->ranks, (o->pieces_count + 1) * sizeof *o->squares, error) : NULL;
    if (!o->squares)
        return -1;
    clip_parameters_move(parameters, values, gradients);
    return 0;
}

struct clip_optimizer *clip_optimizer_new(struct clip_parameters *parameters, const struct clip_adamw *adamw,
                                          double clip_norm, struct clip_pool *pool, struct clip_ranks *ranks,
                                          struct clip_error *error)
{
    struct clip_optimizer *o = calloc(1, sizeof *o);
    size_t pieces = cut_pieces(parameters, NULL);
    if (o) {
        *o = (struct clip_optimizer){
            .parameters = parameters, .pool = pool, .adamw = *adamw, .clip_norm = clip_norm, .ranks = ranks};
        o->rank = clip_ranks_rank(ranks);
        o->size = clip_ranks_size(ranks);
        o->pieces_count = pieces;
        o->mean = calloc(parameters->count + 1, sizeof *o->mean);
        o->square = calloc(parameters->count + 1, sizeof *o->square);
        o->pieces = calloc(pieces + 1, sizeof *o->pieces);
        o->cuts = calloc(o->size + 1, sizeof *o->cuts);
        o->bytes = calloc(o->size, sizeof *o->bytes);
        o->squares = ranks ? NULL : calloc(pieces + 1, sizeof *o->squares);
        o->bad = calloc(pieces + 1, sizeof *o->bad);
    }
    if (!o || !o->mean || !o->square || !o->pieces || !o->cuts || !o->bytes || (!ranks && !o->squares) ||
        !o->bad) {
        clip_optimizer_free(o);
        clip_fail_memory(error, "the optimizer");
        return NULL;
    }
    cut_pieces(parameters, o->pieces);
    cut_parts(o);
    if (!ranks || share_memory(o, error) == 0)
        return o;
    clip_optimizer_free(o);
    return NULL;
}

static void place_moments(void *context)
{
    struct clip_optimizer *o = context;
    for (size_t i = 0; i < o->parameters->count; i++) {
        const struct clip_parameter *p = &o->parameters->items[i];
        if (!p->gradient)
            continue;
        o->mean[i] = clip_arena_take(&o->memory, p->count, sizeof(float));
        o->square[i] = clip_arena_take(&o->memory, p->count, sizeof(float));
    }
}

/* The moments are allocated at the first step: a frozen stage has none. */
static int need_moments(struct clip_optimizer *o, struct clip_error *error)
{
    if (o->memory.memory)
        return 0;
    return clip_arena_build(&o->memory, "the optimizer's moments", place_moments, o, error);
}

/* --- over ranks --- */

/* Where the values, or the gradients, of pieces from i on begin, in bytes. */
static size_t begin_of(const struct clip_optimizer *o, size_t i, int values)
{
    const struct clip_parameters *parameters = o->parameters;
    if (i == 0)
        return 0;
    if (i == o->pieces_count)
        return values ? parameters->value_bytes : parameters->gradient_bytes;
    const struct piece *piece = &o->pieces[i];
    const struct clip_parameter *p = &parameters->items[piece->parameter];
    const char *begin = (const char *)((values ? p->value : p->gradient) + piece->first);
    return (size_t)(begin - (values ? parameters->values : parameters->gradients));
}

/* The bytes of each rank's part of them. */
static const size_t *parts_of(struct clip_optimizer *o, int values)
{
    for (size_t r = 0; r < o->size; r++)
        o->bytes[r] = begin_of(o, o->cuts[r + 1], values) - begin_of(o, o->cuts[r], values);
    return o->bytes;
}

static const size_t *parts_of_squares(struct clip_optimizer *o)
{
    for (size_t r = 0; r < o->size; r++)
        o->bytes[r] = (o->cuts[r + 1] - o->cuts[r]) * sizeof *o->squares;
    return o->bytes;
}

/* Copies the moments of a piece between where they are and shared[2 count]. */
static void copy_moments(struct clip_optimizer *o, size_t i, float *shared, int out)
{
    const struct piece *piece = &o->pieces[i];
    float *mean = o->mean[piece->parameter] + piece->first,
          *square = o->square[piece->parameter] + piece->first;
    size_t bytes = piece->count * sizeof *shared;
    memcpy(out ? shared : mean, out ? mean : shared, bytes);
    memcpy(out ? shared + piece->count : square, out ? square : shared + piece->count, bytes);
}

/* Gives rank 0 the moments of each other rank's piece number k. */
static int gather_moments(struct clip_optimizer *o, size_t k, struct clip_error *error)
{
    float *at = o->moments;
    for (size_t r = 0; r < o->size; r++) {
        size_t i = o->cuts[r] + k, count = r > 0 && i < o->cuts[r + 1] ? 2 * o->pieces[i].count : 0;
        o->bytes[r] = count * sizeof *at;
        if (count && r == o->rank)
            copy_moments(o, i, at, 1);
        at += count;
    }
    if (clip_ranks_gather(o->ranks, o->moments, o->bytes, error) != 0)
        return -1;
    at = o->moments;
    for (size_t r = 0; r < o->size && o->rank == 0; at += o->bytes[r++] / sizeof *at)
        if (o->bytes[r])
            copy_moments(o, o->cuts[r] + k, at, 0);
    return 0;
}

int clip_optimizer_gather(struct clip_optimizer *o, struct clip_error *error)
{
    size_t most = 0;
    if (!o->ranks || !o->memory.memory)
        return 0;
    for (size_t r = 1; r < o->size; r++)
        most = clip_larger(most, o->cuts[r + 1] - o->cuts[r]);
    if (!o->moments &&
        !(o->moments = clip_ranks_memory(o->ranks, o->size * 2 * PIECE * sizeof *o->moments, error)))
        return -1;
    for (size_t k = 0; k < most; k++)
        if (gather_moments(o, k, error) != 0)
            return -1;
    return 0;
}

/* --- a step --- */

static void sum_piece(void *context, size_t i, int thread)
{
    (void)thread;
    struct clip_optimizer *o = context;
    const struct piece *piece = &o->pieces[i];
    if (!is_own(o, i) || is_frozen(o, i))
        return;
    const float *g = o->parameters->items[piece->parameter].gradient + piece->first;
    double sums[SUMS] = {0}, sum = 0;
    size_t whole = piece->count / SUMS * SUMS;
    for (size_t j = 0; j < whole; j += SUMS)
        for (int k = 0; k < SUMS; k++)
            sums[k] += (double)g[j + k] * g[j + k];
    for (size_t j = whole; j < piece->count; j++)
        sums[j - whole] += (double)g[j] * g[j];
    for (int k = 0; k < SUMS; k++)
        sum += sums[k];
    o->squares[i] = sum;
}

static int finite_floats(const float *x, size_t n)
{
    uint32_t bits[SUMS], bad[SUMS] = {0};
    for (size_t i = 0; i < n; i += SUMS) {
        size_t left = n - i;
        if (left < SUMS)
            memset(bits, 0, sizeof bits);
        memcpy(bits, x + i, (left < SUMS ? left : SUMS) * sizeof *bits);
        for (int k = 0; k < SUMS; k++)
            bad[k] |= (bits[k] & 0x7f800000) == 0x7f800000;
    }
    for (int k = 1; k < SUMS; k++)
        bad[0] |= bad[k];
    return !bad[0];
}

/* Updates count elements of a parameter from `first` on; 1 if they are finite then. */
static int step_block(struct clip_optimizer *o, size_t parameter, size_t first, size_t count, int decays)
{
    const struct clip_parameter *p = &o->parameters->items[parameter];
    float *g = p->gradient + first;
    for (size_t j = 0; o->factor != 1 && j < count; j++)
        g[j] *= o->factor;
    clip_adamw_step(&o->adamw, o->lr, decays, o->steps, count, p->value + first, g,
                    o->mean[parameter] + first, o->square[parameter] + first);
    memset(g, 0, count * sizeof *g);
    return finite_floats(p->value + first, count);
}

static void step_piece(void *context, size_t i, int thread)
{
    (void)thread;
    struct clip_optimizer *o = context;
    const struct piece *piece = &o->pieces[i];
    const struct clip_parameter *p = &o->parameters->items[piece->parameter];
    o->bad[i] = 0;
    if (!is_own(o, i) || p->frozen) {
        memset(p->gradient + piece->first, 0, piece->count * sizeof(float));
        return;
    }
    int decays = clip_adamw_decays(p->slot.name, p->slot.ndim);
    for (size_t done = 0; done < piece->count; done += BLOCK) {
        size_t left = piece->count - done;
        o->bad[i] |=
            !step_block(o, piece->parameter, piece->first + done, left < BLOCK ? left : BLOCK, decays);
    }
}

static const char *name_of(const struct clip_optimizer *o, size_t piece)
{
    return o->parameters->items[o->pieces[piece].parameter].slot.name;
}

int clip_optimizer_step(struct clip_optimizer *o, double lr, double *norm, struct clip_error *error)
{
    double sum = 0;
    if (need_moments(o, error) != 0 ||
        clip_ranks_reduce(o->ranks, (float *)o->parameters->gradients, parts_of(o, 0), error) != 0)
        return -1;
    clip_pool_run(o->pool, o->pieces_count, sum_piece, o);
    if (clip_ranks_gather(o->ranks, o->squares, parts_of_squares(o), error) != 0)
        return -1;
    for (size_t i = 0; i < o->pieces_count; i++) {
        sum += o->squares[i];
        if (!isfinite(o->squares[i]))
            return clip_fail(error, "the gradient of %s is not finite", name_of(o, i));
    }
    *norm = sqrt(sum);
    o->lr = lr;
    o->factor = o->clip_norm > 0 && *norm > o->clip_norm ? (float)(o->clip_norm / *norm) : 1;
    o->steps++;
    clip_pool_run(o->pool, o->pieces_count, step_piece, o);
    for (size_t i = 0; i < o->pieces_count; i++)
        if (o->bad[i])
            return clip_fail(error, "after the update %s is not finite", name_of(o, i));
    return clip_ranks_gather(o->ranks, o->parameters->values, parts_of(o, 1), error);
}

/* --- its state on disk --- */

#define MEAN ".exp_avg"
#define SQUARE ".exp_avg_sq"
#define STEP "step"

/* What is written: the number of steps, then the moments of each parameter in turn. */
struct state {
    const struct clip_optimizer *optimizer;
    struct clip_layout layout;
    const float **data; /* [layout.count]; NULL: the number of steps */
};

static int state_type(const void *context, const struct clip_slot *slot)
{
    (void)context;
    return slot->integer ? CLIP_WEIGHT_I64 : CLIP_WEIGHT_F32;
}

static int state_fill(const void *context, const struct clip_slot *slot, size_t first, size_t count,
                      void *out, struct clip_error *error)
{
    (void)error;
    const struct state *state = context;
    const float *data = state->data[slot - state->layout.slots];
    if (data)
        memcpy(out, data + first, count * sizeof *data);
    else
        memcpy(out, &state->optimizer->steps, sizeof state->optimizer->steps);
    return 0;
}

static void add_moment(struct state *state, const struct clip_slot *slot, const char *suffix,
                       const float *data)
{
    size_t i = state->layout.count++;
    state->layout.slots[i] = *slot;
    size_t length = strlen(slot->name);
    snprintf(state->layout.slots[i].name + length, sizeof slot->name - length, "%s", suffix);
    state->data[i] = data;
}

int clip_optimizer_write(const struct clip_optimizer *o, const char *path, struct clip_error *error)
{
    const struct clip_parameters *parameters = o->parameters;
    struct state state = {o,
                          {calloc(2 * parameters->count + 1, sizeof *state.layout.slots), 0},
                          calloc(2 * parameters->count + 1, sizeof *state.data)};
    const struct clip_slot count = {.name = STEP, .integer = 1};
    int status = -1;
    if (!state.layout.slots || !state.data) {
        clip_fail_memory(error, "the optimizer's state");
    } else {
        add_moment(&state, &count, "", NULL);
        for (size_t i = 0; i < parameters->count && o->memory.memory; i++)
            if (o->mean[i]) {
                add_moment(&state, &parameters->items[i].slot, MEAN, o->mean[i]);
                add_moment(&state, &parameters->items[i].slot, SQUARE, o->square[i]);
            }
        const struct clip_tensor_source source = {.context = &state, .type = state_type, .fill = state_fill};
        status = clip_write_weights(&state.layout, &source, path, error);
    }
    free(state.layout.slots);
    free(state.data);
    return status;
}

/* Reads a piece of one of a parameter's moments. */
static int read_moment(const struct clip_tensors *tensors, const struct clip_parameter *p,
                       const struct piece *piece, const char *suffix, float *moment, struct clip_error *error)
{
    char name[sizeof p->slot.name + sizeof SQUARE];
    snprintf(name, sizeof name, "%s%s", p->slot.name, suffix);
    const struct clip_weight *weight = clip_tensors_find(tensors, name);
    if (!weight || weight->type != CLIP_WEIGHT_F32 || clip_weight_count(weight) != p->count)
        return clip_fail(error, "no tensor %s of %zu numbers", name, p->count);
    clip_weight_floats(weight, piece->first, piece->count, moment + piece->first);
    return 0;
}

static int read_state(struct clip_optimizer *o, const struct clip_tensors *tensors, struct clip_error *error)
{
    const struct clip_weight *step = clip_tensors_find(tensors, STEP);
    int64_t steps;
    if (!step || step->type != CLIP_WEIGHT_I64 || clip_weight_count(step) != 1)
        return clip_fail(error, "no count of steps");
    clip_weight_copy(step, 0, 1, &steps);
    if (steps < 0)
        return clip_fail(error, "a negative count of steps");
    o->steps = (uint64_t)steps;
    if (steps == 0)
        return 0;
    if (need_moments(o, error) != 0)
        return -1;
    for (size_t i = o->cuts[o->rank]; i < o->cuts[o->rank + 1]; i++) {
        const struct piece *piece = &o->pieces[i];
        const struct clip_parameter *p = &o->parameters->items[piece->parameter];
        if (read_moment(tensors, p, piece, MEAN, o->mean[piece->parameter], error) != 0 ||
            read_moment(tensors, p, piece, SQUARE, o->square[piece->parameter], error) != 0)
            return -1;
    }
    return 0;
}

int clip_optimizer_read(struct clip_optimizer *optimizer, const char *path, struct clip_error *error)
{
    struct clip_tensors tensors;
    if (clip_tensors_open(&tensors, path, error) != 0)
        return -1;
    int status = read_state(optimizer, &tensors, error);
    clip_tensors_close(&tensors);
    return status == 0 ? 0 : clip_fail_prefix(error, "%s", path);
}
