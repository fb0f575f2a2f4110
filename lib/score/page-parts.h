/* Inside the score floor: what the views of a page share. */
#ifndef CLIP_SCORE_PAGE_PARTS_H
#define CLIP_SCORE_PAGE_PARTS_H

#include "score/page.h"

/* A section's beginning, with a heading; its pictures; its end. */
void clip_page_section(FILE *file, const struct clip_result_name *heading, const char *about);
void clip_page_section_end(FILE *file);

/* Words under a picture, between two names, each of which may be NULL. */
struct clip_page_note {
    const struct clip_result_name *before;
    const char *words;
    const struct clip_result_name *after;
};

/* A picture with its score (none where that is not a number), its name and a note, or NULL. */
void clip_page_cell(const struct clip_page *page, FILE *file, const struct clip_result_item *item,
                    double score, const struct clip_page_note *note);

/* The part of CLIP_PAGE_EVAL. */
int clip_page_eval(const struct clip_page *page, FILE *file, struct clip_error *error);

#endif
