/* The samples of a shard: consecutive members with the same key, grouped as WebDataset 1.0.2 does. */
#ifndef CLIP_SHARD_SAMPLE_H
#define CLIP_SHARD_SAMPLE_H

#include "base/error.h"
#include "shard/links.h"
#include "shard/source.h"
#include "stream/record.h"

#include <stddef.h>
#include <stdint.h>

/* Splits a member's name by ^((?:.*[/]|)[^.]+)[.]([^/]*)$ (Python's re) into the key name[0..*key_size)
 * and the extension, which begins one byte after the key. -1 if the name does not match. */
int clip_split_name(const char *name, size_t size, size_t *key_size);

/* 1 for names that WebDataset takes for notes about the shard: "__", anything, "__", then "/" or the end. */
int clip_is_meta_name(const char *name, size_t size);

/* 1 for names that lead out of the folder that an archive is extracted to: absolute ones, and those with a
 * part "..". */
int clip_name_escapes(const char *name, size_t size);

/* An extension in lower case, by Python's str.lower(); bytes that are not UTF-8 are unchanged. NULL when
 * out of memory; the caller frees it. */
char *clip_lower_extension(const char *text, size_t size, size_t *lower_size);

struct clip_sample_options {
    char *const *only; /* extensions to keep, in lower case; other members' data are not read */
    size_t only_count; /* 0: all are kept */
    size_t max_member; /* most bytes of a member that is kept */
    size_t max_record; /* most bytes of a record */
    int headers_only;  /* data are not read: the samples are the same, with empty members */
    /* NULL, or: each regular member is a sample, with its name as the key and this as the extension */
    const char *loose;
    int ignore_zeros; /* another archive may follow the end of one */
};

/* Sets `only` to the words of "jpg,txt,...", in lower case, which clip_only_free frees. -1 with error when
 * out of memory. */
int clip_only_read(struct clip_sample_options *options, const char *words, struct clip_error *error);
void clip_only_free(struct clip_sample_options *options);

struct clip_samples;

/* Reads the samples of the archive in `source`, which it then owns. `url` becomes `__url__` and begins
 * each message; it and the options must stay. NULL when out of memory, with error. */
struct clip_samples *clip_samples_new(struct clip_source *source, const char *url,
                                      const struct clip_sample_options *options, struct clip_error *error);
void clip_samples_free(struct clip_samples *samples);

/* Keeps in `table`, which must stay, what other readers of the archive need for hard links
 * (shard/links.h). */
void clip_samples_share(struct clip_samples *samples, struct clip_member_table *table);

/* Reads the next sample: a record, the caller's, of `__key__`, `__url__` (str) and the members in order,
 * each under its extension (bin). A hard link to an earlier member becomes a member with the same bytes.
 * Returns 1; the record may be marked as bad and then holds key and url alone (an extension occurs twice,
 * or a member or a record is over its limit). Returns 0 at the end of the archive, when the source is read
 * to its end. Returns -1 with error: the archive is damaged, and the sample it was in is not returned;
 * something follows its end; or it has members, but no sample. */
int clip_samples_next(struct clip_samples *samples, struct clip_record **record, struct clip_error *error);

/* Goes to the sample that begins at `offset`, if the source can (clip_source_open_file). */
void clip_samples_seek(struct clip_samples *samples, uint64_t offset);

/* Counts of what was skipped so far. */
struct clip_passed {
    uint64_t unmatched; /* samples with none of `only` */
    uint64_t symlinks, dangling,
        others;          /* symbolic links; hard links to no earlier member; devices and the like */
    char scattered[100]; /* a key that occurred in two places, if at least two keys did; printable, or "" */
};

/* Describes the skipped members, "symbolic links: 2, ...", in out[size]; returns `out`, "" if there are
 * none. */
const char *clip_passed_describe(const struct clip_passed *passed, char *out, size_t size);
const struct clip_passed *clip_samples_passed(const struct clip_samples *samples);
/* Adds the counts to those of other archives. 1 if `passed` has the first scattered key of all. */
int clip_passed_add(struct clip_passed *sum, const struct clip_passed *passed);

/* Bytes of the shard's file that were read in order, as clip_source_taken. */
uint64_t clip_samples_taken(const struct clip_samples *samples);

/* Seconds spent waiting for input. */
double clip_samples_waited(const struct clip_samples *samples);

/* Where in the (decompressed) archive the first header of the sample returned last begins. */
uint64_t clip_samples_offset(const struct clip_samples *samples);

#endif
