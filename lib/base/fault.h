/* Mapped files that are made shorter while they are read: the kernel then raises SIGBUS where a page is gone.
 */
#ifndef CLIP_BASE_FAULT_H
#define CLIP_BASE_FAULT_H

#include <stddef.h>

/* From now on a SIGBUS within a file that is mapped ends the process: one line on stderr, in the program's
 * name, that names the file, and exit status 1. `program` must stay. */
void clip_fault_catch(const char *program);

/* Notes that data[size] is the file `path`, or forgets that. Any thread may call them. A few files more than
 * there is room for are not known to the handler, and nothing else changes. */
void clip_fault_add(const void *data, size_t size, const char *path);
void clip_fault_remove(const void *data);

#endif
