#include "image/sheet.h"
#include "base/array.h"

#include "stream/print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN 16.0
#define GAP 8.0
#define FONT 12.0
#define TITLE_FONT 16.0
#define LINE 20.0           /* for the label */
#define MOST_PIXELS 32000.0 /* cairo draws pictures of up to 32,767 a side */
enum { FEW_COLUMNS = 8 };

void clip_sheet_free(struct clip_sheet *sheet)
{
    for (size_t i = 0; i < sheet->count; i++) {
        clip_thumb_free(&sheet->entries[i].thumb);
        free(sheet->entries[i].label);
    }
    free(sheet->entries);
    sheet->entries = NULL;
    sheet->count = sheet->room = 0;
}

static size_t columns_of(const struct clip_sheet *sheet)
{
    size_t columns = sheet->columns ? (size_t)sheet->columns : FEW_COLUMNS;
    return sheet->count < columns ? sheet->count : columns;
}

/* The field's first line as text that can be drawn; from malloc, NULL when out of memory. */
static char *make_label(const struct clip_sheet *sheet, const struct clip_record *record)
{
    char *label = NULL, *end;
    const char *text = "";
    size_t size = 0, room;
    const struct clip_field *field = clip_record_find(record, sheet->label ? sheet->label : "txt");
    if (!field && !sheet->label)
        field = clip_record_find(record, "__key__");
    FILE *memory = open_memstream(&label, &room);
    if (!memory)
        return NULL;
    if (field && clip_field_bytes(field, &text, &size) == 0) {
        end = size ? memchr(text, '\n', size) : NULL;
        clip_print_line(memory, text, end && !sheet->label ? (size_t)(end - text) : size);
    } else if (field) {
        clip_print_value(memory, field->value, field->size, 0);
    }
    if (fclose(memory) == 0)
        return label;
    free(label);
    return NULL;
}

/* How many rows there is room for. */
static size_t most_rows(const struct clip_sheet *sheet)
{
    return (size_t)((MOST_PIXELS - 2 * MARGIN - 2 * TITLE_FONT - GAP) / (sheet->side + LINE + GAP));
}

int clip_sheet_add(struct clip_sheet *sheet, struct clip_record *record, struct clip_error *error)
{
    struct clip_sheet_entry entry;
    size_t most = most_rows(sheet) * (sheet->columns ? (size_t)sheet->columns : FEW_COLUMNS);
    if (sheet->count == most)
        return clip_fail(error, "more than %zu pictures do not fit on a sheet of %zu columns", most,
                         columns_of(sheet));
    if (CLIP_GROW(sheet->entries, sheet->count, sheet->room) != 0)
        return clip_fail_memory(error, "a sheet");
    if (clip_thumb_of(&entry.thumb, record, sheet->side, sheet->level) != 0)
        return -1;
    if (!(entry.label = make_label(sheet, record))) {
        clip_thumb_free(&entry.thumb);
        return clip_fail_memory(error, "a sheet");
    }
    sheet->entries[sheet->count++] = entry;
    return 0;
}

static void draw_entry(cairo_t *cairo, const struct clip_sheet *sheet, const struct clip_sheet_entry *entry,
                       double x, double y)
{
    const struct clip_thumb *thumb = &entry->thumb;
    double side = sheet->side;
    double width = thumb->width >= thumb->height ? side : side * thumb->width / thumb->height;
    double height = width * thumb->height / thumb->width;
    clip_draw_pixels(cairo, thumb->pixels, thumb->height, thumb->width, x + (side - width) / 2,
                     y + (side - height) / 2, width);
    cairo_set_source_rgb(cairo, .1, .1, .1);
    clip_draw_text(cairo, entry->label, FONT, side, x + side / 2, y + side + 3, .5, 0);
}

int clip_figure_sheet(const struct clip_sheet *sheet, enum clip_figure_format format, FILE *file,
                      struct clip_missing *missing, struct clip_error *error)
{
    struct clip_canvas canvas;
    if (sheet->count == 0)
        return clip_fail(error, "there are no pictures");
    if (clip_drawing_room(error) != 0)
        return -1;
    size_t columns = columns_of(sheet), rows = (sheet->count + columns - 1) / columns;
    double title = sheet->title ? 2 * TITLE_FONT : 0, cell = sheet->side + GAP,
           width = 2 * MARGIN + (double)columns * cell - GAP,
           height = 2 * MARGIN + title + (double)rows * (cell + LINE) - GAP;
    if (width > MOST_PIXELS)
        return clip_fail(error, "%zu pictures of %d pixels are too wide to draw", columns, sheet->side);
    clip_canvas_open(&canvas, format, ceil(width), ceil(height), file, missing);
    if (sheet->title) {
        cairo_set_source_rgb(canvas.cairo, .1, .1, .1);
        clip_draw_text(canvas.cairo, sheet->title, TITLE_FONT, width - 2 * MARGIN, width / 2, MARGIN, .5, 0);
    }
    for (size_t i = 0; i < sheet->count; i++)
        draw_entry(canvas.cairo, sheet, &sheet->entries[i], MARGIN + (double)(i % columns) * cell,
                   MARGIN + title + (double)(i / columns) * (cell + LINE));
    return clip_canvas_close(&canvas, error);
}
