/* The folder of a training run: DIR/init, DIR/step-00000100, DIR/latest (DESIGN: training). */
#ifndef CLIP_TRAIN_RUN_H
#define CLIP_TRAIN_RUN_H

#include "base/error.h"
#include "model/layout.h"

#include <stddef.h>
#include <stdint.h>

/* The steps that the last whole checkpoint of run `dir` has done: 0 where there is none. -1 with error where
 * DIR/latest is not a link to a checkpoint that is there. */
int clip_run_steps(const char *dir, uint64_t *steps, struct clip_error *error);

/* The stages of a run, each of which writes the part of its name. */
#define CLIP_TRAIN_PARTS 4
extern const char *const clip_train_parts[CLIP_TRAIN_PARTS]; /* by enum clip_part: "image" ... */

/* A stage's hold on a run. */
struct clip_run {
    const char *dir, *part; /* the caller's */
    int lock;               /* DIR/.lock: no two processes train one part of one run; -1: rank 0 has it */
    char *model;            /* where it starts: DIR/step-00000100, or DIR/init */
    uint64_t steps;         /* done there */
    struct clip_extras { /* files of DIR/init that each checkpoint holds too: all but weights and what they */
        char **names;    /* are made anew with, the configurations */
        size_t count;
    } extras;
};

/* Takes hold of part `part` of run `dir`, waiting some seconds for a process that still ends, clears what
 * unfinished checkpoints left, and finds where to start: DIR/latest, or DIR/init. A checkpoint that lacks one
 * of the extra files gets it. -1 with error; nothing is then open. */
int clip_run_open(struct clip_run *run, const char *dir, const char *part, struct clip_error *error);

/* The same for another rank than 0, which has taken hold of it and starts after `steps`: only to read. */
int clip_run_join(struct clip_run *run, const char *dir, const char *part, uint64_t steps,
                  struct clip_error *error);
void clip_run_close(struct clip_run *run);

/* Copies the extra files that `folder` lacks from DIR/init; one that is not there is an error. */
int clip_run_copy_extras(const struct clip_run *run, const char *folder, struct clip_error *error);

/* Removes all but the newest `keep` checkpoints of run `dir` up to the one of step `newest`. */
int clip_run_remove_old(const char *dir, uint64_t newest, uint64_t keep, struct clip_error *error);

/* Removes what a run that was killed left: unfinished checkpoints, and all but the newest `keep`. Does
 * nothing while a stage has hold of the run, because each of them clears it. */
int clip_run_clean(const char *dir, uint64_t keep, struct clip_error *error);

/* The lock under which one stage at a time makes a checkpoint whole. */
int clip_run_lock(const struct clip_run *run, struct clip_error *error);
void clip_run_unlock(const struct clip_run *run);

#endif
