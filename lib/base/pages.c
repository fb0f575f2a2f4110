#include "base/pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE ((size_t)2 << 20)

/* In huge pages; the last may be filled in part. */
static size_t round_up(size_t size)
{
    return (size + HUGE - 1) / HUGE * HUGE;
}

static void *map_pages(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void *clip_pages_new(size_t size)
{
    if (size < HUGE)
        return map_pages(size ? size : 1);
    if (size > SIZE_MAX - 3 * HUGE)
        return NULL;
    char *room = map_pages(round_up(size) + HUGE);
    if (!room)
        return NULL;
    size_t before = (HUGE - (uintptr_t)room % HUGE) % HUGE;
    if (before)
        munmap(room, before);
    munmap(room + before + round_up(size), HUGE - before);
    madvise(room + before, (size + HUGE / 2) / HUGE * HUGE, MADV_HUGEPAGE); /* a wish */
    return room + before;
}

void clip_pages_free(void *pages, size_t size)
{
    if (pages)
        munmap(pages, size < HUGE ? (size ? size : 1) : round_up(size));
}

void clip_pages_return(const void *data, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)data + page - 1) / page * page,
              end = ((uintptr_t)data + size) / page * page;
    if (start < end)
        madvise((void *)start, end - start, MADV_DONTNEED);
}

int clip_pages_room(size_t size)
{
    void *pages =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED)
        return 0;
    munmap(pages, size);
    return 1;
}
