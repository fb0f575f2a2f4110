#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistr.h>

int clip_fail(struct clip_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return -1;
}

int clip_fail_errno(struct clip_error *error, const char *format, ...)
{
    int code = errno;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    size_t length = strlen(error->text);
    snprintf(error->text + length, sizeof error->text - length, ": %s", strerror(code));
    return -1;
}

int clip_fail_prefix(struct clip_error *error, const char *format, ...)
{
    struct clip_error old = *error;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    size_t length = strlen(error->text);
    snprintf(error->text + length, sizeof error->text - length, ": %s", old.text);
    return -1;
}

int clip_fail_memory(struct clip_error *error, const char *what)
{
    return clip_fail(error, "out of memory for %s", what);
}

const char *clip_printable(char *out, size_t size, const char *text, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        ucs4_t c;
        int n = u8_mbtoucr(&c, (const uint8_t *)text + i, length - i);
        int plain = n > 0 && c >= 0x20 && c != 0x7f && !(c >= 0x80 && c < 0xa0);
        size_t need = plain ? (size_t)n : 4;
        if (used + need + 4 > size) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        if (plain) {
            memcpy(out + used, text + i, need);
        } else {
            unsigned char byte = (unsigned char)text[i];
            memcpy(out + used, (char[]){'\\', 'x', digits[byte >> 4], digits[byte & 15]}, 4);
            n = 1;
        }
        used += need;
        i += (size_t)n;
    }
    out[used] = 0;
    return out;
}
