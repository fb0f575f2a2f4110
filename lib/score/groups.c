#include "score/groups.h"
#include "math/unit.h"
#include "stream/vector.h"

#include <inttypes.h>
#include <math.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FIELDS = 2 };

struct mean {
    const char *field; /* the caller's */
    size_t width;
    double *sum; /* [width] */
};

struct group {
    char *name;
    uint8_t *value; /* value of the field that names it, a msgpack object */
    size_t value_size;
    struct mean means[MOST_FIELDS];
    struct group *next;
};

struct clip_groups {
    struct group *first, **end;
    void *tree; /* for tsearch: groups by value */
};

struct clip_groups *clip_groups_new(struct clip_error *error)
{
    struct clip_groups *groups = calloc(1, sizeof *groups);
    if (!groups)
        clip_fail_memory(error, "groups");
    else
        groups->end = &groups->first;
    return groups;
}

static void free_group(struct group *group)
{
    for (int i = 0; i < MOST_FIELDS; i++)
        free(group->means[i].sum);
    free(group->name);
    free(group->value);
    free(group);
}

static void keep_group(void *group)
{
    (void)group; /* owned by the list */
}

void clip_groups_free(struct clip_groups *groups)
{
    if (!groups)
        return;
    tdestroy(groups->tree, keep_group);
    for (struct group *group = groups->first, *next; group; group = next) {
        next = group->next;
        free_group(group);
    }
    free(groups);
}

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->value_size != y->value_size)
        return x->value_size < y->value_size ? -1 : 1;
    return memcmp(x->value, y->value, x->value_size);
}

/* The group's name: its text, or its number in decimal. NULL if the field is neither. */
static char *name_of(const struct clip_field *field, int *memory)
{
    const char *text;
    size_t size;
    int64_t number;
    char *name = NULL;
    if (clip_field_bytes(field, &text, &size) == 0) {
        while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
            size--;
        *memory = !(name = strndup(text, size));
    } else if (clip_field_integer(field, &number) == 0) {
        *memory = asprintf(&name, "%" PRId64, number) < 0;
        if (*memory)
            name = NULL;
    }
    return name;
}

static struct group *new_group(struct clip_groups *groups, const struct clip_field *field,
                               struct clip_record *record, struct clip_error *error)
{
    int memory = 0;
    struct group *group = calloc(1, sizeof *group);
    if (group)
        group->name = name_of(field, &memory);
    if (group && !group->name && !memory) {
        clip_record_fail(record, "field '%.*s' is neither text nor a whole number", (int)field->name_size,
                         field->name);
        free(group);
        return NULL;
    }
    if (group && group->name && (group->value = malloc(field->size))) {
        memcpy(group->value, field->value, field->size);
        group->value_size = field->size;
        if (tsearch(group, &groups->tree, compare_groups)) {
            *groups->end = group;
            groups->end = &group->next;
            return group;
        }
    }
    clip_fail_memory(error, "groups");
    if (group)
        free_group(group);
    return NULL;
}

static struct group *find_group(struct clip_groups *groups, struct clip_record *record, const char *by,
                                struct clip_error *error)
{
    const struct clip_field *field = clip_record_find(record, by);
    if (!field) {
        clip_record_fail(record, "no field '%s'", by);
        return NULL;
    }
    struct group wanted = {.value = (uint8_t *)field->value, .value_size = field->size};
    struct group **found = tfind(&wanted, &groups->tree, compare_groups);
    return found ? *found : new_group(groups, field, record, error);
}

/* The embedding `field`, normalised to unit length, for the caller to free. NULL with the record marked as
 * bad, or, if it is not, with error. */
static int read_unit(struct clip_record *record, const char *field, float **unit, size_t *width,
                     struct clip_error *error)
{
    struct clip_tensor tensor;
    struct clip_error reason;
    if (clip_record_floats(record, field, &tensor) != 0)
        return -1;
    *width = clip_tensor_count(&tensor);
    if (tensor.ndim != 1 || *width == 0)
        return clip_record_fail(record, "field '%s' is not a vector", field);
    if (!(*unit = malloc(*width * sizeof **unit)))
        return clip_fail_memory(error, "a mean");
    memcpy(*unit, tensor.data, *width * sizeof **unit);
    if (clip_unit_vector(*width, *unit, *unit, &reason) != 0)
        return clip_record_fail(record, "field '%s': %s", field, reason.text);
    return 0;
}

static int add_to_mean(struct mean *mean, const char *field, double weight, const float *unit, size_t width,
                       struct clip_error *error)
{
    if (!mean->sum && !(mean->sum = calloc(width, sizeof *mean->sum)))
        return clip_fail_memory(error, "a mean");
    for (size_t i = 0; i < width; i++)
        mean->sum[i] += weight * unit[i];
    mean->width = width;
    mean->field = field;
    return 0;
}

