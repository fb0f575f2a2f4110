/* A trie of byte strings: which of them begin a text, one after another from the shortest on. */
#ifndef CLIP_TEXT_TRIE_H
#define CLIP_TEXT_TRIE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed, it is empty. The edges are in a hash table: (node, byte) to node. Node 0 is the root. */
struct clip_trie {
    struct clip_trie_edge {
        uint32_t key, to; /* node << 8 | byte; to 0: no edge */
    } * edges;
    size_t room, used; /* room is a power of two, or 0 */
    int32_t *values;   /* of each node: that of the string that ends there, or -1 */
    size_t nodes, node_room;
    uint32_t first[256]; /* the root's edges */
};

/* Adds a string, not empty, with a value >= 0; one that is there already keeps its value, *known is then 1.
 * -1 when out of memory, or where the trie is too large. */
int clip_trie_add(struct clip_trie *trie, const char *text, size_t n, int32_t value, int *known,
                  struct clip_error *error);
void clip_trie_free(struct clip_trie *trie);

/* From a node by a byte to the next one, or 0. */
static inline uint32_t clip_trie_step(const struct clip_trie *trie, uint32_t node, unsigned char byte)
{
    if (node == 0)
        return trie->first[byte];
    uint32_t key = node << 8 | byte;
    size_t slot = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (trie->room - 1);
    while (trie->edges[slot].to && trie->edges[slot].key != key)
        slot = (slot + 1) & (trie->room - 1);
    return trie->edges[slot].to;
}

/* The value of the longest string that begins text[n], *length its bytes; -1 where there is none. */
static inline int32_t clip_trie_longest(const struct clip_trie *trie, const char *text, size_t n,
                                        size_t *length)
{
    uint32_t node = 0;
    int32_t value = -1;
    for (size_t i = 0; i < n && (node = clip_trie_step(trie, node, (unsigned char)text[i])) != 0; i++)
        if (trie->values[node] >= 0) {
            value = trie->values[node];
            *length = i + 1;
        }
    return value;
}

/* The value of text[n], or -1. */
static inline int32_t clip_trie_find(const struct clip_trie *trie, const char *text, size_t n)
{
    uint32_t node = 0;
    if (n == 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if ((node = clip_trie_step(trie, node, (unsigned char)text[i])) == 0)
            return -1;
    return trie->values[node];
}

#endif
