/* tokenizer.json, the file of Hugging Face's tokenizers library. */
#include "base/array.h"
#include "text/kinds.h"
#include "base/base64.h"
#include "base/json.h"
#include "base/scan.h"

#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#define LARGEST_FILE ((size_t)128 << 20)
#define LARGEST_PART ((size_t)8 << 20)
#define MOST_VALUES 65536 /* objects and arrays of a part */

/* The parts of the file, or of its model: the text of each member. */
struct part {
    const char *name, *text;
    size_t size;
};

/* Notes where the members of the object are; the last of one name counts. */
static int find_parts(const char *text, size_t size, struct part *parts, size_t count,
                      struct clip_error *error)
{
    struct clip_scan scan;
    size_t members = 0;
    int more;
    clip_scan_start(&scan, text, size);
    while ((more = clip_scan_member(&scan, &members, error)) > 0) {
        struct part ignored = {0}, *part = &ignored;
        for (size_t i = 0; i < count; i++)
            if (strcmp(scan.string, parts[i].name) == 0)
                part = &parts[i];
        if (clip_scan_skip(&scan, &part->text, &part->size, error) != 0)
            break;
        if (part->size == 4 && memcmp(part->text, "null", 4) == 0)
            part->text = NULL;
    }
    int status = more != 0 ? -1 : clip_scan_end(&scan, error);
    clip_scan_free(&scan);
    return status;
}

/* A part as a tree, wrapped into {"part": ...}; NULL with error. Parts are small; what is not is not a part.
 */
static struct json_object *parse_part(const struct part *part, struct clip_error *error)
{
    size_t values = 0;
    int quoted = 0;
    for (size_t i = 0; i < part->size; i++) {
        char c = part->text[i];
        if (c == '"' || (quoted && c == '\\')) {
            quoted ^= c == '"';
            i += c == '\\';
        } else if (!quoted) {
            values += c == '{' || c == '[';
        }
    }
    if (part->size > LARGEST_PART || values > MOST_VALUES) {
        clip_fail(error, "%s is too large", part->name);
        return NULL;
    }
    struct clip_buffer text = {0};
    struct json_object *json = NULL;
    if (clip_buffer_add(&text, "{\"part\":", 8, error) == 0 &&
        clip_buffer_add(&text, part->text, part->size, error) == 0 &&
        clip_buffer_add(&text, "}", 1, error) == 0) {
        json = clip_json_parse(text.at, text.n, error);
        if (!json)
            clip_fail_prefix(error, "%s", part->name);
    }
    clip_buffer_free(&text);
    return json;
}

static const char *type_of(struct json_object *object)
{
    struct json_object *type = clip_json_get(object, "type");
    return json_object_is_type(type, json_type_string) ? json_object_get_string(type) : "";
}

static int refuse(const char *where, struct json_object *part, struct clip_error *error)
{
    char shown[100];
    const char *text = json_object_is_type(part, json_type_object) && *type_of(part)
                           ? type_of(part)
                           : json_object_to_json_string(part);
    return clip_fail(error, "%s: %s is not supported", where,
                     clip_printable(shown, sizeof shown, text, strlen(text)));
}

/* A text member, or an error: it must be there. */
static int need_text(struct json_object *object, const char *where, const char *key, struct clip_buffer *out,
                     struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, key);
    if (!json_object_is_type(member, json_type_string))
        return clip_fail(error, "%s.%s is not a string", where, key);
    return clip_buffer_add(out, json_object_get_string(member), (size_t)json_object_get_string_len(member),
                           error);
}

/* {"String": "..."} to `text`, or {"Regex": "..."} to *pattern. */
static int read_pattern(struct json_object *object, const char *where, struct clip_buffer *text,
                        struct clip_pattern **pattern, struct clip_error *error)
{
    struct json_object *member = clip_json_get(object, "pattern"), *regex = clip_json_get(member, "Regex");
    if (!json_object_is_type(member, json_type_object) ||
        (regex ? !json_object_is_type(regex, json_type_string)
               : !json_object_is_type(clip_json_get(member, "String"), json_type_string)))
        return clip_fail(error, "%s.pattern is neither a String nor a Regex", where);
    if (!regex)
        return need_text(member, where, "String", text, error);
    *pattern =
        clip_pattern_new(json_object_get_string(regex), (size_t)json_object_get_string_len(regex), error);
    return *pattern ? 0 : clip_fail_prefix(error, "%s", where);
}

