/* Finds the files of share/: in the source tree, beside an installation, or where configure put them. */
#ifndef CLIP_BASE_DATADIR_H
#define CLIP_BASE_DATADIR_H

#include "base/error.h"

/* The path of share/'s file or folder `name` ("vocab/default", "models/x"): in $CLIP_DATADIR if that is set,
 * and only there; else in ../share/clip-tools or ../share beside the running program's folder; else in the
 * installed one. NULL with error where there is none. The caller frees it. */
char *clip_data_path(const char *name, struct clip_error *error);

#endif
