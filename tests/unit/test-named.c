/* The architectures of share/architectures against open_clip's own: parameters, and the SHA-256 of the sorted
 * lines "name [shape]" of all tensors (shared/golden/families/named.jsonl.gz). Names that are not known here
 * are left out. */
#include "check.h"
#include "sha256.h"

#include "base/json.h"
#include "model/arch.h"
#include "model/layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "visual.proj [768, 512]\n", as Python writes it. */
static char *print_line(const struct clip_arch *arch, const struct clip_slot *slot)
{
    char shape[128] = "", *line;
    for (int i = 0; i < slot->ndim; i++)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), i ? ", %zu" : "%zu", slot->shape[i]);
    CHECK(asprintf(&line, "%s%s [%s]\n", arch->custom_text && slot->side == CLIP_SIDE_TEXT ? "text." : "",
                   slot->name, shape) > 0,
          "memory");
    return line;
}

static void check_named(const struct clip_arch *arch, struct json_object *golden)
{
    struct clip_layout layout;
    struct clip_error error = {""};
    char *all = NULL, hash[65];
    size_t size = 0;
    CHECK(clip_layout_make(&layout, arch, &error) == 0, "%s", error.text);
    char **lines = calloc(layout.count, sizeof *lines);
    for (size_t i = 0; i < layout.count; i++)
        lines[i] = print_line(arch, &layout.slots[i]);
    qsort(lines, layout.count, sizeof *lines, compare_lines);
    FILE *file = open_memstream(&all, &size);
    for (size_t i = 0; i < layout.count; i++) {
        fputs(lines[i], file);
        free(lines[i]);
    }
    fclose(file);
    sha256(all, size, hash);
    int64_t parameters = json_object_get_int64(clip_json_get(golden, "parameters"));
    CHECK((int64_t)clip_layout_parameters(&layout) == parameters,
          "%s: %" PRIu64 " parameters, expected %" PRId64, arch->name, clip_layout_parameters(&layout),
          parameters);
    CHECK(strcmp(hash, json_object_get_string(clip_json_get(golden, "sha256"))) == 0, "%s: names and shapes",
          arch->name);
    free(all);
    free(lines);
    clip_layout_free(&layout);
}

int main(void)
{
    static char line[1 << 22];
    char path[4400];
    struct clip_error error = {""};
    int known = 0;
    check_need_shared();
    snprintf(path, sizeof path, "%s/share", getenv("srcdir") ? getenv("srcdir") : ".");
    setenv("CLIP_DATADIR", path, 0);
    snprintf(path, sizeof path, "%s/golden/families/named.jsonl.gz", check_shared());
    gzFile file = gzopen(path, "rb");
    CHECK(file, "%s", path);
    while (file && gzgets(file, line, sizeof line)) {
        struct json_object *golden = clip_json_parse(line, strlen(line), &error);
        struct clip_arch arch;
        CHECK(golden, "%s", error.text);
        const char *name = json_object_get_string(clip_json_get(golden, "name"));
        /* CoCa's decoder is not read. */
        if (strcmp(json_object_get_string(clip_json_get(golden, "class")), "CoCa") != 0 &&
            clip_arch_read(&arch, name, &error) == 0) {
            check_named(&arch, golden);
            known++;
        }
        json_object_put(golden);
    }
    if (file)
        gzclose(file);
    CHECK(known >= 100, "%d names are known", known);
    return check_end();
}
