/* The tokenizer against OpenAI's own ids, and vocabularies in every form, also broken ones. */
#include "check.h"
#include "json-text.h"
#include "text/tokenizer.h"

#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

static char folder[] = "/tmp/test-tokenizer.XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[4][4096]; /* a few at a time */
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
}

static struct clip_vocabulary *open_vocabulary(const char *path)
{
    struct clip_error error;
    struct clip_vocabulary *vocabulary = clip_vocabulary_open(path, &error);
    CHECK(vocabulary != NULL, "%s", error.text);
    if (!vocabulary)
        exit(check_end());
    return vocabulary;
}

static struct clip_tokenizer *tokenizer_of(const struct clip_vocabulary *vocabulary)
{
    struct clip_error error;
    struct clip_tokenizer *tokenizer = clip_tokenizer_new(vocabulary, &error);
    if (!tokenizer)
        abort();
    return tokenizer;
}

/* --- shared data --- */

/* Every line of a file of {"text" or "hex", "tokens"}. */
static void check_lines(struct clip_tokenizer *tokenizer, const char *path, size_t expected)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0, lines = 0;
    CHECK(file != NULL, "%s", path);
    while (file && getline(&line, &room, file) > 0) {
        struct clip_error error;
        struct json_object *row = json_tokener_parse(line), *tokens = NULL;
        json_object_object_get_ex(row, "tokens", &tokens);
        size_t length, count;
        const int32_t *ids;
        char *text = text_of(row, &length);
        CHECK(clip_tokenize(tokenizer, text, length, &ids, &count, &error) == 0, "%s", error.text);
        int same = count == json_object_array_length(tokens);
        for (size_t i = 0; same && i < count; i++)
            same = ids[i] == json_object_get_int(json_object_array_get_idx(tokens, i));
        CHECK(same, "%s", line);
        free(text);
        json_object_put(row);
        lines++;
    }
    CHECK(lines == expected, "%s: %zu lines", path, lines);
    free(line);
    if (file)
        fclose(file);
}

/* OpenAI's vocabulary in one form. */
static void check_openai_form(const char *shared, const char *form)
{
    char path[4200];
    struct clip_vocabulary *vocabulary = open_vocabulary(form);
    struct clip_tokenizer *tokenizer = tokenizer_of(vocabulary);
    CHECK(vocabulary->size == 49408 && vocabulary->start == 49406 && vocabulary->end == 49407, "%s", form);
    snprintf(path, sizeof path, "%s/golden/tokenizer/lines.jsonl", shared);
    check_lines(tokenizer, path, 3000);
    snprintf(path, sizeof path, "%s/golden/published/tokens.jsonl", shared);
    check_lines(tokenizer, path, 130);
    clip_tokenizer_free(tokenizer);
    clip_vocabulary_free(vocabulary);
}

/* The text of the gz, and the forms that are written of it. The vocabulary has tokens named as what files of
 * other forms hold ("model", "version"). */
static void check_openai(const char *shared)
{
    static const char *const forms[] = {"openai.gz.txt", "openai", "openai/vocab.json", "openai/merges.txt",
                                        "openai/tokenizer.json"};
    char path[4200], command[9000];
    struct clip_error error;
    snprintf(path, sizeof path, "%s/golden/tokenizer/bpe_simple_vocab_16e6.txt.gz", shared);
    check_openai_form(shared, path);
    snprintf(command, sizeof command, "gzip -dc %s >%s", path, path_of("openai.gz.txt"));
    CHECK(system(command) == 0, "%s", command);
    struct clip_vocabulary *vocabulary = open_vocabulary(path);
    CHECK(clip_vocabulary_id(vocabulary, "model", 5) == 4591, "");
    CHECK(clip_vocabulary_write(vocabulary, path_of("openai"), &error) == 0, "%s", error.text);
    clip_vocabulary_free(vocabulary);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        check_openai_form(shared, path_of(forms[i]));
}

static int same_vocabulary(const struct clip_vocabulary *a, const struct clip_vocabulary *b)
{
    if (a->size != b->size || a->start != b->start || a->end != b->end || a->merge_count != b->merge_count ||
        memcmp(a->bytes, b->bytes, sizeof a->bytes) != 0)
        return 0;
    for (size_t i = 0; i < a->size; i++)
        if (strcmp(a->names[i], b->names[i]) != 0)
            return 0;
    return memcmp(a->merges, b->merges, a->merge_count * sizeof *a->merges) == 0;
}