/* Each part of a Sequence by `one`, or the part itself. */
typedef int read_one(struct clip_tokenizer *, struct json_object *, int depth, struct clip_error *);

static int read_sequence(struct clip_tokenizer *tokenizer, struct json_object *part, const char *where,
                         const char *key, read_one *one, int depth, struct clip_error *error)
{
    struct json_object *parts = clip_json_get(part, key);
    if (!json_object_is_type(parts, json_type_array) || depth > 8)
        return clip_fail(error, "%s.%s is not an array", where, key);
    for (size_t i = 0; i < json_object_array_length(parts); i++)
        if (one(tokenizer, json_object_array_get_idx(parts, i), depth + 1, error) != 0)
            return -1;
    return 0;
}

/* --- normalizer --- */

static int read_charsmap(struct json_object *part, struct clip_normal_step *step, struct clip_error *error)
{
    struct clip_buffer text = {0};
    struct json_object *member = clip_json_get(part, "precompiled_charsmap");
    size_t size;
    if (!member)
        return 0; /* null: it maps nothing */
    int status = need_text(part, "normalizer", "precompiled_charsmap", &text, error);
    if (status == 0 && text.n > 0 && clip_base64_decode(text.at, text.n, text.at, &size) != 0)
        status = clip_fail(error, "normalizer.precompiled_charsmap is not base64");
    if (status == 0 && text.n > 0)
        status = clip_charsmap_read(&step->map, text.at, size, error);
    clip_buffer_free(&text);
    return status;
}

static int read_bert(struct json_object *part, struct clip_normal_step *step, struct clip_error *error)
{
    const char *where = "normalizer";
    step->clean = step->chinese = step->lower = 1;
    if (clip_json_flag(part, where, "clean_text", &step->clean, error) != 0 ||
        clip_json_flag(part, where, "handle_chinese_chars", &step->chinese, error) != 0 ||
        clip_json_flag(part, where, "lowercase", &step->lower, error) != 0)
        return -1;
    step->accents = step->lower; /* where it is null */
    return clip_json_flag(part, where, "strip_accents", &step->accents, error);
}

static int read_strip(struct json_object *part, struct clip_normal_step *step, struct clip_error *error)
{
    step->left = step->right = 1;
    if (clip_json_flag(part, "normalizer", "strip_left", &step->left, error) != 0)
        return -1;
    return clip_json_flag(part, "normalizer", "strip_right", &step->right, error);
}

static int read_replace(struct json_object *part, struct clip_normal_step *step, struct clip_error *error)
{
    if (read_pattern(part, "normalizer", &step->from, &step->pattern, error) != 0)
        return -1;
    return need_text(part, "normalizer", "content", &step->to, error);
}

static int read_prepend(struct json_object *part, struct clip_normal_step *step, struct clip_error *error)
{
    return need_text(part, "normalizer", "prepend", &step->to, error);
}

static const struct {
    const char *type;
    enum clip_normal_kind kind;
    enum clip_normal_form form;
    int (*read)(struct json_object *, struct clip_normal_step *, struct clip_error *);
} normalizers[] = {{"NFC", CLIP_NORMAL_FORM, CLIP_NFC, NULL},
                   {"NFD", CLIP_NORMAL_FORM, CLIP_NFD, NULL},
                   {"NFKC", CLIP_NORMAL_FORM, CLIP_NFKC, NULL},
                   {"NFKD", CLIP_NORMAL_FORM, CLIP_NFKD, NULL},
                   {"Lowercase", CLIP_NORMAL_LOWER, 0, NULL},
                   {"Strip", CLIP_NORMAL_STRIP, 0, read_strip},
                   {"StripAccents", CLIP_NORMAL_STRIP_ACCENTS, 0, NULL},
                   {"Replace", CLIP_NORMAL_REPLACE, 0, read_replace},
                   {"Prepend", CLIP_NORMAL_PREPEND, 0, read_prepend},
                   {"Precompiled", CLIP_NORMAL_CHARSMAP, 0, read_charsmap},
                   {"BertNormalizer", CLIP_NORMAL_BERT, 0, read_bert}};

