#include "image/figure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN 16.0
#define GAP 6.0          /* between labels, pictures and cells */
#define LABEL_WIDTH 280. /* longer labels end in an ellipsis */
#define BAR_WIDTH 14.0
#define MOST_PIXELS 32000.0 /* cairo draws pictures of up to 32,767 a side */

/* The layout, in pixels (points in SVG and PDF). */
struct layout {
    double cell;
    double font;                        /* of labels */
    int label_step;                     /* every how many rows or columns carry a label */
    double angle;                       /* of column labels, radians */
    double left_labels, top_labels;     /* room for labels */
    double left_pictures, top_pictures; /* room for pictures */
    double right_labels;                /* how far slanted column labels reach past the last cell */
    double title;
    double bar_labels;
    double x, y; /* of the first cell */
    double width, height;
    double low, high; /* values at the ends of the colours */
};

/* Viridis (van der Walt and Smith), by its values at ninths, interpolated linearly. */
static void colour_of(double t, double rgb[3])
{
    static const double stops[10][3] = {
        {.267, .005, .329}, {.283, .141, .458}, {.254, .265, .530}, {.207, .372, .553}, {.164, .471, .558},
        {.128, .567, .551}, {.135, .659, .518}, {.267, .749, .441}, {.478, .821, .318}, {.993, .906, .144}};
    double place = fmin(fmax(t, 0), 1) * 9;
    int i = place >= 9 ? 8 : (int)place;
    for (int c = 0; c < 3; c++)
        rgb[c] = stops[i][c] + (place - i) * (stops[i + 1][c] - stops[i][c]);
}

static double widest_label(cairo_t *cairo, const char *const *labels, size_t n, size_t step, double font)
{
    double most = 0, w, h;
    for (size_t i = 0; i < n; i += step) {
        clip_text_size(cairo, labels[i], font, LABEL_WIDTH, &w, &h);
        most = fmax(most, w);
    }
    return most;
}

static void find_range(const struct clip_matrix_figure *figure, struct layout *layout)
{
    layout->low = INFINITY;
    layout->high = -INFINITY;
    for (size_t i = 0; i < figure->rows * figure->columns; i++)
        if (isfinite(figure->values[i])) {
            layout->low = fmin(layout->low, figure->values[i]);
            layout->high = fmax(layout->high, figure->values[i]);
        }
    if (layout->low > layout->high)
        layout->low = layout->high = 0;
}

static double cell_size(size_t most, int pictures)
{
    double cell = most <= 10     ? 64
                  : most <= 20   ? 48
                  : most <= 40   ? 30
                  : most <= 100  ? 18
                  : most <= 1500 ? 12
                                 : 4;
    return pictures && most <= 40 ? fmax(cell, 48) : cell;
}

static int make_layout(cairo_t *cairo, const struct clip_matrix_figure *figure, struct layout *layout,
                       struct clip_error *error)
{
    size_t most = figure->rows > figure->columns ? figure->rows : figure->columns;
    char text[64];
    double w, h;
    find_range(figure, layout);
    layout->cell = cell_size(most, figure->left || figure->top);
    layout->font = layout->cell >= 30 ? 13 : layout->cell >= 18 ? 11 : 9;
    layout->label_step = (int)ceil(layout->font * 1.15 / layout->cell);
    size_t step = (size_t)layout->label_step;
    layout->left_labels = widest_label(cairo, figure->row_labels, figure->rows, step, layout->font);
    double column_label = widest_label(cairo, figure->column_labels, figure->columns, step, layout->font);
    layout->angle = layout->cell >= 30 ? M_PI / 4 : M_PI / 2;
    clip_text_size(cairo, "Xg", layout->font, 0, &w, &h);
    layout->top_labels = column_label * sin(layout->angle) + h * cos(layout->angle);
    layout->right_labels =
        fmax(0, column_label * cos(layout->angle) + h * sin(layout->angle) - layout->cell / 2);
    layout->left_pictures = figure->left ? layout->cell + GAP : 0;
    layout->top_pictures = figure->top ? layout->cell + GAP : 0;
    if (figure->title) {
        clip_text_size(cairo, figure->title, 16, 0, &w, &h);
        layout->title = h + 2 * GAP;
    }
    snprintf(text, sizeof text, "%.*f", figure->digits, layout->low);
    clip_text_size(cairo, text, 11, 0, &w, &h);
    layout->bar_labels = w;
    snprintf(text, sizeof text, "%.*f", figure->digits, layout->high);
    clip_text_size(cairo, text, 11, 0, &w, &h);
    layout->bar_labels = fmax(layout->bar_labels, w);
    layout->x = MARGIN + layout->left_labels + GAP + layout->left_pictures;
    layout->y = MARGIN + layout->title + layout->top_labels + GAP + layout->top_pictures;
    double bar = 3 * GAP + BAR_WIDTH + layout->bar_labels;
    layout->width =
        ceil(layout->x + (double)figure->columns * layout->cell + fmax(bar, layout->right_labels) + MARGIN);
    layout->height = ceil(layout->y + fmax((double)figure->rows * layout->cell, 60) + MARGIN);
    if (figure->title) {
        clip_text_size(cairo, figure->title, 16, 0, &w, &h);
        layout->width = fmax(layout->width, ceil(w + 2 * MARGIN));
    }
    if (layout->width > MOST_PIXELS || layout->height > MOST_PIXELS)
        return clip_fail(error, "a matrix of %zu x %zu is too large to draw", figure->rows, figure->columns);
    return 0;
}

