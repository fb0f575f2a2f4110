#include "text/listing.h"

#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "stream/record.h"

#include <csv.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RAW_SIZE = 32768, MOST_CELLS = CLIP_MAX_FIELDS, NAME_ROOM = 24 };

/* A row of CSV that is being put together: cells of text[offset, offset + size). */
struct draft {
    char *text;
    size_t used, room;
    struct draft_cell {
        size_t offset, size;
    } * cells;
    size_t count, cell_room;
    uint64_t line, cell_line; /* where the row, and the cell that comes next, begin */
    size_t bytes;             /* of the row, with quotes and delimiters */
    int whole, memory;        /* its end has come; there was no memory for it */
};

struct clip_listing {
    struct clip_listing_options options;
    int fd;
    struct clip_writer *tied;
    double waited;
    struct clip_decoder decoder;
    uint8_t raw[RAW_SIZE]; /* raw[raw_size] is not yet decoded */
    size_t raw_size;
    char *text; /* text[begin, end) is decoded and not yet used; owned */
    size_t begin, end, room;
    int eof;
    uint64_t line;    /* at `begin` */
    int after_return; /* the byte before it was a carriage return */

    struct csv_parser parser;
    int parsing; /* the parser is initialized */
    struct draft draft;
    struct clip_row row, header;
    char *header_text;          /* names of the header */
    struct json_object *object; /* of the row */
    int pending;                /* `row` is read and not yet given out */
};

/* --- the text --- */

static int make_room(struct clip_listing *listing, struct clip_error *error)
{
    if (listing->begin > 0) {
        memmove(listing->text, listing->text + listing->begin, listing->end - listing->begin);
        listing->end -= listing->begin;
        listing->begin = 0;
    }
    size_t need = listing->end + CLIP_DECODED_ROOM(sizeof listing->raw) + 1;
    if (need <= listing->room)
        return 0;
    char *text = realloc(listing->text, need + need / 2);
    if (!text)
        return clip_fail_memory(error, "a row");
    listing->text = text;
    listing->room = need + need / 2;
    return 0;
}

/* Reads what the input has, waiting if it has nothing yet; sets eof. */
static int read_raw(struct clip_listing *listing, struct clip_error *error)
{
    if (listing->tied && clip_writer_flush(listing->tied, error) != 0)
        return -1;
    double start = clip_seconds();
    ssize_t n;
    do
        n = read(listing->fd, listing->raw + listing->raw_size, sizeof listing->raw - listing->raw_size);
    while (n < 0 && errno == EINTR);
    listing->waited += clip_seconds() - start;
    if (n < 0)
        return clip_fail(error, "%m");
    listing->raw_size += (size_t)n;
    listing->eof = n == 0;
    return 0;
}

static int read_more(struct clip_listing *listing, struct clip_error *error)
{
    size_t used, decoded;
    if (make_room(listing, error) != 0 || read_raw(listing, error) != 0 ||
        clip_decoder_run(&listing->decoder, listing->raw, listing->raw_size, listing->eof, &used,
                         (uint8_t *)listing->text + listing->end, &decoded, error) != 0)
        return -1;
    const char *zero = memchr(listing->text + listing->end, '\0', decoded);
    if (zero)
        return clip_fail(error, "a zero byte: it is not a table of text");
    listing->end += decoded;
    listing->raw_size -= used;
    memmove(listing->raw, listing->raw + used, listing->raw_size);
    return 0;
}

struct clip_listing *clip_listing_new(int fd, const struct clip_listing_options *options,
                                      struct clip_writer *tied, struct clip_error *error)
{
    struct clip_listing *listing = calloc(1, sizeof *listing);
    struct clip_cell *cells = calloc(MOST_CELLS, sizeof *cells);
    if (!listing || !cells) {
        free(listing);
        free(cells);
        clip_fail_memory(error, "a table");
        return NULL;
    }
    listing->fd = fd;
    listing->options = *options;
    listing->tied = tied;
    listing->line = 1;
    listing->row.cells = cells;
    return listing;
}

void clip_listing_free(struct clip_listing *listing)
{
    if (!listing)
        return;
    if (listing->parsing)
        csv_free(&listing->parser);
    json_object_put(listing->object);
    free(listing->draft.text);
    free(listing->draft.cells);
    free(listing->header.cells);
    free(listing->header_text);
    free(listing->row.cells);
    free(listing->text);
    free(listing);
}

