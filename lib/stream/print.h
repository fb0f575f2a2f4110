/* Values of a stream as text, for people: JSON, and cells of tables. Errors of the output show when it is
 * closed (clip_finish). */
#ifndef CLIP_STREAM_PRINT_H
#define CLIP_STREAM_PRINT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A JSON string, quotes included. Bytes that are not UTF-8 come out as U+FFFD. */
void clip_print_string(FILE *out, const char *text, size_t size);

/* A cell of a table whose cells are separated by tabs: tab, newline, return and backslash as \t, \n, \r and
 * \\; NUL and bytes that are not UTF-8 as U+FFFD. */
void clip_print_cell(FILE *out, const char *text, size_t size);

/* A part of a line for a terminal: text as it is, but control characters and what is not UTF-8 as U+FFFD. */
void clip_print_line(FILE *out, const char *text, size_t size);

/* The shortest decimal that reads back as the same number; "NaN", "Infinity" and "-Infinity" in quotes,
 * because JSON has no such numbers. */
void clip_print_float(FILE *out, float value);
void clip_print_real(FILE *out, double value);

/* One whole msgpack object value[size] as JSON. A tensor is {"tensor": "f4", "shape": [...], "first": [...]},
 * bytes are {"bin": SIZE, "text": "..."} or {"bin": SIZE, "type": "jpeg", "hex": "..."}; with `whole` all
 * elements ("values", nested as the shape says) and all bytes are printed. A map with keys that are not
 * strings is
 * {"map": [[key, value], ...]}, an extension {"ext": TYPE, "hex": "..."}. */
void clip_print_value(FILE *out, const uint8_t *value, size_t size, int whole);

#endif
