/* clip-average: the mean direction of the embeddings that share a group, such as the prompts of a class. */
#include "base/cli.h"
#include "score/embedding.h"
#include "score/groups.h"
#include "stream/filter.h"

#include <stdlib.h>
#include <string.h>

static const char *field;
static struct clip_grouping grouping;

static const struct clip_option options[] = {
    {"by", 0, CLIP_TEXT, &grouping.by, "FIELD",
     "the field that identifies the group of a record, text or a whole number", 0, 0},
    {"field", 0, CLIP_TEXT, &field, "NAME", "the field of the embedding [image_embedding and text_embedding]",
     0, 0},
    {"weight", 0, CLIP_TEXT, &grouping.weight, "FIELD",
     "the field of the weight of a record, a number, which may be negative", 0, 0},
    {"into", 0, CLIP_TEXT, &grouping.into, "NAME",
     "average image_embedding and text_embedding together, into the field NAME", 0, 0},
    {0}};

static const struct clip_program program = {.name = "clip-average",
                                            .operands = "--by FIELD [STREAM...]",
                                            .purpose = "Averages the unit embeddings of the records with the "
                                                       "same FIELD, and scales the means to unit length:\n"
                                                       "one record per group, in order of first appearance.",
                                            .options = options,
                                            .shared = CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

static int add_batch(void *context, struct clip_record **records, size_t n, struct clip_error *error)
{
    for (size_t i = 0; i < n; i++)
        if (clip_groups_add(context, records[i], &grouping, error) != 0 && !records[i]->bad)
            return -1;
    return 0;
}

static int finish(void *context, struct clip_writer *out, struct clip_error *error)
{
    return clip_groups_write(context, grouping.by, out, error);
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {.batch = 256};
    struct clip_error error;
    int first = clip_start(&program, &shared, argc, argv);
    if (!grouping.by)
        clip_usage("give the field of the group (--by FIELD)");
    if (grouping.into && (field || !*grouping.into || strcmp(grouping.into, grouping.by) == 0 ||
                          strcmp(grouping.into, "__key__") == 0))
        clip_usage("--into needs the name of a field, and cannot be combined with --field");
    grouping.fields = field ? &field : clip_embedding_fields;
    grouping.n = field ? 1 : 2;
    struct clip_groups *groups = clip_groups_new(&error);
    if (!groups)
        clip_die("%s", error.text);
    struct clip_filter filter = {.process = add_batch,
                                 .finish = finish,
                                 .context = groups,
                                 .batch = (size_t)shared.batch,
                                 .no_output = 1};
    int status = clip_filter_run(&filter, &shared, argv + first, (size_t)(argc - first));
    clip_groups_free(groups);
    return status;
}
