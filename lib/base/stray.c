#include "base/stray.h"
#include "base/array.h"

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
        return "an HTML or XML page, such as a server's error message, not the file itself; download it "
               "again";
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

/* The first bytes of other libraries' files. */
static const struct {
    const char *bytes;
    size_t size;
    const char *what;
} magics[] = {
    {"\x89HDF\r\n", 6,
     "an HDF5 file, as written by Keras: only weights of PyTorch, safetensors or NumPy are supported"},
    {"GGUF", 4, "a GGUF file: only weights of PyTorch, safetensors or NumPy are supported"},
    {"\x1f\x8b", 2, "compressed with gzip: decompress it first"},
    {"\x28\xb5\x2f\xfd", 4, "compressed with zstd: decompress it first"},
    {"\xfd"
     "7zXZ",
     5, "compressed with xz: decompress it first"},
    {"\x93NUMPY", 6, "a NumPy array, not the weights of a model"},
    {"\x89PNG", 4, "a picture, not weights"},
    {"\xff\xd8\xff", 3, "a picture, not weights"},
    {"IxF", 3, "a FAISS index, not weights"},
    {"IxM", 3, "a FAISS index, not weights"},
    {"IHN", 3, "a FAISS index, not weights"},
    {"IwF", 3, "a FAISS index, not weights"},
    {"IwP", 3, "a FAISS index, not weights"},
};

const char *clip_stray_weights(const void *data, size_t size)
{
    static const unsigned char table_end[8] = {0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb};
    const unsigned char *bytes = data;
    const char *what = clip_stray_text(data, size);
    if (what)
        return what;
    for (size_t i = 0; i < CLIP_COUNT_OF(magics); i++)
        if (size >= magics[i].size && memcmp(data, magics[i].bytes, magics[i].size) == 0)
            return magics[i].what;
    if (size >= 48 && memcmp(bytes + size - 8, table_end, 8) == 0)
        return "the index of a TensorFlow checkpoint: only weights of PyTorch, safetensors or NumPy are "
               "supported";
    if (size > 262 && memcmp(bytes + 257, "ustar", 5) == 0)
        return "a tar archive: unpack it first";
    if (is_text(data, size)) {
        const char *text = skip_blanks(data, &size);
        return size && *text == '{' ? "JSON, not weights: name the folder, or the file of weights"
                                    : "text, not weights";
    }
    return NULL;
}
