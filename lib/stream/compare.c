#include "stream/compare.h"
#include "base/array.h"
#include "stream/msgpack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void clip_comparison_free(struct clip_comparison *comparison)
{
    for (size_t i = 0; i < comparison->count; i++)
        free(comparison->fields[i].name);
    free(comparison->fields);
    comparison->fields = NULL;
    comparison->count = comparison->room = 0;
}

int clip_comparison_differs(const struct clip_comparison *comparison)
{
    for (size_t i = 0; i < comparison->count; i++) {
        const struct clip_field_comparison *field = &comparison->fields[i];
        if (field->only_a || field->only_b || field->unequal)
            return 1;
    }
    return 0;
}

static struct clip_field_comparison *entry_of(struct clip_comparison *comparison,
                                              const struct clip_field *field, struct clip_error *error)
{
    for (size_t i = 0; i < comparison->count; i++) {
        struct clip_field_comparison *known = &comparison->fields[i];
        if (known->name_size == field->name_size && memcmp(known->name, field->name, field->name_size) == 0)
            return known;
    }
    if (comparison->count == CLIP_MAX_FIELDS) {
        clip_fail(error, "more than %d names of fields", CLIP_MAX_FIELDS);
        return NULL;
    }
    if (CLIP_GROW(comparison->fields, comparison->count, comparison->room) != 0) {
        clip_fail_memory(error, "a comparison");
        return NULL;
    }
    char *name = malloc(field->name_size + 1);
    if (!name) {
        clip_fail_memory(error, "a comparison");
        return NULL;
    }
    memcpy(name, field->name, field->name_size);
    struct clip_field_comparison *new = &comparison->fields[comparison->count++];
    *new = (struct clip_field_comparison){.name = name, .name_size = field->name_size, .at_absolute = -1};
    return new;
}

/* --- two values --- */

enum verdict { UNLIKE, EQUAL, MEASURED };

/* |a - b|; if a double cannot tell them apart, their bytes can. */
static double element_difference(const struct clip_tensor *a, const struct clip_tensor *b, size_t i, double x,
                                 double y)
{
    size_t size = clip_dtype_size(a->dtype);
    if (memcmp((const char *)a->data + i * size, (const char *)b->data + i * size, size) == 0 ||
        (isnan(x) && isnan(y)))
        return 0;
    if (isnan(x) || isnan(y))
        return INFINITY;
    double difference = fabs(x - y);
    return difference == 0 && (a->dtype == CLIP_I64 || a->dtype == CLIP_U64) ? 1 : difference;
}

static double quotient(double difference, double a, double b)
{
    double larger = a > b ? a : b;
    if (difference == 0)
        return 0;
    return larger > 0 && isfinite(larger) && isfinite(difference) ? difference / larger : INFINITY;
}

static enum verdict compare_tensors(const struct clip_tensor *a, const struct clip_tensor *b,
                                    double *absolute, double *relative)
{
    if (a->dtype != b->dtype || a->ndim != b->ndim ||
        memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape) != 0)
        return UNLIKE;
    double sum = 0, sum_a = 0, sum_b = 0;
    size_t count = clip_tensor_count(a);
    *absolute = 0;
    for (size_t i = 0; i < count; i++) {
        double x = clip_tensor_value(a, i), y = clip_tensor_value(b, i);
        double difference = element_difference(a, b, i, x, y);
        if (difference > *absolute)
            *absolute = difference;
        sum += difference * difference;
        sum_a += x * x;
        sum_b += y * y;
    }
    *relative = *absolute == 0 ? 0 : quotient(sqrt(sum), sqrt(sum_a), sqrt(sum_b));
    return MEASURED;
}

static enum verdict compare_numbers(const struct clip_field *a, const struct clip_field *b, double *absolute,
                                    double *relative)
{
    double x, y;
    if (clip_field_real(a, &x) != 0 || clip_field_real(b, &y) != 0)
        return UNLIKE;
    struct clip_head head_a, head_b;
    clip_head_read(&head_a, a->value, a->size);
    clip_head_read(&head_b, b->value, b->size);
    *absolute = x == y || (isnan(x) && isnan(y)) ? 0 : isnan(x) || isnan(y) ? INFINITY : fabs(x - y);
    if (*absolute == 0 && head_a.kind != CLIP_REAL && head_b.kind != CLIP_REAL &&
        head_a.integer != head_b.integer)
        *absolute = 1; /* whole numbers that are equal as doubles */
    *relative = quotient(*absolute, fabs(x), fabs(y));
    return MEASURED;
}

