/* The table of a matrix, and the log of a run (a first byte of '{'), on any bytes: what is read must be
 * drawn.
 */
#include "image/curves.h"
#include "image/figure.h"
#include "image/table.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static FILE *nowhere(void)
{
    static FILE *file;
    if (!file)
        CHECK(file = fopen("/dev/null", "w"));
    return file;
}

static void check_table(FILE *file)
{
    struct clip_table table;
    struct clip_missing missing = {.count = 0};
    struct clip_error error = {""};
    if (clip_table_read(&table, file, "fuzz", &error) != 0) {
        CHECK(error.text[0]);
        return;
    }
    CHECK(table.rows > 0 && table.columns > 0);
    struct clip_matrix_figure figure = {.rows = table.rows,
                                        .columns = table.columns,
                                        .values = table.values,
                                        .row_labels = (const char *const *)table.row_labels,
                                        .column_labels = (const char *const *)table.column_labels,
                                        .digits = 3,
                                        .show_values = 1};
    if (table.rows * table.columns <= 64)
        CHECK(clip_figure_matrix(&figure, CLIP_FIGURE_SVG, nowhere(), &missing, &error) == 0);
    clip_table_free(&table);
}

static void check_curves(FILE *file)
{
    struct clip_curves curves;
    struct clip_missing missing = {.count = 0};
    struct clip_error error = {""};
    CHECK(clip_curves_name(&curves, "a+b", &error) == 0);
    if (clip_curves_read(&curves, file, "fuzz", &error) == 0)
        CHECK(clip_figure_curves(&curves, NULL, CLIP_FIGURE_SVG, nowhere(), &missing, &error) == 0);
    else
        CHECK(error.text[0]);
    clip_curves_free(&curves);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    FILE *file = fmemopen((void *)data, size, "r");
    CHECK(file);
    if (data[0] == '{')
        check_curves(file);
    else
        check_table(file);
    fclose(file);
    return 0;
}
