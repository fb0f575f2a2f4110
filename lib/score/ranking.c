#include "score/ranking.h"
#include "math/dots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void clip_ranking_init(struct clip_ranking *ranking, size_t most, float least, int softmax)
{
    *ranking = (struct clip_ranking){.most = most, .least = least, .softmax = softmax, .highest = -INFINITY};
}

void clip_ranking_free(struct clip_ranking *ranking)
{
    for (size_t i = 0; i < ranking->count; i++) {
        free(ranking->matches[i].key);
        free(ranking->matches[i].label);
    }
    free(ranking->matches);
    *ranking = (struct clip_ranking){0};
}

static int worse(const struct clip_match *a, const struct clip_match *b)
{
    return a->score != b->score ? a->score < b->score : a->column > b->column;
}

static void swap(struct clip_match *a, struct clip_match *b)
{
    struct clip_match c = *a;
    *a = *b;
    *b = c;
}

static void sift_up(struct clip_match *heap, size_t i)
{
    for (; i > 0 && worse(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&heap[i], &heap[(i - 1) / 2]);
}

static void sift_down(struct clip_match *heap, size_t n)
{
    for (size_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(&heap[child + 1], &heap[child]))
            child++;
        if (!worse(&heap[child], &heap[i]))
            break;
        swap(&heap[i], &heap[child]);
    }
}

static void add_to_softmax(struct clip_ranking *ranking, float score)
{
    if (score > ranking->highest) {
        ranking->sum = ranking->sum * exp(ranking->highest - score) + 1;
        ranking->highest = score;
    } else {
        ranking->sum += exp(score - ranking->highest);
    }
}

/* Room for one match more: the list doubles, up to `most`. */
static int grow(struct clip_ranking *ranking)
{
    if (ranking->count < ranking->room)
        return 0;
    size_t room = ranking->room ? 2 * ranking->room : 16;
    if (room > ranking->most)
        room = ranking->most;
    struct clip_match *matches = reallocarray(ranking->matches, room, sizeof *matches);
    if (!matches)
        return -1;
    ranking->matches = matches;
    ranking->room = room;
    return 0;
}

static int name_match(struct clip_match *match, const struct clip_vectors *columns, size_t i)
{
    const char *key = clip_vectors_key(columns, i), *label = clip_vectors_label(columns, i);
    match->key = strdup(key);
    match->label = label != key ? strdup(label) : NULL;
    if (match->key && (match->label || label == key))
        return 0;
    free(match->key);
    free(match->label);
    return -1;
}

/* Adds a match that is better than the worst, or for which there is room. */
static int add_match(struct clip_ranking *ranking, struct clip_match *match,
                     const struct clip_vectors *columns, size_t i)
{
    if (ranking->count < ranking->most && grow(ranking) != 0)
        return -1;
    if (columns && name_match(match, columns, i) != 0)
        return -1;
    if (ranking->count < ranking->most) {
        ranking->matches[ranking->count++] = *match;
        sift_up(ranking->matches, ranking->count - 1);
    } else {
        free(ranking->matches[0].key);
        free(ranking->matches[0].label);
        ranking->matches[0] = *match;
        sift_down(ranking->matches, ranking->count);
    }
    return 0;
}

/* Scores in which a match is looked for one by one, if there is one. */
enum { STRIDE = 64 };

static int add_some(struct clip_ranking *ranking, const float *scores, size_t n,
                    const struct clip_vectors *columns, size_t first, uint64_t number)
{
    for (size_t i = 0; i < n; i++) {
        struct clip_match match = {scores[i], number + i, NULL, NULL};
        if (!(match.score >= ranking->least) ||
            (ranking->count == ranking->most && !worse(&ranking->matches[0], &match)))
            continue;
        if (add_match(ranking, &match, columns, first + i) != 0)
            return -1;
    }
    return 0;
}

int clip_ranking_add(struct clip_ranking *ranking, const float *scores, size_t n,
                     const struct clip_vectors *columns, size_t first, uint64_t number,
                     struct clip_error *error)
{
    const struct clip_dot_kernels *kernels = clip_dot_kernels(clip_level());
    for (size_t i = 0; i < n && ranking->softmax; i++)
        add_to_softmax(ranking, scores[i]);
    for (size_t i = 0; i < n && ranking->most > 0; i += STRIDE) {
        size_t here = n - i < STRIDE ? n - i : STRIDE;
        float bar = ranking->count < ranking->most ? ranking->least : ranking->matches[0].score;
        if (kernels->highest(here, scores + i) >= bar &&
            add_some(ranking, scores + i, here, columns, first + i, number + i) != 0)
            return clip_fail_memory(error, "the best matches");
    }
    return 0;
}

void clip_ranking_sort(struct clip_ranking *ranking)
{
    for (size_t n = ranking->count; n > 1; n--) {
        swap(&ranking->matches[0], &ranking->matches[n - 1]);
        sift_down(ranking->matches, n - 1);
    }
}

float clip_ranking_softmax(const struct clip_ranking *ranking, float score)
{
    return (float)(exp(score - ranking->highest) / ranking->sum);
}
