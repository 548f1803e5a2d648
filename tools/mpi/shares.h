/* shares.h: numbers of shares, which ranks take one by one, so that a fast rank does more.
 *
 * Rank 0 gives them out and works itself. It answers between its own steps: shares_serve() is
 * called from the library's progress callback, several times a second.
 */
#ifndef GPUZIP_MPI_SHARES_H
#define GPUZIP_MPI_SHARES_H

#include <mpi.h>
#include <stdbool.h>

typedef struct {
    MPI_Comm comm;
    int rank, ranks;
    int next, count; /* rank 0: the next share to give, and their number */
    int dismissed;   /* rank 0: other ranks that know that none is left */
} shares;

/* Begins with the numbers 0 .. count - 1. All ranks call it, with the same count. */
void shares_begin(shares *s, MPI_Comm comm, int count);

/* Answers the other ranks that ask now; does nothing but on rank 0. */
void shares_serve(shares *s);

/* Takes a number; -1: none is left. failed: this rank gives up, so that no rank is given a further
 * one; a rank that failed calls it once more and gets -1. On rank 0 the -1 comes when all ranks
 * have theirs. */
int shares_next(shares *s, bool failed);

#endif
