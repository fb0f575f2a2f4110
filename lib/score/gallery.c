#include "score/gallery.h"

#include "image/thumb.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>
#include <webp/encode.h>

enum { QUALITY = 75 };

static int compare_entries(const void *a, const void *b)
{
    return clip_result_name_compare(((const struct clip_gallery_entry *)a)->key,
                                    ((const struct clip_gallery_entry *)b)->key);
}

int clip_gallery_want(struct clip_gallery *gallery, const struct clip_results *results,
                      struct clip_error *error)
{
    size_t n = 0;
    if (!(gallery->entries = calloc(results->count + results->matches + 1, sizeof *gallery->entries)))
        return clip_fail_memory(error, "a gallery");
    for (size_t i = 0; i < results->count; i++) {
        gallery->entries[n++].key = &results->rows[i].item.key;
        for (size_t k = 0; k < results->rows[i].count; k++)
            gallery->entries[n++].key = &results->rows[i].matches[k].item.key;
    }
    qsort(gallery->entries, n, sizeof *gallery->entries, compare_entries);
    for (size_t i = 0; i < n; i++)
        if (gallery->count == 0 ||
            compare_entries(&gallery->entries[gallery->count - 1], &gallery->entries[i]) != 0)
            gallery->entries[gallery->count++] = gallery->entries[i];
    return 0;
}

void clip_gallery_free(struct clip_gallery *gallery)
{
    for (size_t i = 0; i < gallery->count; i++)
        free(gallery->entries[i].data);
    free(gallery->entries);
    gallery->entries = NULL;
    gallery->count = gallery->found = 0;
}

static struct clip_gallery_entry *find_entry(const struct clip_gallery *gallery,
                                             const struct clip_result_name *key)
{
    struct clip_gallery_entry wanted = {.key = key};
    return gallery->count ? bsearch(&wanted, gallery->entries, gallery->count, sizeof wanted, compare_entries)
                          : NULL;
}

const struct clip_gallery_entry *clip_gallery_find(const struct clip_gallery *gallery,
                                                   const struct clip_result_name *key)
{
    return find_entry(gallery, key);
}

/* RFC 4648; NULL when out of memory. */
static char *base64(const uint8_t *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc(4 * ((size + 2) / 3) + 1), *out = text;
    for (size_t i = 0; text && i < size; i += 3) {
        uint32_t bits = (uint32_t)data[i] << 16 | (i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0) |
                        (i + 2 < size ? data[i + 2] : 0);
        *out++ = digits[bits >> 18];
        *out++ = digits[bits >> 12 & 63];
        *out++ = i + 1 < size ? digits[bits >> 6 & 63] : '=';
        *out++ = i + 2 < size ? digits[bits & 63] : '=';
    }
    if (text)
        *out = '\0';
    return text;
}

/* The thumb as WebP in base64; NULL when out of memory. */
static char *encode_thumb(const struct clip_thumb *thumb)
{
    size_t plane = (size_t)thumb->width * (size_t)thumb->height;
    uint8_t *pixels = malloc(3 * plane), *webp = NULL;
    char *text = NULL;
    for (size_t i = 0; pixels && i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            pixels[3 * i + c] = thumb->pixels[c * plane + i];
    size_t size =
        pixels ? WebPEncodeRGB(pixels, thumb->width, thumb->height, 3 * thumb->width, QUALITY, &webp) : 0;
    if (size)
        text = base64(webp, size);
    WebPFree(webp);
    free(pixels);
    return text;
}

/* Bytes that are not UTF-8 as U+FFFD, which is how they come in text; from malloc, or NULL. */
static char *as_text(const struct clip_result_name *key, size_t *size)
{
    char *text = malloc(3 * key->size + 1);
    *size = 0;
    for (size_t i = 0; text && i < key->size;) {
        ucs4_t c;
        int n = u8_mbtoucr(&c, (const uint8_t *)key->text + i, key->size - i);
        memcpy(text + *size, n > 0 ? key->text + i : "\xef\xbf\xbd", n > 0 ? (size_t)n : 3);
        *size += n > 0 ? (size_t)n : 3;
        i += n > 0 ? (size_t)n : 1;
    }
    return text;
}

/* The entry of a record's key. Results that came as text have other keys where it is not UTF-8: *exact is
 * then 0. */
static struct clip_gallery_entry *find_record(const struct clip_gallery *gallery,
                                              const struct clip_record *record, int *exact)
{
    struct clip_result_name key, text;
    key.text = (char *)clip_record_key(record, &key.size);
    struct clip_gallery_entry *entry = key.text ? find_entry(gallery, &key) : NULL;
    *exact = entry != NULL;
    if (entry || !key.text || !u8_check((const uint8_t *)key.text, key.size))
        return entry;
    text.text = as_text(&key, &text.size);
    entry = text.text ? find_entry(gallery, &text) : NULL;
    free(text.text);
    return entry;
}

int clip_gallery_add(struct clip_gallery *gallery, struct clip_record *record, struct clip_error *error)
{
    struct clip_thumb thumb;
    int exact;
    struct clip_gallery_entry *entry = find_record(gallery, record, &exact);
    if (!entry || entry->data)
        return 0;
    if (clip_thumb_of(&thumb, record, gallery->side, gallery->level) != 0)
        return -1;
    entry->data = encode_thumb(&thumb);
    entry->width = thumb.width;
    entry->height = thumb.height;
    entry->is_file = exact && clip_record_find(record, "__size__") && clip_record_find(record, "__mtime__");
    clip_thumb_free(&thumb);
    if (!entry->data)
        return clip_fail_memory(error, "a gallery");
    gallery->found++;
    return 0;
}
