/* What every unit test uses: CHECK counts, prints where it failed, and the test goes on. */
#ifndef CLIP_TESTS_CHECK_H
#define CLIP_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

static int checks, failures;

/* CHECK(condition, "printf format" ...): the format is needed, "" will do. */
#define CHECK(condition, ...)                                                                                \
    do {                                                                                                     \
        checks++;                                                                                            \
        if (!(condition)) {                                                                                  \
            failures++;                                                                                      \
            printf("%s:%d: %s ", __FILE__, __LINE__, #condition);                                            \
            printf(" " __VA_ARGS__);                                                                         \
            printf("\n");                                                                                    \
        }                                                                                                    \
    } while (0)

/* Ends main: says how many checks ran; 1 if one failed. */
static inline int check_end(void)
{
    printf("%d checks, %d failures\n", checks, failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The folder of shared data: $CLIP_SHARED, or ../shared beside the sources; NULL, and a line that says so,
 * where it is absent. */
static inline const char *check_shared(void)
{
    static char path[4096];
    const char *dir = getenv("CLIP_SHARED"), *src = getenv("srcdir");
    if (dir)
        snprintf(path, sizeof path, "%s", dir);
    else
        snprintf(path, sizeof path, "%s/../shared", src ? src : ".");
    char probe[4200];
    snprintf(probe, sizeof probe, "%s/golden/README.md", path);
    FILE *file = fopen(probe, "r");
    if (!file) {
        printf("skipped: shared/golden\n");
        return NULL;
    }
    fclose(file);
    return path;
}

/* The same for a test of nothing else, which then ends as skipped (automake: status 77). */
static inline void check_need_shared(void)
{
    if (!check_shared())
        exit(77);
}

#endif
