/* A page of clip-ranks: the command of one rank, with a guardian that ends it when clip-ranks ends in any
 * way.
 *
 * The guardian is the page's parent, in a session of its own, and its subreaper: what the page leaves is its
 * to end, with SIGTERM, and after 1.5 seconds with SIGKILL. */
#ifndef CLIP_TRAIN_RANKS_PAGE_H
#define CLIP_TRAIN_RANKS_PAGE_H

#include "base/error.h"

#include <stddef.h>
#include <sys/types.h>

struct clip_ranks_page {
    pid_t guardian, group; /* group: of the page's processes; 0 before it runs */
    int door;              /* the server's end; -1 once it is the server's */
    int messages;          /* what the page writes to its standard error; -1 after the end */
    int control;           /* to the guardian; -1 once that is gone */
    int status;            /* as of waitpid(2), once control is -1 */
};

/* Forks the guardian, which keeps the environment as it is now but for the launcher's own part (OMPI_*, PMI*
 * and the like); before MPI_Init, whose files it must not have. -1 with error. */
int clip_ranks_page_new(struct clip_ranks_page *page, char *const *command, struct clip_error *error);

/* Runs the command, with CLIP_RANKS, CLIP_RANK, CLIP_RANK_SIZE, and CLIP_RANK_THREADS in its environment. It
 * reads /dev/null. -1 with error. */
int clip_ranks_page_start(struct clip_ranks_page *page, size_t rank, size_t size, long threads,
                          struct clip_error *error);

/* Reads what the guardian says, when control is readable. When the guardian was killed the page is ended. */
void clip_ranks_page_look(struct clip_ranks_page *page);

/* Ends the page. */
void clip_ranks_page_stop(struct clip_ranks_page *page);

#endif
