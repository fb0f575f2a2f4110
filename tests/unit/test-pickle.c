/* The closed pickle reader: what it reads, and what it refuses, by name. */
#include "check.h"
#include "model/forms.h"
#include "model/pickle.h"

#include <string.h>

static struct clip_error error;

/* Reads bytes[size], an array that is not terminated; frees the result. 0, or -1 with `error`. */
static int read_bytes(const void *bytes, size_t size)
{
    struct clip_pickle pickle;
    strcpy(error.text, "");
    int result = clip_pickle_read(&pickle, bytes, size, &error);
    clip_pickle_free(&pickle);
    return result;
}
#define READ(bytes) read_bytes(bytes, sizeof(bytes) - 1)

#define REFUSES(bytes, words)                                                                                \
    CHECK(READ(bytes) != 0 && strstr(error.text, words), "not '%s' but '%s'", words, error.text)

static void test_code(void)
{
    /* What pickle.dumps makes of an object whose __reduce__ is (os.system, ("id",)). */
    REFUSES("\x80\x02"
            "cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.",
            "refuses the global posix.system");
    REFUSES("\x80\x02"
            "cos\nsystem\n.",
            "refuses the global os.system");
    REFUSES("\x80\x02"
            "c__builtin__\neval\n.",
            "refuses the global __builtin__.eval");
    REFUSES("\x80\x02"
            "cbuiltins\ngetattr\n.",
            "refuses the global builtins.getattr");
    REFUSES("\x80\x02"
            "csubprocess\nPopen\n.",
            "refuses the global subprocess.Popen");
    REFUSES("\x80\x02"
            "ctorch\nload\n.",
            "refuses the global torch.load");
    REFUSES("\x80\x02"
            "ctorch._utils\n_rebuild_tensor\n.",
            "refuses the global torch._utils._rebuild_tensor");
    REFUSES("\x80\x02"
            "c__torch\nX\n.",
            "refuses the global __torch.X");
    REFUSES("\x80\x02"
            "c__torch__evil\nX\n.",
            "refuses the global __torch__evil.X");
    REFUSES("\x80\x02"
            "ca\x01\nb\xff\n.",
            "refuses the global a\\x01.b\\xff");
    REFUSES("\x80\x02(ios\nsystem\n.", "refuses the opcode INST");
    REFUSES("\x80\x02(oX.", "refuses the opcode OBJ");
    REFUSES("\x80\x02X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.", "refuses the opcode STACK_GLOBAL");
    REFUSES("\x80\x02P0\n.", "refuses the opcode PERSID");
    REFUSES("\x80\x02\x82\x01.", "refuses the opcode EXT1");
    REFUSES("\x80\x02\xfe.", "refuses the opcode 0xfe");
    REFUSES("\x80\x04N.", "refuses protocol 4");
    /* Globals that are known may not be called as anything else. */
    REFUSES("\x80\x02"
            "ctorch\nfloat32\n)R.",
            "refuses to call torch.float32");
    REFUSES("\x80\x02"
            "ctorch\nFloatStorage\n)R.",
            "refuses to call torch.FloatStorage");
    REFUSES("\x80\x02"
            "c__torch__.a\nB\n)R.",
            "refuses to call __torch__.a.B");
    REFUSES("\x80\x02"
            "ccollections\nOrderedDict\n)\x81.",
            "refuses to make an object of collections.OrderedDict");
    REFUSES("\x80\x02K\x01)R.", "refuses to call something that is not a global");
    REFUSES("\x80\x02"
            "ccollections\nOrderedDict\nK\x01\x85R.",
            "an OrderedDict with arguments");
}

