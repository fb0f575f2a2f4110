#include "shard/links.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

/* A member that is kept in memory: its name, then its bytes. */
struct kept {
    char *text; /* owned */
    size_t name_size, size;
};

struct clip_links {
    struct clip_source *source;
    int ignore_zeros;
    struct clip_member_table own, *table;
    struct clip_source *again; /* a second reader of the archive; with `tar`, from the first link on */
    struct clip_tar *tar;

    struct kept *kept; /* [count], in order; those before `first` are freed */
    size_t first, count, room, bytes;
    int lost; /* some members so far are not kept */

    const char *found; /* the unread rest of the member found last, if it is kept; NULL: it is in `tar` */
};

void clip_member_table_free(struct clip_member_table *table)
{
    free(table->entries);
    *table = (struct clip_member_table){0};
}

struct clip_links *clip_links_new(struct clip_source *source, int ignore_zeros, struct clip_error *error)
{
    struct clip_links *links = calloc(1, sizeof *links);
    if (!links) {
        clip_fail_memory(error, "links");
        return NULL;
    }
    links->source = source;
    links->ignore_zeros = ignore_zeros;
    links->table = &links->own;
    return links;
}

void clip_links_share(struct clip_links *links, struct clip_member_table *table)
{
    links->table = table;
}

void clip_links_free(struct clip_links *links)
{
    if (!links)
        return;
    clip_tar_free(links->tar);
    clip_source_close(links->again);
    clip_member_table_free(&links->own);
    for (size_t i = links->first; i < links->count; i++)
        free(links->kept[i].text);
    free(links->kept);
    free(links);
}

/* "./a" and "a" are one name. */
static void strip(const char **name, size_t *size)
{
    while (*size > 2 && memcmp(*name, "./", 2) == 0) {
        *name += 2;
        *size -= 2;
    }
}

static int same_name(const char *a, size_t a_size, const char *b, size_t b_size)
{
    strip(&a, &a_size);
    strip(&b, &b_size);
    return a_size == b_size && memcmp(a, b, a_size) == 0;
}

static uint64_t hash_of(const char *name, size_t size)
{
    strip(&name, &size);
    return clip_fnv1a(name, size);
}

/* --- bytes that are kept --- */

int clip_links_wants(struct clip_links *links, const struct clip_member *member)
{
    if (clip_source_is_plain_file(links->source))
        return 0;
    if (member->size <= CLIP_LINKS_KEPT / 2 && member->name_size <= CLIP_LINKS_KEPT / 2)
        return 1;
    links->lost = 1;
    return 0;
}

/* The bytes that it counts for. The entry itself counts, so that members without name or bytes are limited,
 * too. */
static size_t weight(const struct kept *kept)
{
    return kept->name_size + kept->size + sizeof *kept;
}

/* Room for one more. */
static int make_room(struct clip_links *links, struct clip_error *error)
{
    if (links->count < links->room)
        return 0;
    if (links->first > links->room / 2) {
        links->count -= links->first;
        memmove(links->kept, links->kept + links->first, links->count * sizeof *links->kept);
        links->first = 0;
        return 0;
    }
    size_t room = links->room ? 2 * links->room : 64;
    struct kept *more = reallocarray(links->kept, room, sizeof *more);
    if (!more)
        return clip_fail_memory(error, "links");
    links->kept = more;
    links->room = room;
    return 0;
}

int clip_links_keep(struct clip_links *links, const struct clip_member *member, const void *data,
                    struct clip_error *error)
{
    struct kept kept = {malloc(member->name_size + (size_t)member->size + 1), member->name_size,
                        (size_t)member->size};
    if (!kept.text)
        return clip_fail_memory(error, "links");
    if (make_room(links, error) != 0) {
        free(kept.text);
        return -1;
    }
    memcpy(kept.text, member->name, kept.name_size);
    if (kept.size)
        memcpy(kept.text + kept.name_size, data, kept.size);
    links->kept[links->count++] = kept;
    links->bytes += weight(&kept);
    for (; links->bytes > CLIP_LINKS_KEPT; links->first++) {
        links->bytes -= weight(&links->kept[links->first]);
        free(links->kept[links->first].text);
        links->lost = 1;
    }
    return 0;
}

