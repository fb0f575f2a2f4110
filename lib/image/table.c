#include "image/table.h"
#include "base/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

void clip_table_free(struct clip_table *table)
{
    for (size_t r = 0; r < table->rows; r++)
        free(table->row_labels[r]);
    for (size_t c = 0; c < table->columns; c++)
        free(table->column_labels[c]);
    free(table->row_labels);
    free(table->column_labels);
    free(table->values);
    *table = (struct clip_table){0};
}

/* The label without escapes; from malloc. */
static char *read_label(const char *cell)
{
    static const char letters[] = "tnr\\", meanings[] = "\t\n\r\\";
    char *label = strdup(cell), *out = label;
    for (const char *p = cell; label && *p; p++) {
        const char *letter = p[0] == '\\' && p[1] ? strchr(letters, p[1]) : NULL;
        *out++ = letter ? meanings[letter - letters] : *p;
        p += letter != NULL;
    }
    if (label)
        *out = 0;
    return label;
}

static int add_label(char ***labels, size_t *n, const char *cell)
{
    char **grown = reallocarray(*labels, *n + 1, sizeof **labels);
    if (!grown)
        return -1;
    *labels = grown;
    grown[*n] = read_label(cell);
    return grown[*n] ? (*n)++, 0 : -1;
}

static int read_header(struct clip_table *table, char *line, struct clip_error *error)
{
    strsep(&line, "\t"); /* the corner */
    for (const char *cell; (cell = strsep(&line, "\t")) != NULL;)
        if (add_label(&table->column_labels, &table->columns, cell) != 0)
            return clip_fail_memory(error, "a table");
    if (table->columns == 0)
        return clip_fail(error, "no columns (is it a table of clip-simmatrix --tsv?)");
    return 0;
}

static int read_row(struct clip_table *table, char *line, struct clip_error *error)
{
    size_t size;
    const char *cell = strsep(&line, "\t");
    if (__builtin_mul_overflow(table->rows + 1, table->columns * sizeof(double), &size))
        return clip_fail_memory(error, "a table");
    double *values = realloc(table->values, size);
    if (!values)
        return clip_fail_memory(error, "a table");
    table->values = values;
    values += table->rows * table->columns;
    if (add_label(&table->row_labels, &table->rows, cell) != 0)
        return clip_fail_memory(error, "a table");
    for (size_t c = 0; c < table->columns; c++) {
        char *end, shown[60];
        cell = strsep(&line, "\t");
        if (!cell)
            return clip_fail(error, "%zu cells where the first line has %zu columns", c, table->columns);
        values[c] = strtod(cell, &end);
        if (end == cell || *end)
            return clip_fail(error, "'%s' is not a number",
                             clip_printable(shown, sizeof shown, cell, strlen(cell)));
    }
    return line ? clip_fail(error, "more cells than the first line has columns (%zu)", table->columns) : 0;
}

int clip_table_read(struct clip_table *table, FILE *file, const char *name, struct clip_error *error)
{
    struct clip_lines lines = {.file = file};
    char *line;
    size_t n;
    int got = 0, status = 0;
    *table = (struct clip_table){0};
    while (status == 0 && (got = clip_lines_next(&lines, &line, &n, error)) > 0) {
        if (u8_check((const uint8_t *)line, n) || memchr(line, 0, n))
            status = clip_fail(error, "not UTF-8 text");
        else
            status = lines.number == 1 ? read_header(table, line, error) : read_row(table, line, error);
    }
    if (status != 0)
        clip_fail_prefix(error, "%s: line %llu", name, (unsigned long long)lines.number);
    else if (got < 0)
        status = clip_fail_prefix(error, "%s", name);
    else if (table->rows == 0)
        status = clip_fail(error, "%s: no rows", name);
    clip_lines_free(&lines);
    if (status != 0)
        clip_table_free(table);
    return status;
}
