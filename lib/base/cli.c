#include <config.h>

#include "base/cli.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/threads.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_OPTIONS 64

/* A process is one program: its name and how it speaks are the only state kept here. */
static const char *program_name = "clip";
static int quiet, verbose, terminal;

/* One line on stderr, written at once: a pipe takes up to PIPE_BUF bytes whole, so the lines of programs
 * that fail together do not mix. A longer line is cut. */
struct line {
    char text[PIPE_BUF];
    size_t size;
};

/* Adds to the line, keeping `end` bytes free for what must follow. */
static void add_args(struct line *line, size_t end, const char *format, va_list args)
{
    size_t room = sizeof line->text - end - line->size;
    int n = vsnprintf(line->text + line->size, room, format, args);
    if (n > 0)
        line->size += (size_t)n < room ? (size_t)n : room - 1;
}

static void add_words(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_words(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_args(line, 0, format, args);
    va_end(args);
}

static void write_line(const struct line *line)
{
    struct clip_error error;
    clip_write_all(STDERR_FILENO, line->text, line->size, "standard error",
                   &error); /* there is nowhere else to report it */
}

/* Prints "clip-x: message" and, with a hint, where to find help. */
static void print_message(int hint, const char *format, va_list args)
{
    struct line line = {.size = 0};
    fflush(stdout);
    add_words(&line, "%s%s: ", terminal ? "\r\033[K" : "", program_name); /* over another's status */
    add_args(&line, 100, format, args);
    add_words(&line, "\n");
    if (hint)
        add_words(&line, "Try '%s --help'.\n", program_name);
    write_line(&line);
}

#define PRINT_MESSAGE(hint, format)                                                                          \
    do {                                                                                                     \
        va_list args;                                                                                        \
        va_start(args, format);                                                                              \
        print_message(hint, format, args);                                                                   \
        va_end(args);                                                                                        \
    } while (0)

void clip_message(const char *format, ...)
{
    PRINT_MESSAGE(0, format);
}

void clip_note(const char *format, ...)
{
    if (!quiet)
        PRINT_MESSAGE(0, format);
}

void clip_verbose(const char *format, ...)
{
    if (verbose)
        PRINT_MESSAGE(0, format);
}

void clip_put_status(const char *format, ...)
{
    struct line line = {.size = 0};
    add_words(&line, "\r%s: ", program_name);
    va_list args;
    va_start(args, format);
    add_args(&line, 10, format, args);
    va_end(args);
    add_words(&line, "\033[K");
    write_line(&line);
}

void clip_clear_status(void)
{
    write_line(&(struct line){"\r\033[K", 4});
}

void clip_die(const char *format, ...)
{
    PRINT_MESSAGE(0, format);
    exit(1);
}

void clip_usage(const char *format, ...)
{
    PRINT_MESSAGE(1, format);
    exit(2);
}

float clip_min_score(const char *text)
{
    char *end;
    if (!text)
        return -INFINITY;
    float min = strtof(text, &end);
    if (end == text || *end || !isfinite(min))
        clip_usage("--min: '%s' is not a number", text);
    return min;
}

void clip_refuse_terminal(void)
{
    if (isatty(STDOUT_FILENO))
        clip_usage("standard output is a terminal; redirect it, or look at it with: | clip-dump");
}

int clip_finish(int status)
{
    int bad = ferror(stdout);
    errno = 0;
    if (fclose(stdout) == 0 && !bad)
        return status;
    if (status == 0) /* else the first error was told */
        clip_message("standard output: %s", errno ? strerror(errno) : "write error");
    return status ? status : 1;
}

/* The first file opened would become a closed descriptor 0, 1 or 2: fill it so that using it fails. */
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
                exit(1);
}

/* --- options --- */

/* The program's own options, then the shared ones it takes, then those of every program. */
struct table {
    struct clip_option options[MAX_OPTIONS];
    int count;
};

enum always { HELP, VERSION_TEXT };
static int requested[2];

static void add_option(struct table *table, struct clip_option option)
{
    if (table->count < MAX_OPTIONS)
        table->options[table->count++] = option;
}

