/* clip-page: results with their pictures as one page of HTML. */
#include "base/cli.h"
#include "base/datadir.h"
#include "base/file.h"
#include "score/evaluation.h"
#include "score/gallery.h"
#include "score/page.h"
#include "score/results.h"
#include "stream/reader.h"
#include "stream/skips.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *output = "-", *images, *title, *class_names;
static int view = CLIP_PAGE_RESULTS;
static long side = 160;

static const struct clip_option options[] = {
    {"images", 'i', CLIP_TEXT, &images, "STREAM", "the pictures, by the keys that the results have", 0, 0},
    {"output", 'o', CLIP_TEXT, &output, "FILE", "write FILE [-]", 0, 0},
    {"view", 0, CLIP_CHOICE, &view, "results|pairs|classes|eval",
     "what the sections are [results, of a folder eval]", 0, 0},
    {"classes", 0, CLIP_TEXT, &class_names, "FILE", "with eval: the names of the classes, one per line", 0,
     0},
    {"thumb", 0, CLIP_COUNT, &side, "PIXELS", "the longer side of the pictures [160]", 16, 1024},
    {"title", 't', CLIP_TEXT, &title, "TEXT", "the title of the page", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-page",
    .operands = "[RESULTS|FOLDER]",
    .purpose = "Writes results of clip-simmatrix or clip-classify, or the folder of clip-eval --save, with\n"
               "their pictures as one page of HTML that needs nothing else.",
    .options = options,
    .shared = CLIP_TAKES_STREAM | CLIP_TAKES_SKIP};

static int read_images(struct clip_gallery *gallery, const struct clip_shared *shared,
                       struct clip_error *error)
{
    char *path = (char *)images;
    struct clip_record *record;
    struct clip_progress progress;
    struct clip_skips skips = {.shared = shared};
    int got = 0, status = 0;
    struct clip_reader *reader = clip_reader_new(&path, 1, shared->max_record, error);
    if (!reader)
        return -1;
    uint64_t total = shared->progress ? clip_reader_total(reader) : 0;
    clip_progress_start(&progress, shared, images);
    while (status == 0 && (got = clip_reader_next(reader, &record, error)) > 0) {
        status = clip_gallery_add(gallery, record, error);
        if (status != 0 && record->bad)
            status = clip_skips_add(&skips, record, error);
        clip_record_free(record);
        clip_progress_show(&progress, clip_reader_count(reader), total, clip_reader_waited(reader), 0, 0);
    }
    clip_progress_show(&progress, clip_reader_count(reader), total, clip_reader_waited(reader), 0, 1);
    clip_skips_note(&skips);
    if (status == 0 && got == 0 && gallery->found == 0 && gallery->count > 0)
        clip_note("%s has no picture with a key of the results", images);
    clip_reader_free(reader);
    return status == 0 && got == 0 ? 0 : -1;
}

/* A file of the installed page, whole; from malloc. NULL with error. */
static char *read_part(const char *name, struct clip_error *error)
{
    char *path = clip_data_path(name, error), *text = NULL;
    struct clip_mapping mapping;
    if (path && clip_map_file(&mapping, path, error) == 0) {
        text = strndup(mapping.data ? (const char *)mapping.data : "", mapping.size);
        if (!text)
            clip_fail_memory(error, "a page");
        clip_unmap_file(&mapping);
    }
    free(path);
    return text;
}

static int write_page(const struct clip_page *page, struct clip_error *error)
{
    struct clip_output file;
    if (strcmp(output, "-") == 0)
        return clip_page_write(page, stdout, error);
    if (clip_output_open(&file, output, error) != 0)
        return -1;
    if (clip_page_write(page, file.file, error) != 0) {
        clip_output_abandon(&file);
        return -1;
    }
    return clip_output_commit(&file, error);
}

static int read_results(const char *path, const struct clip_shared *shared, struct clip_results *results,
                        struct clip_page_classes *classes, struct clip_error *error)
{
    if (view != CLIP_PAGE_EVAL)
        return clip_results_read(results, path, shared->max_record, error);
    size_t most = shared->max_record ? shared->max_record : CLIP_MAX_RECORD;
    return clip_evaluation_read(path, class_names, most, results, classes, error);
}

static int make_page(const char *path, const struct clip_shared *shared, struct clip_error *error)
{
    struct clip_results results = {0};
    struct clip_gallery gallery = {.side = (int)side};
    struct clip_page_classes classes = {0};
    struct clip_page page = {.view = (enum clip_page_view)view,
                             .title = title,
                             .results = &results,
                             .gallery = &gallery,
                             .classes = &classes};
    char *style = read_part("page/page.css", error),
         *script = style ? read_part("page/page.js", error) : NULL;
    int status = script ? clip_level_choose(&gallery.level, error) : -1;
    page.style = style;
    page.script = script;
    if (status == 0)
        status = read_results(path, shared, &results, &classes, error);
    if (status == 0)
        status = clip_gallery_want(&gallery, &results, error);
    if (status == 0 && images)
        status = read_images(&gallery, shared, error);
    if (status == 0)
        status = write_page(&page, error);
    clip_gallery_free(&gallery);
    clip_results_free(&results);
    clip_page_classes_free(&classes);
    free(style);
    free(script);
    return status;
}

static int is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    int first = clip_start(&program, &shared, argc, argv);
    const char *path = first < argc ? argv[first] : "-";
    if (argc - first > 1)
        clip_usage("at most one file of results");
    if (is_folder(path) && view == CLIP_PAGE_RESULTS)
        view = CLIP_PAGE_EVAL;
    if (class_names && view != CLIP_PAGE_EVAL)
        clip_usage("--classes is about the folder of clip-eval --save");
    if (images && strcmp(images, "-") == 0 && strcmp(path, "-") == 0)
        clip_usage("standard input is used twice");
    if (make_page(path, &shared, &error) != 0)
        clip_die("%s", error.text);
    return clip_finish(0);
}
