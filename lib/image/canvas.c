#include "image/canvas.h"
#include "base/array.h"

#include "base/pages.h"

#include <cairo-pdf.h>
#include <cairo-svg.h>
#include <errno.h>
#include <malloc.h>
#include <pango/pangocairo.h>
#include <string.h>
#include <unictype.h>

/* The layout of a text in one line, at most `width` wide (0: no limit). The caller frees it. */
static PangoLayout *text_layout(cairo_t *cairo, const char *text, double font, double width)
{
    PangoLayout *layout = pango_cairo_create_layout(cairo);
    PangoFontDescription *description = pango_font_description_from_string("Sans");
    pango_font_description_set_absolute_size(description, font * PANGO_SCALE);
    pango_layout_set_font_description(layout, description);
    pango_font_description_free(description);
    pango_layout_set_single_paragraph_mode(layout, TRUE);
    pango_layout_set_text(layout, text, -1);
    if (width > 0) {
        int w, h;
        pango_layout_get_pixel_size(layout, &w, &h);
        if (w > width) {
            pango_layout_set_width(layout, (int)(width * PANGO_SCALE));
            pango_layout_set_ellipsize(layout, PANGO_ELLIPSIZE_END);
        }
    }
    return layout;
}

/* The key of a context's struct clip_missing. */
static const cairo_user_data_key_t missing_key;

static void add_missing(struct clip_missing *missing, ucs4_t c)
{
    const uc_script_t *script = uc_script(c);
    const char *name = script ? script->name : "Common";
    const uc_block_t *block = uc_block(c);
    if ((strcmp(name, "Common") == 0 || strcmp(name, "Inherited") == 0) && block)
        name = block->name;
    for (size_t i = 0; i < missing->count; i++)
        if (strcmp(missing->names[i], name) == 0)
            return;
    if (missing->count < CLIP_COUNT_OF(missing->names))
        missing->names[missing->count++] = name;
}

/* Glyphs that no font has say which character they stand for. */
static void find_missing(cairo_t *cairo, PangoLayout *layout)
{
    struct clip_missing *missing = cairo_get_user_data(cairo, &missing_key);
    if (!missing || pango_layout_get_unknown_glyphs_count(layout) == 0)
        return;
    PangoLayoutIter *iter = pango_layout_get_iter(layout);
    do {
        PangoLayoutRun *run = pango_layout_iter_get_run_readonly(iter);
        for (int i = 0; run && i < run->glyphs->num_glyphs; i++) {
            PangoGlyph glyph = run->glyphs->glyphs[i].glyph;
            if (glyph != PANGO_GLYPH_EMPTY && (glyph & PANGO_GLYPH_UNKNOWN_FLAG))
                add_missing(missing, (ucs4_t)(glyph & ~PANGO_GLYPH_UNKNOWN_FLAG));
        }
    } while (pango_layout_iter_next_run(iter));
    pango_layout_iter_free(iter);
}

const char *clip_missing_list(const struct clip_missing *missing, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < missing->count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", missing->names[i]);
    for (char *c = out; *c; c++)
        *c = *c == '_' ? ' ' : *c; /* as in Old_Italic */
    return out;
}

void clip_text_size(cairo_t *cairo, const char *text, double font, double width, double *w, double *h)
{
    int pixels_w, pixels_h;
    PangoLayout *layout = text_layout(cairo, text, font, width);
    pango_layout_get_pixel_size(layout, &pixels_w, &pixels_h);
    g_object_unref(layout);
    *w = pixels_w;
    *h = pixels_h;
}

void clip_draw_text(cairo_t *cairo, const char *text, double font, double width, double x, double y,
                    double across, double down)
{
    int w, h;
    PangoLayout *layout = text_layout(cairo, text, font, width);
    pango_layout_get_pixel_size(layout, &w, &h);
    find_missing(cairo, layout);
    cairo_move_to(cairo, x - across * w, y - down * h);
    pango_cairo_show_layout(cairo, layout);
    g_object_unref(layout);
}

