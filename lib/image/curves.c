#include "image/curves.h"

#include "base/json.h"
#include "base/lines.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In pixels (points in SVG and PDF). */
#define WIDTH 900.0
#define PANEL 240.0 /* height of a panel's axes */
#define LEFT 76.0   /* room for the numbers of the vertical axis */
#define RIGHT 24.0
#define TOP 34.0    /* above each panel: the names of its curves */
#define BOTTOM 48.0 /* below the last: the horizontal axis */
#define FONT 12.0

/* The range of axes: numbers beyond it are not drawn, and numbers closer than its inverse are drawn as
 * one. */
#define LARGEST 1e300

/* Tableau's ten colours; most eyes can tell neighbouring ones apart. */
static const double colours[10][3] = {
    {.122, .467, .706}, {1, .498, .055},    {.173, .627, .173}, {.839, .153, .157}, {.580, .404, .741},
    {.549, .337, .294}, {.890, .467, .761}, {.498, .498, .498}, {.737, .741, .133}, {.090, .745, .812}};

/* --- the numbers --- */

int clip_curves_name(struct clip_curves *curves, const char *list, struct clip_error *error)
{
    *curves = (struct clip_curves){0};
    for (const char *name = list, *next; name; name = next) {
        size_t size = strcspn(name, ",+");
        next = name[size] ? name + size + 1 : NULL;
        if (size == 0)
            return clip_fail(error, "'%s': a curve has no name", list);
        if (curves->count == CLIP_MAX_CURVES)
            return clip_fail(error, "more than %d curves", CLIP_MAX_CURVES);
        struct clip_curve *curve = &curves->curves[curves->count++];
        curve->panel = curves->panels;
        if (!(curve->field = strndup(name, size)))
            return clip_fail_memory(error, "curves");
        curves->panels += name[size] != '+';
    }
    return 0;
}

void clip_curves_free(struct clip_curves *curves)
{
    for (int i = 0; i < curves->count; i++) {
        free(curves->curves[i].field);
        free(curves->curves[i].values);
    }
    free(curves->steps);
    *curves = (struct clip_curves){0};
}

static int grow_steps(struct clip_curves *curves, struct clip_error *error)
{
    size_t room = curves->room ? 2 * curves->room : 1024;
    double *steps = reallocarray(curves->steps, room, sizeof *steps);
    if (!steps)
        return clip_fail_memory(error, "curves");
    curves->steps = steps;
    for (int i = 0; i < curves->count; i++) {
        double *values = reallocarray(curves->curves[i].values, room, sizeof *values);
        if (!values)
            return clip_fail_memory(error, "curves");
        curves->curves[i].values = values;
    }
    curves->room = room;
    return 0;
}

/* The number of a member; NaN where it is absent or cannot be drawn. */
static double number_of(struct json_object *object, const char *key)
{
    struct json_object *value = clip_json_get(object, key);
    if (!json_object_is_type(value, json_type_double) && !json_object_is_type(value, json_type_int))
        return NAN;
    double number = json_object_get_double(value);
    return fabs(number) <= LARGEST ? number : NAN;
}

static int read_point(struct clip_curves *curves, const char *line, size_t size, size_t number,
                      struct clip_error *error)
{
    struct json_object *object = clip_json_parse(line, size, error);
    if (!object)
        return -1;
    int status = curves->points < curves->room ? 0 : grow_steps(curves, error);
    if (status == 0) {
        double step = number_of(object, "step");
        curves->steps[curves->points] = isfinite(step) ? step : (double)number;
        for (int i = 0; i < curves->count; i++)
            curves->curves[i].values[curves->points] = number_of(object, curves->curves[i].field);
        curves->points++;
    }
    json_object_put(object);
    return status;
}

/* Each curve must have something to draw. */
static int check_curves(const struct clip_curves *curves, struct clip_error *error)
{
    for (int i = 0; i < curves->count; i++) {
        size_t p = 0;
        while (p < curves->points && !isfinite(curves->curves[i].values[p]))
            p++;
        if (p == curves->points)
            return clip_fail(error, "no line has a number '%s'", curves->curves[i].field);
    }
    return 0;
}