static int read_normalizer(struct clip_tokenizer *tokenizer, struct json_object *part, int depth,
                           struct clip_error *error)
{
    if (strcmp(type_of(part), "Sequence") == 0)
        return read_sequence(tokenizer, part, "normalizer", "normalizers", read_normalizer, depth, error);
    for (size_t i = 0; i < CLIP_COUNT_OF(normalizers); i++) {
        if (strcmp(type_of(part), normalizers[i].type) != 0)
            continue;
        struct clip_normal_step *step =
            clip_normalizer_add(&tokenizer->pipeline->normalizer, normalizers[i].kind, 0, error);
        if (!step)
            return -1;
        step->form = normalizers[i].form;
        return normalizers[i].read ? normalizers[i].read(part, step, error) : 0;
    }
    return refuse("normalizer", part, error);
}

/* --- pre_tokenizer --- */

#define WORDS "\\w+|[^\\w\\s]+"

static int add_pattern(struct clip_splitter *splitter, enum clip_split how, const char *text,
                       struct clip_error *error)
{
    struct clip_split_step *step = clip_splitter_add(splitter, CLIP_SPLIT_PATTERN, how, error);
    return step && (step->pattern = clip_pattern_new(text, strlen(text), error)) ? 0 : -1;
}

static int read_behavior(struct json_object *part, const char *otherwise, enum clip_split *how,
                         struct clip_error *error)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    const char *name = otherwise;
    if (clip_json_string(part, "pre_tokenizer", "behavior", &name, error) != 0)
        return -1;
    for (size_t i = 0; i < CLIP_COUNT_OF(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *how = (enum clip_split)i;
            return 0;
        }
    return clip_fail(error, "pre_tokenizer.behavior: \"%.40s\" is not supported", name);
}

static int read_metaspace(struct clip_splitter *splitter, struct json_object *part, struct clip_error *error)
{
    static const char *const schemes[] = {"always", "first", "never"};
    const char *where = "pre_tokenizer", *scheme = NULL;
    int prefix = 1, split = 1;
    struct clip_split_step *step =
        clip_splitter_add(splitter, CLIP_SPLIT_METASPACE, CLIP_SPLIT_WITH_NEXT, error);
    if (!step || need_text(part, where, "replacement", &step->text, error) != 0 ||
        clip_json_flag(part, where, "add_prefix_space", &prefix, error) != 0 ||
        clip_json_flag(part, where, "split", &split, error) != 0 ||
        clip_json_string(part, where, "prepend_scheme", &scheme, error) != 0)
        return -1;
    step->whole = !split;
    step->prepend = prefix ? CLIP_PREPEND_ALWAYS : CLIP_PREPEND_NEVER;
    for (int i = 0; scheme; i++) {
        if (i == 3)
            return clip_fail(error, "pre_tokenizer.prepend_scheme: \"%.40s\" is not supported", scheme);
        if (strcmp(scheme, schemes[i]) == 0) {
            step->prepend = i;
            break;
        }
    }
    return step->text.n ? 0 : clip_fail(error, "pre_tokenizer.replacement is empty");
}

static int read_split(struct clip_splitter *splitter, struct json_object *part, struct clip_error *error)
{
    enum clip_split how;
    if (read_behavior(part, "", &how, error) != 0)
        return -1;
    struct clip_split_step *step = clip_splitter_add(splitter, CLIP_SPLIT_TEXT, how, error);
    if (!step || read_pattern(part, "pre_tokenizer", &step->text, &step->pattern, error) != 0)
        return -1;
    if (step->pattern)
        step->kind = CLIP_SPLIT_PATTERN;
    return clip_json_flag(part, "pre_tokenizer", "invert", &step->inverted, error);
}

/* Bytes as they are, of which the vocabulary has its own spelling. */
static int read_byte_level(struct clip_tokenizer *tokenizer, struct json_object *part,
                           struct clip_error *error)
{
    struct clip_splitter *splitter = &tokenizer->pipeline->splitter;
    int prefix = 1, regex = 1;
    if (clip_json_flag(part, "pre_tokenizer", "add_prefix_space", &prefix, error) != 0 ||
        clip_json_flag(part, "pre_tokenizer", "use_regex", &regex, error) != 0)
        return -1;
    tokenizer->pipeline->subwords.byte_level = 1;
    if (prefix && !clip_splitter_add(splitter, CLIP_SPLIT_PREFIX, CLIP_SPLIT_ISOLATED, error))
        return -1;
    return regex ? add_pattern(splitter, CLIP_SPLIT_ISOLATED, CLIP_GPT2_PATTERN, error) : 0;
}

