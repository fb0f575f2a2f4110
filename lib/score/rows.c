#include "score/rows.h"
#include "score/similarity.h"

#include "stream/print.h"

#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BAR = 20 }; /* characters of a bar */

static void print_json_names(FILE *out, const char *key, const char *label)
{
    fprintf(out, "{\"key\": ");
    clip_print_string(out, key, strlen(key));
    fprintf(out, ", \"label\": ");
    clip_print_string(out, label, strlen(label));
}

static void print_json(FILE *out, const struct clip_row *row)
{
    print_json_names(out, row->key, row->label);
    fprintf(out, ", \"matches\": [");
    for (size_t i = 0; i < row->n; i++) {
        fputs(i ? ", " : "", out);
        print_json_names(out, row->keys[i], row->labels[i]);
        fprintf(out, ", \"score\": ");
        clip_print_float(out, row->scores[i]);
        putc('}', out);
    }
    fputs("]}\n", out);
}

/* Writes a line of the table or, for the best, one line a match. */
static void print_table(FILE *out, const struct clip_row *row, int best)
{
    if (!best)
        clip_print_cell(out, row->label, strlen(row->label));
    for (size_t i = 0; i < row->n; i++) {
        if (best) {
            clip_print_cell(out, row->label, strlen(row->label));
            putc('\t', out);
            clip_print_cell(out, row->labels[i], strlen(row->labels[i]));
        }
        putc('\t', out);
        clip_print_float(out, row->scores[i]);
        if (best)
            putc('\n', out);
    }
    if (!best)
        putc('\n', out);
}

static void print_hits(FILE *out, const struct clip_row *row)
{
    for (size_t i = 0; i < row->n; i++) {
        clip_print_float(out, row->scores[i]);
        putc('\t', out);
        clip_print_cell(out, row->keys[i], strlen(row->keys[i]));
        putc('\n', out);
    }
}

static void print_keys(FILE *out, const struct clip_row *row, char separator)
{
    for (size_t i = 0; i < row->n; i++) {
        fputs(row->keys[i], out);
        putc(separator, out);
    }
}

/* Prints a bar of `share` of BAR characters, in eighths of a character if the terminal can show them. */
static void print_bar(FILE *out, double share)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
    int blocks = strcmp(nl_langinfo(CODESET), "UTF-8") == 0, steps = blocks ? 8 : 1;
    int left = (int)lround(fmin(share, 1) * BAR * steps);
    for (int i = 0; i < BAR; i++) {
        int part = left < steps ? left : steps;
        fputs(part == 0 ? " " : blocks ? eighths[part] : "#", out);
        left -= part;
    }
}

/* Prints the row's label, then one line a match. */
static void print_bars(FILE *out, const struct clip_row *row)
{
    clip_print_line(out, row->label, strlen(row->label));
    putc('\n', out);
    for (size_t i = 0; i < row->n; i++) {
        fprintf(out, "  %6.2f %% ", 100 * row->scores[i]);
        print_bar(out, row->scores[i]);
        putc(' ', out);
        clip_print_line(out, row->labels[i], strlen(row->labels[i]));
        putc('\n', out);
    }
}

static int write_record(const struct clip_rows_output *out, const struct clip_row *row,
                        struct clip_error *error)
{
    struct clip_tensor tensor = {CLIP_F32, 1, {row->n}, row->scores};
    struct clip_record *record = clip_record_new();
    int status = record ? clip_record_put_string(record, "__key__", row->key, strlen(row->key), error)
                        : clip_fail_memory(error, "a record");
    if (status == 0 && row->label != row->key)
        status = clip_record_put_string(record, "label", row->label, strlen(row->label), error);
    if (status == 0 && out->best)
        status = clip_record_put_strings(record, "keys", row->keys, row->n, error);
    if (status == 0)
        status = clip_record_put_tensor(record, "scores", &tensor, error);
    if (status == 0)
        status = clip_writer_record(out->writer, record, error);
    clip_record_free(record);
    return status;
}

/* The scale may be so large that a score overflows a float. */
static int check_finite(const struct clip_rows_output *out, const struct clip_row *row,
                        struct clip_error *error)
{
    for (size_t i = 0; i < row->n; i++)
        if (!isfinite(row->scores[i]))
            return clip_fail_score(row->label, row->labels[i], out->scale, error);
    return 0;
}

/* The row with probabilities for scores, which the caller frees. NULL with error. */
static float *make_probabilities(const struct clip_row *row, struct clip_error *error)
{
    float *scores = reallocarray(NULL, row->n + 1, sizeof *scores);
    if (!scores)
        clip_fail_memory(error, "probabilities");
    for (size_t i = 0; scores && i < row->n; i++)
        scores[i] = clip_sigmoid(row->scores[i]);
    return scores;
}

static int write_row(const struct clip_rows_output *out, const struct clip_row *row, struct clip_error *error)
{
    switch (out->form) {
    case CLIP_ROWS_RECORDS:
        return write_record(out, row, error);
    case CLIP_ROWS_TABLE:
        print_table(out->text, row, out->best);
        break;
    case CLIP_ROWS_JSON:
        print_json(out->text, row);
        break;
    case CLIP_ROWS_BARS:
        print_bars(out->text, row);
        break;
    case CLIP_ROWS_HITS:
        print_hits(out->text, row);
        break;
    case CLIP_ROWS_KEYS:
        print_keys(out->text, row, out->separator);
        break;
    }
    return ferror(out->text) ? clip_fail_errno(error, "standard output") : 0;
}

int clip_rows_write(const struct clip_rows_output *out, const struct clip_row *row, struct clip_error *error)
{
    if (check_finite(out, row, error) != 0)
        return -1;
    if (!out->sigmoid)
        return write_row(out, row, error);
    struct clip_row probable = *row;
    float *scores = make_probabilities(row, error);
    probable.scores = scores;
    int status = scores ? write_row(out, &probable, error) : -1;
    free(scores);
    return status;
}

static int write_columns(const struct clip_rows_output *out, const char *const *keys, size_t n,
                         struct clip_error *error)
{
    struct clip_record *object = clip_record_new();
    int status = object ? clip_record_put_strings(object, "__columns__", keys, n, error)
                        : clip_fail_memory(error, "keys");
    if (status == 0)
        status = clip_writer_record(out->writer, object, error);
    clip_record_free(object);
    return status;
}

int clip_rows_begin(const struct clip_rows_output *out, const char *const *keys, const char *const *labels,
                    size_t n, struct clip_error *error)
{
    if (out->best || out->form == CLIP_ROWS_JSON)
        return 0;
    if (out->form == CLIP_ROWS_RECORDS)
        return write_columns(out, keys, n, error);
    for (size_t c = 0; c < n; c++) {
        putc('\t', out->text);
        clip_print_cell(out->text, labels[c], strlen(labels[c]));
    }
    putc('\n', out->text);
    return 0;
}
