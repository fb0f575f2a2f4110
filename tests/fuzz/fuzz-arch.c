/* Configurations on any bytes: open_clip's, and Hugging Face's (a first byte of 'h') or that of its
 * preprocessor
 * ('p'). What is accepted must hold what clip_arch_read promises, list its tensors, and read back as it was
 * written. */
#include "model/arch.h"
#include "model/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/fuzz-arch.XXXXXX", config[64], preprocessor[64], again[64];

/* A small model, beside which a preprocessor may stand. */
static const char small[] =
    "{\"model_type\": \"clip\", \"projection_dim\": 4, \"text_config\": {\"hidden_size\": 8, "
    "\"intermediate_size\": 12, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"vocab_size\": 514, "
    "\"max_position_embeddings\": 4}, \"vision_config\": {\"hidden_size\": 8, \"intermediate_size\": 16, "
    "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"image_size\": 4, \"patch_size\": 2}}";

static void remove_folder(void)
{
    unlink(config);
    unlink(preprocessor);
    unlink(again);
    rmdir(folder);
}

static void make_folder(void)
{
    if (config[0])
        return;
    if (!mkdtemp(folder))
        abort();
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(preprocessor, sizeof preprocessor, "%s/preprocessor_config.json", folder);
    snprintf(again, sizeof again, "%s/again.json", folder);
    atexit(remove_folder);
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "w");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        abort();
}

static void check(const struct clip_arch *arch)
{
    struct clip_layout layout;
    struct clip_arch copy;
    struct clip_error error = {""};
    if (clip_arch_check(arch, &error) != 0 || clip_layout_make(&layout, arch, &error) != 0 ||
        clip_layout_parameters(&layout) == 0)
        abort();
    clip_layout_free(&layout);
    FILE *file = fopen(again, "w");
    if (!file)
        abort();
    int result = clip_arch_write_open_clip(arch, file, &error);
    if (fclose(file) != 0)
        abort();
    if (result != 0)
        return; /* two activations */
    if (clip_arch_read_open_clip(&copy, again, &error) != 0)
        abort();
    const struct clip_tower_arch *v = &arch->vision, *w = &copy.vision;
    const struct clip_tower_arch *t = &arch->text, *u = &copy.text;
    if (copy.embed != arch->embed || v->kind != w->kind || v->image_size != w->image_size ||
        v->width != w->width || v->heads != w->heads || v->mlp != w->mlp || v->layers != w->layers ||
        memcmp(v->blocks, w->blocks, sizeof v->blocks) != 0 || t->width != u->width || t->heads != u->heads ||
        t->mlp != u->mlp || t->layers != u->layers || t->context != u->context ||
        t->vocabulary != u->vocabulary || t->activation != u->activation)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clip_arch arch;
    struct clip_error error = {""};
    int beside = size > 0 && data[0] == 'p', hf = beside || (size > 0 && data[0] == 'h');
    make_folder();
    unlink(preprocessor);
    if (beside)
        write_file(config, small, sizeof small - 1);
    write_file(beside ? preprocessor : config, data + hf, size - (size_t)hf);
    int result =
        hf ? clip_arch_read_hf(&arch, folder, &error) : clip_arch_read_open_clip(&arch, config, &error);
    if (result != 0 && error.text[0] == '\0')
        abort();
    if (result == 0)
        check(&arch);
    return 0;
}
