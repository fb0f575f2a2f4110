#include "train/step.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Reads a whole number of the object that is at least `least`; *value is unchanged if there is none. */
static int read_integer(const struct clip_record *object, const char *name, int64_t least, int64_t *value,
                        struct clip_error *error)
{
    const struct clip_field *field = clip_record_find(object, name);
    if (field && (clip_field_integer(field, value) != 0 || *value < least))
        return clip_fail(error, "a step object whose '%s' is not a whole number from %" PRId64, name, least);
    return 0;
}

int clip_step_read(struct clip_step *step, const struct clip_record *object, struct clip_error *error)
{
    const struct clip_field *lr = clip_record_find(object, "lr"), *save = clip_record_find(object, "save");
    if (!clip_record_find(object, "__step__"))
        return 0;
    *step = (struct clip_step){.count = -1, .lr = NAN};
    if (read_integer(object, "__step__", 1, &step->number, error) != 0 ||
        read_integer(object, "count", 0, &step->count, error) != 0 ||
        read_integer(object, "keep", 0, &step->keep, error) != 0)
        return -1;
    if (lr && (clip_field_real(lr, &step->lr) != 0 || !(step->lr >= 0)))
        return clip_fail(error, "a step object whose 'lr' is not a learning rate");
    if (save && clip_field_boolean(save, &step->save) != 0)
        return clip_fail(error, "a step object whose 'save' is neither true nor false");
    return 1;
}

int clip_step_report(struct clip_record *object, const char *part, const char *name, double value,
                     struct clip_error *error)
{
    char field[80];
    snprintf(field, sizeof field, "%s.%s", part, name);
    return clip_record_put_real(object, field, value, error);
}
