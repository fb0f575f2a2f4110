/* Finds the files of share/, and modules: in the source tree, beside an installation, or where configure put
 * them. */
#ifndef CLIP_BASE_DATADIR_H
#define CLIP_BASE_DATADIR_H

#include "base/error.h"

/* The path of share/'s file or folder `name` ("vocab/default", "models/x"): in $CLIP_DATADIR if that is set,
 * and only there; else in ../share/clip-tools or ../share beside the running program's folder; else in the
 * installed one. NULL with error where there is none. The caller frees it. */
char *clip_data_path(const char *name, struct clip_error *error);

/* The table `symbol` of the module `name`, which is in the build tree, where `built` leads from the programs'
 * folder ("/../lib/score/"), beside an installation (also one in $DESTDIR), or where configure puts it;
 * loaded with dlopen's `flags`, until the process ends. NULL with error, which begins with `failure` where
 * the module is there. */
const void *clip_module_load(const char *built, const char *name, const char *symbol, int flags,
                             const char *failure, struct clip_error *error);

#endif