void clip_draw_pixels(cairo_t *cairo, const uint8_t *pixels, int rows, int columns, double x, double y,
                      double width)
{
    size_t plane = (size_t)rows * (size_t)columns;
    double scale = width / columns;
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, columns, rows);
    unsigned char *data = cairo_image_surface_get_data(surface);
    if (data) {
        int stride = cairo_image_surface_get_stride(surface);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) {
                const uint8_t *p = pixels + (size_t)r * (size_t)columns + (size_t)c;
                uint32_t pixel = (uint32_t)p[0] << 16 | (uint32_t)p[plane] << 8 | p[2 * plane];
                memcpy(data + r * stride + 4 * c, &pixel, 4);
            }
        cairo_surface_mark_dirty(surface);
    }
    cairo_save(cairo);
    cairo_translate(cairo, x, y);
    cairo_scale(cairo, scale, scale);
    cairo_set_source_surface(cairo, surface, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(cairo), CAIRO_FILTER_BEST);
    cairo_pattern_set_extend(cairo_get_source(cairo), CAIRO_EXTEND_PAD);
    cairo_rectangle(cairo, 0, 0, columns, rows);
    cairo_fill(cairo);
    cairo_restore(cairo);
    cairo_surface_destroy(surface); /* an error stays in the context, which is looked at in the end */
}

int clip_drawing_room(struct clip_error *error)
{
    enum {
        NEEDED = 160
    }; /* MiB of address space for fonts and Pango's threads; half of it was seen in use */
    mallopt(M_ARENA_MAX, 1); /* otherwise malloc reserves 128 for each of the threads */
    return clip_pages_room((size_t)NEEDED << 20)
               ? 0
               : clip_fail(error, "out of memory: drawing needs %d MiB of address space", NEEDED);
}

cairo_t *clip_scratch_context(void)
{
    cairo_surface_t *scratch = cairo_image_surface_create(CAIRO_FORMAT_RGB24, 1, 1);
    cairo_t *cairo = cairo_create(scratch);
    cairo_surface_destroy(scratch); /* the context holds it */
    return cairo;
}

static cairo_status_t write_out(void *context, const unsigned char *data, unsigned size)
{
    struct clip_canvas *canvas = context;
    if (fwrite(data, 1, size, canvas->file) == size)
        return CAIRO_STATUS_SUCCESS;
    canvas->number = errno;
    return CAIRO_STATUS_WRITE_ERROR;
}

void clip_canvas_open(struct clip_canvas *canvas, enum clip_figure_format format, double width, double height,
                      FILE *file, struct clip_missing *missing)
{
    *canvas = (struct clip_canvas){.format = format, .file = file};
    if (format == CLIP_FIGURE_SVG)
        canvas->surface = cairo_svg_surface_create_for_stream(write_out, canvas, width, height);
    else if (format == CLIP_FIGURE_PDF)
        canvas->surface = cairo_pdf_surface_create_for_stream(write_out, canvas, width, height);
    else
        canvas->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width, (int)height);
    canvas->cairo = cairo_create(canvas->surface);
    cairo_set_user_data(canvas->cairo, &missing_key, missing, NULL);
    cairo_set_source_rgb(canvas->cairo, 1, 1, 1);
    cairo_paint(canvas->cairo);
}

int clip_canvas_close(struct clip_canvas *canvas, struct clip_error *error)
{
    cairo_status_t status = cairo_status(canvas->cairo);
    cairo_destroy(canvas->cairo);
    if (status == CAIRO_STATUS_SUCCESS && canvas->format == CLIP_FIGURE_PNG)
        status = cairo_surface_write_to_png_stream(canvas->surface, write_out, canvas);
    cairo_surface_finish(canvas->surface);
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_status(canvas->surface);
    cairo_surface_destroy(canvas->surface);
    if (canvas->number)
        return clip_fail(error, "%s", strerror(canvas->number));
    if (status != CAIRO_STATUS_SUCCESS)
        return clip_fail(error, "drawing: %s", cairo_status_to_string(status));
    return 0;
}