/* Whether each form of the folder is the same vocabulary of `size`. */
static void check_forms(const char *where, size_t size)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer.json"};
    struct clip_vocabulary *whole = open_vocabulary(where);
    CHECK(whole->size == size, "%s: %zu", where, whole->size);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4300];
        snprintf(path, sizeof path, "%s/%s", where, names[i]);
        struct clip_vocabulary *one = open_vocabulary(path);
        CHECK(same_vocabulary(whole, one), "%s", path);
        clip_vocabulary_free(one);
    }
    clip_vocabulary_free(whole);
}

static void check_model_folders(const char *shared)
{
    static const struct {
        const char *folder;
        size_t size;
    } models[] = {{"vit-a/hf", 600}, {"vit-a/open_clip", 600}, {"vit-b/hf", 700}, {"rn-a/open_clip", 600}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[4200];
        snprintf(path, sizeof path, "%s/golden/models/%s", shared, models[i].folder);
        check_forms(path, models[i].size);
    }
}

/* --- small vocabularies of our own --- */

/* The tokens of `text`, each spelt as files do, between bars. */
static void check_spelling(struct clip_tokenizer *tokenizer, const struct clip_vocabulary *vocabulary,
                           const char *text, const char *expected)
{
    struct clip_error error;
    const int32_t *ids;
    size_t count;
    char spelt[1000] = "";
    CHECK(clip_tokenize(tokenizer, text, strlen(text), &ids, &count, &error) == 0, "%s", error.text);
    for (size_t i = 0; i < count; i++) {
        strcat(spelt, i ? "|" : "");
        strcat(spelt, vocabulary->names[ids[i]]);
    }
    CHECK(strcmp(spelt, expected) == 0, "'%s': %s, not %s", text, spelt, expected);
}

static void check_pieces(void)
{
    put("plain.txt", "#version: 0.2\n");
    struct clip_vocabulary *vocabulary = open_vocabulary(path_of("plain.txt"));
    struct clip_tokenizer *tokenizer = tokenizer_of(vocabulary);
    CHECK(vocabulary->size == 514 && vocabulary->start == 512 && vocabulary->end == 513, "");
    check_spelling(tokenizer, vocabulary, "", "");
    check_spelling(tokenizer, vocabulary, "Ab c", "a|b</w>|c</w>");
    check_spelling(tokenizer, vocabulary, "don't I'll 'd's",
                   "d|o|n</w>|'|t</w>|i</w>|'|l|l</w>|'|d</w>|'|s</w>");
    check_spelling(tokenizer, vocabulary, "a12b?!c", "a</w>|1</w>|2</w>|b</w>|?|!</w>|c</w>");
    check_spelling(tokenizer, vocabulary, "\xc2\xbd\xc3\xa9", "Â|½</w>|Ã|©</w>");
    check_spelling(tokenizer, vocabulary, "<|STARTOFTEXT|>a<|endoftext|>",
                   "<|startoftext|>|a</w>|<|endoftext|>");
    clip_tokenizer_free(tokenizer);
    clip_vocabulary_free(vocabulary);
}

/* All forms of the same merges; those that HF's slow code would take apart in another order. */
static void check_written_forms(void)
{
    struct clip_error error;
    put("openai.txt", "#version: 0.2\na b\nab ab\nab c</w>\n\" \\\n");
    struct clip_vocabulary *vocabulary = open_vocabulary(path_of("openai.txt"));
    struct clip_tokenizer *tokenizer = tokenizer_of(vocabulary);
    CHECK(vocabulary->size == 518 && vocabulary->merge_count == 4, "");
    check_spelling(tokenizer, vocabulary, "abc abababc cab \"\\a",
                   "abc</w>|abab|abc</w>|c|a|b</w>|\"|\\</w>|a</w>");
    CHECK(clip_vocabulary_write(vocabulary, path_of("forms"), &error) == 0, "%s", error.text);
    check_forms(path_of("forms"), 518);
    struct clip_vocabulary *again = open_vocabulary(path_of("forms"));
    CHECK(same_vocabulary(vocabulary, again), "");
    clip_vocabulary_free(again);
    clip_tokenizer_free(tokenizer);
    clip_vocabulary_free(vocabulary);
}