/* A record's embeddings, made unit: NULL where it has no such field. */
struct units {
    float *data[MOST_FIELDS];
    size_t widths[MOST_FIELDS];
    double weight;
};

static int read_weight(struct clip_record *record, const char *name, double *weight)
{
    const struct clip_field *field = name ? clip_record_find(record, name) : NULL;
    const char *text;
    char copy[64], *end = copy;
    size_t size;
    *weight = 1;
    if (!name)
        return 0;
    if (!field)
        return clip_record_fail(record, "no field '%s'", name);
    if (clip_field_real(field, weight) == 0 && isfinite(*weight))
        return 0;
    if (clip_field_bytes(field, &text, &size) == 0 && size > 0 && size < sizeof copy) {
        memcpy(copy, text, size);
        copy[size] = '\0';
        *weight = strtod(copy, &end);
        end += end > copy ? strspn(end, "\r\n") : 0;
    }
    return end > copy && *end == '\0' && isfinite(*weight)
               ? 0
               : clip_record_fail(record, "field '%s' is not a number", name);
}

/* Adds the units to the record's group; nothing where it is bad. */
static int add_units(struct clip_groups *groups, struct clip_record *record,
                     const struct clip_grouping *grouping, const struct units *units,
                     struct clip_error *error)
{
    struct group *group = find_group(groups, record, grouping->by, error);
    size_t width = 0; /* of those before it that go into the same mean */
    int status = group ? 0 : -1;
    for (size_t i = 0; i < grouping->n && status == 0; i++) {
        const struct mean *mean = &group->means[grouping->into ? 0 : i];
        size_t wanted = mean->sum ? mean->width : grouping->into ? width : 0;
        if (units->data[i] && wanted && wanted != units->widths[i])
            status = clip_record_fail(record, "field '%s' has width %zu, but its group has %zu",
                                      grouping->fields[i], units->widths[i], wanted);
        width = units->data[i] ? units->widths[i] : width;
    }
    for (size_t i = 0; i < grouping->n && status == 0; i++)
        if (units->data[i])
            status = add_to_mean(&group->means[grouping->into ? 0 : i],
                                 grouping->into ? grouping->into : grouping->fields[i], units->weight,
                                 units->data[i], units->widths[i], error);
    return status;
}

int clip_groups_add(struct clip_groups *groups, struct clip_record *record,
                    const struct clip_grouping *grouping, struct clip_error *error)
{
    struct units units = {.data = {NULL}};
    const char *const *fields = grouping->fields;
    size_t found = 0;
    int status = read_weight(record, grouping->weight, &units.weight);
    for (size_t i = 0; i < grouping->n && status == 0; i++)
        if (clip_record_find(record, fields[i])) {
            status = read_unit(record, fields[i], &units.data[i], &units.widths[i], error);
            found++;
        }
    if (status == 0 && found == 0)
        status = clip_record_fail(record, grouping->n > 1 ? "no field '%s' or '%s'" : "no field '%s'",
                                  fields[0], grouping->n > 1 ? fields[1] : "");
    if (status == 0)
        status = add_units(groups, record, grouping, &units, error);
    for (size_t i = 0; i < grouping->n; i++)
        free(units.data[i]);
    return status;
}

static int put_mean(struct clip_record *record, const struct mean *mean, struct clip_error *error)
{
    float *unit = malloc(mean->width * sizeof *unit);
    if (!unit)
        return clip_fail_memory(error, "a mean");
    for (size_t i = 0; i < mean->width; i++)
        unit[i] = (float)mean->sum[i];
    struct clip_tensor tensor = {CLIP_F32, 1, {mean->width}, unit};
    int status = clip_unit_vector(mean->width, unit, unit, error);
    if (status == 0)
        status = clip_record_put_tensor(record, mean->field, &tensor, error);
    free(unit);
    return status;
}

static int write_group(const struct group *group, const char *by, struct clip_writer *out,
                       struct clip_error *error)
{
    struct clip_record *record = clip_record_new();
    int status = record ? clip_record_put_string(record, "__key__", group->name, strlen(group->name), error)
                        : clip_fail_memory(error, "a group");
    if (status == 0 && strcmp(by, "__key__") != 0)
        status = clip_record_put_object(record, by, group->value, group->value_size, error);
    for (int i = 0; i < MOST_FIELDS && status == 0; i++)
        if (group->means[i].sum && put_mean(record, &group->means[i], error) != 0) {
            char shown[80];
            status = clip_fail_prefix(error, "group %s",
                                      clip_printable(shown, sizeof shown, group->name, strlen(group->name)));
        }
    if (status == 0)
        status = clip_writer_record(out, record, error);
    clip_record_free(record);
    return status;
}

int clip_groups_write(struct clip_groups *groups, const char *by, struct clip_writer *out,
                      struct clip_error *error)
{
    for (const struct group *group = groups->first; group; group = group->next)
        if (write_group(group, by, out, error) != 0)
            return -1;
    return 0;
}
