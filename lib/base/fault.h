/* Mapped files that are truncated while they are read: the kernel raises SIGBUS when a missing page is
 * used. */
#ifndef CLIP_BASE_FAULT_H
#define CLIP_BASE_FAULT_H

#include <stddef.h>

/* From now on a SIGBUS within a mapped file ends the process with exit status 1, after one line on stderr
 * that begins with the program's name and names the file. `program` must stay. */
void clip_fault_catch(const char *program);

/* Registers data[size] as the mapping of the file `path`, or removes it. Any thread may call them. The
 * table has a fixed size; the handler does not know a file that does not fit, and nothing else changes. */
void clip_fault_add(const void *data, size_t size, const char *path);
void clip_fault_remove(const void *data);

#endif
