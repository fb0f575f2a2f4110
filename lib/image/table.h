/* The table that clip-simmatrix --tsv writes: a line of column labels after an empty first cell, then one
 * line a row, beginning with its label. In labels \t, \n, \r and \\ stand for a tab, a newline, a return
 * and a backslash. */
#ifndef CLIP_IMAGE_TABLE_H
#define CLIP_IMAGE_TABLE_H

#include "base/error.h"

#include <stddef.h>
#include <stdio.h>

struct clip_table {
    size_t rows, columns;
    double *values; /* [rows, columns] */
    char **row_labels, **column_labels;
};

/* Reads all of `file`, named `name` in messages. Refuses rows of different lengths, cells that are not
 * numbers, and an empty table. Free the table with clip_table_free. */
int clip_table_read(struct clip_table *table, FILE *file, const char *name, struct clip_error *error);
void clip_table_free(struct clip_table *table);

#endif