static void test_malformed(void)
{
    REFUSES("", "cut");
    REFUSES("\x80", "cut");
    REFUSES("\x80\x02", "cut");
    REFUSES("\x80\x02X\xff\xff\xff\xff"
            "abc",
            "cut");
    REFUSES("\x80\x02G123", "cut");
    REFUSES("\x80\x02"
            "cmodule",
            "a name without an end");
    REFUSES("\x80\x02.", "nothing on the stack");
    REFUSES("\x80\x02(.", "nothing on the stack");
    REFUSES("\x80\x02NN.", "more than one value");
    REFUSES("\x80\x02t.", "no mark");
    REFUSES("\x80\x02"
            "e.",
            "no mark");
    REFUSES("\x80\x02(u.", "items without a container");
    REFUSES("\x80\x02N(Nu.", "holds none");
    REFUSES("\x80\x02](Nu.", "holds none");
    REFUSES("\x80\x02}(Nu.", "a key without a value");
    REFUSES("\x80\x02s.", "nothing on the stack");
    REFUSES("\x80\x02Ns.", "nothing on the stack");
    REFUSES("\x80\x02"
            "a.",
            "nothing on the stack");
    REFUSES("\x80\x02\x85.", "nothing on the stack");
    REFUSES("\x80\x02h\x00.", "was not set");
    REFUSES("\x80\x02j\xff\xff\xff\xff.", "was not set");
    REFUSES("\x80\x02Nr\xff\xff\xff\xff.", "too large");
    REFUSES("\x80\x02\x8a\x09"
            "123456789.",
            "more than 64 bits");
    REFUSES("\x80\x02NQ.", "not a storage");
    REFUSES("\x80\x02)Q.", "not a storage");
    REFUSES("\x80\x02NNb.", "built of something strange");
}

/* One value, which the caller looks at; a pickle of that alone must be whole. */
static struct clip_pickle_value read_one(const void *bytes, size_t size)
{
    struct clip_pickle pickle;
    struct clip_pickle_value value = {0};
    CHECK(clip_pickle_read(&pickle, bytes, size, &error) == 0, "%s", error.text);
    if (pickle.value_count) {
        value = pickle.values[pickle.root];
        CHECK(pickle.used == size, "%zu of %zu", pickle.used, size);
    }
    clip_pickle_free(&pickle);
    return value;
}
#define ONE(text) read_one(text, sizeof(text) - 1)

static void test_values(void)
{
    CHECK(ONE("\x80\x02N.").kind == CLIP_PICKLE_NONE, "");
    CHECK(ONE("\x80\x02\x88.").integer == 1 && ONE("\x80\x02\x89.").integer == 0, "");
    CHECK(ONE("\x80\x02K\xff.").integer == 255, "");
    CHECK(ONE("\x80\x02M\xff\xff.").integer == 65535, "");
    CHECK(ONE("\x80\x02J\xff\xff\xff\xff.").integer == -1, "");
    CHECK(ONE("\x80\x02\x8a\x00.").integer == 0, "");
    CHECK(ONE("\x80\x02\x8a\x01\x80.").integer == -128, "");
    CHECK(ONE("\x80\x02\x8a\x05\x00\x00\x00\x00\x01.").integer == 4294967296, "");
    CHECK(ONE("\x80\x02\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.").integer == INT64_MAX, "");
    CHECK(ONE("\x80\x02G\x3f\xf8\x00\x00\x00\x00\x00\x00.").real == 1.5, "");
    CHECK(ONE("\x80\x02(K\x01K\x02K\x03t.").length == 3, "");
    CHECK(ONE("\x80\x02](K\x01K\x02"
              "e.")
                  .length == 2,
          "");
    CHECK(ONE("\x80\x02]K\x01"
              "a.")
                  .length == 1,
          "");
    CHECK(ONE("\x80\x02}(K\x01K\x02K\x03K\x04u.").length == 4, "");
    CHECK(ONE("\x80\x02]q\x07h\x07"
              "a.")
                  .length == 1,
          "a list may hold itself");
}

/* What a checkpoint holds beside its tensors is carried, and never made: objects of any class, with what is
 * set in them, numbers of any length, and what a pickle of a tuple that holds itself takes back. */
static void test_objects(void)
{
    CHECK(ONE("\x80\x02}X\x01\x00\x00\x00"
              "acargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrK\x01sbs.")
                  .length == 2,
          "");
    CHECK(ONE("\x80\x02}X\x01\x00\x00\x00"
              "acnumpy.core.multiarray\nscalar\nK\x01\x85Rs.")
                  .length == 2,
          "");
    CHECK(ONE("\x80\x02"
              "ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R(K\x01K\x02K\x03K\x04u.")
                  .length == 4,
          "");
    CHECK(ONE("\x80\x02"
              "ccollections\ndeque\n)R(K\x01K\x02"
              "e.")
                  .kind == CLIP_PICKLE_OBJECT,
          "");
    CHECK(ONE("\x80\x02}K\x01\x8a\x09"
              "123456789s.")
                  .length == 2,
          "");
    CHECK(ONE("\x80\x02}K\x01\x8b\x09\x00\x00\x00"
              "123456789s.")
                  .length == 2,
          "");
    CHECK(ONE("\x80\x02K\x01(K\x02K\x03\x31.").integer == 1, "");
    CHECK(ONE("\x80\x02K\x01K\x02\x30.").integer == 1, "");
    /* But what is there only to run code is refused wherever it stands. */
    REFUSES("\x80\x02}K\x01"
            "cposix\nsystem\nX\x02\x00\x00\x00id\x85Rs.",
            "refuses the global posix.system");
    REFUSES("\x80\x02}K\x01"
            "c__builtin__\nexec\nX\x01\x00\x00\x00x\x85Rs.",
            "refuses the global __builtin__.exec");
    REFUSES("\x80\x02\x30.", "nothing on the stack");
    REFUSES("\x80\x02N\x31.", "no mark");
}

