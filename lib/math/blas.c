#include <config.h>

#include "math/blas.h"

#include "base/pages.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct clip_blas clip_blas;

/* OpenBLAS is loaded once per process, and so this state is global. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *library;
static int buffers;        /* taken */
static size_t buffer_size; /* of one; 0: not known yet */

/* Exported for OpenBLAS's own interface libraries, but not declared in its header. */
static void *(*memory_alloc)(int);
static void (*memory_free)(void *);
static void (*set_num_threads)(int);

/* Upper bounds of what versions for x86-64 map: a buffer, and the library itself. */
#define LIKELY_SIZE ((size_t)132 << 20)
#define LIBRARY_SIZE ((size_t)48 << 20)

static int find_symbol(const char *name, void *into, struct clip_error *error)
{
    void *symbol = dlsym(library, name);
    *(void **)into = symbol;
    return symbol ? 0 : clip_fail(error, "%s: there is no function %s", CLIP_OPENBLAS, name);
}

static int load_library(struct clip_error *error)
{
    /* Newer versions, such as 0.3.29, allocate a buffer when loaded, and retry forever if there is no room.
     */
    if (!clip_pages_room(LIBRARY_SIZE + LIKELY_SIZE))
        return clip_fail(error, "out of memory: OpenBLAS needs %zu MiB of address space",
                         (LIBRARY_SIZE + LIKELY_SIZE) >> 20);
    if (setenv("OPENBLAS_NUM_THREADS", "1", 1) != 0)
        return clip_fail_memory(error, "OpenBLAS");
    library = dlopen(CLIP_OPENBLAS, RTLD_LAZY | RTLD_LOCAL);
    if (!library)
        return clip_fail(error, "OpenBLAS cannot be loaded: %s", dlerror());
    if (find_symbol("cblas_sgemm", &clip_blas.sgemm, error) != 0 ||
        find_symbol("cblas_somatcopy", &clip_blas.somatcopy, error) != 0 ||
        find_symbol("openblas_get_config", &clip_blas.get_config, error) != 0 ||
        find_symbol("openblas_get_corename", &clip_blas.get_corename, error) != 0 ||
        find_symbol("openblas_set_num_threads", &set_num_threads, error) != 0) {
        dlclose(library);
        library = NULL;
        return -1;
    }
    struct clip_error ignored; /* without these two it allocates its buffers at times of its own */
    if (find_symbol("blas_memory_alloc", &memory_alloc, &ignored) != 0 ||
        find_symbol("blas_memory_free", &memory_free, &ignored) != 0)
        memory_alloc = NULL;
    return 0;
}

/* The process's address space in bytes; 0 if the system does not tell. */
static size_t address_space(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;
    if (!file)
        return 0;
    if (fscanf(file, "%lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Makes OpenBLAS allocate a buffer for each of `threads` callers, by holding them all at once. */
static int take_buffers(int threads, struct clip_error *error)
{
    void **taken = calloc((size_t)threads, sizeof *taken);
    int n = 0, status = taken ? 0 : clip_fail_memory(error, "OpenBLAS");
    while (status == 0 && n < threads) {
        size_t before = buffer_size ? 0 : address_space();
        if (n >= buffers && !clip_pages_room(buffer_size ? buffer_size : LIKELY_SIZE))
            status = clip_fail(
                error, "out of memory: OpenBLAS needs %zu MiB of address space for each of %d threads (-j)",
                (buffer_size ? buffer_size : LIKELY_SIZE) >> 20, threads);
        else
            taken[n++] = memory_alloc(0);
        if (before && n == 1 && address_space() > before + ((size_t)1 << 20))
            buffer_size = address_space() - before;
    }
    if (n > buffers)
        buffers = n;
    while (n > 0)
        memory_free(taken[--n]);
    free(taken);
    return status;
}

int clip_blas_open(int threads, struct clip_error *error)
{
    pthread_mutex_lock(&lock);
    int status = library ? 0 : load_library(error);
    if (status == 0)
        set_num_threads(1); /* another library of the process may use OpenBLAS, too */
    if (status == 0 && memory_alloc && threads > buffers)
        status = take_buffers(threads, error);
    pthread_mutex_unlock(&lock);
    return status;
}
