/* clip-project-normalize: features to embeddings: the projection into the shared space, and unit length. */
#include "base/cli.h"
#include "base/threads.h"
#include "math/product.h"
#include "math/unit.h"
#include "model/open.h"
#include "score/embedding.h"
#include "stream/filter.h"
#include "stream/vector.h"
#include "tower/fields.h"
#include "tower/project.h"
#include "train/options.h"
#include "train/projection.h"
#include "train/stage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int keep, no_projection;
static struct clip_train_options train = CLIP_TRAIN_DEFAULTS;
static struct clip_stage_options stage = CLIP_STAGE_DEFAULTS;

/* "image:FIFO" or "text:FIFO" */
static int set_grad_out(const char *argument, struct clip_error *error)
{
    static const char *const sides[CLIP_SIDES] = {"image:", "text:"};
    for (int s = 0; s < CLIP_SIDES; s++)
        if (strncmp(argument, sides[s], strlen(sides[s])) == 0) {
            stage.grad_out[s] = argument + strlen(sides[s]);
            return 0;
        }
    return clip_fail(error, "'%s' is neither image:FIFO nor text:FIFO", argument);
}

static int is_image(const struct clip_slot *slot)
{
    return slot->side == CLIP_SIDE_IMAGE;
}

static int is_text(const struct clip_slot *slot)
{
    return slot->side == CLIP_SIDE_TEXT;
}

static int set_freeze(const char *argument, struct clip_error *error)
{
    if (strcmp(argument, "both") == 0)
        train.freeze = 1;
    else if (strcmp(argument, "image") == 0)
        train.frozen = is_image;
    else if (strcmp(argument, "text") == 0)
        train.frozen = is_text;
    else
        return clip_fail(error, "'%s' is not one of image|text|both", argument);
    return 0;
}

static const struct clip_option options[] = {
    {"no-projection", 0, CLIP_FLAG, &no_projection, NULL, "only scale features or embeddings to unit length",
     0, 0},
    {"keep", 0, CLIP_FLAG, &keep, NULL, "keep the features", 0, 0},
    CLIP_TRAIN_OPTIONS(train),
    {"freeze", 0, CLIP_CALLBACK, set_freeze, "image|text|both", "do not change these projections", 0, 0},
    CLIP_STAGE_OPTIONS(stage),
    {"grad-out", 0, CLIP_CALLBACK, set_grad_out, "SIDE:FIFO",
     "write the gradients of SIDE's features to FIFO; SIDE is image or text", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-project-normalize",
    .operands = "[STREAM...]",
    .purpose = "Projects image_features and text_features of each record to unit embeddings. Give -m or "
               "--no-projection.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS | CLIP_TAKES_BATCH | CLIP_TAKES_STREAM | CLIP_TAKES_SKIP,
    .engines = clip_engines};

/* The work on one side's field of a batch. */
struct side {
    const char *features, *embedding;
    struct clip_projection *projection; /* NULL with --no-projection */
    float *in, *out;                    /* [batch][width] */
    struct clip_record **records;       /* [batch]: records that have the field */
    size_t n;
    struct clip_error error;
    int failed;
};

struct job {
    struct clip_pool *pool;
    struct side sides[CLIP_SIDES];
};

/* The features become the embedding; without a projection an existing embedding is used, too. */
static const char *source_of(const struct side *side, const struct clip_record *record)
{
    if (no_projection && clip_record_find(record, side->embedding))
        return side->embedding;
    return clip_record_find(record, side->features) ? side->features : NULL;
}

static int put_embedding(const struct side *side, struct clip_record *record, const float *embedding,
                         size_t width, struct clip_error *error)
{
    const char *source = source_of(side, record);
    double sum = 0;
    for (size_t i = 0; i < width; i++)
        sum += (double)embedding[i] * (double)embedding[i];
    if (!(fabs(sum - 1) < 1e-3)) { /* zero, or beyond f32 */
        clip_record_fail(record, "cannot normalise field '%s'", source);
        return 0;
    }
    if (clip_record_put_vector(record, side->embedding, embedding, width, error) != 0)
        return -1;
    if (!keep && source != side->embedding)
        clip_record_drop(record, side->features);
    return 0;
}

/* --- with the model's projection --- */

/* Marks records with features of a tower that the model does not have. */
static void refuse(const struct side *side, struct clip_record **records, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!records[i]->bad && source_of(side, records[i]))
            clip_record_fail(records[i], "field '%s': %s", side->features, side->error.text);
}

static void gather(struct side *side, struct clip_record **records, size_t n)
{
    const void *data;
    side->n = 0;
    if (!side->projection) {
        refuse(side, records, n);
        return;
    }
    size_t width = clip_projection_inputs(side->projection);
    for (size_t i = 0; i < n; i++) {
        if (records[i]->bad || !source_of(side, records[i]) ||
            clip_record_vector(records[i], side->features, &width, &data) != 0)
            continue;
        memcpy(side->in + side->n * width, data, width * sizeof *side->in);
        side->records[side->n++] = records[i];
    }
}

static void project_side(void *context, size_t i, int thread)
{
    (void)thread;
    struct side *side = &((struct job *)context)->sides[i];
    if (side->n > 0)
        side->failed = clip_projection_run(side->projection, side->in, side->n, side->out, &side->error);
}

static int project(struct job *job, struct clip_record **records, size_t n, struct clip_error *error)
{
    for (int s = 0; s < CLIP_SIDES; s++)
        gather(&job->sides[s], records, n);
    clip_pool_run(job->pool, CLIP_SIDES, project_side, job);
    for (int s = 0; s < CLIP_SIDES; s++) {
        struct side *side = &job->sides[s];
        size_t width = side->projection ? clip_projection_outputs(side->projection) : 0;
        if (side->failed) {
            *error = side->error;
            return -1;
        }
        for (size_t i = 0; i < side->n; i++)
            if (put_embedding(side, side->records[i], side->out + i * width, width, error) != 0)
                return -1;
    }
    return 0;
}