/* A memo of 2^32 entries, values without end: what is kept stays within bounds. */
static void test_bounds(void)
{
    size_t size = 4 << 20;
    char *many = malloc(size);
    CHECK(many != NULL, "");
    if (!many)
        return;
    memset(many, 'N', size);
    memcpy(many, "\x80\x02", 2);
    CHECK(read_bytes(many, size) != 0 && strstr(error.text, "more values"), "%s", error.text);
    memset(many + 2, '(', size - 2);
    CHECK(read_bytes(many, size) != 0 && strstr(error.text, "more values"), "%s", error.text);
    free(many);
}

/* A file of torch.save before 1.6, in the making. */
struct file {
    unsigned char bytes[8192];
    size_t size;
};

static void put(struct file *file, const void *bytes, size_t size)
{
    if (size > sizeof file->bytes - file->size)
        abort();
    memcpy(file->bytes + file->size, bytes, size);
    file->size += size;
}
#define PUT(file, text) put(file, text, sizeof(text) - 1)

static void put_head(struct file *file)
{
    file->size = 0;
    PUT(file, "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02");
}

/* Modules 0 to n - 1 in one; module i holds module i - 1 twice (or itself once, if `self`). */
static void put_modules(struct file *file, int n, int self)
{
    put_head(file);
    PUT(file, "c__torch__\nM\n)\x81}(");
    for (int i = 0; i < n; i++) {
        unsigned char before = (unsigned char)(self ? i : i - 1), memo = (unsigned char)i;
        PUT(file, "X\x01\x00\x00\x00mc__torch__\nM\n)\x81q");
        put(file, &memo, 1);
        PUT(file, "}");
        if (i > 0 || self) {
            PUT(file, "(X\x01\x00\x00\x00"
                      "ah");
            put(file, &before, 1);
            PUT(file, "X\x01\x00\x00\x00"
                      "bh");
            put(file, &before, 1);
            PUT(file, "u");
        }
        PUT(file, "b");
    }
    PUT(file, "ub.\x80\x02].");
}

static int read_file(const struct file *file)
{
    struct clip_weights weights = {0};
    enum clip_form form;
    strcpy(error.text, "");
    int result = clip_form_read(&weights, &form, file->bytes, file->size, &error);
    clip_weights_free(&weights);
    return result;
}

static void test_walk(void)
{
    struct file file;
    put_modules(&file, 1, 0);
    CHECK(read_file(&file) != 0 && strstr(error.text, "holds no tensors"), "%s", error.text);
    put_modules(&file, 60, 0);
    CHECK(read_file(&file) != 0 && strstr(error.text, "more modules"), "%s", error.text);
    put_modules(&file, 1, 1);
    CHECK(read_file(&file) != 0 && strstr(error.text, "nested deeper"), "%s", error.text);
}

/* {"a": a tensor [2, 2] of a storage of six, from 1, with strides}: kept, or refused where it leaves the
 * storage. */
static void put_tensor(struct file *file, unsigned char offset, unsigned char rows, unsigned char stride)
{
    put_head(file);
    PUT(file, "}X\x01\x00\x00\x00"
              "actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
              "ctorch\nFloatStorage\nX\x01\x00\x00\x00"
              "0X\x03\x00\x00\x00"
              "cpuK\x06tQK");
    put(file, &offset, 1);
    PUT(file, "K");
    put(file, &rows, 1);
    PUT(file, "K\x02\x86K\x01K");
    put(file, &stride, 1);
    PUT(file, "\x86\x89}tRs.\x80\x02]X\x01\x00\x00\x00"
              "0a.\x06\x00\x00\x00\x00\x00\x00\x00");
    for (int i = 0; i < 6; i++) {
        float x = (float)i;
        put(file, &x, sizeof x);
    }
}