static int read_digits(struct clip_splitter *splitter, struct json_object *part, struct clip_error *error)
{
    int each = 0;
    if (clip_json_flag(part, "pre_tokenizer", "individual_digits", &each, error) != 0)
        return -1;
    return clip_splitter_add(splitter, CLIP_SPLIT_DIGITS, each ? CLIP_SPLIT_ISOLATED : CLIP_SPLIT_CONTIGUOUS,
                             error)
               ? 0
               : -1;
}

static int add_characters(struct clip_splitter *splitter, enum clip_split_kind kind, enum clip_split how,
                          struct clip_error *error)
{
    return clip_splitter_add(splitter, kind, how, error) ? 0 : -1;
}

static int read_pre_tokenizer(struct clip_tokenizer *tokenizer, struct json_object *part, int depth,
                              struct clip_error *error)
{
    struct clip_splitter *splitter = &tokenizer->pipeline->splitter;
    const char *type = type_of(part);
    enum clip_split how;
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(tokenizer, part, "pre_tokenizer", "pretokenizers", read_pre_tokenizer, depth,
                             error);
    if (tokenizer->pipeline->subwords.byte_level)
        return clip_fail(error, "pre_tokenizer: %.40s after ByteLevel is not supported", type);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(tokenizer, part, error);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(splitter, part, error);
    if (strcmp(type, "Split") == 0)
        return read_split(splitter, part, error);
    if (strcmp(type, "Digits") == 0)
        return read_digits(splitter, part, error);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_characters(splitter, CLIP_SPLIT_SPACE, CLIP_SPLIT_REMOVED, error);
    if (strcmp(type, "BertPreTokenizer") == 0)
        return add_characters(splitter, CLIP_SPLIT_SPACE, CLIP_SPLIT_REMOVED, error) != 0
                   ? -1
                   : add_characters(splitter, CLIP_SPLIT_PUNCTUATION, CLIP_SPLIT_ISOLATED, error);
    if (strcmp(type, "Punctuation") == 0)
        return read_behavior(part, "Isolated", &how, error) != 0
                   ? -1
                   : add_characters(splitter, CLIP_SPLIT_PUNCTUATION, how, error);
    if (strcmp(type, "Whitespace") == 0) {
        if (add_pattern(splitter, CLIP_SPLIT_REMOVED, WORDS, error) != 0)
            return -1;
        splitter->steps[splitter->count - 1].inverted = 1;
        return 0;
    }
    return refuse("pre_tokenizer", part, error);
}

/* --- post_processor --- */

/* ["</s>", 2] */
static int read_pair(struct clip_tokenizer *tokenizer, struct json_object *part, const char *key, int after,
                     struct clip_error *error)
{
    struct json_object *pair = clip_json_get(part, key);
    struct json_object *id = json_object_is_type(pair, json_type_array) && json_object_array_length(pair) == 2
                                 ? json_object_array_get_idx(pair, 1)
                                 : NULL;
    if (!json_object_is_type(id, json_type_int))
        return clip_fail(error, "post_processor.%s is not a token and its id", key);
    int64_t value = json_object_get_int64(id);
    if (value < 0 || value >= CLIP_MOST_IDS)
        return clip_fail(error, "post_processor.%s: token id %lld is out of range", key, (long long)value);
    return clip_frame_put(&tokenizer->frame, after, (int32_t)value, error);
}

/* The ids of a special token of a template. */
static int put_special(struct clip_tokenizer *tokenizer, struct json_object *part, const char *name,
                       int after, struct clip_error *error)
{
    struct json_object *special = clip_json_get(clip_json_get(part, "special_tokens"), name);
    struct json_object *ids = clip_json_get(special, "ids");
    if (!json_object_is_type(ids, json_type_array))
        return clip_fail(error, "post_processor: the template's token '%.40s' has no ids", name);
    for (size_t i = 0; i < json_object_array_length(ids); i++) {
        int64_t id = json_object_get_int64(json_object_array_get_idx(ids, i));
        if (id < 0 || id >= CLIP_MOST_IDS)
            return clip_fail(error, "post_processor: token id %lld is out of range", (long long)id);
        if (clip_frame_put(&tokenizer->frame, after, (int32_t)id, error) != 0)
            return -1;
    }
    return 0;
}

