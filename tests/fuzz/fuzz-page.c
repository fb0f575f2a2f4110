/* Results of any bytes, in each form, as pages of each view: all text of the page is UTF-8, and it has the
 * tags that the program wrote, no others. */
#include "score/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unistr.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static size_t count(const char *text, const char *word)
{
    size_t n = 0;
    while ((text = strstr(text, word)) != NULL) {
        text += strlen(word);
        n++;
    }
    return n;
}

static void check_page(const struct clip_results *results, enum clip_page_view view)
{
    struct clip_error error = {""};
    struct clip_gallery gallery = {.side = 16};
    struct clip_page page = {view, "a <title>", results, &gallery, NULL, "", ""};
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    CHECK(file && clip_gallery_want(&gallery, results, &error) == 0);
    CHECK(clip_page_write(&page, file, &error) == 0 && fclose(file) == 0);
    CHECK(!u8_check((const uint8_t *)text, size) && strlen(text) == size);
    size_t figures = count(text, "<figure tabindex=\"0\" data-name=\""), sections = count(text, "<section");
    CHECK(count(text, "<figure ") == figures && count(text, "</figure>") == figures);
    CHECK(count(text, "</section>") == sections && count(text, "<script") == 1 && count(text, "<img") == 0);
    if (view == CLIP_PAGE_RESULTS)
        CHECK(figures == results->matches && sections == results->count);
    free(text);
    clip_gallery_free(&gallery);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_results results = {0};
    struct clip_error error = {""};
    char path[40];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0 && (size_t)write(fd, data, size) == size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (clip_results_read(&results, path, 1 << 20, &error) == 0)
        for (int view = CLIP_PAGE_RESULTS; view <= CLIP_PAGE_CLASSES; view++)
            check_page(&results, (enum clip_page_view)view);
    else
        CHECK(error.text[0]);
    clip_results_free(&results);
    close(fd);
    return 0;
}