/* A view may repeat what it is of, but not without end. */
static void test_repeated(void)
{
    struct clip_weights weights = {0};
    const unsigned char data[64] = {0};
    CHECK(clip_weights_add(&weights, "a", 1, CLIP_WEIGHT_F32, 2, (size_t[]){1 << 14, 16}, (size_t[]){0, 1},
                           data, sizeof data, &error) == 0,
          "%s", error.text);
    CHECK(clip_weights_add(&weights, "b", 1, CLIP_WEIGHT_F32, 2, (size_t[]){1 << 15, 16}, (size_t[]){0, 1},
                           data, sizeof data, &error) != 0 &&
              strstr(error.text, "2097152 bytes of elements lie in 64"),
          "%s", error.text);
    clip_weights_free(&weights);
}

static void test_views(void)
{
    struct file file;
    struct clip_weights weights = {0};
    enum clip_form form;
    float out[4];
    put_tensor(&file, 1, 2, 3);
    CHECK(clip_form_read(&weights, &form, file.bytes, file.size, &error) == 0, "%s", error.text);
    CHECK(weights.count == 1 && form == CLIP_FORM_TORCH_LEGACY, "");
    if (weights.count == 1) {
        clip_weight_floats(&weights.items[0], 0, 4, out);
        CHECK(out[0] == 1 && out[1] == 4 && out[2] == 2 && out[3] == 5, "%g %g %g %g", out[0], out[1], out[2],
              out[3]);
        clip_weight_floats(&weights.items[0], 1, 2, out);
        CHECK(out[0] == 4 && out[1] == 2, "%g %g", out[0], out[1]);
    }
    clip_weights_free(&weights);
    put_tensor(&file, 0, 2, 0); /* a row that is every row */
    CHECK(read_file(&file) == 0, "%s", error.text);
    put_tensor(&file, 2, 2, 3);
    CHECK(read_file(&file) != 0 && strstr(error.text, "needs"), "%s", error.text);
    put_tensor(&file, 7, 2, 1);
    CHECK(read_file(&file) != 0 && strstr(error.text, "smaller than a tensor in it"), "%s", error.text);
    put_tensor(&file, 0, 200, 200);
    CHECK(read_file(&file) != 0, "");
    put_tensor(&file, 1, 2, 3);
    for (size_t size = 0; size < file.size; size++) {
        struct file cut = file;
        cut.size = size;
        CHECK(read_file(&cut) != 0 && *error.text, "cut to %zu", size);
    }
    PUT(&file, "x");
    CHECK(read_file(&file) != 0 && strstr(error.text, "after the last storage"), "%s", error.text);
}

/* What newer files hold: a storage of bytes, the type beside the tensor, a parameter around it. */
static void test_untyped(void)
{
    struct file file;
    struct clip_weights weights = {0};
    enum clip_form form;
    uint16_t bits;
    put_head(&file);
    PUT(&file, "}X\x01\x00\x00\x00"
               "actorch._utils\n_rebuild_parameter\n(ctorch._utils\n_rebuild_tensor_v3\n"
               "((X\x07\x00\x00\x00storagectorch.storage\nUntypedStorage\nX\x01\x00\x00\x00"
               "0X\x06\x00\x00\x00"
               "cuda:0K\x06tQK\x01K\x02\x85K\x01\x85\x89}ctorch\nbfloat16\ntR\x88}tRs."
               "\x80\x02]X\x01\x00\x00\x00"
               "0a.\x06\x00\x00\x00\x00\x00\x00\x00"
               "abcdef");
    CHECK(clip_form_read(&weights, &form, file.bytes, file.size, &error) == 0, "%s", error.text);
    CHECK(weights.count == 1, "");
    if (weights.count == 1) {
        const struct clip_weight *weight = &weights.items[0];
        clip_weight_copy(weight, 1, 1, &bits);
        CHECK(weight->type == CLIP_WEIGHT_BF16 && weight->ndim == 1 && weight->shape[0] == 2, "");
        CHECK(bits == ('f' << 8 | 'e'), "%x", bits);
    }
    clip_weights_free(&weights);
}

int main(void)
{
    test_code();
    test_malformed();
    test_values();
    test_objects();
    test_bounds();
    test_walk();
    test_views();
    test_repeated();
    test_untyped();
    return check_end();
}
