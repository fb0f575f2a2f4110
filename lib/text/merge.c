#include "text/merge.h"

#include <stdlib.h>

/* A merge that can be done: of the symbol at `at` and the next one, if they are still the same. */
struct candidate {
    uint32_t rank, at;
    int32_t left, right, result;
};

struct clip_merge_work {
    const struct clip_merge_rule *rule;
    struct clip_symbol *symbols;
    struct candidate *heap, *found; /* what can be done; what the merges of one rank made possible */
    size_t heap_size, found_count, room;
};

struct clip_merge_work *clip_merge_work_new(struct clip_error *error)
{
    struct clip_merge_work *work = calloc(1, sizeof *work);
    if (!work)
        clip_fail_memory(error, "a tokenizer");
    return work;
}

void clip_merge_work_free(struct clip_merge_work *work)
{
    if (!work)
        return;
    free(work->symbols);
    free(work->heap);
    free(work->found);
    free(work);
}

/* Room for n symbols, and in the heap each pair of neighbours there ever is: n - 1 at first, and two more of
 * each of up to n - 1 merges. */
static int reserve(struct clip_merge_work *work, size_t n, struct clip_error *error)
{
    if (n <= work->room)
        return 0;
    if (n >= CLIP_NO_SYMBOL / 4)
        return clip_fail(error, "a word of more than %lu bytes", (unsigned long)CLIP_NO_SYMBOL / 4);
    size_t room = n < 256 ? 256 : n;
    free(work->symbols);
    free(work->heap);
    free(work->found);
    work->symbols = reallocarray(NULL, room, sizeof *work->symbols);
    work->heap = reallocarray(NULL, 3 * room, sizeof *work->heap);
    work->found = reallocarray(NULL, 2 * room, sizeof *work->found);
    work->room = room;
    if (work->symbols && work->heap && work->found)
        return 0;
    work->room = 0;
    return clip_fail_memory(error, "a word");
}

struct clip_symbol *clip_merge_begin(struct clip_merge_work *work, size_t n, struct clip_error *error)
{
    return reserve(work, n, error) != 0 ? NULL : work->symbols;
}

static int comes_before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(struct clip_merge_work *work, struct candidate candidate)
{
    struct candidate *heap = work->heap;
    size_t i = work->heap_size++;
    for (; i > 0 && comes_before(&candidate, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = candidate;
}

static struct candidate pop(struct clip_merge_work *work)
{
    struct candidate *heap = work->heap, top = heap[0], last = heap[--work->heap_size];
    size_t n = work->heap_size, i = 0;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && comes_before(&heap[child + 1], &heap[child]))
            child++;
        if (!comes_before(&heap[child], &last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* Notes the merge of the symbol at `at` with the next one, if there is such a merge. */
static void note(struct clip_merge_work *work, uint32_t at)
{
    const struct clip_symbol *symbols = work->symbols;
    struct candidate candidate = {.at = at};
    if (at == CLIP_NO_SYMBOL || symbols[at].next == CLIP_NO_SYMBOL)
        return;
    const struct clip_symbol *left = &symbols[at], *right = &symbols[left->next];
    if (!work->rule->find(work->rule->context, left, right, &candidate.rank, &candidate.result))
        return;
    candidate.left = left->id;
    candidate.right = right->id;
    work->found[work->found_count++] = candidate;
}

/* Does the candidate's merge, if its symbols are still there. */
static void merge(struct clip_merge_work *work, const struct candidate *candidate)
{
    struct clip_symbol *symbols = work->symbols, *left = &symbols[candidate->at];
    if (left->id != candidate->left || left->next == CLIP_NO_SYMBOL ||
        symbols[left->next].id != candidate->right)
        return;
    struct clip_symbol *right = &symbols[left->next];
    left->id = candidate->result;
    left->end = right->end;
    left->next = right->next;
    right->id = CLIP_SYMBOL_GONE;
    if (left->next != CLIP_NO_SYMBOL)
        symbols[left->next].previous = candidate->at;
    note(work, left->previous);
    note(work, candidate->at);
}

static void push_found(struct clip_merge_work *work)
{
    for (size_t i = 0; i < work->found_count; i++)
        push(work, work->found[i]);
    work->found_count = 0;
}

void clip_merge_run(struct clip_merge_work *work, const struct clip_merge_rule *rule, size_t n)
{
    work->rule = rule;
    work->heap_size = work->found_count = 0;
    for (size_t i = 0; i < n; i++) {
        work->symbols[i].previous = i > 0 ? (uint32_t)i - 1 : CLIP_NO_SYMBOL;
        work->symbols[i].next = i + 1 < n ? (uint32_t)i + 1 : CLIP_NO_SYMBOL;
    }
    for (uint32_t i = 0; i + 1 < n; i++)
        note(work, i);
    push_found(work);
    while (work->heap_size > 0) {
        uint32_t rank = work->heap[0].rank;
        do {
            struct candidate candidate = pop(work);
            merge(work, &candidate);
        } while (rule->by_rank && work->heap_size > 0 && work->heap[0].rank == rank);
        push_found(work);
    }
}