/* A copy of forms/FROM as forms2/TO with `old` made `new`; which must be there. */
static void edit(const char *from, const char *to, const char *old, const char *new)
{
    char text[65536], edited[70000];
    FILE *file = fopen(path_of(from), "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[n] = 0;
    fclose(file);
    char *place = strstr(text, old);
    CHECK(place != NULL, "%s: %s", from, old);
    if (!place)
        return;
    snprintf(edited, sizeof edited, "%.*s%s%s", (int)(place - text), text, new, place + strlen(old));
    put(to, edited);
}

/* Tokens named as the parts of a tokenizer.json: a vocabulary for all that. */
static void check_names_of_parts(void)
{
    struct clip_error error;
    put("parts.txt", "#version: 0.2\nm o\nd e\nmo de\nmode l\nv o\nc a\nvo ca\nvoca b\n");
    struct clip_vocabulary *vocabulary = open_vocabulary(path_of("parts.txt"));
    CHECK(clip_vocabulary_write(vocabulary, path_of("parts"), &error) == 0, "%s", error.text);
    CHECK(clip_vocabulary_id(vocabulary, "model", 5) == 515, "");
    check_forms(path_of("parts"), 522);
    clip_vocabulary_free(vocabulary);
}

/* Merges of rank 0 become possible while those of rank 1 are done: OpenAI's loop does the latter first. */
static void check_order(void)
{
    mkdir(path_of("order"), 0777);
    edit("forms/vocab.json", "order/vocab.json", "\"abab\": 513", "\"aba\": 513");
    edit("forms/merges.txt", "order/merges.txt", "a b\nab ab\nab c</w>", "ab a\na b\nab c</w>");
    struct clip_vocabulary *vocabulary = open_vocabulary(path_of("order"));
    struct clip_tokenizer *tokenizer = tokenizer_of(vocabulary);
    check_spelling(tokenizer, vocabulary, "ababa", "ab|ab|a</w>");
    check_spelling(tokenizer, vocabulary, "abaxy", "aba|x|y</w>");
    clip_tokenizer_free(tokenizer);
    clip_vocabulary_free(vocabulary);
}

/* A word of a million letters: what takes time in proportion to its square would take hours. */
static void check_long_word(void)
{
    struct clip_error error;
    struct clip_vocabulary *vocabulary = open_vocabulary(path_of("openai.txt"));
    struct clip_tokenizer *tokenizer = tokenizer_of(vocabulary);
    size_t n = 1000000, count;
    const int32_t *ids;
    char *word = malloc(n);
    for (size_t i = 0; i < n; i++)
        word[i] = "ab"[i % 2];
    CHECK(clip_tokenize(tokenizer, word, n, &ids, &count, &error) == 0, "%s", error.text);
    CHECK(count == 249999 + 1 + 2 && ids[0] == 513, "%zu", count); /* the last pair ends with b</w> */
    free(word);
    clip_tokenizer_free(tokenizer);
    clip_vocabulary_free(vocabulary);
}

/* --- learning --- */

static struct clip_vocabulary *learn(const char *text, size_t size)
{
    struct clip_error error;
    FILE *in = fmemopen((void *)text, strlen(text), "r");
    struct clip_vocabulary *vocabulary = in ? clip_vocabulary_train(in, size, &error) : NULL;
    CHECK(vocabulary != NULL, "%s", error.text);
    if (!vocabulary)
        exit(check_end());
    fclose(in);
    return vocabulary;
}

/* The merges that counting all pairs anew each time gives. */
static void check_learning(void)
{
    static const char text[] = "the thin thief thinks\nThe other thing, the THE!\na b a b\naaa aaaa";
    static const char *const expected[] = {"t h",     "th i",    "th e</w>",  "a a",
                                           "thi n",   "a a</w>", "e f</w>",   "e r</w>",
                                           "k s</w>", "o th",    "thi n</w>", "thi ef</w>"};
    struct clip_error error;
    struct clip_vocabulary *vocabulary = learn(text, 526);
    CHECK(vocabulary->size == 526 && vocabulary->merge_count == 12 && vocabulary->start == 524, "");
    for (size_t i = 0; i < vocabulary->merge_count; i++) {
        char merge[100];
        snprintf(merge, sizeof merge, "%s %s", vocabulary->names[vocabulary->merges[i].left],
                 vocabulary->names[vocabulary->merges[i].right]);
        CHECK(strcmp(merge, expected[i]) == 0, "%zu: %s, not %s", i, merge, expected[i]);
    }
    FILE *in = fmemopen((void *)text, strlen(text), "r");
    CHECK(clip_vocabulary_train(in, 1000, &error) == NULL &&
              strstr(error.text, "words for 531 tokens only, not for 1000"),
          "%s", error.text);
    fclose(in);
    CHECK(clip_vocabulary_train(stdin, 513, &error) == NULL && strstr(error.text, "from 514"), "%s",
          error.text);
    clip_vocabulary_free(vocabulary);
}

/* More words than the cache has room for, of every length up to two blocks, give the same ids whenever they
 * come: known, forgotten or new. */
static void check_cache(const struct clip_vocabulary *vocabulary)
{
    enum { WORDS = 60000, ROUNDS = 3 };
    struct clip_tokenizer *tokenizer = tokenizer_of(vocabulary);
    static uint64_t sums[WORDS];
    for (int round = 0; round < ROUNDS; round++)
        for (uint32_t i = 0; i < WORDS; i++) {
            uint32_t word = round == 2 ? WORDS - 1 - i : i, left = word * 2654435761u;
            char text[48];
            size_t length = 1 + word % 40, count;
            const int32_t *ids;
            struct clip_error error;
            for (size_t k = 0; k < length; k++, left = left * 1664525u + 1013904223u)
                text[k] = (char)('a' + (left >> 24) % 26);
            CHECK(clip_tokenize(tokenizer, text, length, &ids, &count, &error) == 0, "");
            uint64_t sum = count;
            for (size_t k = 0; k < count; k++)
                sum = sum * 0x9e3779b97f4a7c15 + (uint32_t)ids[k];
            CHECK(round == 0 || sum == sums[word], "word %u", word);
            sums[word] = sum;
        }
    clip_tokenizer_free(tokenizer);
}

/* The shipped vocabulary is what its captions give. */
static void check_shipped(void)
{
    char command[9000], path[4200];
    const char *source = getenv("srcdir") ? getenv("srcdir") : ".";
    struct clip_error error;
    snprintf(command, sizeof command, "awk -f %s/share/vocab/captions.awk %s/share/vocab/words.txt", source,
             source);
    snprintf(path, sizeof path, "%s/share/vocab/default", source);
    FILE *captions = popen(command, "r");
    struct clip_vocabulary *learnt = captions ? clip_vocabulary_train(captions, 5120, &error) : NULL;
    struct clip_vocabulary *shipped = open_vocabulary(path);
    CHECK(captions && pclose(captions) == 0, "%s", command);
    CHECK(learnt && same_vocabulary(learnt, shipped), "%s", path);
    CHECK(shipped->size == 5120, "%zu", shipped->size);
    check_cache(shipped);
    clip_vocabulary_free(learnt);
    clip_vocabulary_free(shipped);
}

/* --- files that are broken --- */

static void check_refused(const char *name, const char *expected)
{
    struct clip_error error = {""};
    struct clip_vocabulary *vocabulary = clip_vocabulary_open(path_of(name), &error);
    CHECK(vocabulary == NULL, "%s", name);
    CHECK(strstr(error.text, expected) && !strchr(error.text, '\n'), "%s: '%s', not '%s'", name, error.text,
          expected);
    CHECK(strstr(error.text, path_of("")) != NULL, "%s: '%s' names no file", name, error.text);
    clip_vocabulary_free(vocabulary);
}

static void check_bad_texts(void)
{
    char line[9000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = 0;
    check_refused("absent", "No such file");
    put("bad", "");
    check_refused("bad", "empty");
    put("bad", "#version: 0.2\na b\na\n");
    check_refused("bad", "line 3: not a merge of two tokens");
    put("bad", "#version: 0.2\na b c\n");
    check_refused("bad", "line 2: not a merge of two tokens");
    put("bad", "#version: 0.2\na b\n\nc d\n");
    check_refused("bad", "line 3: not a merge of two tokens");
    put("bad", "#version: 0.2\nab c\n");
    check_refused("bad", "line 2: it has no token 'ab'");
    put("bad", line);
    check_refused("bad", "line 1 is too long");
    put("bad", "just some words\n");
    check_refused("bad", "line 1: not a merge of two tokens");
    mkdir(path_of("empty"), 0777);
    check_refused("empty", "no vocabulary in this folder");
}

/* Compressed text that was cut, at every 16th of its bytes, or damaged. */
static void check_bad_gzip(void)
{
    unsigned char bytes[2000];
    gzFile gz = gzopen(path_of("whole.gz"), "wb");
    gzputs(gz, "#version: 0.2\n");
    for (char c = 'a'; c <= 'z'; c++)
        gzprintf(gz, "%c %c\n%c z\n", c, c, c);
    gzclose(gz);
    clip_vocabulary_free(open_vocabulary(path_of("whole.gz")));
    FILE *file = fopen(path_of("whole.gz"), "rb");
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t cut = 18; cut < n; cut += 16) {
        file = fopen(path_of("cut.gz"), "wb");
        fwrite(bytes, 1, cut, file);
        fclose(file);
        check_refused("cut.gz", "");
    }
    bytes[n - 6] ^= 1; /* of the checksum */
    file = fopen(path_of("cut.gz"), "wb");
    fwrite(bytes, 1, n, file);
    fclose(file);
    check_refused("cut.gz", "incorrect data check");
}

static void check_bad_json(void)
{
    static const struct {
        const char *file, *old, *new, *expected;
    } cases[] = {
        {"vocab.json", "\"!\": 0", "\"!\": \"0\"", "token '!' has no valid id"},
        {"vocab.json", "\"!\": 0", "\"!\": -1", "token '!' has no valid id"},
        {"vocab.json", "\"!\": 0", "\"!\": 4194304", "token '!' has no valid id"},
        {"vocab.json", "\"!\": 0", "\"!\": 1e9", "token '!' has no valid id"},
        {"vocab.json", "\"!\": 0", "\"!\": 1", "two tokens have id 1"},
        {"vocab.json", "\"!\": 0, ", "", "it has no token '!'"},
        {"vocab.json", "\"<|endoftext|>\": 517", "\"x\": 517", "it has no token '<|endoftext|>'"},
        {"vocab.json", "\"abab\": 513, ", "", "line 3: it has no token 'abab'"},
        {"vocab.json", "{", "[", "JSON"},
        {"vocab.json", "}\n", "", "not JSON"},
        {"tokenizer.json", "\"model\": {", "\"model\": [], \"m\": {", "model is not an object"},
        {"tokenizer.json", "\"merges\"", "\"merge\"", "no vocab or no merges"},
        {"tokenizer.json", "\"a b\", ", "17, ", "merge 1: not a merge of two tokens"},
        {"tokenizer.json", "\"a b\", ", "[\"a\"], ", "merge 1: not a merge of two tokens"},
        {"tokenizer.json", "\"a b\", ", "[\"a\", null], ", "merge 1: not a merge of two tokens"},
        {"tokenizer.json", "\"a b\", ", "[\"a\", \"q\"], ", "merge 1: it has no token 'aq'"},
        {"tokenizer.json", "\"content\": \"<|start", "\"content\": \"|start", "two tokens have id 516"},
        {"tokenizer.json", "\"added_tokens\": [", "\"added_tokens\": {}, \"x\": [", "not an array"},
    };
    mkdir(path_of("json"), 0777);
    edit("forms/merges.txt", "json/merges.txt", "", "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char from[100], to[100];
        snprintf(from, sizeof from, "forms/%s", cases[i].file);
        snprintf(to, sizeof to, "json/%s", cases[i].file);
        edit(from, to, cases[i].old, cases[i].new);
        check_refused(to, cases[i].expected);
    }
    unlink(path_of("json/merges.txt"));
    edit("forms/vocab.json", "json/vocab.json", "", "");
    check_refused("json", "merges.txt: No such file");
    edit("forms/tokenizer.json", "pairs.json", "\"a b\", \"ab ab\"", "[\"a\", \"b\"], [\"ab\", \"ab\"]");
    struct clip_vocabulary *strings = open_vocabulary(path_of("forms")),
                           *pairs = open_vocabulary(path_of("pairs.json"));
    CHECK(same_vocabulary(strings, pairs), "");
    clip_vocabulary_free(strings);
    clip_vocabulary_free(pairs);
}

int main(void)
{
    const char *shared = check_shared();
    if (!mkdtemp(folder))
        abort();
    check_pieces();
    check_written_forms();
    check_names_of_parts();
    check_order();
    check_long_word();
    check_learning();
    check_shipped();
    check_bad_texts();
    check_bad_gzip();
    check_bad_json();
    if (shared) {
        check_openai(shared);
        check_model_folders(shared);
    }
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK(system(command) == 0, "");
    return check_end();
}
