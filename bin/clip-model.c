/* clip-model: describes models, creates them, and converts one form to another. */
#include "base/array.h"
#include "base/cli.h"
#include "base/datadir.h"
#include "base/file.h"
#include "model/describe.h"
#include "model/open.h"
#include "model/place.h"
#include "model/positions.h"
#include "model/source.h"
#include "model/vocabulary.h"
#include "model/write.h"
#include "text/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLIP_SHIPPED_VOCABULARY "vocab/default"

enum { NOT_GIVEN = -1 };
enum form { TO_OPEN_CLIP, TO_HF, TO_SAFETENSORS };

/* Of --dtype. */
static const int types[] = {CLIP_WEIGHT_F32, CLIP_WEIGHT_F16, CLIP_WEIGHT_BF16, CLIP_WEIGHT_I8};

static const char *output, *vocabulary;
static int as_json, shapes, form = NOT_GIVEN, dtype = NOT_GIVEN;
static long seed = NOT_GIVEN, size = NOT_GIVEN, image_size = NOT_GIVEN, int8_keep = NOT_GIVEN;
static size_t shard_size;
static struct clip_shared shared;
static struct clip_error error;

static const struct clip_option options[] = {
    {"output", 'o', CLIP_TEXT, &output, "PATH", "folder or file to write; optional for vocab", 0, 0},
    {"seed", 's', CLIP_COUNT, &seed, "N", "init: seed of the weights [0]", 0, 0},
    {"to", 't', CLIP_CHOICE, &form, "open_clip|hf|safetensors",
     "convert: the form to write [safetensors if PATH ends in .safetensors, else open_clip]", 0, 0},
    {"dtype", 'd', CLIP_CHOICE, &dtype, "f32|f16|bf16|int8", "convert: type of the weights [unchanged]", 0,
     0},
    {"int8-keep", 0, CLIP_COUNT, &int8_keep, "N",
     "convert -d int8: do not round the first and the last N blocks [0]", 0, 1 << 20},
    {"shard-size", 0, CLIP_BYTES, &shard_size, "SIZE",
     "convert: write weights larger than SIZE as several files with an index [5G]", 1, 0},
    {"vocab", 0, CLIP_TEXT, &vocabulary, "FILE", "init, convert: vocabulary to put into the folder", 0, 0},
    {"size", 'n', CLIP_COUNT, &size, "N", "vocab: number of tokens in the vocabulary", 514, CLIP_MAX_TOKENS},
    {"image-size", 0, CLIP_COUNT, &image_size, "N",
     "init, convert: side of the pictures, to which positions are resampled [the model's]", 1,
     CLIP_MAX_IMAGE},
    {"json", 0, CLIP_FLAG, &as_json, NULL, "info: print one JSON object", 0, 0},
    {"shapes", 0, CLIP_FLAG, &shapes, NULL, "info: print the name and shape of each parameter", 0, 0},
    {0}};

static const struct clip_program program = {
    .name = "clip-model",
    .operands = "info MODEL|ARCH\n"
                "       clip-model [OPTION]... init ARCH -o FOLDER\n"
                "       clip-model [OPTION]... convert MODEL -o PATH\n"
                "       clip-model [OPTION]... vocab --size N [TEXT]\n"
                "       clip-model [OPTION]... list",
    .purpose = "Describes a model; creates one with random weights; converts one to another form; learns a\n"
               "vocabulary from text; lists the architectures that have a name.",
    .options = options,
    .shared = CLIP_TAKES_MODEL | CLIP_TAKES_THREADS};

static void die(void)
{
    clip_die("%s", error.text);
}

/* --- info --- */

static int ends_in(const char *name, const char *ending)
{
    size_t length = strlen(name), size_of_ending = strlen(ending);
    return length > size_of_ending && strcmp(name + length - size_of_ending, ending) == 0;
}

