/* Elements of an array, not of a pointer. */
#ifndef CLIP_BASE_ARRAY_H
#define CLIP_BASE_ARRAY_H

#define CLIP_COUNT_OF(array) (sizeof(array) / sizeof *(array))

#endif
