/* SentencePiece's .model: a protocol buffer (sentencepiece_model.proto) of pieces, and how a text is
 * normalized. */
#include "text/kinds.h"

#include <endian.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#define LARGEST_FILE ((size_t)64 << 20)

/* --- protocol buffers --- */

struct message {
    const uint8_t *at, *end;
};

struct field {
    uint32_t number;
    int wire; /* 0: value; 1, 5: 8 or 4 bytes; 2: text[size] */
    uint64_t value;
    const uint8_t *text;
    size_t size;
};

static int read_varint(struct message *message, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (message->at == message->end)
            return -1;
        uint8_t byte = *message->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return 0;
    }
    return -1;
}

/* The next field: 1, 0 at the end, -1 with error. */
static int next_field(struct message *message, struct field *field, struct clip_error *error)
{
    uint64_t key;
    if (message->at == message->end)
        return 0;
    if (read_varint(message, &key) != 0 || key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return clip_fail(error, "not a SentencePiece model: a field without number");
    field->number = (uint32_t)(key >> 3);
    field->wire = (int)(key & 7);
    uint64_t size = field->wire == 1 ? 8 : field->wire == 5 ? 4 : 0;
    if (field->wire == 0 ? read_varint(message, &field->value) != 0
                         : field->wire == 2 && read_varint(message, &size) != 0)
        return clip_fail(error, "not a SentencePiece model: it is cut");
    if (field->wire != 0 && field->wire != 1 && field->wire != 2 && field->wire != 5)
        return clip_fail(error, "not a SentencePiece model: wire type %d", field->wire);
    if (size > (uint64_t)(message->end - message->at))
        return clip_fail(error, "not a SentencePiece model: it is cut, or a length is wrong");
    field->text = message->at;
    field->size = (size_t)size;
    message->at += size;
    return 1;
}

/* --- the model --- */

struct spec {
    int bpe, byte_fallback, as_suffix; /* trainer */
    int64_t end;
    int dummy, extra, escape; /* normalizer */
    const uint8_t *map;
    size_t map_size;
};

struct reader {
    struct clip_tokenizer *tokenizer;
    const struct clip_tokenizer_config *config;
    int fairseq;   /* ids of XLM-R and its kin: <s>, <pad>, </s>, <unk>, then the pieces, one further on */
    size_t pieces; /* so far */
    size_t room;
    struct spec spec;
};

static int read_trainer(struct reader *reader, struct message message, struct clip_error *error)
{
    struct field field;
    int more, type = 1;
    while ((more = next_field(&message, &field, error)) > 0) {
        if (field.wire != 0)
            continue;
        if (field.number == 3)
            type = (int)field.value;
        else if (field.number == 24)
            reader->spec.as_suffix = field.value != 0;
        else if (field.number == 35)
            reader->spec.byte_fallback = field.value != 0;
        else if (field.number == 42)
            reader->spec.end = (int32_t)field.value;
    }
    reader->spec.bpe = type == 2;
    if (more == 0 && type != 1 && type != 2)
        return clip_fail(error, "a SentencePiece model of type %d is not supported (only unigram and bpe)",
                         type);
    return more;
}

static int read_normalizer(struct reader *reader, struct message message, struct clip_error *error)
{
    struct field field;
    int more;
    while ((more = next_field(&message, &field, error)) > 0) {
        if (field.number == 2 && field.wire == 2) {
            reader->spec.map = field.text;
            reader->spec.map_size = field.size;
        } else if (field.wire == 0) {
            int *flag = field.number == 3   ? &reader->spec.dummy
                        : field.number == 4 ? &reader->spec.extra
                        : field.number == 5 ? &reader->spec.escape
                                            : NULL;
            if (flag)
                *flag = field.value != 0;
        }
    }
    return more;
}

/* The id of the next piece. */
static int32_t id_of(const struct reader *reader, const char *text, size_t n, int type)
{
    int32_t number = (int32_t)reader->pieces;
    if (!reader->fairseq)
        return number;
    if (type == CLIP_PIECE_UNKNOWN)
        return 3;
    if (type == CLIP_PIECE_CONTROL && n == 3 && memcmp(text, "<s>", 3) == 0)
        return 0;
    if (type == CLIP_PIECE_CONTROL && n == 4 && memcmp(text, "</s>", 4) == 0)
        return 2;
    return number + 1;
}

static int reserve(struct reader *reader, struct clip_error *error)
{
    struct clip_subwords *subwords = &reader->tokenizer->pipeline->subwords;
    if (reader->pieces + 8 <= reader->room)
        return 0;
    size_t room = 2 * reader->room + 4096;
    double *scores = reallocarray(subwords->scores, room, sizeof *scores);
    if (!scores)
        return clip_fail_memory(error, "a vocabulary");
    subwords->scores = scores;
    uint8_t *types = realloc(subwords->types, room);
    if (!types)
        return clip_fail_memory(error, "a vocabulary");
    subwords->types = types;
    for (size_t i = reader->room; i < room; i++) {
        scores[i] = 0;
        types[i] = CLIP_PIECE_CONTROL;
    }
    reader->room = room;
    return 0;
}

static int add_piece(struct reader *reader, const char *text, size_t n, float score, int type,
                     struct clip_error *error)
{
    struct clip_subwords *subwords = &reader->tokenizer->pipeline->subwords;
    if (type < CLIP_PIECE_NORMAL || type > CLIP_PIECE_BYTE || !isfinite(score) ||
        u8_check((const uint8_t *)text, n) != NULL)
        return clip_fail(error, "piece %zu has a wrong type, score or text", reader->pieces);
    if (reader->pieces >= CLIP_MOST_IDS - 8)
        return clip_fail(error, "more than %u pieces", CLIP_MOST_IDS - 8);
    if (type == CLIP_PIECE_UNKNOWN && subwords->unknown >= 0)
        return clip_fail(error, "two pieces are the unknown one");
    int32_t id = id_of(reader, text, n, type);
    if (reserve(reader, error) != 0 || clip_lexicon_add(&subwords->lexicon, text, n, id, 0, error) != 0)
        return -1;
    subwords->scores[id] = (double)score;
    subwords->types[id] = (uint8_t)type;
    if (type == CLIP_PIECE_UNKNOWN)
        subwords->unknown = id;
    reader->pieces++;
    return 0;
}

static int read_piece(struct reader *reader, struct message message, struct clip_error *error)
{
    struct field field;
    const char *text = "";
    size_t n = 0;
    float score = 0;
    int type = CLIP_PIECE_NORMAL, more;
    while ((more = next_field(&message, &field, error)) > 0) {
        if (field.number == 1 && field.wire == 2) {
            text = (const char *)field.text;
            n = field.size;
        } else if (field.number == 2 && field.wire == 5) {
            uint32_t bits;
            memcpy(&bits, field.text, sizeof bits);
            bits = le32toh(bits);
            memcpy(&score, &bits, sizeof score);
        } else if (field.number == 3 && field.wire == 0) {
            type = field.value <= CLIP_PIECE_BYTE ? (int)field.value : 0;
        }
    }
    return more < 0 ? -1 : add_piece(reader, text, n, score, type, error);
}

static int read_model(struct reader *reader, const struct clip_tokenizer_file *file, struct clip_error *error)
{
    struct message message = {(const uint8_t *)file->text, (const uint8_t *)file->text + file->size};
    struct field field;
    int more;
    if (file->size > LARGEST_FILE)
        return clip_fail(error, "too large for a SentencePiece model");
    while ((more = next_field(&message, &field, error)) > 0) {
        struct message part = {field.text, field.text + field.size};
        if (field.wire != 2)
            continue;
        if ((field.number == 1 && read_piece(reader, part, error) != 0) ||
            (field.number == 2 && read_trainer(reader, part, error) != 0) ||
            (field.number == 3 && read_normalizer(reader, part, error) != 0))
            return -1;
    }
    if (more == 0 && reader->tokenizer->pipeline->subwords.unknown < 0)
        return clip_fail(error, "not a SentencePiece model: it has no unknown piece");
    return more;
}

/* --- what it becomes --- */

static int set_up(struct reader *reader, struct clip_error *error)
{
    struct clip_pipeline *pipeline = reader->tokenizer->pipeline;
    struct clip_subwords *subwords = &pipeline->subwords;
    const struct spec *spec = &reader->spec;
    struct clip_normal_step *step =
        clip_normalizer_add(&pipeline->normalizer, CLIP_NORMAL_SENTENCEPIECE, 0, error);
    if (!step)
        return -1;
    if (spec->as_suffix)
        return clip_fail(error, "trainer_spec.treat_whitespace_as_suffix is not supported");
    step->dummy = spec->dummy;
    step->extra = spec->extra;
    step->escape = spec->escape;
    if (spec->map_size > 0 && clip_charsmap_read(&step->map, spec->map, spec->map_size, error) != 0)
        return -1;
    subwords->encode = spec->bpe ? clip_encode_sentence_bpe : clip_encode_sentence_unigram;
    subwords->byte_fallback = spec->byte_fallback;
    if (clip_finish_sentence(subwords, error) != 0)
        return -1;
    for (int byte = 0; spec->byte_fallback && byte < 256; byte++)
        if (subwords->bytes[byte] < 0)
            return clip_fail(error, "byte_fallback without a piece of the byte %d", byte);
    step->pieces = subwords->user.nodes > 0 ? &subwords->user : NULL;
    pipeline->any_bytes = 1;
    return 0;
}

static int add_token(struct clip_tokenizer *tokenizer, const char *name, size_t n, int32_t id, int lstrip,
                     struct clip_error *error)
{
    const struct clip_pipeline_token token = {.text = (char *)name, .length = n, .id = id, .lstrip = lstrip};
    return clip_pipeline_add(tokenizer->pipeline, &token, error);
}

/* Of a model's folder: the tokens that stand for no text are found as they are written. */
static int add_special(struct reader *reader, struct clip_error *error)
{
    const struct clip_subwords *subwords = &reader->tokenizer->pipeline->subwords;
    size_t n;
    for (size_t id = 0; id < subwords->lexicon.size; id++) {
        const char *name = clip_lexicon_name(&subwords->lexicon, (int32_t)id, &n);
        if (name && n > 0 &&
            (subwords->types[id] == CLIP_PIECE_CONTROL || subwords->types[id] == CLIP_PIECE_UNKNOWN) &&
            add_token(reader->tokenizer, name, n, (int32_t)id, 0, error) != 0)
            return -1;
    }
    if (!reader->fairseq)
        return 0;
    int32_t next = (int32_t)reader->pieces + 1;
    struct json_object *languages = reader->config->additional;
    for (size_t i = 0; languages && i < json_object_array_length(languages); i++) {
        struct json_object *item = json_object_array_get_idx(languages, i);
        const char *name = json_object_is_type(item, json_type_string) ? json_object_get_string(item) : NULL;
        if (name && add_token(reader->tokenizer, name, strlen(name), next++, 0, error) != 0)
            return -1;
    }
    return add_token(reader->tokenizer, "<pad>", 5, 1, 0, error) != 0
               ? -1
               : add_token(reader->tokenizer, "<mask>", 6, next, 1, error);
}

static int is_nllb(const struct reader *reader)
{
    return strncmp(reader->config->class_name, "Nllb", 4) == 0 ||
           strstr(reader->tokenizer->settings.hf_name, "nllb") != NULL;
}

/* The language before the text, English where nothing else is said. */
static int put_language(struct reader *reader, struct clip_error *error)
{
    static const char english[] = "eng_Latn";
    int32_t id = clip_pipeline_id(reader->tokenizer->pipeline, english, sizeof english - 1);
    if (id < 0)
        return clip_fail(error,
                         "its languages are not known: get tokenizer.json, or special_tokens_map.json with "
                         "additional_special_tokens, into its folder");
    return clip_frame_put(&reader->tokenizer->frame, 0, id, error);
}

static int make_template(struct reader *reader, struct clip_error *error)
{
    struct clip_tokenizer *tokenizer = reader->tokenizer;
    struct clip_frame *frame = &tokenizer->frame;
    clip_frame_name(tokenizer, reader->config);
    if (!reader->fairseq) {
        int64_t end = reader->spec.end;
        if (end < 0 || (size_t)end >= tokenizer->pipeline->subwords.lexicon.size)
            return 0;
        frame->end = (int32_t)end;
        return strncmp(reader->config->class_name, "Gemma", 5) == 0 && reader->config->add_end >= 0
                   ? 0
                   : clip_frame_put(frame, 1, frame->end, error);
    }
    if (is_nllb(reader) ? put_language(reader, error) != 0 : clip_frame_put(frame, 0, 0, error) != 0)
        return -1;
    return clip_frame_put(frame, 1, 2, error);
}

static int open_sentencepiece(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                              struct clip_error *error)
{
    struct clip_tokenizer_config config;
    int of_model = file->in_folder || *tokenizer->settings.hf_name;
    if (clip_tokenizer_config_read(&config, file->folder, error) != 0)
        return -1;
    struct reader reader = {.tokenizer = tokenizer,
                            .config = &config,
                            .fairseq = of_model && strcmp(file->name, "sentencepiece.bpe.model") == 0,
                            .spec = {.end = 2, .dummy = 1, .extra = 1, .escape = 1}};
    tokenizer->pipeline->subwords.unknown = -1;
    int status = read_model(&reader, file, error);
    if (status == 0)
        status = set_up(&reader, error);
    if (status == 0 && of_model)
        status = add_special(&reader, error);
    if (status == 0)
        status = make_template(&reader, error);
    clip_tokenizer_config_free(&config);
    return status != 0 ? clip_fail_prefix(error, "%s", file->path) : 0;
}

/* A first field that is a piece, or the name. */
static int is_sentencepiece(const struct clip_tokenizer_file *file,
                            const struct clip_tokenizer_settings *settings)
{
    struct message message = {(const uint8_t *)file->text, (const uint8_t *)file->text + file->size};
    struct clip_error ignored;
    struct field field;
    size_t n = strlen(file->name);
    (void)settings;
    if (n > 6 && strcmp(file->name + n - 6, ".model") == 0)
        return 1;
    return file->text[0] == '\n' && next_field(&message, &field, &ignored) == 1 && field.size > 0 &&
           field.text[0] == '\n' && next_field(&message, &field, &ignored) == 1 && field.number == 1 &&
           field.wire == 2;
}

const struct clip_tokenizer_kind clip_kind_sentencepiece = {
    .name = "spiece.model", .is = is_sentencepiece, .open = open_sentencepiece, .run = clip_run_pipeline};
