/* Large memory taken directly from the kernel, in huge pages where it fills them: a program that packs
 * hundreds of megabytes of weights would otherwise spend its start on page faults. */
#ifndef CLIP_BASE_PAGES_H
#define CLIP_BASE_PAGES_H

#include <stddef.h>

/* `size` zeroed bytes, aligned to a page; pages that are not touched take no memory. NULL when out of memory.
 * clip_pages_free takes the same size, and NULL. */
void *clip_pages_new(size_t size);
void clip_pages_free(void *pages, size_t size);

/* Gives the whole pages within data[size] of a mapped file back: they are read again when they are used
 * again. Where the kernel refuses, nothing is lost. */
void clip_pages_return(const void *data, size_t size);

/* 1 if the limit of the address space leaves room for `size` bytes now. Ask before calling a library that
 * does not check its allocations. */
int clip_pages_room(size_t size);

#endif