/* Opens the model of that path or name; or finds the architecture of that name, and *model is NULL. */
static void open_subject(const char *name, struct clip_model **model, struct clip_arch *arch)
{
    int is_arch = ends_in(name, ".json") && !ends_in(name, ".index.json");
    char *path = is_arch ? NULL : clip_model_find(name, &error);
    *model = NULL;
    if (path) {
        *model = clip_model_open_key(path, shared.arch, shared.weights, &error);
        if (!*model)
            die();
        clip_note_guess(*model, CLIP_SIDE_BOTH);
        *arch = *clip_model_arch(*model);
    } else if (clip_arch_read(arch, name, &error) != 0) {
        if (!ends_in(name, ".json"))
            clip_die("%s: neither a model nor an architecture: no such file, name in $CLIP_MODEL_PATH or "
                     "share/models, or name that 'clip-model list' prints",
                     name);
        die();
    }
    free(path);
}

static int run_info(const char *name)
{
    struct clip_model *model;
    struct clip_arch arch;
    open_subject(name, &model, &arch);
    int (*describe)(FILE *, const struct clip_arch *, const struct clip_model *, struct clip_error *) =
        shapes    ? clip_describe_shapes
        : as_json ? clip_describe_json
                  : clip_describe;
    if (describe(stdout, &arch, model, &error) != 0)
        die();
    clip_model_close(model);
    return clip_finish(0);
}

/* --- list --- */

static int run_list(const char *none)
{
    char **names;
    size_t count;
    (void)none;
    for (size_t i = 0; clip_arch_published_name(i); i++)
        puts(clip_arch_published_name(i));
    if (clip_arch_names(&names, &count, &error) != 0)
        die();
    for (size_t i = 0; i < count; i++)
        puts(names[i]);
    clip_arch_names_free(names, count);
    return clip_finish(0);
}

/* --- init --- */

/* Removes the unfinished folder, and exits. */
static void abandon(struct clip_folder_output *folder)
{
    clip_folder_abandon(folder);
    die();
}

/* Writes OpenAI's vocabulary into the folder. Its ids must be the model's. */
static int write_words(struct clip_folder_output *folder, const struct clip_arch *arch, const char *path,
                       const struct clip_vocabulary *words)
{
    if (words->size > (size_t)arch->text.vocabulary ||
        (arch->text.end_token >= 0 && arch->text.end_token != words->end))
        return clip_fail(&error, "%s: %zu tokens, end token %d, do not fit the model's %d", path, words->size,
                         (int)words->end, arch->text.vocabulary);
    return clip_vocabulary_write(words, folder->temporary, &error) != 0
               ? -1
               : clip_write_tokenizer_config(folder, arch, &error);
}

/* Copies the files of another tokenizer into the folder. */
static int copy_tokenizer(struct clip_folder_output *folder, const struct clip_arch *arch, const char *path,
                          const struct clip_tokenizer *tokenizer)
{
    if (clip_tokenizer_largest(tokenizer) >= arch->text.vocabulary)
        return clip_fail(&error, "%s: its template has the token %d, but the model has %d tokens", path,
                         (int)clip_tokenizer_largest(tokenizer), arch->text.vocabulary);
    return clip_copy_tokenizer(folder, path, clip_tokenizer_file_name(tokenizer), &error);
}

/* Puts the tokenizer at `path` into the folder. */
static void add_vocabulary(struct clip_folder_output *folder, const struct clip_arch *arch, const char *path)
{
    struct clip_tokenizer *tokenizer = clip_tokenizer_open(path, &arch->tokenizer, &error);
    if (!tokenizer)
        abandon(folder);
    const struct clip_vocabulary *words = clip_tokenizer_vocabulary(tokenizer);
    int bad = words ? write_words(folder, arch, path, words) : copy_tokenizer(folder, arch, path, tokenizer);
    clip_tokenizer_free(tokenizer);
    if (bad)
        abandon(folder);
}

