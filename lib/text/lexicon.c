#include "text/lexicon.h"
#include "base/array.h"

static uint64_t hash_of_word(const void *context, uint32_t number)
{
    const struct clip_lexicon *lexicon = context;
    const struct clip_word *word = &lexicon->words[number];
    return clip_hash(lexicon->text.at + word->at, word->length);
}

/* The slot of the name, or the empty one where it belongs. */
static size_t find_slot(const struct clip_lexicon *lexicon, const char *name, size_t length)
{
    const struct clip_slots *table = &lexicon->slots;
    size_t slot = clip_hash(name, length) & (table->room - 1);
    for (; table->slots[slot]; slot = clip_slots_next(table, slot)) {
        const struct clip_word *word = &lexicon->words[table->slots[slot] - 1];
        if (word->length == length && memcmp(lexicon->text.at + word->at, name, length) == 0)
            break;
    }
    return slot;
}

static int reserve(struct clip_lexicon *lexicon, size_t size, struct clip_error *error)
{
    if (CLIP_GROW(lexicon->words, lexicon->count, lexicon->word_room) != 0)
        return clip_fail_memory(error, "a vocabulary");
    if (size > lexicon->id_room) {
        size_t room = size + size / 2 + 1024;
        uint32_t *by_id = reallocarray(lexicon->by_id, room, sizeof *by_id);
        if (!by_id)
            return clip_fail_memory(error, "a vocabulary");
        memset(by_id + lexicon->id_room, 0, (room - lexicon->id_room) * sizeof *by_id);
        lexicon->by_id = by_id;
        lexicon->id_room = room;
    }
    return 0;
}

int clip_lexicon_add(struct clip_lexicon *lexicon, const char *name, size_t length, int32_t id, int unique,
                     struct clip_error *error)
{
    char shown[80];
    if (id < 0 || (uint32_t)id >= CLIP_MOST_IDS)
        return clip_fail(error, "token '%s' has no valid id",
                         clip_printable(shown, sizeof shown, name, length));
    if (lexicon->count == CLIP_MOST_WORDS)
        return clip_fail(error, "more than %u tokens", CLIP_MOST_WORDS);
    if (lexicon->text.n + length > UINT32_MAX / 2)
        return clip_fail(error, "a vocabulary that is too large");
    if (reserve(lexicon, (size_t)id + 1, error) != 0 ||
        clip_slots_grow(&lexicon->slots, hash_of_word, lexicon, error) != 0)
        return -1;
    if (lexicon->by_id[id])
        return clip_fail(error, "two tokens have id %ld", (long)id);
    size_t slot = find_slot(lexicon, name, length);
    int known = lexicon->slots.slots[slot] != 0;
    if (known && unique)
        return clip_fail(error, "token '%s' is there twice",
                         clip_printable(shown, sizeof shown, name, length));
    if (clip_buffer_add(&lexicon->text, name, length, error) != 0)
        return -1;
    lexicon->words[lexicon->count] =
        (struct clip_word){(uint32_t)(lexicon->text.n - length), (uint32_t)length, id};
    if (!known)
        clip_slots_set(&lexicon->slots, slot, lexicon->count);
    lexicon->by_id[id] = (uint32_t)++lexicon->count;
    if ((size_t)id >= lexicon->size)
        lexicon->size = (size_t)id + 1;
    return 0;
}

void clip_lexicon_free(struct clip_lexicon *lexicon)
{
    clip_buffer_free(&lexicon->text);
    free(lexicon->words);
    free(lexicon->by_id);
    clip_slots_free(&lexicon->slots);
    *lexicon = (struct clip_lexicon){0};
}

int32_t clip_lexicon_id(const struct clip_lexicon *lexicon, const char *name, size_t length)
{
    if (!lexicon->slots.room)
        return -1;
    uint32_t found = lexicon->slots.slots[find_slot(lexicon, name, length)];
    return found ? lexicon->words[found - 1].id : -1;
}

const char *clip_lexicon_name(const struct clip_lexicon *lexicon, int32_t id, size_t *length)
{
    uint32_t word = id >= 0 && (size_t)id < lexicon->size ? lexicon->by_id[id] : 0;
    if (!word)
        return NULL;
    *length = lexicon->words[word - 1].length;
    return lexicon->text.at + lexicon->words[word - 1].at;
}