double clip_listing_waited(const struct clip_listing *listing)
{
    return listing->waited;
}

const struct clip_row *clip_listing_header(const struct clip_listing *listing)
{
    return listing->options.format == CLIP_LISTING_JSONL ? NULL : &listing->header;
}

struct json_object *clip_listing_object(const struct clip_listing *listing)
{
    return listing->object;
}

/* --- CSV --- */

static int never(unsigned char c)
{
    (void)c;
    return 0;
}

static int grow(void **memory, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return 0;
    void *grown = reallocarray(*memory, need + need / 2 + 64, size);
    if (!grown)
        return -1;
    *memory = grown;
    *room = need + need / 2 + 64;
    return 0;
}

/* libcsv's call at the end of a cell. Those past MOST_CELLS are only counted. */
static void take_cell(void *data, size_t size, void *context)
{
    struct clip_listing *listing = context;
    struct draft *draft = &listing->draft;
    if (draft->count < MOST_CELLS) {
        if (grow((void **)&draft->text, &draft->room, draft->used + size + 1, 1) != 0 ||
            grow((void **)&draft->cells, &draft->cell_room, draft->count + 1, sizeof *draft->cells) != 0) {
            draft->memory = 1;
            return;
        }
        if (size)
            memcpy(draft->text + draft->used, data, size);
        draft->text[draft->used + size] = '\0';
        draft->cells[draft->count] = (struct draft_cell){draft->used, size};
        draft->used += size + 1;
    }
    draft->count++;
    draft->cell_line = listing->line;
}

static void take_row(int c, void *context)
{
    struct clip_listing *listing = context;
    (void)c;
    listing->draft.whole = 1;
}

static void begin_draft(struct clip_listing *listing)
{
    struct draft *draft = &listing->draft;
    draft->used = draft->count = draft->bytes = 0;
    draft->whole = 0;
    draft->line = draft->cell_line = 0;
}

/* "line 3: column 2 (title)" of the cell that is being read. */
static int fail_cell(struct clip_listing *listing, const char *why, struct clip_error *error)
{
    char shown[80] = "";
    const struct draft *draft = &listing->draft;
    if (draft->count < listing->header.count) {
        const struct clip_cell *cell = &listing->header.cells[draft->count];
        clip_printable(shown, sizeof shown, cell->name, cell->name_size);
    }
    return clip_fail(error, "line %" PRIu64 ": column %zu%s%s%s: %s",
                     draft->cell_line ? draft->cell_line : listing->line, draft->count + 1,
                     shown[0] ? " (" : "", shown, shown[0] ? ")" : "", why);
}

/* Gives text[size], at most to the end of a line, to the parser. Quotes inside a cell without quotes are
 * text; libcsv is strict for what follows quotes, where being lenient swallows rows. */
static int parse_piece(struct clip_listing *listing, const char *text, size_t size, struct clip_error *error)
{
    struct csv_parser *parser = &listing->parser;
    unsigned char options = (unsigned char)csv_get_opts(parser);
    for (size_t at = 0; at < size;) {
        at += csv_parse(parser, text + at, size - at, take_cell, take_row, listing);
        if (listing->draft.memory || (at < size && csv_error(parser) != CSV_EPARSE))
            return clip_fail_memory(error, "a row");
        if (at == size)
            break;
        if (parser->quoted)
            return fail_cell(listing, "text after the closing quote", error);
        csv_set_opts(parser, options & ~CSV_STRICT);
        at += csv_parse(parser, text + at, 1, take_cell, take_row, listing);
        csv_set_opts(parser, options);
    }
    return 0;
}

/* The length of what is left of the line, its end included, or of what has come of it. */
static size_t piece_size(const struct clip_listing *listing)
{
    const char *text = listing->text + listing->begin;
    size_t size = listing->end - listing->begin;
    const char *newline = memchr(text, '\n', size);
    if (newline)
        size = (size_t)(newline - text) + 1;
    const char *end = memchr(text, '\r', size);
    return end ? (size_t)(end - text) + 1 : size;
}