/* The shipped vocabulary, if it exists and fits; a model without a vocabulary cannot tokenize. */
static void add_shipped_vocabulary(struct clip_folder_output *folder, const struct clip_arch *arch)
{
    struct clip_error ignored;
    char *path = clip_data_path(CLIP_SHIPPED_VOCABULARY, &ignored);
    struct clip_vocabulary *words = path ? clip_vocabulary_open(path, &error) : NULL;
    if (path && !words)
        abandon(folder);
    int fits = words && words->size <= (size_t)arch->text.vocabulary &&
               (arch->text.end_token < 0 || arch->text.end_token == words->end);
    clip_vocabulary_free(words);
    if (fits)
        add_vocabulary(folder, arch, path);
    else
        clip_note("%s: no vocabulary: the installed one %s; see --vocab", output,
                  path ? "is larger than the model's" : "is not installed");
    free(path);
}

static void init_folder(const struct clip_arch *arch, const struct clip_layout *layout,
                        const struct clip_tensor_source *tensors)
{
    struct clip_folder_output folder;
    if (clip_folder_begin(&folder, output, &error) != 0)
        die();
    if (vocabulary)
        add_vocabulary(&folder, arch, vocabulary);
    else if (*arch->tokenizer.hf_name || *arch->tokenizer.tiktoken)
        clip_note("%s: no vocabulary: its tokenizer is %s; see --vocab", output,
                  *arch->tokenizer.hf_name ? arch->tokenizer.hf_name : arch->tokenizer.tiktoken);
    else
        add_shipped_vocabulary(&folder, arch);
    if (clip_write_open_clip(&folder, arch, layout, tensors, &error) != 0)
        abandon(&folder);
    if (clip_folder_commit(&folder, &error) != 0)
        die();
}

static int run_init(const char *name)
{
    struct clip_arch arch;
    struct clip_layout layout;
    int lone = ends_in(output, ".safetensors");
    if (lone && vocabulary)
        clip_usage("a safetensors file cannot hold the vocabulary of --vocab");
    if (clip_arch_read(&arch, name, &error) != 0 ||
        (image_size != NOT_GIVEN && clip_arch_resize(&arch, (int)image_size, 0, &error) != 0) ||
        clip_layout_make(&layout, &arch, &error) != 0)
        die();
    struct clip_seed_source source = {.seed = seed == NOT_GIVEN ? 0 : (uint64_t)seed,
                                      .pool = clip_pool_new((int)shared.threads, &error)};
    struct clip_tensor_source tensors = clip_source_of_seed(&source);
    if (!source.pool || (lone && clip_write_lone(&arch, &layout, &tensors, output, &error) != 0))
        die();
    if (!lone)
        init_folder(&arch, &layout, &tensors);
    clip_pool_free(source.pool);
    clip_layout_free(&layout);
    return clip_finish(0);
}

/* --- convert --- */

/* The form of --to, or the one that the output's name suggests. */
static enum form form_of_output(void)
{
    if (form != NOT_GIVEN)
        return (enum form)form;
    return ends_in(output, ".safetensors") ? TO_SAFETENSORS : TO_OPEN_CLIP;
}

/* The vocabulary: that of --vocab, the files of the model's folder, or the one that clip-tokenize -m would
 * find. */
static void convert_vocabulary(struct clip_folder_output *folder, const struct clip_model *model,
                               const char *name)
{
    struct clip_error reason;
    int count = 0;
    if (vocabulary) {
        add_vocabulary(folder, clip_model_arch(model), vocabulary);
        return;
    }
    if (clip_model_home(model) && clip_copy_vocabulary(folder, clip_model_home(model), &count, &error) != 0)
        abandon(folder);
    if (count > 0 || clip_model_arch(model)->text.absent)
        return;
    char *found = clip_find_vocabulary(model, name, &reason);
    if (found)
        add_vocabulary(folder, clip_model_arch(model), found);
    else
        clip_note("%s: no vocabulary in it: %s", output, reason.text);
    free(found);
}

static void convert_to_folder(const struct clip_model *model, const char *name,
                              const struct clip_tensor_source *tensors, enum form target)
{
    struct clip_folder_output folder;
    if (clip_folder_begin(&folder, output, &error) != 0)
        die();
    folder.shard_size = shard_size;
    convert_vocabulary(&folder, model, name);
    if ((target == TO_HF ? clip_write_hf : clip_write_open_clip)(
            &folder, clip_model_arch(model), clip_model_layout(model), tensors, &error) != 0)
        abandon(&folder);
    if (clip_folder_commit(&folder, &error) != 0)
        die();
}