/* The size at which every value fits its cell, or 0. */
static double value_font(cairo_t *cairo, const struct clip_matrix_figure *figure, const struct layout *layout)
{
    double font = fmin(13, layout->cell * 0.4), most = 0, w, h;
    if (!figure->show_values)
        return 0;
    for (size_t i = 0; i < figure->rows * figure->columns && font >= 7; i++) {
        char text[400];
        snprintf(text, sizeof text, "%.*f", figure->digits, figure->values[i]);
        if (strlen(text) <= (size_t)most)
            continue; /* digits have the same width, so only longer texts can be wider */
        most = (double)strlen(text);
        while (clip_text_size(cairo, text, font, 0, &w, &h), w > layout->cell - 4 && font >= 7)
            font -= 0.5;
    }
    return font >= 7 ? font : 0;
}

static void draw_cells(cairo_t *cairo, const struct clip_matrix_figure *figure, const struct layout *layout)
{
    double font = value_font(cairo, figure, layout), span = layout->high - layout->low;
    for (size_t r = 0; r < figure->rows; r++)
        for (size_t c = 0; c < figure->columns; c++) {
            double value = figure->values[r * figure->columns + c], rgb[3] = {.8, .8, .8};
            double x = layout->x + (double)c * layout->cell, y = layout->y + (double)r * layout->cell;
            if (isfinite(value))
                colour_of(span > 0 ? (value - layout->low) / span : .5, rgb);
            cairo_set_source_rgb(cairo, rgb[0], rgb[1], rgb[2]);
            cairo_rectangle(cairo, x, y, layout->cell, layout->cell);
            cairo_fill(cairo);
            if (font == 0)
                continue;
            char text[400];
            double dark = .299 * rgb[0] + .587 * rgb[1] + .114 * rgb[2] < .5;
            snprintf(text, sizeof text, "%.*f", figure->digits, value);
            cairo_set_source_rgb(cairo, dark, dark, dark);
            clip_draw_text(cairo, text, font, 0, x + layout->cell / 2, y + layout->cell / 2, .5, .5);
        }
}

static void draw_edges(cairo_t *cairo, const struct clip_matrix_figure *figure, const struct layout *layout)
{
    double side = layout->cell - 2;
    cairo_set_source_rgb(cairo, .1, .1, .1);
    for (size_t r = 0; r < figure->rows; r++) {
        double y = layout->y + (double)r * layout->cell;
        if (figure->left)
            clip_draw_pixels(cairo, figure->left[r].pixels, figure->left[r].size, figure->left[r].size,
                             layout->x - layout->left_pictures, y + 1, side);
        cairo_set_source_rgb(cairo, .1, .1, .1);
        if (r % (size_t)layout->label_step == 0)
            clip_draw_text(cairo, figure->row_labels[r], layout->font, LABEL_WIDTH,
                           layout->x - layout->left_pictures - GAP, y + layout->cell / 2, 1, .5);
    }
    for (size_t c = 0; c < figure->columns; c++) {
        double x = layout->x + (double)c * layout->cell;
        if (figure->top)
            clip_draw_pixels(cairo, figure->top[c].pixels, figure->top[c].size, figure->top[c].size, x + 1,
                             layout->y - layout->top_pictures, side);
        if (c % (size_t)layout->label_step != 0)
            continue;
        cairo_save(cairo);
        cairo_set_source_rgb(cairo, .1, .1, .1);
        cairo_translate(cairo, x + layout->cell / 2, layout->y - layout->top_pictures - GAP);
        cairo_rotate(cairo, -layout->angle);
        clip_draw_text(cairo, figure->column_labels[c], layout->font, LABEL_WIDTH, 0, 0, 0, .5);
        cairo_restore(cairo);
    }
}

/* Draws the scale of colours, with the values at its ends, to the right of the cells. */
static void draw_bar(cairo_t *cairo, const struct clip_matrix_figure *figure, const struct layout *layout)
{
    double x = layout->x + (double)figure->columns * layout->cell + 2 * GAP;
    double height = fmin(fmax((double)figure->rows * layout->cell, 60), 240);
    char text[400];
    for (int i = 0; i < (int)height; i++) {
        double rgb[3];
        colour_of(1 - i / (height - 1), rgb);
        cairo_set_source_rgb(cairo, rgb[0], rgb[1], rgb[2]);
        cairo_rectangle(cairo, x, layout->y + i, BAR_WIDTH, 1.5);
        cairo_fill(cairo);
    }
    cairo_set_source_rgb(cairo, .1, .1, .1);
    snprintf(text, sizeof text, "%.*f", figure->digits, layout->high);
    clip_draw_text(cairo, text, 11, 0, x + BAR_WIDTH + GAP, layout->y, 0, 0);
    snprintf(text, sizeof text, "%.*f", figure->digits, layout->low);
    clip_draw_text(cairo, text, 11, 0, x + BAR_WIDTH + GAP, layout->y + height, 0, 1);
}

int clip_figure_matrix(const struct clip_matrix_figure *figure, enum clip_figure_format format, FILE *file,
                       struct clip_missing *missing, struct clip_error *error)
{
    struct layout layout = {0};
    struct clip_canvas canvas;
    if (clip_drawing_room(error) != 0)
        return -1;
    cairo_t *scratch = clip_scratch_context();
    int status = make_layout(scratch, figure, &layout, error);
    cairo_destroy(scratch);
    if (status != 0)
        return -1;
    clip_canvas_open(&canvas, format, layout.width, layout.height, file, missing);
    if (figure->title) {
        cairo_set_source_rgb(canvas.cairo, .1, .1, .1);
        clip_draw_text(canvas.cairo, figure->title, 16, 0, layout.width / 2, MARGIN, .5, 0);
    }
    draw_cells(canvas.cairo, figure, &layout);
    draw_edges(canvas.cairo, figure, &layout);
    draw_bar(canvas.cairo, figure, &layout);
    return clip_canvas_close(&canvas, error);
}