static int use_piece(struct clip_listing *listing, struct clip_error *error)
{
    const char *text = listing->text + listing->begin;
    size_t size = piece_size(listing);
    struct draft *draft = &listing->draft;
    if (listing->after_return && text[0] != '\n')
        listing->line++; /* a return alone ended the line */
    if (draft->line == 0)
        draft->line = draft->cell_line = listing->line;
    draft->bytes += size;
    if (draft->bytes > listing->options.max_row)
        return fail_cell(listing, "the row is too large (a quote that does not end? see --max-record)",
                         error);
    int status = parse_piece(listing, text, size, error);
    listing->begin += size;
    listing->line += text[size - 1] == '\n';
    listing->after_return = text[size - 1] == '\r';
    /* a line that is empty is not a row */
    if (draft->count == 0 && !draft->whole && size == 1 && (text[0] == '\r' || text[0] == '\n') &&
        !listing->parser.quoted)
        begin_draft(listing);
    return status;
}

/* Reads a row into the draft. Returns 1; 0 at the end; -1 with error. */
static int read_draft(struct clip_listing *listing, struct clip_error *error)
{
    begin_draft(listing);
    while (!listing->draft.whole) {
        if (listing->begin < listing->end) {
            if (use_piece(listing, error) != 0)
                return -1;
        } else if (!listing->eof) {
            if (read_more(listing, error) != 0)
                return -1;
        } else {
            break;
        }
    }
    if (!listing->draft.whole && listing->parsing) {
        if (csv_fini(&listing->parser, take_cell, take_row, listing) != 0)
            return fail_cell(listing,
                             csv_error(&listing->parser) == CSV_EPARSE ? "a quote that does not end"
                                                                       : "out of memory",
                             error);
        if (listing->draft.memory)
            return clip_fail_memory(error, "a row");
    }
    return listing->draft.whole;
}

/* The cells of the draft, named as the header's. */
static void make_row(struct clip_listing *listing)
{
    const struct draft *draft = &listing->draft;
    struct clip_row *row = &listing->row;
    row->line = draft->line;
    row->count = draft->count < MOST_CELLS ? draft->count : MOST_CELLS;
    for (size_t i = 0; i < row->count; i++)
        row->cells[i] = (struct clip_cell){.kind = CLIP_CELL_TEXT,
                                           .text = draft->text + draft->cells[i].offset,
                                           .size = draft->cells[i].size};
    row->bad = draft->count != listing->header.count;
    if (row->bad)
        clip_fail(&row->error, "%zu cells, but the %s has %zu columns", draft->count,
                  listing->options.no_header ? "first row" : "header", listing->header.count);
    for (size_t i = 0; i < row->count && !row->bad; i++) {
        row->cells[i].name = listing->header.cells[i].name;
        row->cells[i].name_size = listing->header.cells[i].name_size;
    }
}

/* The header is the draft, or the numbers of its columns. */
static int make_header(struct clip_listing *listing, struct clip_error *error)
{
    const struct draft *draft = &listing->draft;
    if (draft->count > MOST_CELLS)
        return clip_fail(error, "line %" PRIu64 ": %zu columns (at most %d)", draft->line, draft->count,
                         MOST_CELLS);
    struct clip_cell *cells = calloc(draft->count, sizeof *cells);
    char *names = malloc(draft->used + draft->count * NAME_ROOM);
    listing->header.cells = cells;
    listing->header_text = names;
    if (!cells || !names)
        return clip_fail_memory(error, "a header");
    listing->header.count = draft->count;
    listing->header.line = draft->line;
    for (size_t i = 0; i < draft->count; i++) {
        size_t size = draft->cells[i].size;
        if (size == 0 || listing->options.no_header)
            size = (size_t)sprintf(names, "%zu", i + 1);
        else
            memcpy(names, draft->text + draft->cells[i].offset, size);
        cells[i].name = names;
        cells[i].name_size = size;
        names += size;
    }
    return 0;
}

/* Which of these is in the line most people would split it by: a tab before a comma before a semicolon. */
static char find_delimiter(const char *text, size_t size, int quotes)
{
    int quoted = 0, commas = 0, semicolons = 0;
    for (size_t i = 0; i < size && (quoted || (text[i] != '\n' && text[i] != '\r')); i++) {
        if (quotes && text[i] == '"')
            quoted = !quoted;
        else if (!quoted && text[i] == '\t')
            return '\t';
        commas += !quoted && text[i] == ',';
        semicolons += !quoted && text[i] == ';';
    }
    return commas || !semicolons ? ',' : ';';
}

