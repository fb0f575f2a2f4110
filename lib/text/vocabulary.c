#include "text/vocabulary.h"
#include "base/array.h"
#include "text/hash.h"
#include "text/subword.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* --- its tables --- */

static uint64_t hash_of_name(const void *context, uint32_t id)
{
    const struct clip_vocabulary *vocabulary = context;
    return clip_hash(vocabulary->names[id], strlen(vocabulary->names[id]));
}

static uint64_t hash_of_merge(const void *context, uint32_t rank)
{
    const struct clip_merge *merge = &((const struct clip_vocabulary *)context)->merges[rank];
    return clip_hash_pair(merge->left, merge->right);
}

/* The slot of the name, or the empty one where it belongs. */
static size_t find_name(const struct clip_vocabulary *vocabulary, const char *name, size_t length)
{
    const struct clip_slots *table = &vocabulary->ids;
    size_t slot = clip_hash(name, length) & (table->room - 1);
    for (; table->slots[slot]; slot = clip_slots_next(table, slot)) {
        const char *other = vocabulary->names[table->slots[slot] - 1];
        if (strlen(other) == length && memcmp(other, name, length) == 0)
            break;
    }
    return slot;
}

static size_t find_merge(const struct clip_vocabulary *vocabulary, int32_t left, int32_t right)
{
    const struct clip_slots *table = &vocabulary->ranks;
    size_t slot = clip_hash_pair(left, right) & (table->room - 1);
    for (; table->slots[slot]; slot = clip_slots_next(table, slot)) {
        const struct clip_merge *merge = &vocabulary->merges[table->slots[slot] - 1];
        if (merge->left == left && merge->right == right)
            break;
    }
    return slot;
}

/* --- the vocabulary --- */

struct clip_vocabulary *clip_vocabulary_new(struct clip_error *error)
{
    struct clip_vocabulary *vocabulary = calloc(1, sizeof *vocabulary);
    if (!vocabulary)
        clip_fail_memory(error, "a vocabulary");
    return vocabulary;
}

void clip_vocabulary_free(struct clip_vocabulary *vocabulary)
{
    if (!vocabulary)
        return;
    for (size_t i = 0; i < vocabulary->size; i++)
        free(vocabulary->names[i]);
    free(vocabulary->names);
    for (size_t i = 0; i < vocabulary->added_count; i++)
        free(vocabulary->added[i].text);
    free(vocabulary->added);
    clip_slots_free(&vocabulary->ids);
    free(vocabulary->merges);
    clip_slots_free(&vocabulary->ranks);
    free(vocabulary);
}

int32_t clip_vocabulary_id(const struct clip_vocabulary *vocabulary, const char *name, size_t length)
{
    if (!vocabulary->ids.room)
        return -1;
    return (int32_t)vocabulary->ids.slots[find_name(vocabulary, name, length)] - 1;
}

const struct clip_merge *clip_vocabulary_find(const struct clip_vocabulary *vocabulary, int32_t left,
                                              int32_t right)
{
    if (!vocabulary->ranks.room)
        return NULL;
    uint32_t found = vocabulary->ranks.slots[find_merge(vocabulary, left, right)];
    return found ? &vocabulary->merges[found - 1] : NULL;
}

/* Makes room for the names of ids [0, size). */
static int reserve_names(struct clip_vocabulary *vocabulary, size_t size, struct clip_error *error)
{
    if (size > vocabulary->name_room) {
        size_t room = size < 1024 ? 1024 : size + size / 2;
        char **names = reallocarray(vocabulary->names, room, sizeof *names);
        if (!names)
            return clip_fail_memory(error, "a vocabulary");
        memset(names + vocabulary->name_room, 0, (room - vocabulary->name_room) * sizeof *names);
        vocabulary->names = names;
        vocabulary->name_room = room;
    }
    if (size > vocabulary->size)
        vocabulary->size = size;
    return 0;
}

int clip_vocabulary_add_token(struct clip_vocabulary *vocabulary, int32_t id, const char *name, size_t length,
                              struct clip_error *error)
{
    if (id < 0 || (uint32_t)id >= CLIP_MAX_TOKENS)
        return clip_fail(error, "token id %ld is out of range", (long)id);
    if (memchr(name, 0, length))
        return clip_fail(error, "token %ld holds a zero byte", (long)id);
    if (reserve_names(vocabulary, (size_t)id + 1, error) != 0 ||
        clip_slots_grow(&vocabulary->ids, hash_of_name, vocabulary, error) != 0)
        return -1;
    if (vocabulary->names[id])
        return clip_fail(error, "two tokens have id %ld", (long)id);
    size_t slot = find_name(vocabulary, name, length);
    vocabulary->names[id] = strndup(name, length);
    if (!vocabulary->names[id])
        return clip_fail_memory(error, "a vocabulary");
    clip_slots_set(&vocabulary->ids, slot, (size_t)id);
    vocabulary->token_count++;
    return 0;
}