static int read_template(struct clip_tokenizer *tokenizer, struct json_object *part, struct clip_error *error)
{
    struct json_object *single = clip_json_get(part, "single");
    int texts = 0;
    if (!json_object_is_type(single, json_type_array))
        return clip_fail(error, "post_processor.single is not an array");
    for (size_t i = 0; i < json_object_array_length(single); i++) {
        struct json_object *item = json_object_array_get_idx(single, i);
        struct json_object *special = clip_json_get(item, "SpecialToken");
        const char *name = NULL;
        texts += clip_json_get(item, "Sequence") != NULL;
        if (special && (clip_json_string(special, "post_processor", "id", &name, error) != 0 || !name ||
                        put_special(tokenizer, part, name, texts, error) != 0))
            return name ? -1 : clip_fail(error, "post_processor: a special token without id");
    }
    return texts == 1 ? 0
                      : clip_fail(error, "post_processor: a template of %d texts is not supported", texts);
}

static int read_post_processor(struct clip_tokenizer *tokenizer, struct json_object *part, int depth,
                               struct clip_error *error)
{
    const char *type = type_of(part);
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(tokenizer, part, "post_processor", "processors", read_post_processor, depth,
                             error);
    if (strcmp(type, "ByteLevel") == 0)
        return 0; /* offsets alone */
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return read_pair(tokenizer, part, "cls", 0, error) != 0 ? -1
                                                                : read_pair(tokenizer, part, "sep", 1, error);
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(tokenizer, part, error);
    return refuse("post_processor", part, error);
}

/* --- added_tokens, padding --- */

static int read_all_added(struct clip_tokenizer *tokenizer, struct json_object *added, int depth,
                          struct clip_error *error)
{
    (void)depth;
    if (!json_object_is_type(added, json_type_array))
        return clip_fail(error, "added_tokens is not an array");
    for (size_t i = 0; i < json_object_array_length(added); i++)
        if (clip_add_token_object(tokenizer->pipeline, json_object_array_get_idx(added, i), -1, error) != 0)
            return -1;
    return 0;
}

static int read_padding(struct clip_tokenizer *tokenizer, struct json_object *padding, int depth,
                        struct clip_error *error)
{
    int pad = -1;
    (void)depth;
    if (clip_json_int(padding, "padding", "pad_id", 0, CLIP_MOST_IDS - 1, &pad, error) != 0)
        return -1;
    tokenizer->frame.pad = pad;
    return 0;
}

/* --- model --- */

enum {
    TYPE,
    VOCAB,
    MERGES,
    UNK_TOKEN,
    UNK_ID,
    FUSE,
    FALLBACK,
    WHOLE,
    SUFFIX,
    PREFIX,
    MOST,
    DROPOUT,
    MODEL_PARTS
};

static const char *const model_names[MODEL_PARTS] = {"type",
                                                     "vocab",
                                                     "merges",
                                                     "unk_token",
                                                     "unk_id",
                                                     "fuse_unk",
                                                     "byte_fallback",
                                                     "ignore_merges",
                                                     "end_of_word_suffix",
                                                     "continuing_subword_prefix",
                                                     "max_input_chars_per_word",
                                                     "dropout"};

struct model {
    struct clip_tokenizer *tokenizer;
    struct part parts[MODEL_PARTS];
    struct json_object *small; /* of the small ones, by name */
};

/* {"token": id, ...} */
static int read_names(struct clip_subwords *subwords, const struct part *part, struct clip_error *error)
{
    struct clip_scan scan;
    size_t count = 0;
    int more;
    clip_scan_start(&scan, part->text, part->size);
    while ((more = clip_scan_member(&scan, &count, error)) > 0) {
        double id = -1;
        if (clip_scan_type(&scan) != '0')
            more = clip_fail(error, "vocab has an id that is not a number");
        else if (clip_scan_number(&scan, &id, error) != 0)
            more = -1;
        if (more < 0 ||
            clip_lexicon_add(&subwords->lexicon, scan.string, scan.length,
                             id >= 0 && id < CLIP_MOST_IDS && id == (double)(int32_t)id ? (int32_t)id : -1, 1,
                             error) != 0) {
            more = -1;
            break;
        }
    }
    clip_scan_free(&scan);
    return more;
}

