/* What the configuration of a model says of its tokenizer, beyond the files that the tokenizer is read from.
 */
#ifndef CLIP_TEXT_SETTINGS_H
#define CLIP_TEXT_SETTINGS_H

/* Cleaning of captions before they are tokenized, open_clip's names (its clean functions). */
enum clip_cleaning {
    CLIP_CLEANING_DEFAULT, /* the tokenizer's own: lower for OpenAI's, else none */
    CLIP_CLEANING_NONE,
    CLIP_CLEANING_LOWER,
    CLIP_CLEANING_CANONICALIZE,
    CLIP_CLEANING_WHITESPACE,
    CLIP_CLEANING_UNDERSCORE, /* whitespace_underscore */
    CLIP_CLEANINGS
};
extern const char *const clip_cleaning_names[CLIP_CLEANINGS];

/* Zeroed: OpenAI's tokenizer, or what the files are. */
struct clip_tokenizer_settings {
    char hf_name[96];  /* open_clip's hf_tokenizer_name: a tokenizer of Hugging Face's library; or "" */
    char tiktoken[32]; /* open_clip's tiktoken_name, where tokenizer_type is "tiktoken"; or "" */
    char language[32]; /* tokenizer_kwargs.language: the first token of the template; or "" */
    enum clip_cleaning cleaning;
    int strip_separators; /* strip_sep_token: each separator becomes padding */
    int clips;            /* tokenizer_mode "clips": start, text, end, padding, and the class token last */
    int no_start, no_end; /* tiktoken: add_bos, add_eos are false */
    enum clip_family {
        CLIP_FAMILY_NONE,
        CLIP_FAMILY_SIGLIP, /* Hugging Face's model types: SigLIP's own canonical form of a text */
        CLIP_FAMILY_SIGLIP2 /* lower case */
    } family;
};

#endif