static enum verdict compare_values(const struct clip_field *a, const struct clip_field *b, double *absolute,
                                   double *relative)
{
    struct clip_tensor tensor_a, tensor_b;
    struct clip_error ignored;
    if (clip_field_is_tensor(a) && clip_field_is_tensor(b) &&
        clip_field_tensor(a, &tensor_a, &ignored) == 0 && clip_field_tensor(b, &tensor_b, &ignored) == 0)
        return compare_tensors(&tensor_a, &tensor_b, absolute, relative);
    if (compare_numbers(a, b, absolute, relative) == MEASURED)
        return MEASURED;
    return a->size == b->size && memcmp(a->value, b->value, a->size) == 0 ? EQUAL : UNLIKE;
}

/* --- records --- */

static void remember(struct clip_field_comparison *entry, const struct clip_record *record, double absolute)
{
    size_t size = 0;
    if (absolute <= entry->at_absolute)
        return;
    entry->at_absolute = absolute;
    const char *key = clip_record_key(record, &size);
    if (key)
        clip_printable(entry->at, sizeof entry->at, key, size);
    else
        snprintf(entry->at, sizeof entry->at, "(control object)");
}

static void compare_field(struct clip_comparison *comparison, struct clip_field_comparison *entry,
                          const struct clip_record *record, const struct clip_field *a,
                          const struct clip_field *b)
{
    double absolute = 0, relative = 0;
    enum verdict verdict = compare_values(a, b, &absolute, &relative);
    entry->both++;
    if (verdict == MEASURED) {
        entry->numeric = 1;
        entry->absolute = absolute > entry->absolute ? absolute : entry->absolute;
        entry->relative = relative > entry->relative ? relative : entry->relative;
        if (absolute > 0)
            remember(entry, record, absolute);
    }
    if (verdict == UNLIKE ||
        (absolute > comparison->tolerance && relative > comparison->relative_tolerance)) {
        entry->unequal++;
        remember(entry, record, absolute);
    }
}

static int is_wanted(const struct clip_comparison *comparison, const struct clip_field *field)
{
    if (!comparison->only || (field->name_size == 7 && memcmp(field->name, "__key__", 7) == 0))
        return 1;
    for (const char *name = comparison->only; name; name = strchr(name, ',') ? strchr(name, ',') + 1 : NULL)
        if (strcspn(name, ",") == field->name_size && memcmp(name, field->name, field->name_size) == 0)
            return 1;
    return 0;
}

/* Whether to count the field as one that only `record` has: of a record without a partner, only its key is
 * counted. */
static int is_single(const struct clip_record *record, const struct clip_record *other,
                     const struct clip_field *field)
{
    const struct clip_field *key = clip_record_find(record, "__key__");
    if (other)
        return !clip_record_field(other, field->name, field->name_size);
    return !key || field == key;
}

static int count_singles(struct clip_comparison *comparison, const struct clip_record *record,
                         const struct clip_record *other, int is_a, struct clip_error *error)
{
    for (size_t i = 0; i < record->count; i++) {
        const struct clip_field *field = &record->fields[i];
        if (!is_wanted(comparison, field) || !is_single(record, other, field))
            continue;
        struct clip_field_comparison *known = entry_of(comparison, field, error);
        if (!known)
            return -1;
        *(is_a ? &known->only_a : &known->only_b) += 1;
        remember(known, record, 0);
    }
    return 0;
}

static int compare_common(struct clip_comparison *comparison, const struct clip_record *a,
                          const struct clip_record *b, struct clip_error *error)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct clip_field *field = &a->fields[i];
        const struct clip_field *match = clip_record_field(b, field->name, field->name_size);
        if (!match || !is_wanted(comparison, field))
            continue;
        struct clip_field_comparison *known = entry_of(comparison, field, error);
        if (!known)
            return -1;
        compare_field(comparison, known, a, field, match);
    }
    return 0;
}

int clip_compare_records(struct clip_comparison *comparison, const struct clip_record *a,
                         const struct clip_record *b, struct clip_error *error)
{
    if (a && b && compare_common(comparison, a, b, error) != 0)
        return -1;
    if (a && count_singles(comparison, a, b, 1, error) != 0)
        return -1;
    return b ? count_singles(comparison, b, a, 0, error) : 0;
}
