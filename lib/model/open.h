/* Opening the model that a program's options name. */
#ifndef CLIP_MODEL_OPEN_H
#define CLIP_MODEL_OPEN_H

#include "base/cli.h"
#include "base/error.h"
#include "model/model.h"

/* The model of -m, --arch and --weights, of which the program needs the tower of `side`. NULL with error. */
struct clip_model *clip_open_model(const struct clip_shared *shared, enum clip_side side,
                                   struct clip_error *error);

/* The same for a program that needs no tensor: see clip_model_open_settings. */
struct clip_model *clip_open_settings(const struct clip_shared *shared, enum clip_side side,
                                      struct clip_error *error);

/* The same for a program that needs the logit scale and bias alone: see clip_model_open_scalars. */
struct clip_model *clip_open_scalars(const struct clip_shared *shared, struct clip_error *error);

/* Prints once, unless -q, what was guessed about a lone file; for programs that compute with the tower, whose
 * results depend on the guess. */
void clip_note_guess(struct clip_model *model, enum clip_side side);

#endif
