#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

#define MOST_NODES (1u << 24) /* a node's number and a byte make a key */

static void put_edge(struct clip_trie *trie, uint32_t key, uint32_t to)
{
    size_t slot = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (trie->room - 1);
    while (trie->edges[slot].to)
        slot = (slot + 1) & (trie->room - 1);
    trie->edges[slot] = (struct clip_trie_edge){key, to};
}

static int grow_edges(struct clip_trie *trie, struct clip_error *error)
{
    if (3 * (trie->used + 1) <= 2 * trie->room)
        return 0;
    struct clip_trie larger = {.room = trie->room ? 2 * trie->room : 1024};
    larger.edges = calloc(larger.room, sizeof *larger.edges);
    if (!larger.edges)
        return clip_fail_memory(error, "a vocabulary");
    for (size_t i = 0; i < trie->room; i++)
        if (trie->edges[i].to)
            put_edge(&larger, trie->edges[i].key, trie->edges[i].to);
    free(trie->edges);
    trie->edges = larger.edges;
    trie->room = larger.room;
    return 0;
}

/* A new node; 0 with error. */
static uint32_t add_node(struct clip_trie *trie, struct clip_error *error)
{
    if (trie->nodes == MOST_NODES) {
        clip_fail(error, "a vocabulary that is too large");
        return 0;
    }
    if (trie->nodes + 2 > trie->node_room) {
        size_t room = 2 * trie->node_room + 1024;
        int32_t *values = reallocarray(trie->values, room, sizeof *values);
        if (!values) {
            clip_fail_memory(error, "a vocabulary");
            return 0;
        }
        trie->values = values;
        trie->node_room = room;
    }
    trie->nodes += trie->nodes == 0; /* the root */
    trie->values[trie->nodes] = -1;
    return (uint32_t)trie->nodes++;
}

int clip_trie_add(struct clip_trie *trie, const char *text, size_t n, int32_t value, int *known,
                  struct clip_error *error)
{
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t to = clip_trie_step(trie, node, byte);
        if (!to) {
            if (grow_edges(trie, error) != 0 || (to = add_node(trie, error)) == 0)
                return -1;
            if (node == 0) {
                trie->first[byte] = to;
            } else {
                put_edge(trie, node << 8 | byte, to);
                trie->used++;
            }
        }
        node = to;
    }
    *known = trie->values[node] >= 0;
    if (!*known)
        trie->values[node] = value;
    return 0;
}

void clip_trie_free(struct clip_trie *trie)
{
    free(trie->edges);
    free(trie->values);
    *trie = (struct clip_trie){0};
}
