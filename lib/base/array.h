/* Arrays: their length, and growing ones. */
#ifndef CLIP_BASE_ARRAY_H
#define CLIP_BASE_ARRAY_H

#include <stddef.h>

/* Elements of an array, not of a pointer. */
#define CLIP_COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* Makes room for one element more in `array`, a pointer from malloc or NULL, which has room for `room`
 * (size_t) elements and holds `count`. 0; -1 when out of memory, and the array stays as it is. */
#define CLIP_GROW(array, count, room)                                                                        \
    ((count) < (room) ? 0 : clip_array_double(&(array), &(room), sizeof *(array)))

/* Doubles the array that *array points at, of elements of `size` bytes. */
int clip_array_double(void *array, size_t *room, size_t size);

#endif
