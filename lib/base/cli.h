/* What every program shares: options, messages, progress. Only this file prints and exits. */
#ifndef CLIP_BASE_CLI_H
#define CLIP_BASE_CLI_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum clip_option_kind {
    CLIP_FLAG,    /* int: set to 1 */
    CLIP_COUNT,   /* long: a whole number in [least, most] */
    CLIP_BYTES,   /* size_t: a number with k, M, G (powers of 1024) */
    CLIP_NUMBER,  /* double in [least, most] */
    CLIP_TEXT,    /* const char * */
    CLIP_CHOICE,  /* int: index in argument's words, which '|' separates */
    CLIP_CALLBACK /* int (*)(const char *argument, struct clip_error *): 0, or -1 with the reason */
};

/* One option of a program; a table of them ends with an empty one. */
struct clip_option {
    const char *name; /* long name without "--" */
    char letter;      /* or 0 */
    enum clip_option_kind kind;
    void *value;
    const char *argument; /* its name in --help: "N", "FILE", "f32|bf16|auto"; NULL for flags */
    const char *help;     /* one line; the default in brackets at the end */
    double least, most;   /* both 0: no bounds but "not negative" for counts */
};

/* Options that many programs share; a program names those it takes. -h, -V, -v, -q are always there. */
enum clip_shared_options {
    CLIP_TAKES_MODEL = 1,   /* -m MODEL, --arch NAME|JSON, --weights KEY */
    CLIP_TAKES_THREADS = 2, /* -j THREADS */
    CLIP_TAKES_BATCH = 4,   /* -b BATCH */
    CLIP_TAKES_STREAM = 8,  /* --max-record SIZE, --progress, --no-progress: it reads streams */
    CLIP_TAKES_SKIP = 16,   /* --skip-bad */
    CLIP_TAKES_RECORDS = 32 /* --max-record SIZE only: it reads a stream besides its main input */
};

struct clip_shared {
    const char *model, *arch, *weights;
    long threads; /* default: the processors */
    long batch;   /* default: set it before clip_start, else 32 */
    size_t max_record;
    int progress;       /* 1, 0, or -1: where stderr is a terminal */
    int progress_given; /* by --progress */
    int skip_bad, verbose, quiet;
};

struct clip_program {
    const char *name;     /* "clip-tokenize" */
    const char *operands; /* "[STREAM...]" */
    const char *purpose;  /* one or two sentences, "Reads records ..." */
    const struct clip_option *options;
    unsigned shared; /* enum clip_shared_options */
    /* what computes matrix products, for --version and -v, into text[size], which it returns; or NULL */
    const char *(*engines)(char *text, size_t size);
    int command; /* the operands are a command: options end before the first of them */
};

/* Starts a program: makes sure that descriptors 0 to 2 are open, and reads the options into `shared` and
 * the table's values. --help and --version print and exit 0; wrong usage exits 2. Returns the index of the
 * first operand in argv (options and operands may be mixed; "--" ends options). Zero `shared` first,
 * except for defaults that the program sets. */
int clip_start(const struct clip_program *program, struct clip_shared *shared, int argc, char **argv);

/* A line on stderr, "clip-tokenize: ...", in one write(2). clip_note is silent with -q, clip_verbose without
 * -v. */
void clip_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
void clip_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void clip_verbose(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A message, then exit 1. */
void clip_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* "clip-x: message" and "Try 'clip-x --help'", then exit 2. */
void clip_usage(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* What --min says, the least score that is written, from the number as scores are printed; -INFINITY where
 * `text` is NULL. */
float clip_min_score(const char *text);

/* Refuses (exit 2) to write binary data to a terminal, with a hint at clip-dump. */
void clip_refuse_terminal(void);

/* Ends a program that writes text through stdio: flushes and closes stdout, exits 1 if that fails, else
 * `status`. */
int clip_finish(int status) __attribute__((warn_unused_result));

/* A line on stderr in whose place the next one is written; nothing instead. */
void clip_put_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
void clip_clear_status(void);

/* Progress: a line on stderr, written anew at most twice a second, by one stage of a pipeline: the last one
 * that it can be. A run of a minute, -v or --progress leaves a line that says what was done. */
struct clip_progress {
    int on, verbose, forced;
    int piped; /* standard output is a pipe: a later stage may show progress */
    int shows; /* this stage shows it */
    double start, shown;
    double share; /* of the input that is read, as the caller knows it: above 0, up to 1; 0: not known */
    uint64_t announced, received; /* how many records there will be: told to, and by, other stages */
};
void clip_progress_start(struct clip_progress *progress, const struct clip_shared *shared,
                         const char *awaited);
/* `total`: how many records there will be, 0: not known here; other stages of the pipeline are told. The
 * seconds waited are counted from the start. `last`: nothing more will come. Without a total the share that
 * is read is shown, this stage's or another's. */
void clip_progress_show(struct clip_progress *progress, uint64_t records, uint64_t total, double waited_input,
                        double waited_output, int last);

#endif
