/* Tables of samples as people keep them: CSV and its kin (RFC 4180, by libcsv), and JSON lines.
 *
 * A table has names for its columns: those of its first row, or their numbers from 1, which also name columns
 * whose name is empty. A row of JSON lines has the names of its object's members. */
#ifndef CLIP_TEXT_LISTING_H
#define CLIP_TEXT_LISTING_H

#include "base/error.h"
#include "stream/writer.h"

#include <stddef.h>
#include <stdint.h>

enum clip_listing_format { CLIP_LISTING_AUTO, CLIP_LISTING_CSV, CLIP_LISTING_TSV, CLIP_LISTING_JSONL };

struct clip_listing_options {
    enum clip_listing_format format;
    char delimiter; /* of cells; 0: a tab in TSV, else found in the first row: tab, comma or semicolon */
    int no_header;  /* the first row is one of data */
    int no_quotes;  /* quotes mean nothing */
    size_t max_row; /* bytes of a row */
};

enum clip_cell_kind {
    CLIP_CELL_TEXT,
    CLIP_CELL_JSON, /* an array or an object, as JSON text */
    CLIP_CELL_INTEGER,
    CLIP_CELL_REAL,
    CLIP_CELL_BOOLEAN, /* integer 0 or 1 */
    CLIP_CELL_NULL,
};

struct clip_cell {
    const char *name; /* of its column, not terminated */
    size_t name_size;
    enum clip_cell_kind kind;
    const char *text; /* [size] of TEXT and JSON, terminated */
    size_t size;
    struct json_object *json; /* JSON: what the text says; borrowed */
    int64_t integer;
    double real;
};

struct clip_row {
    struct clip_cell *cells;
    size_t count;
    uint64_t line;           /* where it begins, from 1 */
    int bad;                 /* it cannot be used, */
    struct clip_error error; /* for this reason */
};

struct clip_listing;

/* Reads a table from descriptor `fd`, which stays the caller's. `tied`, or NULL, is flushed before a wait.
 * NULL with error. */
struct clip_listing *clip_listing_new(int fd, const struct clip_listing_options *options,
                                      struct clip_writer *tied, struct clip_error *error);
void clip_listing_free(struct clip_listing *listing);

/* Reads up to the first row of data. -1 with error: it cannot be read, is empty, or its header is malformed.
 */
int clip_listing_begin(struct clip_listing *listing, struct clip_error *error);

/* After clip_listing_begin: the columns as cells without a value; NULL in JSON lines. */
const struct clip_row *clip_listing_header(const struct clip_listing *listing);

/* Reads the next row, valid until the next call. Returns 1; 0 at the end; -1 with error, after which there
 * are no more rows. */
int clip_listing_next(struct clip_listing *listing, struct clip_row **row, struct clip_error *error);

/* The object of the row last read, of JSON lines; borrowed. */
struct json_object *clip_listing_object(const struct clip_listing *listing);

/* The place in the row of the column that `word` names: its name, or in a table (`header` given) its number.
 * Returns 1; 0 where there is none; -1 where several columns of the table have the name. */
int clip_row_find(const struct clip_row *row, const struct clip_row *header, const char *word,
                  size_t word_size, size_t *place);

/* Text of a cell: its own, a number as it was written, or the strings of an array that has only strings, with
 * newlines between them. Returns 1, with *text from malloc; 0 where the cell is something else; -1 with
 * error: out of memory. */
int clip_cell_copy(const struct clip_cell *cell, char **text, size_t *size, struct clip_error *error);

/* Seconds spent waiting for input. */
double clip_listing_waited(const struct clip_listing *listing);

#endif