static int find_kept(struct clip_links *links, const struct clip_member *member, uint64_t *size,
                     struct clip_error *error)
{
    char shown[200];
    for (size_t i = links->count; i > links->first; i--) {
        const struct kept *kept = &links->kept[i - 1];
        if (same_name(kept->text, kept->name_size, member->link, member->link_size)) {
            links->found = kept->text + kept->name_size;
            *size = kept->size;
            return 1;
        }
    }
    if (!links->lost)
        return 0;
    return clip_fail(error,
                     "a hard link to %s, which is not among the last members that are kept of a pipe or a "
                     "compressed archive: decompress it into a file",
                     clip_printable(shown, sizeof shown, member->link, member->link_size));
}

/* --- a file --- */

static int by_hash(const void *a, const void *b)
{
    const struct clip_member_entry *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int add_entry(struct clip_member_table *table, const struct clip_member *member,
                     struct clip_error *error)
{
    if (table->count == table->room) {
        size_t room = table->room ? table->room + table->room / 2 : 1024;
        struct clip_member_entry *entries = reallocarray(table->entries, room, sizeof *entries);
        if (!entries)
            return clip_fail_memory(error, "links");
        table->entries = entries;
        table->room = room;
    }
    table->entries[table->count++] =
        (struct clip_member_entry){hash_of(member->name, member->name_size), member->offset};
    return 0;
}

/* If the archive is damaged, the table ends there; the reader of the archive reports the damage. */
static int fill_table(struct clip_links *links, struct clip_error *error)
{
    struct clip_member member;
    struct clip_error damage;
    clip_tar_seek(links->tar, 0);
    while (clip_tar_next(links->tar, &member, &damage) > 0)
        if ((member.kind == CLIP_MEMBER_FILE || member.kind == CLIP_MEMBER_LINK) &&
            add_entry(links->table, &member, error) != 0)
            return -1;
    qsort(links->table->entries, links->table->count, sizeof *links->table->entries, by_hash);
    links->table->whole = 1;
    return 0;
}

static int open_again(struct clip_links *links, struct clip_error *error)
{
    if (!links->again && !(links->again = clip_source_again(links->source, error)))
        return -1;
    if (!links->tar && !(links->tar = clip_tar_new(links->again, error)))
        return -1;
    clip_tar_ignore_zeros(links->tar, links->ignore_zeros);
    return links->table->whole ? 0 : fill_table(links, error);
}

/* The number of entries below (hash, offset). */
static size_t lower_bound(const struct clip_member_table *table, struct clip_member_entry limit)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_hash(&table->entries[middle], &limit) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Finds the last member of that name before `offset`. Returns as clip_links_find. */
static int go_to(struct clip_links *links, const char *name, size_t size, uint64_t offset,
                 struct clip_member *member, struct clip_error *error)
{
    const struct clip_member_table *table = links->table;
    uint64_t hash = hash_of(name, size);
    for (size_t i = lower_bound(table, (struct clip_member_entry){hash, offset});
         i > 0 && table->entries[i - 1].hash == hash; i--) {
        clip_tar_seek(links->tar, table->entries[i - 1].offset);
        int got = clip_tar_next(links->tar, member, error);
        if (got < 0)
            return -1;
        if (got > 0 && same_name(member->name, member->name_size, name, size))
            return 1;
    }
    return 0;
}

static int find_in_file(struct clip_links *links, const struct clip_member *member, uint64_t *size,
                        struct clip_error *error)
{
    struct clip_member at = *member;
    if (open_again(links, error) != 0)
        return -1;
    links->found = NULL;
    do { /* a link may point to a link, but always backwards */
        char *name = malloc(at.link_size + 1);
        if (!name)
            return clip_fail_memory(error, "a name");
        memcpy(name, at.link, at.link_size);
        int got = go_to(links, name, at.link_size, at.offset, &at, error);
        free(name);
        if (got <= 0)
            return got;
    } while (at.kind == CLIP_MEMBER_LINK);
    *size = at.size;
    return at.kind == CLIP_MEMBER_FILE;
}

int clip_links_find(struct clip_links *links, const struct clip_member *member, uint64_t *size,
                    struct clip_error *error)
{
    return clip_source_is_plain_file(links->source) ? find_in_file(links, member, size, error)
                                                    : find_kept(links, member, size, error);
}

int clip_links_read(struct clip_links *links, void *out, uint64_t size, struct clip_error *error)
{
    if (!links->found)
        return clip_tar_read(links->tar, out, size, error);
    memcpy(out, links->found, size);
    links->found += size;
    return 0;
}