int clip_curves_read(struct clip_curves *curves, FILE *file, const char *name, struct clip_error *error)
{
    struct clip_lines lines = {.file = file};
    char *line;
    size_t size;
    int got = 0, status = 0;
    while (status == 0 && (got = clip_lines_next(&lines, &line, &size, error)) > 0)
        if (read_point(curves, line, size, lines.number, error) != 0)
            status = clip_fail_prefix(error, "%s: line %llu", name, (unsigned long long)lines.number);
    clip_lines_free(&lines);
    if (got < 0)
        status = clip_fail_prefix(error, "%s", name);
    if (status == 0 && check_curves(curves, error) != 0)
        status = clip_fail_prefix(error, "%s", name);
    return status;
}

/* --- the axes --- */

struct axis {
    double low, high, tick; /* values */
    double from, to;        /* where these are on the canvas */
};

static double canvas_position(const struct axis *axis, double value)
{
    return axis->from + (value - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
}

/* Widens the axis to whole ticks of 1, 2 or 5 times a power of ten, about `most` of them. Values too close
 * for ticks to tell apart are taken for one. */
static void choose_ticks(struct axis *axis, double most, int widen)
{
    double size = fmax(fabs(axis->low), fabs(axis->high));
    if (axis->high - axis->low <= fmax(64 * DBL_EPSILON * size, 1 / LARGEST)) {
        double half = size > 1 / LARGEST ? size / 2 : .5;
        axis->low -= half;
        axis->high = axis->low + 2 * half;
    }
    double rough = (axis->high - axis->low) / most, power = pow(10, floor(log10(rough)));
    double times = rough / power;
    axis->tick = power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
    if (!widen)
        return;
    axis->low = floor(axis->low / axis->tick) * axis->tick;
    axis->high = ceil(axis->high / axis->tick) * axis->tick;
}

static void find_range(const struct clip_curves *curves, int panel, struct axis *axis)
{
    axis->low = INFINITY;
    axis->high = -INFINITY;
    for (int i = 0; i < curves->count; i++)
        for (size_t p = 0; curves->curves[i].panel == panel && p < curves->points; p++) {
            double value = curves->curves[i].values[p];
            if (isfinite(value)) {
                axis->low = fmin(axis->low, value);
                axis->high = fmax(axis->high, value);
            }
        }
}

static void draw_line(cairo_t *cairo, double x0, double y0, double x1, double y1)
{
    cairo_move_to(cairo, x0, y0);
    cairo_line_to(cairo, x1, y1);
    cairo_stroke(cairo);
}

/* Draws the lines of the ticks across the panel, and the numbers of the vertical axis or, with `below`, of
 * the horizontal one. */
static void draw_axis(cairo_t *cairo, const struct axis *axis, const struct axis *other, int vertical,
                      int numbers)
{
    char text[64];
    int digits = (int)fmin(9, fmax(0, ceil(-log10(axis->tick) - 1e-9)));
    for (double i = ceil(axis->low / axis->tick - 1e-9); i * axis->tick <= axis->high + 1e-9 * axis->tick;
         i++) {
        double at = canvas_position(axis, i * axis->tick);
        cairo_set_line_width(cairo, 1);
        cairo_set_source_rgb(cairo, .88, .88, .88);
        if (vertical)
            draw_line(cairo, other->from, at, other->to, at);
        else
            draw_line(cairo, at, other->from, at, other->to);
        if (!numbers)
            continue;
        snprintf(text, sizeof text, "%.*f", digits, i * axis->tick + 0.0);
        cairo_set_source_rgb(cairo, .2, .2, .2);
        if (vertical)
            clip_draw_text(cairo, text, FONT, LEFT - 12, other->from - 6, at, 1, .5);
        else
            clip_draw_text(cairo, text, FONT, 0, at, other->from + 5, .5, 0);
    }
}

/* --- the curves --- */

/* out[points]: the mean of the finite values among `reach` points on both sides of each point. */
static void smooth(const double *values, size_t points, size_t reach, double *out)
{
    double sum = 0;
    size_t n = 0, begin = 0, end = 0;
    for (size_t p = 0; p < points; p++) {
        for (; end < points && end <= p + reach; end++)
            if (isfinite(values[end]))
                sum += values[end], n++;
        for (; begin + reach < p; begin++)
            if (isfinite(values[begin]))
                sum -= values[begin], n--;
        out[p] = n && isfinite(values[p]) ? sum / (double)n : NAN;
    }
}

static void draw_curve(cairo_t *cairo, const struct clip_curves *curves, const double *values,
                       const struct axis *x, const struct axis *y)
{
    int drawing = 0;
    for (size_t p = 0; p < curves->points; p++) {
        if (!isfinite(values[p])) {
            drawing = 0;
            continue;
        }
        (drawing ? cairo_line_to : cairo_move_to)(cairo, canvas_position(x, curves->steps[p]),
                                                  canvas_position(y, values[p]));
        drawing = 1;
    }
    cairo_stroke(cairo);
}

/* A curve as it is, and its mean; `scratch` [points]. */
static void draw_both(cairo_t *cairo, const struct clip_curves *curves, const struct clip_curve *curve,
                      const double colour[3], const struct axis *x, const struct axis *y, double *scratch)
{
    size_t reach = curves->points / 100;
    cairo_set_line_join(cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_set_source_rgba(cairo, colour[0], colour[1], colour[2], reach ? .3 : 1);
    cairo_set_line_width(cairo, reach ? 1 : 1.8);
    draw_curve(cairo, curves, curve->values, x, y);
    if (!reach)
        return;
    smooth(curve->values, curves->points, reach, scratch);
    cairo_set_source_rgb(cairo, colour[0], colour[1], colour[2]);
    cairo_set_line_width(cairo, 1.8);
    draw_curve(cairo, curves, scratch, x, y);
}

static void draw_panel(cairo_t *cairo, const struct clip_curves *curves, int panel, double top,
                       struct axis *x, double *scratch)
{
    struct axis y = {.from = top + PANEL, .to = top};
    double label = LEFT, w, h;
    find_range(curves, panel, &y);
    choose_ticks(&y, 5, 1);
    draw_axis(cairo, x, &y, 0, panel == curves->panels - 1);
    draw_axis(cairo, &y, x, 1, 1);
    cairo_set_source_rgb(cairo, .5, .5, .5);
    cairo_rectangle(cairo, x->from, y.to, x->to - x->from, y.from - y.to);
    cairo_stroke(cairo);
    for (int i = 0, n = 0; i < curves->count; i++) {
        const struct clip_curve *curve = &curves->curves[i];
        if (curve->panel != panel)
            continue;
        const double *colour = colours[n++ % 10];
        draw_both(cairo, curves, curve, colour, x, &y, scratch);
        cairo_set_source_rgb(cairo, colour[0], colour[1], colour[2]);
        clip_draw_text(cairo, curve->field, FONT + 1, 0, label, top - 5, 0, 1);
        clip_text_size(cairo, curve->field, FONT + 1, 0, &w, &h);
        label += w + 18;
    }
}

int clip_figure_curves(const struct clip_curves *curves, const char *title, enum clip_figure_format format,
                       FILE *file, struct clip_missing *missing, struct clip_error *error)
{
    struct clip_canvas canvas;
    struct axis x = {.low = INFINITY, .high = -INFINITY, .from = LEFT, .to = WIDTH - RIGHT};
    double head = title ? 34 : 0, height = head + curves->panels * (TOP + PANEL) + BOTTOM;
    if (clip_drawing_room(error) != 0)
        return -1;
    double *scratch = reallocarray(NULL, curves->points, sizeof *scratch);
    if (!scratch)
        return clip_fail_memory(error, "curves");
    for (size_t p = 0; p < curves->points; p++) {
        x.low = fmin(x.low, curves->steps[p]);
        x.high = fmax(x.high, curves->steps[p]);
    }
    choose_ticks(&x, 8, 0);
    clip_canvas_open(&canvas, format, WIDTH, height, file, missing);
    cairo_set_source_rgb(canvas.cairo, .1, .1, .1);
    if (title)
        clip_draw_text(canvas.cairo, title, 16, WIDTH - 32, WIDTH / 2, 14, .5, 0);
    for (int i = 0; i < curves->panels; i++)
        draw_panel(canvas.cairo, curves, i, head + TOP + i * (TOP + PANEL), &x, scratch);
    cairo_set_source_rgb(canvas.cairo, .2, .2, .2);
    clip_draw_text(canvas.cairo, "step", FONT, 0, (x.from + x.to) / 2, height - 10, .5, 1);
    free(scratch);
    return clip_canvas_close(&canvas, error);
}