static int run_convert(const char *name)
{
    enum form target = form_of_output();
    if (target == TO_SAFETENSORS && (vocabulary || shard_size))
        clip_usage("a safetensors file cannot hold %s",
                   vocabulary ? "the vocabulary of --vocab" : "the shards of --shard-size");
    struct clip_model *model = clip_model_open_resized(name, shared.arch, shared.weights,
                                                       image_size == NOT_GIVEN ? 0 : (int)image_size, &error);
    if (!model)
        die();
    clip_note_guess(model, CLIP_SIDE_BOTH);
    struct clip_model_source source = {model, dtype == NOT_GIVEN ? -1 : types[dtype],
                                       int8_keep == NOT_GIVEN ? 0 : (int)int8_keep};
    if (source.type == CLIP_WEIGHT_I8 && !clip_source_rounds(&source))
        clip_die("%s: int8 is for the blocks of transformers; %s", clip_model_path(model),
                 int8_keep > 0 ? "--int8-keep leaves none" : "the model has none");
    struct clip_tensor_source tensors = clip_source_of_model(&source);
    if (target != TO_SAFETENSORS)
        convert_to_folder(model, name, &tensors, target);
    else if (clip_write_lone(clip_model_arch(model), clip_model_layout(model), &tensors, output, &error) != 0)
        die();
    clip_model_close(model);
    return clip_finish(0);
}

/* --- vocab --- */

/* Writes the merges alone, as in bpe_simple_vocab_16e6.txt: all other tokens follow from them. */
static void put_merges(const struct clip_vocabulary *words, FILE *file)
{
    fputs("#version: 0.2\n", file);
    for (size_t i = 0; i < words->merge_count; i++)
        fprintf(file, "%s %s\n", words->names[words->merges[i].left], words->names[words->merges[i].right]);
}

static void write_words_file(const struct clip_vocabulary *words)
{
    struct clip_output file;
    if (clip_output_open(&file, output, &error) != 0)
        die();
    put_merges(words, file.file);
    if (clip_output_commit(&file, &error) != 0)
        die();
}

static void write_words_folder(const struct clip_vocabulary *words)
{
    struct clip_folder_output folder;
    if (clip_folder_begin(&folder, output, &error) != 0)
        die();
    if (clip_vocabulary_write(words, folder.temporary, &error) != 0)
        abandon(&folder);
    if (clip_folder_commit(&folder, &error) != 0)
        die();
}

