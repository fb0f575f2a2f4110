/* The state of an optimizer, a safetensors file, of any bytes: what is accepted must be written and read as
 * the same again, and lead to a step. */
#include "base/file.h"
#include "train/optimizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static char folder[] = "/tmp/fuzz-optimizer.XXXXXX", in[64], written[2][64];
static struct clip_pool *pool;

static void clean_up(void)
{
    unlink(in);
    unlink(written[0]);
    unlink(written[1]);
    rmdir(folder);
    clip_pool_free(pool);
}

static void begin(void)
{
    struct clip_error error;
    CHECK(mkdtemp(folder) && (pool = clip_pool_new(1, &error)));
    snprintf(in, sizeof in, "%s/in", folder);
    for (int i = 0; i < 2; i++)
        snprintf(written[i], sizeof written[i], "%s/written-%d", folder, i);
    atexit(clean_up);
}

static void put(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* Whether the two files hold the same bytes. */
static int alike(const char *a, const char *b)
{
    struct clip_error error;
    struct clip_mapping x, y;
    CHECK(clip_map_file(&x, a, &error) == 0 && clip_map_file(&y, b, &error) == 0);
    int same = x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    clip_unmap_file(&x);
    clip_unmap_file(&y);
    return same;
}

/* Reads the state at `path` into an optimizer and writes it to `copy`; then steps. 0 where it is refused. */
static int read_and_write(const char *path, const char *copy)
{
    static float values[10], gradients[10];
    struct clip_parameter items[] = {
        {.slot = {.name = "a", .ndim = 2, .shape = {2, 3}}, 6, values, gradients, 0},
        {.slot = {.name = "b", .ndim = 1, .shape = {4}}, 4, values + 6, gradients + 6, 0}};
    struct clip_parameters parameters = {.items = items, .count = 2};
    struct clip_error error = {""};
    double norm;
    struct clip_optimizer *optimizer = clip_optimizer_new(&parameters, &clip_adamw, 0, pool, NULL, &error);
    CHECK(optimizer);
    int accepted = clip_optimizer_read(optimizer, path, &error) == 0;
    CHECK(accepted || error.text[0]);
    if (accepted) {
        CHECK(clip_optimizer_write(optimizer, copy, &error) == 0);
        memset(values, 0, sizeof values);
        clip_optimizer_step(optimizer, 1e-3, &norm, &error); /* moments that are not finite are an error */
    }
    clip_optimizer_free(optimizer);
    return accepted;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!pool)
        begin();
    put(in, data, size);
    if (read_and_write(in, written[0]))
        CHECK(read_and_write(written[0], written[1]) && alike(written[0], written[1]));
    return 0;
}