/* ["token", score] */
static int read_scored(struct clip_scan *scan, struct clip_subwords *subwords, int32_t id,
                       struct clip_error *error)
{
    size_t count = 0;
    double score;
    if (clip_scan_element(scan, &count, error) != 1 || clip_scan_string(scan, error) != 0 ||
        clip_scan_element(scan, &count, error) != 1 || clip_scan_number(scan, &score, error) != 0 ||
        clip_scan_element(scan, &count, error) != 0)
        return clip_fail(error, "vocab %ld is not a token and its score", (long)id);
    if (id % 4096 == 0) {
        double *scores = reallocarray(subwords->scores, (size_t)id + 4096, sizeof *scores);
        if (!scores)
            return clip_fail_memory(error, "a vocabulary");
        subwords->scores = scores;
    }
    subwords->scores[id] = score;
    return clip_lexicon_add(&subwords->lexicon, scan->string, scan->length, id, 0, error);
}

static int read_scores(struct clip_subwords *subwords, const struct part *part, struct clip_error *error)
{
    struct clip_scan scan;
    size_t count = 0;
    int more;
    clip_scan_start(&scan, part->text, part->size);
    while ((more = clip_scan_element(&scan, &count, error)) > 0)
        if (count > CLIP_MOST_IDS || read_scored(&scan, subwords, (int32_t)count - 1, error) != 0) {
            more = count > CLIP_MOST_IDS ? clip_fail(error, "vocab has too many tokens") : -1;
            break;
        }
    clip_scan_free(&scan);
    return more;
}

/* "left right", or ["left", "right"]. */
static int read_merge(struct clip_scan *scan, struct clip_subwords *subwords, struct clip_buffer *left,
                      struct clip_error *error)
{
    size_t count = 0;
    if (clip_scan_type(scan) == '[') {
        left->n = 0;
        if (clip_scan_element(scan, &count, error) != 1 || clip_scan_string(scan, error) != 0 ||
            clip_buffer_add(left, scan->string, scan->length, error) != 0 ||
            clip_scan_element(scan, &count, error) != 1 || clip_scan_string(scan, error) != 0 ||
            clip_scan_element(scan, &count, error) != 0)
            return clip_fail(error, "not a merge of two tokens");
        return clip_subwords_add_merge(subwords, left->at, left->n, scan->string, scan->length, error);
    }
    if (clip_scan_type(scan) != '"' || clip_scan_string(scan, error) != 0)
        return clip_fail(error, "not a merge of two tokens");
    const char *space = memchr(scan->string, ' ', scan->length);
    if (!space || space == scan->string ||
        memchr(space + 1, ' ', (size_t)(scan->string + scan->length - space - 1)))
        return clip_fail(error, "not a merge of two tokens");
    return clip_subwords_add_merge(subwords, scan->string, (size_t)(space - scan->string), space + 1,
                                   (size_t)(scan->string + scan->length - space - 1), error);
}

static int read_merges(struct clip_subwords *subwords, const struct part *part, struct clip_error *error)
{
    struct clip_scan scan;
    struct clip_buffer left = {0};
    size_t count = 0;
    int more;
    clip_scan_start(&scan, part->text, part->size);
    while ((more = clip_scan_element(&scan, &count, error)) > 0)
        if (read_merge(&scan, subwords, &left, error) != 0) {
            more = clip_fail_prefix(error, "merge %zu", count);
            break;
        }
    clip_scan_free(&scan);
    clip_buffer_free(&left);
    return more;
}

/* The unknown token, by its name. */
static int find_unknown(struct model *model, struct clip_error *error)
{
    struct clip_subwords *subwords = &model->tokenizer->pipeline->subwords;
    const char *name = NULL;
    subwords->unknown = -1;
    if (clip_json_string(model->small, "model", "unk_token", &name, error) != 0)
        return -1;
    if (!name)
        return 0;
    subwords->unknown = clip_pipeline_id(model->tokenizer->pipeline, name, strlen(name));
    return subwords->unknown >= 0 ? 0 : clip_fail(error, "model.unk_token: it has no token '%.40s'", name);
}

