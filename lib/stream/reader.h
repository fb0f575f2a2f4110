/* Reading clip-stream(5): one or more inputs, each of one or more whole streams, as one sequence of records.
 */
#ifndef CLIP_STREAM_READER_H
#define CLIP_STREAM_READER_H

#include "base/error.h"
#include "stream/record.h"
#include "stream/writer.h"

#include <stddef.h>
#include <stdint.h>

#define CLIP_MAX_RECORD ((size_t)80 << 20) /* default for the bytes of one record */

struct clip_reader;

/* Reads the files paths[0..n) one after another; "-" is descriptor 0, and n = 0 means one "-". `paths`
 * must stay. `max_record` bounds a record's bytes (0: CLIP_MAX_RECORD). Does not open anything yet. */
struct clip_reader *clip_reader_new(char *const *paths, size_t n, size_t max_record,
                                    struct clip_error *error);

/* The same for one descriptor, which stays the caller's; `name` is for messages and must stay. */
struct clip_reader *clip_reader_fd(int fd, const char *name, size_t max_record, struct clip_error *error);

void clip_reader_free(struct clip_reader *reader);

/* The inputs are plain text. Each line becomes a record: the key is the line's number over all inputs, and
 * the field `field`, which must stay, holds its bytes without "\n" or "\r\n". UTF-16 and byte order marks:
 * see base/encoding.h. There are no end objects; an empty input has no lines. The records are lent. */
void clip_reader_lines(struct clip_reader *reader, const char *field);

/* From now on `writer` is flushed whenever the reader is about to wait. */
void clip_reader_tie(struct clip_reader *reader, struct clip_writer *writer);

/* Records are from now on the reader's, valid until the next call of clip_reader_next or clip_reader_ready,
 * so that nothing is copied. */
void clip_reader_lend(struct clip_reader *reader);

/* Reads the next record or control object; end objects are checked, not returned. Returns 1, and *record
 * is the caller's (clip_record_free); 0 when every input has ended with its end object; -1 with error: an
 * input is cut, malformed, or cannot be read. */
int clip_reader_next(struct clip_reader *reader, struct clip_record **record, struct clip_error *error);

/* How many records all inputs hold, where these are files and say so at their end; else 0. (Of a file that is
 * several streams, that of the last.) */
uint64_t clip_reader_total(const struct clip_reader *reader);

/* 1 if clip_reader_next would return without waiting for more input, else 0. */
int clip_reader_ready(struct clip_reader *reader);

/* The input being read, for messages; records read so far; seconds spent waiting. */
const char *clip_reader_source(const struct clip_reader *reader);
uint64_t clip_reader_count(const struct clip_reader *reader);
double clip_reader_waited(const struct clip_reader *reader);

#endif