static int run_vocab(const char *name)
{
    int is_stdin = !name || strcmp(name, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(name, "re");
    if (!in)
        clip_die("%s: %s", name, strerror(errno));
    struct clip_vocabulary *words = clip_vocabulary_train(in, (size_t)size, &error);
    if (!words)
        clip_die("%s: %s", is_stdin ? "standard input" : name, error.text);
    if (!is_stdin)
        fclose(in);
    if (!output)
        put_merges(words, stdout);
    else if (ends_in(output, ".txt"))
        write_words_file(words);
    else
        write_words_folder(words);
    clip_vocabulary_free(words);
    return clip_finish(0);
}

/* --- verbs --- */

/* Checks options that only some commands take, and those that they need. */
enum takes {
    TAKES_INFO = 1,
    TAKES_OUTPUT = 2,
    TAKES_SEED = 4,
    TAKES_FORM = 8,
    TAKES_VOCABULARY = 16,
    TAKES_MODEL = 32,
    TAKES_SIZE = 64,
    TAKES_IMAGE = 128
};

static const struct verb {
    const char *name, *operand;
    unsigned takes, needs;
    int (*run)(const char *operand);
} verbs[] = {
    {"info", "a model or an architecture", TAKES_INFO | TAKES_MODEL, 0, run_info},
    {"init", "an architecture", TAKES_OUTPUT | TAKES_SEED | TAKES_VOCABULARY | TAKES_IMAGE, TAKES_OUTPUT,
     run_init},
    {"convert", "a model", TAKES_OUTPUT | TAKES_FORM | TAKES_VOCABULARY | TAKES_MODEL | TAKES_IMAGE,
     TAKES_OUTPUT, run_convert},
    {"vocab", "a file of text", TAKES_OUTPUT | TAKES_SIZE, TAKES_SIZE, run_vocab},
    {"list", NULL, 0, 0, run_list},
};

/* Refuses a name whose extension does not suit a folder, or the form of the file. */
static void check_output(unsigned takes)
{
    static const char *const endings[] = {".bin", ".pt",   ".pth",     ".ckpt", ".pkl", ".onnx", ".h5",
                                          ".npz", ".gguf", ".msgpack", ".json", ".gz",  ".txt"};
    int words = takes & TAKES_SIZE;
    for (size_t i = 0; output && i < CLIP_COUNT_OF(endings); i++)
        if (ends_in(output, endings[i]) && !(words && strcmp(endings[i], ".txt") == 0))
            clip_usage("--output: '%s': %s files are not written; name a folder or a file that ends in %s",
                       output, endings[i], words ? ".txt" : ".safetensors");
    if (output && ends_in(output, ".safetensors") && (words || (form != NOT_GIVEN && form != TO_SAFETENSORS)))
        clip_usage("--output: '%s' is the name of a safetensors file, not of a folder", output);
}

static void check_options(const struct verb *verb)
{
    const struct {
        const char *option;
        int given;
        unsigned takes;
    } given[] = {{"json", as_json, TAKES_INFO},
                 {"shapes", shapes, TAKES_INFO},
                 {"output", output != NULL, TAKES_OUTPUT},
                 {"seed", seed != NOT_GIVEN, TAKES_SEED},
                 {"to", form != NOT_GIVEN, TAKES_FORM},
                 {"dtype", dtype != NOT_GIVEN, TAKES_FORM},
                 {"int8-keep", int8_keep != NOT_GIVEN, TAKES_FORM},
                 {"shard-size", shard_size != 0, TAKES_FORM},
                 {"vocab", vocabulary != NULL, TAKES_VOCABULARY},
                 {"size", size != NOT_GIVEN, TAKES_SIZE},
                 {"image-size", image_size != NOT_GIVEN, TAKES_IMAGE},
                 {"arch", shared.arch != NULL, TAKES_MODEL},
                 {"weights", shared.weights != NULL, TAKES_MODEL},
                 {"model", shared.model != NULL, TAKES_MODEL}};
    for (size_t i = 0; i < CLIP_COUNT_OF(given); i++) {
        if (given[i].given && !(verb->takes & given[i].takes))
            clip_usage("--%s is not for '%s'", given[i].option, verb->name);
        if (!given[i].given && verb->needs & given[i].takes)
            clip_usage("'%s' needs --%s", verb->name, given[i].option);
    }
    if (int8_keep != NOT_GIVEN && (dtype == NOT_GIVEN || types[dtype] != CLIP_WEIGHT_I8))
        clip_usage("--int8-keep needs --dtype int8");
    if (as_json && shapes)
        clip_usage("--json and --shapes are mutually exclusive");
    if (output && !*output)
        clip_usage("--output: an empty name");
    check_output(verb->takes);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < CLIP_COUNT_OF(verbs); i++)
        if (name && strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    if (name)
        clip_usage("'%s' is not one of info, init, convert, vocab, list", name);
    clip_usage("info, init, convert, vocab or list expected");
}

int main(int argc, char **argv)
{
    int first = clip_start(&program, &shared, argc, argv);
    const struct verb *verb = find_verb(argv[first]);
    check_options(verb);
    int operands = argc - first - 1 + (shared.model != NULL);
    if (!verb->operand && operands > 0)
        clip_usage("'%s' takes no operand", verb->name);
    if (operands > 1 || (operands == 0 && verb->operand && verb->run != run_vocab))
        clip_usage("'%s' takes %s, and nothing else", verb->name, verb->operand);
    return verb->run(shared.model ? shared.model : argv[first + 1]);
}