int clip_vocabulary_add_added(struct clip_vocabulary *vocabulary, const struct clip_added_token *token,
                              struct clip_error *error)
{
    if (token->id < 0 || (uint32_t)token->id >= CLIP_MAX_TOKENS)
        return clip_fail(error, "token id %ld is out of range", (long)token->id);
    if (reserve_names(vocabulary, (size_t)token->id + 1, error) != 0)
        return -1;
    char **name = &vocabulary->names[token->id];
    if (*name && strcmp(*name, token->text) != 0)
        return clip_fail(error, "two tokens have id %ld", (long)token->id);
    struct clip_added_token *added =
        reallocarray(vocabulary->added, vocabulary->added_count + 1, sizeof *added);
    if (!added)
        return clip_fail_memory(error, "a vocabulary");
    vocabulary->added = added;
    added[vocabulary->added_count] = *token;
    added[vocabulary->added_count].text = strdup(token->text);
    if (!added[vocabulary->added_count].text || (!*name && !(*name = strdup(token->text))))
        return clip_fail_memory(error, "a vocabulary");
    vocabulary->added_count++;
    return 0;
}

int clip_vocabulary_add_merge(struct clip_vocabulary *vocabulary, struct clip_merge merge,
                              struct clip_error *error)
{
    if (vocabulary->merge_count == CLIP_MAX_TOKENS)
        return clip_fail(error, "more than %u merges", CLIP_MAX_TOKENS);
    if (CLIP_GROW(vocabulary->merges, vocabulary->merge_count, vocabulary->merge_room) != 0)
        return clip_fail_memory(error, "a vocabulary");
    vocabulary->merges[vocabulary->merge_count++] = merge;
    return 0;
}

/* --- bytes as printable characters --- */

/* The name of a byte's token, terminated; returns its length. */
static size_t byte_name(char name[16], int byte, int ends)
{
    size_t length = clip_utf8_write((uint8_t *)name, clip_byte_character(byte));
    strcpy(name + length, ends ? "</w>" : "");
    return strlen(name);
}

int clip_vocabulary_add_bytes(struct clip_vocabulary *vocabulary, struct clip_error *error)
{
    char name[16];
    int32_t id = 0;
    for (int ends = 0; ends < 2; ends++) {
        for (int i = 0; i < 512; i++) { /* OpenAI's order: bytes that stand for themselves, then the others */
            int byte = i % 256, itself = clip_byte_character(byte) == (uint32_t)byte;
            if (itself != (i < 256))
                continue;
            if (clip_vocabulary_add_token(vocabulary, id, name, byte_name(name, byte, ends), error) != 0)
                return -1;
            vocabulary->bytes[ends][byte] = id++;
        }
    }
    return 0;
}

int clip_vocabulary_add_ends(struct clip_vocabulary *vocabulary, struct clip_error *error)
{
    static const char *const names[] = {CLIP_START_TOKEN, CLIP_END_TOKEN};
    for (int i = 0; i < 2; i++)
        if (clip_vocabulary_add_token(vocabulary, (int32_t)vocabulary->size, names[i], strlen(names[i]),
                                      error) != 0)
            return -1;
    return 0;
}

/* The id of a token that must be there. */
static int require(const struct clip_vocabulary *vocabulary, const char *name, int32_t *id,
                   struct clip_error *error)
{
    *id = clip_vocabulary_id(vocabulary, name, strlen(name));
    return *id < 0 ? clip_fail(error, "it has no token '%s'", name) : 0;
}

/* Of tokens with the same name the last counts, as in OpenAI's table: merges mean that one. */
static int take_last_ids(struct clip_vocabulary *vocabulary, struct clip_error *error)
{
    for (size_t rank = 0; rank < vocabulary->merge_count; rank++) {
        struct clip_merge *merge = &vocabulary->merges[rank];
        int32_t *ids[] = {&merge->left, &merge->right, &merge->result};
        for (int i = 0; i < 3; i++)
            if (require(vocabulary, vocabulary->names[*ids[i]], ids[i], error) != 0)
                return -1;
    }
    return 0;
}

/* Of equal merges the last counts, too. */
static int rank_merges(struct clip_vocabulary *vocabulary, struct clip_error *error)
{
    for (size_t rank = 0; rank < vocabulary->merge_count; rank++) {
        const struct clip_merge *merge = &vocabulary->merges[rank];
        if (clip_slots_grow(&vocabulary->ranks, hash_of_merge, vocabulary, error) != 0)
            return -1;
        clip_slots_set(&vocabulary->ranks, find_merge(vocabulary, merge->left, merge->right), rank);
    }
    return 0;
}

int clip_vocabulary_finish(struct clip_vocabulary *vocabulary, struct clip_error *error)
{
    char name[16];
    for (int ends = 0; ends < 2; ends++) {
        for (int byte = 0; byte < 256; byte++) {
            byte_name(name, byte, ends);
            if (require(vocabulary, name, &vocabulary->bytes[ends][byte], error) != 0)
                return -1;
        }
    }
    if (require(vocabulary, CLIP_START_TOKEN, &vocabulary->start, error) != 0 ||
        require(vocabulary, CLIP_END_TOKEN, &vocabulary->end, error) != 0)
        return -1;
    if (vocabulary->ids.used < vocabulary->token_count && take_last_ids(vocabulary, error) != 0)
        return -1;
    return rank_merges(vocabulary, error);
}
