/* Samples of a shard: members of one key that follow one another, as WebDataset 1.0.2 groups them. */
#ifndef CLIP_SHARD_SAMPLE_H
#define CLIP_SHARD_SAMPLE_H

#include "base/error.h"
#include "shard/links.h"
#include "shard/source.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdint.h>

/* Splits a member's name by ^((?:.*[/]|)[^.]+)[.]([^/]*)$ (Python's re) into the key name[0..*key_size) and
 * the extension, which begins one after it. -1 where it does not match. */
int clip_split_name(const char *name, size_t size, size_t *key_size);

/* 1 for the names that WebDataset takes for notes about the shard: "__", anything, "__", then "/" or the end.
 */
int clip_is_meta_name(const char *name, size_t size);

/* 1 for names that lead out of the folder that an archive is extracted in: absolute ones, and those with a
 * part
 * "..". */
int clip_name_escapes(const char *name, size_t size);

/* An extension in lower case, as Python's str.lower() has it; bytes that are not UTF-8 stay. NULL when out of
 * memory; the caller frees it. */
char *clip_lower_extension(const char *text, size_t size, size_t *lower_size);

struct clip_sample_options {
    char *const *only; /* extensions to keep, in lower case; the others' data is not read */
    size_t only_count; /* 0: all are kept */
    size_t max_member; /* bytes of a member that is kept */
    size_t max_record; /* bytes of a record */
    int headers_only;  /* data is not read: what comes are the samples that would come, with empty members */
    /* NULL, or: each regular member is a sample, its name the key, this the extension */
    const char *loose;
    int ignore_zeros; /* what follows the end of an archive is another one, and not an error */
};

struct clip_samples;

/* Reads the samples of the archive in `source`, which it then owns. `url` is what `__url__` says and begins
 * each message; it and the options must stay. NULL when out of memory, with error. */
struct clip_samples *clip_samples_new(struct clip_source *source, const char *url,
                                      const struct clip_sample_options *options, struct clip_error *error);
void clip_samples_free(struct clip_samples *samples);

/* Keeps in `table` what hard links need of the archive (shard/links.h), for other readers of it; it must
 * stay. */
void clip_samples_share(struct clip_samples *samples, struct clip_member_table *table);

/* Reads the next sample: a record of `__key__`, `__url__` (str) and its members in their order under their
 * extension (bin), the caller's. A hard link to an earlier member is a member of the same bytes. Returns 1;
 * the record may be marked bad and then holds key and url alone (an extension that repeats, a member or a
 * record over its limit); 0 at the end of the archive, when the source was read to its end; -1 with error:
 * the archive is damaged, and the sample it was in is not given; or something follows its end; or it has
 * members, but no sample. */
int clip_samples_next(struct clip_samples *samples, struct clip_record **record, struct clip_error *error);

/* Goes to the sample that begins at `offset` of a source that can (clip_source_open_file). */
void clip_samples_seek(struct clip_samples *samples, uint64_t offset);

/* What was passed over so far. */
struct clip_passed {
    uint64_t unmatched;                  /* samples that had none of `only` */
    uint64_t symlinks, dangling, others; /* links; hard ones to no earlier member; devices and the like */
    char scattered[100]; /* a key that came in two places, as another one did; printable, or "" */
};

/* The members among them in words, "symbolic links: 2, ...", into out[size]; returns `out`, "" where there
 * are none. */
const char *clip_passed_describe(const struct clip_passed *passed, char *out, size_t size);
const struct clip_passed *clip_samples_passed(const struct clip_samples *samples);

/* Seconds spent waiting for input. */
double clip_samples_waited(const struct clip_samples *samples);

/* Where in the archive (decompressed) the first header of the sample last given begins. */
uint64_t clip_samples_offset(const struct clip_samples *samples);

#endif
