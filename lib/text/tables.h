/* What Python, ftfy and regex know of code points, as tables.py wrote it down. The tables are sorted by their
 * first member. */
#ifndef CLIP_TEXT_TABLES_H
#define CLIP_TEXT_TABLES_H

#include <stddef.h>
#include <stdint.h>

/* The classes (enum clip_point_class) of the code points from `first` up to the next range. */
struct clip_class_range {
    uint32_t first;
    uint8_t classes;
};
extern const struct clip_class_range clip_class_ranges[];
extern const size_t clip_class_ranges_count;

/* For each block of 256 code points, the range that contains its first one. */
extern const uint16_t clip_class_blocks[];
extern const size_t clip_class_blocks_count;

/* The single-byte encodings that ftfy looks for, in its order. */
enum clip_charmap {
    CLIP_LATIN_1,
    CLIP_WINDOWS_1252, /* these six with ftfy's "sloppy" reading: holes as Latin-1, 0x1a for U+FFFD */
    CLIP_WINDOWS_1251,
    CLIP_WINDOWS_1250,
    CLIP_WINDOWS_1253,
    CLIP_WINDOWS_1254,
    CLIP_WINDOWS_1257,
    CLIP_ISO_8859_2,
    CLIP_MACROMAN,
    CLIP_CP437,
    CLIP_CHARMAPS
};

/* A character beyond ASCII in one of these encodings: the encodings that have it (bit i for enum
 * clip_charmap i), enum clip_mojibake_class, and its byte in each encoding (0: none). */
struct clip_mojibake_point {
    uint16_t point, encodings;
    uint32_t classes;
    uint8_t bytes[CLIP_CHARMAPS];
};
extern const struct clip_mojibake_point clip_mojibake_points[];
extern const size_t clip_mojibake_points_count;

/* Their index: code point p below 0x10000 has leaf number leaves[64 * blocks[p / 64] + p % 64], which is
 * the row + 1, or 0. */
extern const uint8_t clip_mojibake_blocks[];
extern const uint16_t clip_mojibake_leaves[];
extern const size_t clip_mojibake_blocks_count, clip_mojibake_leaves_count;

/* HTML 5's character references without their '&', and those that ftfy accepts in capitals, too; UTF-8. */
struct clip_entity {
    const char *name, *text;
};
extern const struct clip_entity clip_html_entities[], clip_upper_entities[];
extern const size_t clip_html_entities_count, clip_upper_entities_count;

/* Bytes 0x80 to 0x9f of Windows-1252, holes as Latin-1. */
extern const uint16_t clip_windows_1252[];

/* What a byte becomes in cleaning if all others are of this kind, too: printable ASCII except '&' in lower
 * case; a space for white space; 0 for other bytes. */
extern const uint8_t clip_plain_bytes[];

#endif
