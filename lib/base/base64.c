#include "base/base64.h"

#include <stdint.h>

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int clip_base64_decode(const char *text, size_t n, void *out, size_t *size)
{
    uint8_t *to = out;
    size_t padding = 0;
    if (n % 4 != 0)
        return -1;
    while (padding < 2 && padding < n && text[n - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < n; i += 4) {
        uint32_t bits = 0;
        size_t known = i + 4 == n ? 4 - padding : 4;
        for (size_t k = 0; k < 4; k++) {
            int value = k < known ? value_of(text[i + k]) : 0;
            if (value < 0)
                return -1;
            bits = bits << 6 | (uint32_t)value;
        }
        for (size_t k = 0; k + 1 < known; k++)
            *to++ = (uint8_t)(bits >> (16 - 8 * k));
    }
    *size = (size_t)(to - (uint8_t *)out);
    return 0;
}
