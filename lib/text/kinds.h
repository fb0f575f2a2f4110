/* The kinds of tokenizers, a row each: for tokenizer.c, which has the table, and the file of each. */
#ifndef CLIP_TEXT_KINDS_H
#define CLIP_TEXT_KINDS_H

#include "base/error.h"
#include "text/buffer.h"
#include "text/pipeline.h"
#include "text/settings.h"
#include "text/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

enum { CLIP_MOST_TEMPLATE = 16 };

/* The tokens around a text, and after it. */
struct clip_frame {
    int32_t before[CLIP_MOST_TEMPLATE], after[CLIP_MOST_TEMPLATE];
    size_t before_n, after_n;
    int32_t pad;
    int32_t start, end, class_token, separator; /* -1: there is none */
};

struct clip_tokenizer {
    const struct clip_tokenizer_kind *kind;
    struct clip_tokenizer_settings settings;
    struct clip_frame frame;
    struct clip_cleaner *cleaner;
    struct clip_ids ids;
    struct clip_openai *openai;     /* OpenAI's kind */
    struct clip_pipeline *pipeline; /* all others */
};

/* A file, and its name. */
struct clip_tokenizer_file {
    const char *path, *folder, *name; /* name: without the folder */
    const char *text;                 /* text[size], mapped */
    size_t size;
    int in_folder; /* the folder was named, not the file */
};

struct clip_tokenizer_kind {
    const char *name; /* of its file in a model's folder */
    /* 1 if a file is of this kind. */
    int (*is)(const struct clip_tokenizer_file *file, const struct clip_tokenizer_settings *settings);
    /* Reads it into tokenizer->pipeline (or ->openai) and ->frame; errors name the file. */
    int (*open)(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_file *file,
                struct clip_error *error);
    /* Appends the tokens of a text to tokenizer->ids. */
    int (*run)(struct clip_tokenizer *tokenizer, const char *text, size_t length, struct clip_error *error);
};

extern const struct clip_tokenizer_kind clip_kind_openai, clip_kind_json, clip_kind_sentencepiece,
    clip_kind_wordpiece, clip_kind_roberta, clip_kind_tiktoken;

/* What the files beside a tokenizer say: tokenizer_config.json, special_tokens_map.json, added_tokens.json.
 * Zeroed, it says nothing. */
struct clip_tokenizer_config {
    char class_name[64];
    char pad[64], start[64], end[64], separator[64], class_token[64], unknown[64],
        mask[64]; /* "": not said */
    /* do_lower_case, strip_accents, tokenize_chinese_chars: 0, 1; -1: not said */
    int lower, accents, chinese;
    int add_start, add_end;         /* add_bos_token, add_eos_token; the same */
    struct json_object *additional; /* additional_special_tokens, an array; or NULL */
    struct json_object *decoder;    /* added_tokens_decoder, an object; or NULL */
    struct json_object *added;      /* added_tokens.json, names and ids; or NULL */
};
int clip_tokenizer_config_read(struct clip_tokenizer_config *config, const char *folder,
                               struct clip_error *error);
void clip_tokenizer_config_free(struct clip_tokenizer_config *config);

/* Adds the tokens that these files add to a vocabulary: of added_tokens_decoder, or else of
 * added_tokens.json; and the additional special tokens, which get the next ids if they have none. */
int clip_tokenizer_config_add(struct clip_pipeline *pipeline, const struct clip_tokenizer_config *config,
                              struct clip_error *error);

/* Adds a token as tokenizer.json has it, {content, id, special, normalized ...}; `id` where it states none.
 */
int clip_add_token_object(struct clip_pipeline *pipeline, struct json_object *object, int id,
                          struct clip_error *error);

/* Sets frame.pad, .start, .end, .class_token and .separator by the names that were said, or by those that are
 * usual; and the language of the settings. */
void clip_frame_name(struct clip_tokenizer *tokenizer, const struct clip_tokenizer_config *config);

/* What a JSON file is by its form: a tokenizer has its `model`; names and numbers are a vocabulary. */
enum clip_json_form { CLIP_JSON_NEITHER, CLIP_JSON_TOKENIZER, CLIP_JSON_VOCABULARY };
enum clip_json_form clip_json_form(const struct clip_tokenizer_file *file);
/* 1 if it is one whose words end with "</w>". */
int clip_ends_words(const struct clip_tokenizer_file *file);

/* Adds an id to the template. */
int clip_frame_put(struct clip_frame *frame, int after, int32_t id, struct clip_error *error);

/* run of all kinds that have a pipeline. */
int clip_run_pipeline(struct clip_tokenizer *tokenizer, const char *text, size_t length,
                      struct clip_error *error);

#endif
