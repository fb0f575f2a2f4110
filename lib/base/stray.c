#include "base/stray.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

/* What follows white space and a byte order mark. */
static const char *skip_blanks(const char *text, size_t *size)
{
    if (*size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        *size -= 3;
    }
    while (*size && memchr(" \t\r\n", *text, 4)) {
        text++;
        --*size;
    }
    return text;
}

static int begins(const char *text, size_t size, const char *start)
{
    size_t length = strlen(start);
    return size >= length && strncasecmp(text, start, length) == 0;
}

const char *clip_stray_text(const void *data, size_t size)
{
    const char *text = skip_blanks(data, &size);
    if (begins(text, size, "version https://git-lfs.github.com/spec/"))
        return "a Git LFS pointer, not the file itself: fetch it with 'git lfs pull', or download it again";
    if (begins(text, size, "<!doctype html") || begins(text, size, "<html") || begins(text, size, "<head") ||
        begins(text, size, "<?xml"))
        return "a page of HTML or XML, not the file itself: what the server said instead; download it again";
    return NULL;
}

/* 1 if the first bytes, at most 512, are text: no control characters but white space. */
static int is_text(const unsigned char *data, size_t size)
{
    for (size_t i = 0; i < size && i < 512; i++)
        if ((data[i] < 0x20 && !memchr("\t\r\n\f", data[i], 4)) || data[i] == 0x7f)
            return 0;
    return size > 0;
}

/* Begins of files of other libraries. */
static const struct {
    const char *bytes;
    size_t size;
    const char *what;
} magics[] = {
    {"\x89HDF\r\n", 6, "HDF5, as Keras writes it: weights of PyTorch or safetensors are read"},
    {"GGUF", 4, "GGUF: weights of PyTorch or safetensors are read"},
    {"\x1f\x8b", 2, "compressed by gzip: unpack it first"},
    {"\x28\xb5\x2f\xfd", 4, "compressed by zstd: unpack it first"},
    {"\xfd"
     "7zXZ",
     5, "compressed by xz: unpack it first"},
    {"\x93NUMPY", 6, "an array of NumPy, not the weights of a model"},
    {"\x89PNG", 4, "a picture, not weights"},
    {"\xff\xd8\xff", 3, "a picture, not weights"},
    {"IxF", 3, "an index of FAISS, not weights"},
    {"IxM", 3, "an index of FAISS, not weights"},
    {"IHN", 3, "an index of FAISS, not weights"},
    {"IwF", 3, "an index of FAISS, not weights"},
    {"IwP", 3, "an index of FAISS, not weights"},
};

const char *clip_stray_weights(const void *data, size_t size)
{
    static const unsigned char table_end[8] = {0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb};
    const unsigned char *bytes = data;
    const char *what = clip_stray_text(data, size);
    if (what)
        return what;
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (size >= magics[i].size && memcmp(data, magics[i].bytes, magics[i].size) == 0)
            return magics[i].what;
    if (size >= 48 && memcmp(bytes + size - 8, table_end, 8) == 0)
        return "the index of a TensorFlow checkpoint: weights of PyTorch or safetensors are read";
    if (size > 262 && memcmp(bytes + 257, "ustar", 5) == 0)
        return "a tar archive: unpack it first";
    if (is_text(data, size)) {
        const char *text = skip_blanks(data, &size);
        return size && *text == '{' ? "JSON, not weights: name the folder, or the file of weights"
                                    : "text, not weights";
    }
    return NULL;
}