static int read_bpe(struct model *model, struct clip_error *error)
{
    struct clip_subwords *subwords = &model->tokenizer->pipeline->subwords;
    const char *suffix = "", *prefix = "";
    double dropout = 0;
    subwords->encode = clip_encode_merges;
    if (!model->parts[MERGES].text)
        return clip_fail(error, "model has no merges");
    if (read_names(subwords, &model->parts[VOCAB], error) != 0 ||
        read_merges(subwords, &model->parts[MERGES], error) != 0 || find_unknown(model, error) != 0 ||
        clip_json_flag(model->small, "model", "fuse_unk", &subwords->fuse_unknown, error) != 0 ||
        clip_json_flag(model->small, "model", "byte_fallback", &subwords->byte_fallback, error) != 0 ||
        clip_json_flag(model->small, "model", "ignore_merges", &subwords->ignore_merges, error) != 0 ||
        clip_json_string(model->small, "model", "end_of_word_suffix", &suffix, error) != 0 ||
        clip_json_string(model->small, "model", "continuing_subword_prefix", &prefix, error) != 0 ||
        clip_json_real(model->small, "model", "dropout", 0, 1, &dropout, error) != 0)
        return -1;
    if (*prefix || dropout != 0)
        return clip_fail(error, "model.%s is not supported",
                         *prefix ? "continuing_subword_prefix" : "dropout");
    if (strlen(suffix) >= sizeof subwords->suffix)
        return clip_fail(error, "model.end_of_word_suffix is too long");
    strcpy(subwords->suffix, suffix);
    return clip_finish_merges(subwords, error);
}

static int read_unigram(struct model *model, struct clip_error *error)
{
    struct clip_subwords *subwords = &model->tokenizer->pipeline->subwords;
    int unknown = -1;
    subwords->encode = clip_encode_unigram;
    if (read_scores(subwords, &model->parts[VOCAB], error) != 0 ||
        clip_json_int(model->small, "model", "unk_id", 0, CLIP_MOST_IDS - 1, &unknown, error) != 0 ||
        clip_json_flag(model->small, "model", "byte_fallback", &subwords->byte_fallback, error) != 0)
        return -1;
    if (subwords->byte_level)
        return clip_fail(error, "pre_tokenizer: ByteLevel with Unigram is not supported");
    subwords->unknown = unknown;
    return clip_finish_unigram(subwords, error);
}

static int read_wordpiece(struct model *model, struct clip_error *error)
{
    struct clip_subwords *subwords = &model->tokenizer->pipeline->subwords;
    const char *prefix = "##";
    int most = 100;
    subwords->encode = clip_encode_wordpiece;
    if (read_names(subwords, &model->parts[VOCAB], error) != 0 || find_unknown(model, error) != 0 ||
        clip_json_string(model->small, "model", "continuing_subword_prefix", &prefix, error) != 0 ||
        clip_json_int(model->small, "model", "max_input_chars_per_word", 0, 1 << 20, &most, error) != 0)
        return -1;
    if (subwords->byte_level)
        return clip_fail(error, "pre_tokenizer: ByteLevel with WordPiece is not supported");
    if (subwords->unknown < 0)
        return clip_fail(error, "model.unk_token is missing");
    subwords->most_characters = (size_t)most;
    return clip_finish_wordpiece(subwords, prefix, error);
}

/* What the model is; old files do not say it. */
static int read_model_of(struct model *model, struct clip_error *error)
{
    static const struct {
        const char *type;
        int (*read)(struct model *, struct clip_error *);
    } types[] = {{"BPE", read_bpe}, {"Unigram", read_unigram}, {"WordPiece", read_wordpiece}};
    const struct part *vocab = &model->parts[VOCAB];
    const char *type = NULL;
    if (!vocab->text || (*vocab->text != '{' && *vocab->text != '['))
        return clip_fail(error, "model has no vocab");
    if (clip_json_string(model->small, "model", "type", &type, error) != 0)
        return -1;
    if (!type)
        type = *vocab->text == '[' ? "Unigram" : model->parts[MOST].text ? "WordPiece" : "BPE";
    for (size_t i = 0; i < CLIP_COUNT_OF(types); i++)
        if (strcmp(type, types[i].type) == 0)
            return types[i].read(model, error);
    return clip_fail(error, "model.type: \"%.40s\" is not supported", type);
}