static void gather_options(struct table *table, const struct clip_program *program,
                           struct clip_shared *shared, int *no_progress)
{
    for (const struct clip_option *o = program->options; o && o->name; o++)
        add_option(table, *o);
    if (program->shared & CLIP_TAKES_MODEL) {
        add_option(table,
                   (struct clip_option){"model", 'm', CLIP_TEXT, &shared->model, "MODEL",
                                        "weights file, model folder, or a name in $CLIP_MODEL_PATH", 0, 0});
        add_option(table,
                   (struct clip_option){"arch", 0, CLIP_TEXT, &shared->arch, "NAME|JSON",
                                        "architecture of a weights file without a configuration", 0, 0});
        add_option(table,
                   (struct clip_option){"weights", 0, CLIP_TEXT, &shared->weights, "KEY",
                                        "which weights to use of a checkpoint that holds several", 0, 0});
    }
    if (program->shared & CLIP_TAKES_BATCH)
        add_option(table,
                   (struct clip_option){
                       "batch", 'b', CLIP_COUNT, &shared->batch, "N",
                       "maximum number of records computed together; does not change results", 1, 65536});
    if (program->shared & CLIP_TAKES_THREADS)
        add_option(table, (struct clip_option){"threads", 'j', CLIP_COUNT, &shared->threads, "N",
                                               "number of threads; does not change results [all processors]",
                                               1, 1024});
    if (program->shared & CLIP_TAKES_SKIP)
        add_option(table, (struct clip_option){"skip-bad", 0, CLIP_FLAG, &shared->skip_bad, NULL,
                                               "drop bad records and name each on stderr", 0, 0});
    if (program->shared & (CLIP_TAKES_STREAM | CLIP_TAKES_RECORDS))
        add_option(table, (struct clip_option){"max-record", 0, CLIP_BYTES, &shared->max_record, "SIZE",
                                               "refuse records larger than SIZE [80M]", 1, 0});
    if (program->shared & CLIP_TAKES_STREAM) {
        add_option(table, (struct clip_option){"progress", 0, CLIP_FLAG, &shared->progress, NULL,
                                               "show progress on stderr [if stderr is a terminal]", 0, 0});
        add_option(table, (struct clip_option){"no-progress", 0, CLIP_FLAG, no_progress, NULL,
                                               "do not show progress", 0, 0});
    }
    add_option(table, (struct clip_option){"quiet", 'q', CLIP_FLAG, &shared->quiet, NULL,
                                           "print only errors on stderr", 0, 0});
    add_option(table, (struct clip_option){"verbose", 'v', CLIP_FLAG, &shared->verbose, NULL,
                                           "print more messages on stderr", 0, 0});
    add_option(table,
               (struct clip_option){"help", 'h', CLIP_FLAG, &requested[HELP], NULL, "print this help", 0, 0});
    add_option(table, (struct clip_option){"version", 'V', CLIP_FLAG, &requested[VERSION_TEXT], NULL,
                                           "print the version, the libraries and the engines", 0, 0});
}

static int print_help(const struct clip_program *program, const struct table *table)
{
    printf("Usage: %s [OPTION]... %s\n%s\n\nOptions:\n", program->name, program->operands, program->purpose);
    for (int i = 0; i < table->count; i++) {
        const struct clip_option *o = &table->options[i];
        char left[80], letter[5] = "    ";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->argument ? " " : "",
                 o->argument ? o->argument : "");
        if (strlen(left) <= 28)
            printf("  %-28s  %s\n", left, o->help);
        else
            printf("  %s\n  %-28s  %s\n", left, "", o->help);
    }
    printf("\nSee also: man %s, man clip-tools\n", program->name);
    return clip_finish(0);
}

static int print_version(const struct clip_program *program)
{
    char engines[256];
    printf("%s (%s) %s\nlibraries: %s\n", program->name, PACKAGE_NAME, PACKAGE_VERSION, CLIP_LIBRARIES);
    if (program->engines)
        printf("engines: %s\n", program->engines(engines, sizeof engines));
    return clip_finish(0);
}

static int parse_count(const char *text, long *value)
{
    char *end;
    errno = 0;
    *value = strtol(text, &end, 10);
    return errno || end == text || *end || isspace((unsigned char)text[0]) ? -1 : 0;
}

static int parse_bytes(const char *text, size_t *value)
{
    static const char units[] = "kMGT";
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno || end == text || !isdigit((unsigned char)text[0]))
        return -1;
    size_t shift = 0;
    if (*end) {
        const char *unit = strchr(units, *end == 'K' ? 'k' : *end);
        if (!unit || (end[1] && strcmp(end + 1, "iB") != 0 && strcmp(end + 1, "B") != 0))
            return -1;
        shift = 10 * (size_t)(unit - units + 1);
    }
    if (number > (SIZE_MAX >> shift))
        return -1;
    *value = (size_t)number << shift;
    return 0;
}

static int parse_number(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return errno || end == text || *end || isspace((unsigned char)text[0]) || !isfinite(*value) ? -1 : 0;
}