/* --- without --- */

static int normalize(const struct side *side, struct clip_record *record, struct clip_error *error)
{
    const char *source = source_of(side, record);
    struct clip_error reason;
    const void *data;
    size_t width = 0;
    if (!source || clip_record_vector(record, source, &width, &data) != 0)
        return 0;
    float *embedding = reallocarray(NULL, width, sizeof *embedding);
    if (!embedding)
        return clip_fail_memory(error, "an embedding");
    memcpy(embedding, data, width * sizeof *embedding);
    int status = 0;
    if (clip_unit_vector(width, embedding, embedding, &reason) != 0)
        clip_record_fail(record, "field '%s': %s", source, reason.text);
    else
        status = put_embedding(side, record, embedding, width, error);
    free(embedding);
    return status;
}

/* --- the program --- */

static int process(void *context, struct clip_record **records, size_t n, struct clip_error *error)
{
    struct job *job = context;
    for (size_t i = 0; i < n; i++)
        if (!source_of(&job->sides[0], records[i]) && !source_of(&job->sides[1], records[i]))
            clip_record_fail(records[i], "neither image_features nor text_features%s",
                             no_projection ? ", and no embedding" : "");
    if (!no_projection)
        return project(job, records, n, error);
    for (size_t i = 0; i < n; i++)
        for (int s = 0; s < CLIP_SIDES; s++)
            if (normalize(&job->sides[s], records[i], error) != 0)
                return -1;
    return 0;
}

/* A model of one tower may have no projection at all. */
static void check_projections(const struct clip_model *model)
{
    const struct clip_arch *arch = clip_model_arch(model);
    if ((arch->vision.absent || arch->vision.unprojected) && (arch->text.absent || arch->text.unprojected))
        clip_die("%s: the model has no projection; --no-projection scales its features to unit length",
                 clip_model_path(model));
}

/* The side of a missing tower stays closed. */
static int open_side(struct side *side, enum clip_side which, const struct clip_model *model,
                     struct clip_engine *engine, size_t batch, struct clip_error *error)
{
    if (clip_model_need(model, which, &side->error) != 0)
        return 0;
    const struct clip_tower_setup setup = {
        .arch = clip_model_arch(model), .model = model, .engine = engine, .batch = batch};
    side->projection = clip_projection_open(which, &setup, error);
    if (!side->projection)
        return -1;
    side->in = reallocarray(NULL, batch, clip_projection_inputs(side->projection) * sizeof *side->in);
    side->out = reallocarray(NULL, batch, clip_projection_outputs(side->projection) * sizeof *side->out);
    side->records = reallocarray(NULL, batch, sizeof *side->records);
    return side->in && side->out && side->records ? 0 : clip_fail_memory(error, "a batch");
}

static void free_side(struct side *side)
{
    clip_projection_free(side->projection);
    free(side->in);
    free(side->out);
    free(side->records);
}

static int run_training(const struct clip_shared *shared, char *const *operands, size_t n)
{
    struct clip_error error;
    struct clip_training training;
    struct clip_stage_work work;
    struct clip_projector *projector = NULL;
    if (clip_training_open(&training, &train, CLIP_PART_PROJECTION, CLIP_PRECISION_F32, (int)shared->threads,
                           &error) == 0)
        projector = clip_projector_open(&training, keep, &work, &error);
    if (!projector) {
        clip_message("%s", error.text);
        clip_training_fail(&training, &error);
    }
    int status = projector ? clip_stage_run(&work, &training, &stage, shared, operands, n) : 1;
    clip_projector_free(projector);
    clip_training_close(&training);
    return status;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    struct job job = {0};
    struct clip_filter filter = {.process = process, .context = &job};
    struct clip_model *model = NULL;
    struct clip_engine *engine = NULL;
    int first = clip_start(&program, &shared, argc, argv);
    size_t batch = (size_t)shared.batch;
    for (int s = 0; s < CLIP_SIDES; s++) {
        job.sides[s].features = clip_feature_fields[s];
        job.sides[s].embedding = clip_embedding_fields[s];
    }
    if (clip_train_check(&train, &shared, stage.grad_in, &error) != 0)
        clip_usage("%s", error.text);
    if (train.dir)
        return run_training(&shared, argv + first, (size_t)(argc - first));
    if (!shared.model == !no_projection)
        clip_usage(no_projection ? "--no-projection takes no model" : "give a model (-m) or --no-projection");
    if (!no_projection) {
        model = clip_model_open_key(shared.model, shared.arch, shared.weights, &error);
        if (model)
            check_projections(model);
        /* The engine before the threads: under a limit, these must not take the memory that it found free. */
        engine = model ? clip_engine_open(NULL, CLIP_PRECISION_F32, CLIP_SIDES, &error) : NULL;
        if (engine)
            job.pool = clip_pool_new(shared.threads < CLIP_SIDES ? (int)shared.threads : CLIP_SIDES, &error);
        if (!job.pool)
            clip_die("%s", error.text);
        for (int s = 0; s < CLIP_SIDES; s++)
            if (open_side(&job.sides[s], s, model, engine, batch, &error) != 0)
                clip_die("%s", error.text);
    }
    filter.batch = batch;
    int status = clip_filter_run(&filter, &shared, argv + first, (size_t)(argc - first));
    for (int s = 0; s < CLIP_SIDES; s++)
        free_side(&job.sides[s]);
    clip_engine_free(engine);
    clip_model_close(model);
    clip_pool_free(job.pool);
    return status;
}