static int begin_csv(struct clip_listing *listing, struct clip_error *error)
{
    struct clip_listing_options *options = &listing->options;
    const char *text = listing->text + listing->begin;
    if (!options->delimiter)
        options->delimiter = options->format == CLIP_LISTING_TSV
                                 ? '\t'
                                 : find_delimiter(text, listing->end - listing->begin, !options->no_quotes);
    if (csv_init(&listing->parser, CSV_STRICT | CSV_STRICT_FINI) != 0)
        return clip_fail_memory(error, "a table");
    listing->parsing = 1;
    csv_set_delim(&listing->parser, (unsigned char)options->delimiter);
    csv_set_space_func(&listing->parser, never);
    csv_set_blk_size(&listing->parser, 4096);
    if (options->no_quotes)
        csv_set_quote(&listing->parser, '\0'); /* which the text does not hold */
    int got = read_draft(listing, error);
    if (got < 0)
        return -1;
    if (got == 0)
        return clip_fail(error, "there are only empty lines");
    if (make_header(listing, error) != 0)
        return -1;
    listing->pending = options->no_header;
    if (listing->pending)
        make_row(listing);
    return 0;
}

/* --- JSON lines --- */

static void make_cell(struct clip_cell *cell, const char *name, struct json_object *value)
{
    *cell = (struct clip_cell){.name = name, .name_size = strlen(name)};
    switch (json_object_get_type(value)) {
    case json_type_null:
        cell->kind = CLIP_CELL_NULL;
        break;
    case json_type_boolean:
        cell->kind = CLIP_CELL_BOOLEAN;
        cell->integer = json_object_get_boolean(value);
        break;
    case json_type_int:
        cell->kind = CLIP_CELL_INTEGER;
        cell->integer = json_object_get_int64(value);
        break;
    case json_type_double:
        cell->kind = CLIP_CELL_REAL;
        cell->real = json_object_get_double(value);
        break;
    case json_type_string:
        cell->kind = CLIP_CELL_TEXT;
        cell->text = json_object_get_string(value);
        cell->size = (size_t)json_object_get_string_len(value);
        break;
    case json_type_array:
    case json_type_object:
        cell->kind = CLIP_CELL_JSON;
        cell->json = value;
        cell->text = json_object_to_json_string_length(
            value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &cell->size);
        break;
    }
}

static void make_object_row(struct clip_listing *listing, char *text, size_t size)
{
    struct clip_row *row = &listing->row;
    row->count = 0;
    row->bad = 0;
    json_object_put(listing->object);
    listing->object = clip_json_parse(text, size, &row->error);
    if (!listing->object) {
        row->bad = 1;
        return;
    }
    if (json_object_object_length(listing->object) > MOST_CELLS) {
        row->bad = 1;
        clip_fail(&row->error, "an object of more than %d members", MOST_CELLS);
        return;
    }
    json_object_object_foreach(listing->object, name, value)
    {
        make_cell(&row->cells[row->count++], name, value);
    }
}

static int is_blank(const char *text, size_t size)
{
    return strspn(text, " \t\r") >= size;
}

/* Reads the next line that is not blank into the row. */
static int read_line(struct clip_listing *listing, struct clip_error *error)
{
    for (size_t seen = 0;;) {
        size_t size = listing->end - listing->begin;
        char *text = listing->text + listing->begin;
        char *newline = size > seen ? memchr(text + seen, '\n', size - seen) : NULL;
        seen = size;
        if (!newline && size > listing->options.max_row)
            return clip_fail(error, "line %" PRIu64 ": larger than %zu bytes (see --max-record)",
                             listing->line, listing->options.max_row);
        if (!newline && !listing->eof) {
            if (read_more(listing, error) != 0)
                return -1;
            continue;
        }
        if (size == 0)
            return 0;
        size_t line = newline ? (size_t)(newline - text) : size;
        text[line] = '\0'; /* there is room after the last line too */
        listing->begin += line + (newline != NULL);
        listing->row.line = listing->line++;
        seen = 0;
        if (is_blank(text, line))
            continue;
        make_object_row(listing, text, line);
        return 1;
    }
}

