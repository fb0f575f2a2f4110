/* Results as one page of HTML that needs nothing else: pictures are in it, there is no request, and it can be
 * read without its script. All that comes from outside is escaped. */
#ifndef CLIP_SCORE_PAGE_H
#define CLIP_SCORE_PAGE_H

#include "base/error.h"
#include "score/gallery.h"
#include "score/results.h"

#include <stddef.h>
#include <stdio.h>

enum clip_page_view {
    CLIP_PAGE_RESULTS, /* a section a row */
    CLIP_PAGE_PAIRS,   /* a section a group of pictures that matches connect */
    CLIP_PAGE_CLASSES, /* a section a class, the best match of a picture, least sure first */
    CLIP_PAGE_EVAL,    /* of the classes of an evaluation: confusion, recall, worst mistakes */
};

/* Which class each picture, a row of the results, has and was taken for: numbers below `count`. */
struct clip_page_classes {
    struct clip_result_name *names; /* [count]; owned */
    size_t count;
    size_t *truth, *guess; /* [rows]; owned */
};

struct clip_page {
    enum clip_page_view view;
    const char *title; /* or NULL */
    const struct clip_results *results;
    const struct clip_gallery *gallery;
    const struct clip_page_classes *classes; /* of CLIP_PAGE_EVAL */
    const char *style, *script;              /* CSS and JavaScript, as they are */
};

/* Writes the page to `file`, which stays open; whether that worked is seen there. -1 with error: out of
 * memory. */
int clip_page_write(const struct clip_page *page, FILE *file, struct clip_error *error);

/* Text of any bytes for HTML, also in an attribute with double quotes: what is not UTF-8 is U+FFFD, and so
 * are control characters, but a newline is a sign for it. */
void clip_html_text(FILE *file, const char *text, size_t size);

#endif
