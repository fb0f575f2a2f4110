/* clip-plot: draws a table of clip-simmatrix --tsv, the log of a training run, or pictures, as a figure. */
#include "base/cli.h"
#include "base/file.h"
#include "image/curves.h"
#include "image/field.h"
#include "image/figure.h"
#include "image/preprocess.h"
#include "image/sheet.h"
#include "image/table.h"
#include "stream/reader.h"
#include "stream/skips.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THUMBNAIL = 128 }; /* side of a picture decoded here */
enum edge { EDGE_AUTO, EDGE_LEFT, EDGE_TOP };

static const char *output = "-", *images, *title, *curve_fields;
static int format = -1, edge = EDGE_AUTO, no_values, as_sheet;
static long digits = 2, columns, side = 160;
static struct clip_sheet sheet;
static struct clip_missing missing;

static const struct clip_option options[] = {
    {"output", 'o', CLIP_TEXT, &output, "FILE", "write FILE, in the format of its ending [-]", 0, 0},
    {"format", 'f', CLIP_CHOICE, &format, "png|svg|pdf", "format of the figure [png]", 0, 0},
    {"curve", 'c', CLIP_TEXT, &curve_fields, "FIELD,...",
     "draw curves of these fields of a log: A,B in two panels, A+B in one", 0, 0},
    {"sheet", 's', CLIP_FLAG, &as_sheet, NULL, "draw the pictures of a stream as a contact sheet", 0, 0},
    {"columns", 0, CLIP_COUNT, &columns, "N", "with --sheet: pictures in a row [8]", 1,
     CLIP_SHEET_MOST_COLUMNS},
    {"size", 0, CLIP_COUNT, &side, "PIXELS", "with --sheet: side of a picture [160]", 16, 2048},
    {"label", 0, CLIP_TEXT, &sheet.label, "FIELD", "with --sheet: the field under a picture [txt, else key]",
     0, 0},
    {"images", 'i', CLIP_TEXT, &images, "STREAM", "draw the pictures of STREAM along an edge", 0, 0},
    {"edge", 0, CLIP_CHOICE, &edge, "auto|left|top",
     "edge for the pictures [auto: the one with as many labels]", 0, 0},
    {"title", 't', CLIP_TEXT, &title, "TEXT", "a line above the figure", 0, 0},
    {"digits", 0, CLIP_COUNT, &digits, "N", "decimals of the values [2]", 0, 9},
    {"no-values", 0, CLIP_FLAG, &no_values, NULL, "do not draw values in the cells", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-plot",
    .operands = "[TABLE|LOG|STREAM]",
    .purpose = "Draws the table that clip-simmatrix --tsv writes, with coloured cells, labels and pictures;\n"
               "curves of the numbers in the log of clip-contrastive-step; or pictures with captions.",
    .options = options,
    .shared = CLIP_TAKES_RECORDS | CLIP_TAKES_SKIP};

struct pictures {
    struct clip_thumbnail *list;
    size_t n;
};

/* Formats in the order of enum clip_figure_format. */
static int format_of(const char *path)
{
    static const char *const endings[] = {".png", ".svg", ".pdf"};
    size_t size = strlen(path);
    for (int i = 0; i < 3; i++)
        if (size > 4 && strcasecmp(path + size - 4, endings[i]) == 0)
            return i;
    return -1;
}

/* The pixels of field `image`, from malloc; NULL with the record marked as bad. */
static uint8_t *copy_image(struct clip_record *record, int *side)
{
    struct clip_tensor tensor;
    uint8_t *pixels = NULL;
    if (clip_record_tensor(record, "image", CLIP_U8, &tensor) != 0)
        return NULL;
    if (tensor.ndim != 3 || tensor.shape[0] != 3 || tensor.shape[1] != tensor.shape[2] ||
        tensor.shape[1] < 1 || tensor.shape[1] > 16384)
        clip_record_fail(record, "field 'image' is not [3, S, S]");
    else if (!(pixels = malloc(clip_tensor_bytes(&tensor))))
        clip_record_fail(record, "out of memory for a picture");
    else
        memcpy(pixels, tensor.data, clip_tensor_bytes(&tensor));
    *side = (int)tensor.shape[1];
    return pixels;
}

static struct clip_image_form thumbnail = {.height = THUMBNAIL, .width = THUMBNAIL, .convert_first = 1};

/* The middle square of the file in field `found`, [3, THUMBNAIL, THUMBNAIL]; NULL with the record marked as
 * bad. */
static uint8_t *decode_picture(struct clip_record *record, const struct clip_field *found)
{
    struct clip_picture picture = {0};
    struct clip_error why;
    const char *data;
    size_t size;
    uint8_t *pixels = malloc(3 * THUMBNAIL * THUMBNAIL);
    int status = pixels ? 0 : clip_fail_memory(&why, "a picture");
    if (status == 0 && clip_field_bytes(found, &data, &size) != 0)
        status = clip_fail(&why, "does not hold a file");
    if (status == 0)
        status = clip_picture_decode(&picture, data, size, CLIP_MAX_PIXELS, &why);
    if (status == 0)
        status = clip_picture_to_tensor(&picture, &thumbnail, pixels, &why);
    clip_picture_free(&picture);
    if (status == 0)
        return pixels;
    clip_record_fail(record, "%.*s: %s", (int)found->name_size, found->name, why.text);
    free(pixels);
    return NULL;
}

static void add_picture(struct pictures *pictures, struct clip_record *record)
{
    const struct clip_field *found = clip_find_picture(record);
    int side = THUMBNAIL;
    char name[400];
    uint8_t *pixels = found && !clip_record_find(record, "image") ? decode_picture(record, found)
                                                                  : copy_image(record, &side);
    if (!pixels)
        clip_die("%s: %s", clip_record_name(record, name, sizeof name), record->error.text);
    pictures->list = reallocarray(pictures->list, pictures->n + 1, sizeof *pictures->list);
    if (!pictures->list)
        clip_die("out of memory for pictures");
    pictures->list[pictures->n++] = (struct clip_thumbnail){pixels, side};
}

/* Reads no more pictures than a figure can have labels: a longer stream is refused before it fills memory. */
static void read_pictures(struct pictures *pictures, size_t most, const struct clip_shared *shared)
{
    struct clip_error error;
    struct clip_record *record;
    char *path = (char *)images;
    int got;
    struct clip_reader *reader = clip_reader_new(&path, 1, shared->max_record, &error);
    while ((got = reader ? clip_reader_next(reader, &record, &error) : -1) == 1) {
        if (clip_record_find(record, "__key__")) {
            if (pictures->n == most)
                clip_die("%s: more than %zu pictures, and no edge of the table has so many labels", images,
                         most);
            add_picture(pictures, record);
        }
        clip_record_free(record);
    }
    if (got < 0)
        clip_die("%s", error.text);
    clip_reader_free(reader);
}

static void put_pictures(struct clip_matrix_figure *figure, const struct pictures *pictures)
{
    if (edge != EDGE_TOP && pictures->n == figure->rows)
        figure->left = pictures->list;
    else if (edge != EDGE_LEFT && pictures->n == figure->columns)
        figure->top = pictures->list;
    else
        clip_die("%s: %zu pictures, but the table has %zu rows and %zu columns", images, pictures->n,
                 figure->rows, figure->columns);
}

/* One of the two that is not NULL, or the sheet. */
static int draw(const struct clip_matrix_figure *figure, const struct clip_curves *curves, FILE *file,
                struct clip_error *error)
{
    enum clip_figure_format form = (enum clip_figure_format)format;
    if (figure)
        return clip_figure_matrix(figure, form, file, &missing, error);
    return curves ? clip_figure_curves(curves, title, form, file, &missing, error)
                  : clip_figure_sheet(&sheet, form, file, &missing, error);
}

static int draw_to(const struct clip_matrix_figure *figure, const struct clip_curves *curves,
                   struct clip_error *error)
{
    struct clip_output file;
    if (strcmp(output, "-") == 0) {
        int status = draw(figure, curves, stdout, error);
        return status == 0 ? 0 : clip_fail_prefix(error, "standard output");
    }
    if (clip_output_open(&file, output, error) != 0)
        return -1;
    if (draw(figure, curves, file.file, error) != 0) {
        clip_output_abandon(&file);
        return clip_fail_prefix(error, "%s", output);
    }
    return clip_output_commit(&file, error);
}

static int plot_curves(FILE *file, const char *name, struct clip_error *error)
{
    struct clip_curves curves;
    int status = clip_curves_name(&curves, curve_fields, error);
    if (status != 0)
        clip_usage("--curve: %s", error->text);
    status = clip_curves_read(&curves, file, name, error);
    if (status == 0)
        status = draw_to(NULL, &curves, error);
    clip_curves_free(&curves);
    return status;
}

static int plot_matrix(FILE *file, const char *name, const struct clip_shared *shared,
                       struct clip_error *error)
{
    struct clip_table table;
    struct pictures pictures = {0};
    if (clip_table_read(&table, file, name, error) != 0)
        return -1;
    struct clip_matrix_figure figure = {.rows = table.rows,
                                        .columns = table.columns,
                                        .values = table.values,
                                        .row_labels = (const char *const *)table.row_labels,
                                        .column_labels = (const char *const *)table.column_labels,
                                        .title = title,
                                        .digits = (int)digits,
                                        .show_values = !no_values};
    if (images) {
        read_pictures(&pictures, table.rows > table.columns ? table.rows : table.columns, shared);
        put_pictures(&figure, &pictures);
    }
    int status = draw_to(&figure, NULL, error);
    for (size_t i = 0; i < pictures.n; i++)
        free((void *)pictures.list[i].pixels);
    free(pictures.list);
    clip_table_free(&table);
    return status;
}

static int plot_sheet(char *path, const struct clip_shared *shared, struct clip_error *error)
{
    struct clip_record *record;
    struct clip_skips skips = {.shared = shared};
    int got = 0, status = clip_level_choose(&sheet.level, error);
    struct clip_reader *reader =
        status == 0 ? clip_reader_new(&path, path != NULL, shared->max_record, error) : NULL;
    if (!reader)
        return -1;
    while (status == 0 && (got = clip_reader_next(reader, &record, error)) > 0) {
        if (clip_record_find(record, "__key__"))
            status = clip_sheet_add(&sheet, record, error);
        if (status != 0 && record->bad)
            status = clip_skips_add(&skips, record, error);
        clip_record_free(record);
    }
    clip_skips_note(&skips);
    if (status == 0 && got == 0)
        status = draw_to(NULL, NULL, error);
    clip_reader_free(reader);
    clip_sheet_free(&sheet);
    return got < 0 ? -1 : status;
}

static int plot_file(const char *path, const struct clip_shared *shared, struct clip_error *error)
{
    const char *name = path ? path : "standard input";
    FILE *file = path ? fopen(path, "re") : stdin;
    if (!file)
        return clip_fail_errno(error, "%s", path);
    int status = curve_fields ? plot_curves(file, name, error) : plot_matrix(file, name, shared, error);
    if (path)
        fclose(file);
    return status;
}

static void check_options(const struct clip_shared *shared)
{
    if ((curve_fields && images) || (as_sheet && (curve_fields || images)))
        clip_usage("--images, --curve and --sheet are mutually exclusive");
    if (!as_sheet && (columns || side != 160 || sheet.label || shared->skip_bad))
        clip_usage("--columns, --size, --label and --skip-bad are about --sheet");
    sheet.columns = (int)columns;
    sheet.side = (int)side;
    sheet.title = title;
}

static void choose_format(void)
{
    if (format < 0 && strcmp(output, "-") != 0 && (format = format_of(output)) < 0)
        clip_usage("%s: the name does not end in .png, .svg or .pdf; use --format", output);
    if (format < 0)
        format = CLIP_FIGURE_PNG;
    if (strcmp(output, "-") == 0 && isatty(STDOUT_FILENO))
        clip_usage("standard output is a terminal; name a file with -o");
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    char scripts[300];
    int first = clip_start(&program, &shared, argc, argv);
    if (argc - first > 1)
        clip_usage("at most one table");
    check_options(&shared);
    choose_format();
    if (images && clip_level_choose(&thumbnail.level, &error) != 0)
        clip_die("%s", error.text);
    char *path = first < argc && strcmp(argv[first], "-") != 0 ? argv[first] : NULL;
    int status = as_sheet ? plot_sheet(path, &shared, &error) : plot_file(path, &shared, &error);
    if (status != 0)
        clip_die("%s", error.text);
    if (missing.count)
        clip_note("no font that is installed has these scripts, which are drawn as boxes: %s",
                  clip_missing_list(&missing, scripts, sizeof scripts));
    return clip_finish(0);
}