/* --- the table --- */

static int looks_like_json(const struct clip_listing *listing, char c)
{
    size_t at = listing->begin;
    while (at < listing->end && strchr(" \t\r\n", listing->text[at]))
        at++;
    return at < listing->end && listing->text[at] == c;
}

int clip_listing_begin(struct clip_listing *listing, struct clip_error *error)
{
    struct clip_listing_options *options = &listing->options;
    /* The first line must be there to be looked at, or as much of it as is enough. */
    while (!listing->eof && listing->end < 2 * RAW_SIZE &&
           !memchr(listing->text ? listing->text : "", '\n', listing->end))
        if (read_more(listing, error) != 0)
            return -1;
    if (listing->end == 0)
        return clip_fail(error, "empty");
    if (options->format == CLIP_LISTING_AUTO && looks_like_json(listing, '['))
        return clip_fail(error, "begins as a JSON array: write one object per line (jq -c '.[]')");
    if (options->format == CLIP_LISTING_AUTO)
        options->format = looks_like_json(listing, '{') ? CLIP_LISTING_JSONL : CLIP_LISTING_CSV;
    return options->format == CLIP_LISTING_JSONL ? 0 : begin_csv(listing, error);
}

int clip_listing_next(struct clip_listing *listing, struct clip_row **row, struct clip_error *error)
{
    int got = 1;
    *row = &listing->row;
    if (listing->options.format == CLIP_LISTING_JSONL)
        return read_line(listing, error);
    if (!listing->pending && (got = read_draft(listing, error)) > 0)
        make_row(listing);
    listing->pending = 0;
    return got;
}

int clip_row_find(const struct clip_row *row, const struct clip_row *header, const char *word,
                  size_t word_size, size_t *place)
{
    const struct clip_row *names = header ? header : row;
    char digits[NAME_ROOM];
    int found = 0;
    for (size_t i = 0; i < names->count; i++) {
        if (names->cells[i].name_size != word_size || memcmp(names->cells[i].name, word, word_size) != 0)
            continue;
        if (found++)
            return -1;
        *place = i;
    }
    if (found || !header || word_size >= sizeof digits || word_size == 0)
        return found;
    memcpy(digits, word, word_size);
    digits[word_size] = '\0';
    size_t number = strspn(digits, "0123456789") == word_size ? strtoul(digits, NULL, 10) : 0;
    *place = number - 1;
    return number > 0 && number <= header->count;
}

/* The strings of the array with newlines between them, into `out`, which may be NULL; their size, or -1 where
 * it has none or something else. */
static ssize_t join_strings(struct json_object *array, char *out)
{
    size_t size = 0,
           count = json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *item = json_object_array_get_idx(array, i);
        if (!json_object_is_type(item, json_type_string))
            return -1;
        size_t length = (size_t)json_object_get_string_len(item);
        if (i > 0 && out)
            out[size] = '\n';
        size += i > 0;
        if (out)
            memcpy(out + size, json_object_get_string(item), length);
        size += length;
    }
    return count ? (ssize_t)size : -1;
}

int clip_cell_copy(const struct clip_cell *cell, char **text, size_t *size, struct clip_error *error)
{
    char number[32];
    const char *from = cell->text;
    ssize_t joined = -1;
    *size = cell->size;
    if (cell->kind == CLIP_CELL_INTEGER || cell->kind == CLIP_CELL_REAL) {
        from = number;
        *size = (size_t)(cell->kind == CLIP_CELL_INTEGER
                             ? snprintf(number, sizeof number, "%" PRId64, cell->integer)
                             : snprintf(number, sizeof number, "%.17g", cell->real));
    } else if (cell->kind == CLIP_CELL_JSON && (joined = join_strings(cell->json, NULL)) >= 0) {
        *size = (size_t)joined;
    } else if (cell->kind != CLIP_CELL_TEXT) {
        return 0;
    }
    if (!(*text = malloc(*size + 1)))
        return clip_fail_memory(error, "a cell");
    if (joined >= 0)
        join_strings(cell->json, *text);
    else
        memcpy(*text, from, *size);
    (*text)[*size] = '\0';
    return 1;
}
