/* Cleaning and tokenizing any bytes: what comes out is well-formed, in normal spaces and lower case, and the
 * same again; its pieces cover it. */
#include "text/clean.h"
#include "text/pieces.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static struct clip_cleaner *cleaner;
static struct clip_vocabulary *vocabulary;
static struct clip_tokenizer *tokenizer;

/* The 512 bytes, and a few merges. */
static struct clip_vocabulary *make_vocabulary(void)
{
    static const char *const merges[][2] = {
        {"t", "h"}, {"th", "e</w>"}, {"a", "a"}, {"aa", "aa"}, {"a", "n"}};
    struct clip_error error;
    struct clip_vocabulary *made = clip_vocabulary_new(&error);
    CHECK(made && clip_vocabulary_add_bytes(made, &error) == 0);
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "%s%s", merges[i][0], merges[i][1]);
        struct clip_merge merge = {clip_vocabulary_id(made, merges[i][0], strlen(merges[i][0])),
                                   clip_vocabulary_id(made, merges[i][1], strlen(merges[i][1])),
                                   (int32_t)made->size};
        CHECK(clip_vocabulary_add_token(made, merge.result, name, (size_t)n, &error) == 0);
        CHECK(clip_vocabulary_add_merge(made, merge, &error) == 0);
    }
    CHECK(clip_vocabulary_add_ends(made, &error) == 0 && clip_vocabulary_finish(made, &error) == 0);
    return made;
}

static void check_clean(const char *clean, size_t n)
{
    for (size_t i = 0, last_space = 1; i < n;) {
        uint32_t point;
        int taken = clip_utf8_read(&point, (const uint8_t *)clean + i, n - i);
        CHECK(taken > 0);
        int space = clip_is_space(point);
        CHECK(!space || (point == ' ' && !last_space && i + 1 < n));
        CHECK(!(point >= 'A' && point <= 'Z'));
        last_space = (size_t)space;
        i += (size_t)taken;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_error error;
    const char *clean;
    const int32_t *ids;
    size_t n, count, bytes = 0;
    if (!cleaner) {
        cleaner = clip_cleaner_new(&error);
        vocabulary = make_vocabulary();
        tokenizer = clip_tokenizer_new(vocabulary, &error);
        CHECK(cleaner && tokenizer);
    }
    if (size > 4096) /* some references take a round each */
        return 0;
    CHECK(clip_clean(cleaner, (const char *)data, size, &clean, &n, &error) == 0);
    check_clean(clean, n);
    for (size_t i = 0, step; i < n; i += step) {
        enum clip_piece piece;
        step = clip_next_piece(clean + i, n - i, &piece);
        CHECK(step >= 1 && step <= n - i);
        bytes += piece == CLIP_PIECE_TEXT ? step : 0;
    }
    CHECK(clip_tokenize(tokenizer, (const char *)data, size, &ids, &count, &error) == 0);
    for (size_t i = 0; i < count; i++) {
        CHECK(ids[i] >= 0 && (size_t)ids[i] < vocabulary->size);
        if (ids[i] < CLIP_BYTE_TOKENS)
            CHECK(bytes-- > 0);
    }
    return 0;
}
