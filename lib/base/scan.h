/* JSON of any size, read from front to end without a tree of it in memory: a vocabulary of a million tokens
 * takes no more than what its reader keeps. Strict, as base/json.h is. */
#ifndef CLIP_BASE_SCAN_H
#define CLIP_BASE_SCAN_H

#include "base/error.h"

#include <stddef.h>

struct clip_scan {
    const char *begin, *at, *end;
    char *string; /* the last string, unescaped and terminated; the scan's */
    size_t length, room;
};

/* Begins to read text[size], UTF-8, which must outlive the scan. */
void clip_scan_start(struct clip_scan *scan, const char *text, size_t size);
void clip_scan_free(struct clip_scan *scan);

/* The first character of the next value: one of {["tfn, '0' for a number; 0 where there is none. */
int clip_scan_type(struct clip_scan *scan);

/* Goes to the next member of an object, or element of an array, of which *count were read before (0 at first;
 * it is counted up): 1, or 0 at its end. The value is then to be read or skipped. The member's name is
 * scan->string, until the next string is read. */
int clip_scan_member(struct clip_scan *scan, size_t *count, struct clip_error *error);
int clip_scan_element(struct clip_scan *scan, size_t *count, struct clip_error *error);

/* Reads a string to scan->string[scan->length]; it may hold zeros. */
int clip_scan_string(struct clip_scan *scan, struct clip_error *error);
int clip_scan_number(struct clip_scan *scan, double *value, struct clip_error *error);

/* Skips a value and sets text[size] to it. Values nest to a depth of 64 at most. */
int clip_scan_skip(struct clip_scan *scan, const char **text, size_t *size, struct clip_error *error);

/* 0 if only white space is left. */
int clip_scan_end(struct clip_scan *scan, struct clip_error *error);

#endif