/* The small members of the model as one tree. */
static int read_small(struct model *model, struct clip_error *error)
{
    model->small = json_object_new_object();
    if (!model->small)
        return clip_fail_memory(error, "JSON");
    for (int i = 0; i < MODEL_PARTS; i++) {
        const struct part *part = &model->parts[i];
        if (!part->text || i == VOCAB || i == MERGES)
            continue;
        struct json_object *tree = part->size < 4096 ? parse_part(part, error) : NULL;
        if (!tree)
            return part->size < 4096 ? -1 : clip_fail(error, "model.%s is too large", part->name);
        json_object_object_add(model->small, part->name, json_object_get(clip_json_get(tree, "part")));
        json_object_put(tree);
    }
    return 0;
}

static int read_model(struct clip_tokenizer *tokenizer, const struct part *part, struct clip_error *error)
{
    struct model model = {.tokenizer = tokenizer};
    for (int i = 0; i < MODEL_PARTS; i++)
        model.parts[i].name = model_names[i];
    if (!part->text || *part->text != '{')
        return clip_fail(error, "model is not an object");
    int status = find_parts(part->text, part->size, model.parts, MODEL_PARTS, error);
    if (status == 0)
        status = read_small(&model, error);
    if (status == 0)
        status = read_model_of(&model, error);
    json_object_put(model.small);
    return status;
}

/* --- the file --- */

static int read_part(struct clip_tokenizer *tokenizer, const struct part *part, read_one *read,
                     struct clip_error *error)
{
    if (!part->text)
        return 0;
    struct json_object *tree = parse_part(part, error);
    if (!tree)
        return -1;
    int status = read(tokenizer, clip_json_get(tree, "part"), 0, error);
    json_object_put(tree);
    return status;
}

static int read_file(struct clip_tokenizer *tokenizer, const char *text, size_t size,
                     struct clip_error *error)
{
    static const struct {
        const char *name;
        read_one *read;
    } readers[] = {{"added_tokens", read_all_added},
                   {"padding", read_padding},
                   {"normalizer", read_normalizer},
                   {"pre_tokenizer", read_pre_tokenizer},
                   {"post_processor", read_post_processor}};
    struct part parts[CLIP_COUNT_OF(readers) + 1] = {0};
    for (size_t i = 0; i < CLIP_COUNT_OF(readers); i++)
        parts[i].name = readers[i].name;
    parts[CLIP_COUNT_OF(readers)].name = "model";
    if (find_parts(text, size, parts, CLIP_COUNT_OF(parts), error) != 0)
        return -1;
    for (size_t i = 0; i < CLIP_COUNT_OF(readers); i++)
        if (read_part(tokenizer, &parts[i], readers[i].read, error) != 0)
            return -1;
    return read_model(tokenizer, &parts[CLIP_COUNT_OF(readers)], error);
}

/* The file as text: UTF-8, without its mark. */
static int read_text(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                     struct clip_error *error)
{
    const char *text = file->text;
    size_t size = file->size;
    if (size > LARGEST_FILE)
        return clip_fail(error, "too large for a tokenizer");
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    const uint8_t *wrong = u8_check((const uint8_t *)text, size);
    if (wrong)
        return clip_fail(error, "not JSON: invalid UTF-8 at byte %td", wrong - (const uint8_t *)text);
    return read_file(tokenizer, text, size, error);
}

static int open_json(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                     struct clip_error *error)
{
    struct clip_tokenizer_config config;
    if (read_text(tokenizer, file, error) != 0)
        return clip_fail_prefix(error, "%s", file->path);
    if (clip_tokenizer_config_read(&config, file->folder, error) != 0)
        return -1;
    clip_frame_name(tokenizer, &config);
    clip_tokenizer_config_free(&config);
    return 0;
}

/* One of CLIP's form is read as OpenAI's vocabulary, unless it is to be taken for what it says. */
static int is_json(const struct clip_tokenizer_file *file, const struct clip_tokenizer_settings *settings)
{
    if (clip_json_form(file) != CLIP_JSON_TOKENIZER)
        return 0;
    int plain = !*settings->hf_name &&
                (settings->cleaning == CLIP_CLEANING_DEFAULT || settings->cleaning == CLIP_CLEANING_LOWER);
    return !plain || !clip_ends_words(file);
}

const struct clip_tokenizer_kind clip_kind_json = {
    .name = "tokenizer.json", .is = is_json, .open = open_json, .run = clip_run_pipeline};
