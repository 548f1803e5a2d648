/* schedule.h: which context a step has, and how long adaptive state lives. Both are functions of
 * the step alone (FORMAT.md, section 4.4), so that the streams of a batch keep step.
 *
 * With hops, window k holds the steps [k hop, k hop + window) and codes its last `hop` steps,
 * window 0 all of its steps; it reads the others again. Windows that slide count as one window of
 * all steps. */
#ifndef GPUZIP_SCHEDULE_H
#define GPUZIP_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>

#define SCHEDULE_STEPS_MAX (1 << 20) /* of window and update_interval */

typedef struct {
    int window;          /* tokens, 2 .. SCHEDULE_STEPS_MAX */
    int hop;             /* tokens, 1 .. window; 0: windows slide */
    int update_interval; /* steps between updates of the adaptive state, 1 .. SCHEDULE_STEPS_MAX */
    bool window_scope;   /* the state is reset at each window; needs hop == window */
} schedule;

/* A window reads the steps [base, end) of a stream and codes [begin, end). */
typedef struct {
    size_t base, begin, end;
} schedule_window;

/* Windows of `steps` steps. */
static inline size_t schedule_windows(const schedule *s, size_t steps)
{
    size_t window = (size_t)s->window, hop = (size_t)s->hop;
    return !hop || steps <= window ? 1 : 1 + (steps - window + hop - 1) / hop;
}

/* Window k of schedule_windows(steps). */
static inline schedule_window schedule_window_at(const schedule *s, size_t k, size_t steps)
{
    size_t window = s->hop ? (size_t)s->window : steps, hop = (size_t)s->hop, base = k * hop;
    size_t end = base + window;
    return (schedule_window){base, k ? end - hop : 0, end < steps ? end : steps};
}

/* The most steps between two resets of the adaptive state of streams of at most `steps` steps. */
static inline size_t schedule_scope(const schedule *s, size_t steps)
{
    return s->window_scope ? (size_t)s->window : steps;
}

/* Weights that learn take a step with the rows of all streams after every so many steps, counted
 * from the last reset, and with the rows since the last such step at a window's end. A step costs
 * about as much as the forward pass of SCHEDULE_WEIGHT_ROWS rows, and fewer rows gain nothing. More
 * streams make larger steps, which gain less: SCHEDULE_WEIGHT_STREAMS, the most, still keep half of
 * the gain. */
#define SCHEDULE_WEIGHT_ROWS    128
#define SCHEDULE_WEIGHT_STREAMS 1024u

/* The weights of shorter blocks, in tokens, do not learn: there the gain is below 0.2 %
 * (alice29.txt, its first 20,000 bytes, 6,568 tokens: 0.3 %). */
#define SCHEDULE_WEIGHT_TOKENS 4096

static inline size_t schedule_weight_interval(size_t streams)
{
    return (SCHEDULE_WEIGHT_ROWS + streams - 1) / streams;
}

/* The most rows of such a step. */
static inline size_t schedule_weight_rows(size_t streams)
{
    return streams * schedule_weight_interval(streams);
}

static inline bool schedule_equal(const schedule *a, const schedule *b)
{
    return a->window == b->window && a->hop == b->hop && a->update_interval == b->update_interval &&
           a->window_scope == b->window_scope;
}

#endif
