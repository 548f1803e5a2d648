/* cpu_mix.h: what cpu_mix.c asks of cpu_mix_isa.c: the weights w[i] of ops.h, tile
 * by tile. They are formed twice, once for the sums of all tiles and once more
 * for the one tile that matters, so that no row needs room for its vocabulary. */
#ifndef GPUZIP_CPU_MIX_H
#define GPUZIP_CPU_MIX_H

#include "cpu_isa.h"

#define MIX_TILE      512 /* symbols; a tile's scratch stays in the first cache */
#define MIX_TILES_MAX (OPS_MAX_VOCAB / MIX_TILE)

/* One row of a mix. */
typedef struct {
    const ops_mix *mix;
    const float *logits[OPS_MAX_EXPERTS]; /* [vocab], or NULL for counts */
    float max[OPS_MAX_EXPERTS];           /* of the logits */
    double max_t;                         /* of t[i], an integer, Q32 */
    uint64_t sum[MIX_TILES_MAX];          /* of the weights of each tile */
    int tiles;
} cpu_mix_row;

typedef struct {
    /* Fills row->max, max_t and sum from the rest. */
    void (*prepare)(cpu_mix_row *row);
    /* Writes the weights of symbols first .. first + n - 1, n <= MIX_TILE. */
    void (*weights)(const cpu_mix_row *row, int first, int n, uint32_t *w);
} cpu_mix_table;

CPU_ISA_DECLARE(cpu_mix_table, cpu_mix);

#endif
