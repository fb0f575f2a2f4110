/* Large memory straight from the kernel, in huge pages as far as it fills them: a program that packs hundreds
 * of megabytes of weights would else spend its start on page faults. */
#ifndef CLIP_BASE_PAGES_H
#define CLIP_BASE_PAGES_H

#include <stddef.h>

/* `size` zeroed bytes, aligned to a page; pages that are not touched take no memory. NULL when out of memory.
 * clip_pages_free takes the same size, and NULL. */
void *clip_pages_new(size_t size);
void clip_pages_free(void *pages, size_t size);

/* 1 if a limit of the address space leaves room for `size` bytes now: asked before code of others that does
 * not look at what it is given. */
int clip_pages_room(size_t size);

#endif
