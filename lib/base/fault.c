#include "base/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_MAPPINGS = 1024, MAX_LINE = 4608 };

/* A mapping. The handler reads it at any moment: `start` is set last and cleared first. */
struct entry {
    _Atomic uintptr_t start;
    size_t size;
    char *path;
};

/* Signals are sent to the process, so the table is the process's. */
static struct entry entries[MAX_MAPPINGS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *name = "clip";
static atomic_flag told = ATOMIC_FLAG_INIT;

void clip_fault_add(const void *data, size_t size, const char *path)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; data && i < MAX_MAPPINGS; i++) {
        struct entry *entry = &entries[i];
        if (atomic_load(&entry->start))
            continue;
        entry->path = strdup(path);
        entry->size = size;
        if (entry->path)
            atomic_store(&entry->start, (uintptr_t)data);
        break;
    }
    pthread_mutex_unlock(&lock);
}

void clip_fault_remove(const void *data)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; data && i < MAX_MAPPINGS; i++)
        if (atomic_load(&entries[i].start) == (uintptr_t)data) {
            atomic_store(&entries[i].start, 0);
            free(entries[i].path);
            entries[i].path = NULL;
            break;
        }
    pthread_mutex_unlock(&lock);
}

static size_t append_text(char line[MAX_LINE], size_t used, const char *text)
{
    while (*text && used < MAX_LINE - 1)
        line[used++] = *text++;
    return used;
}

/* The line is one write(2). Only functions that are safe in a signal handler are called. */
static void write_line(const char *path)
{
    char line[MAX_LINE];
    size_t used = append_text(line, 0, name);
    used = append_text(line, used, ": ");
    used = append_text(line, used, path);
    used = append_text(line, used, ": the file was truncated while it was read");
    line[used++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
    _exit(1);
}

static void handle_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (size_t i = 0; i < MAX_MAPPINGS; i++) {
        uintptr_t start = atomic_load(&entries[i].start);
        if (!start || at < start || at - start >= entries[i].size)
            continue;
        if (!atomic_flag_test_and_set(&told))
            write_line(entries[i].path);
        for (;;)
            pause(); /* another thread is reporting the fault */
    }
    /* Not a mapping of ours: the fault happens again, with the default action. */
    signal(number, SIG_DFL);
}

void clip_fault_catch(const char *program)
{
    struct sigaction action = {.sa_sigaction = handle_signal, .sa_flags = SA_SIGINFO};
    name = program;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
