#include "base/array.h"

#include <stdlib.h>
#include <string.h>

int clip_array_double(void *array, size_t *room, size_t size)
{
    void *data, *more; /* copied, because *array is a pointer of another type */
    memcpy(&data, array, sizeof data);
    if (!(more = reallocarray(data, 2 * *room + 16, size)))
        return -1;
    memcpy(array, &more, sizeof more);
    *room = 2 * *room + 16;
    return 0;
}
