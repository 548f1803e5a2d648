/* shares.c: see shares.h. */
#include "shares.h"

enum {
    TAG_ASK,   /* int: whether the rank failed */
    TAG_ANSWER /* int: a number, or -1 */
};

void shares_begin(shares *s, MPI_Comm comm, int count)
{
    *s = (shares){.comm = comm, .count = count};
    MPI_Comm_rank(comm, &s->rank);
    MPI_Comm_size(comm, &s->ranks);
}

/* The next number, on rank 0. */
static int give(shares *s, bool failed)
{
    if (failed)
        s->next = s->count;
    return s->next < s->count ? s->next++ : -1;
}

/* Receives a question and answers it. Waits if there is none. */
static void answer(shares *s)
{
    int failed;
    MPI_Status from;
    MPI_Recv(&failed, 1, MPI_INT, MPI_ANY_SOURCE, TAG_ASK, s->comm, &from);
    int number = give(s, failed);
    s->dismissed += number < 0;
    MPI_Send(&number, 1, MPI_INT, from.MPI_SOURCE, TAG_ANSWER, s->comm);
}

void shares_serve(shares *s)
{
    int asked = s->rank == 0;
    while (asked) {
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_ASK, s->comm, &asked, MPI_STATUS_IGNORE);
        if (asked)
            answer(s);
    }
}

int shares_next(shares *s, bool failed)
{
    int number, asked = failed;
    if (s->rank > 0) {
        MPI_Send(&asked, 1, MPI_INT, 0, TAG_ASK, s->comm);
        MPI_Recv(&number, 1, MPI_INT, 0, TAG_ANSWER, s->comm, MPI_STATUS_IGNORE);
        return number;
    }
    shares_serve(s);
    number = give(s, failed);
    while (number < 0 && s->dismissed < s->ranks - 1)
        answer(s);
    return number;
}