static int parse_choice(const char *text, const char *words, int *value)
{
    size_t size = strlen(text);
    for (int i = 0;; i++) {
        const char *bar = strchrnul(words, '|');
        if ((size_t)(bar - words) == size && memcmp(words, text, size) == 0) {
            *value = i;
            return 0;
        }
        if (!*bar)
            return -1;
        words = bar + 1;
    }
}

static void check_range(const struct clip_option *o, double value, const char *text)
{
    int bounded = o->least != 0 || o->most != 0;
    if ((bounded && (value < o->least || (o->most > o->least && value > o->most))) ||
        (!bounded && o->kind == CLIP_COUNT && value < 0))
        clip_usage("--%s: '%s' is out of range", o->name, text);
}

static void set_option(const struct clip_option *o, const char *text)
{
    struct clip_error error;
    int status = 0;
    switch (o->kind) {
    case CLIP_FLAG:
        *(int *)o->value = 1;
        break;
    case CLIP_COUNT: {
        long value;
        if ((status = parse_count(text, &value)) == 0)
            check_range(o, (double)value, text), *(long *)o->value = value;
        break;
    }
    case CLIP_BYTES: {
        size_t value;
        if ((status = parse_bytes(text, &value)) == 0)
            check_range(o, (double)value, text), *(size_t *)o->value = value;
        break;
    }
    case CLIP_NUMBER: {
        double value;
        if ((status = parse_number(text, &value)) == 0)
            check_range(o, value, text), *(double *)o->value = value;
        break;
    }
    case CLIP_TEXT:
        *(const char **)o->value = text;
        break;
    case CLIP_CHOICE:
        status = parse_choice(text, o->argument, (int *)o->value);
        break;
    case CLIP_CALLBACK: {
        int (*call)(const char *, struct clip_error *);
        memcpy(&call, &o->value, sizeof call);
        if (call(text, &error) != 0)
            clip_usage("--%s: %s", o->name, error.text);
        break;
    }
    }
    if (status != 0)
        clip_usage("--%s: '%s' is not %s%s", o->name, text,
                   o->kind == CLIP_CHOICE  ? "one of "
                   : o->kind == CLIP_BYTES ? "a size"
                                           : "a number",
                   o->kind == CLIP_CHOICE ? o->argument : "");
}

static int parse_options(const struct table *table, int command, int argc, char **argv)
{
    struct option longs[MAX_OPTIONS + 1] = {0};
    char shorts[2 * MAX_OPTIONS + 3], *s = shorts;
    if (command)
        *s++ = '+';
    *s++ = ':';
    for (int i = 0; i < table->count; i++) {
        const struct clip_option *o = &table->options[i];
        longs[i] = (struct option){o->name, o->argument ? required_argument : no_argument, NULL, 256 + i};
        if (o->letter) {
            *s++ = o->letter;
            if (o->argument)
                *s++ = ':';
        }
    }
    *s = '\0';
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const char *word = argv[optind - 1];
        if (c == ':')
            clip_usage("option '%s' needs an argument", word);
        if (c == '?' && optopt > 0 && optopt < 256)
            clip_usage("unknown option '-%c'", optopt);
        if (c == '?')
            clip_usage(optopt ? "option '%s' takes no argument" : "unknown option '%s'", word);
        int i = c >= 256 ? c - 256 : 0;
        while (c < 256 && table->options[i].letter != c)
            i++;
        set_option(&table->options[i], optarg);
    }
    return optind;
}

int clip_start(const struct clip_program *program, struct clip_shared *shared, int argc, char **argv)
{
    struct table table = {0};
    int no_progress = 0;
    program_name = program->name;
    fill_standard_descriptors();
    clip_fault_catch(program_name);
    shared->threads = clip_processors();
    shared->batch = shared->batch ? shared->batch : 32;
    shared->progress = -1;
    gather_options(&table, program, shared, &no_progress);
    int first = parse_options(&table, program->command, argc, argv);
    if (requested[HELP])
        exit(print_help(program, &table));
    if (requested[VERSION_TEXT])
        exit(print_version(program));
    quiet = shared->quiet;
    terminal = isatty(STDERR_FILENO);
    verbose = shared->verbose;
    shared->progress_given = shared->progress == 1;
    if (no_progress || shared->quiet)
        shared->progress = 0;
    if (shared->progress < 0)
        shared->progress = isatty(STDERR_FILENO);
    char engines[256];
    if (verbose && program->engines)
        clip_verbose("engines: %s", program->engines(engines, sizeof engines));
    return first;
}
