/* clip-unbin: converts binary batches of labelled pictures, such as CIFAR-10's, to samples. */
#include "base/cli.h"
#include "image/binary.h"
#include "stream/writer.h"

#include <string.h>
#include <unistd.h>

static const char *prefix = "";
static long side = 32, labels = 1;

static const struct clip_option options[] = {
    {"size", 's', CLIP_COUNT, &side, "S", "side of the pictures [32]", 1, CLIP_BINARY_MAX_SIDE},
    {"labels", 0, CLIP_COUNT, &labels, "N", "bytes before a picture, the last of which is its class [1]", 0,
     CLIP_BINARY_MAX_LABELS},
    {"key", 0, CLIP_TEXT, &prefix, "PREFIX", "prefix of the number in each key", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-unbin",
    .operands = "[FILE...]",
    .purpose =
        "Reads pictures in records of fixed size, a class followed by red, green and blue planes, and\n"
        "writes them as samples: png and cls.",
    .options = options};

static int write_file(struct clip_binary *binary, struct clip_writer *out, FILE *file, const char *name,
                      struct clip_error *error)
{
    struct clip_record *record;
    int got, status = 0;
    clip_binary_begin(binary, file, name);
    while (status == 0 && (got = clip_binary_next(binary, &record, error)) != 0) {
        status = got < 0 ? -1 : clip_writer_record(out, record, error);
        if (got > 0)
            clip_record_free(record);
    }
    return status;
}

static int write_all(struct clip_binary *binary, struct clip_writer *out, char **names, int n,
                     struct clip_error *error)
{
    if (n == 0)
        return write_file(binary, out, stdin, "standard input", error);
    for (int i = 0; i < n; i++) {
        int is_input = strcmp(names[i], "-") == 0;
        FILE *file = is_input ? stdin : fopen(names[i], "re");
        if (!file)
            return clip_fail_errno(error, "%s", names[i]);
        int status = write_file(binary, out, file, is_input ? "standard input" : names[i], error);
        if (!is_input)
            fclose(file);
        if (status != 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct clip_shared shared = {0};
    struct clip_error error;
    int first = clip_start(&program, &shared, argc, argv);
    if (strlen(prefix) > CLIP_BINARY_MAX_PREFIX)
        clip_usage("--key: more than %d bytes", CLIP_BINARY_MAX_PREFIX);
    clip_refuse_terminal();
    struct clip_binary *binary = clip_binary_new((int)side, (int)labels, prefix, &error);
    struct clip_writer *out = binary ? clip_writer_new(STDOUT_FILENO, "standard output", &error) : NULL;
    if (!out)
        clip_die("%s", error.text);
    int status = write_all(binary, out, argv + first, argc - first, &error);
    status = clip_writer_finish(out, status, &error);
    if (status != 0)
        clip_message("%s", error.text);
    clip_writer_free(out);
    clip_binary_free(binary);
    return status != 0;
}
