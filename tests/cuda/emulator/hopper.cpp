/* hopper.cpp: barriers in shared memory, copies of tiles and products of a warpgroup, as
 * ptx_hopper_emulated.h promises them; after the PTX manual's chapters on mbarrier,
 * cp.async.bulk.tensor and wgmma ("Matrix Descriptor Format", "Shared Memory Matrix Layout",
 * "Register Fragments for wgmma.mma_async.m64nNk32"). */
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "ptx_hopper_emulated.h"
#include "runtime.h"
#include "scheduler.h"

namespace
{

/* -- shared memory ----------------------------------------------------------- */

/* Dynamic shared memory begins somewhere in the window, aligned to 128 bytes only. */
unsigned window;

/* The swizzle of 128 bytes: bits 4 to 6 of an address, by bits 7 to 9. */
unsigned swizzled(unsigned address)
{
    return address ^ (address >> 3 & 0x70);
}

/* size bytes of dynamic shared memory at a shared address. */
unsigned char *shared_at(unsigned address, unsigned size)
{
    if (address < window || address + size > window + emulator_shared_bytes())
        emulator_fail("an address outside of dynamic shared memory");
    return (unsigned char *)emulator_shared() + (address - window);
}

/* -- barriers ---------------------------------------------------------------- */

/* What the 64 bits in shared memory hold here; the real ones are opaque. */
struct mbarrier {
    uint64_t expected : 15; /* arrivals of a phase */
    uint64_t pending : 15;  /* of them still to come */
    uint64_t bytes : 20;    /* still to come */
    uint64_t phase : 1;
    uint64_t fenced : 1;
    uint64_t magic : 12;
};
static_assert(sizeof(mbarrier) == 8, "in the place of the real one");
const unsigned MAGIC = 0xba7;

mbarrier barrier_read(const uint64_t *at)
{
    mbarrier b;
    memcpy(&b, at, sizeof b);
    if (b.magic != MAGIC)
        emulator_fail("an mbarrier that was not initialised, or was written over");
    return b;
}

void barrier_write(uint64_t *at, mbarrier b)
{
    if (b.pending == 0 && b.bytes == 0) {
        b.phase ^= 1;
        b.pending = b.expected;
    }
    memcpy(at, &b, sizeof b);
}

void barrier_arrive(uint64_t *at, unsigned bytes)
{
    mbarrier b = barrier_read(at);
    if (b.pending == 0)
        emulator_fail("an mbarrier has more arrivals than its count");
    if (b.bytes + bytes >= 1u << 20)
        emulator_fail("an mbarrier expects 2^20 bytes or more");
    b.pending--;
    b.bytes += bytes;
    barrier_write(at, b);
}

void barrier_complete(uint64_t *at, unsigned bytes)
{
    mbarrier b = barrier_read(at);
    if (b.bytes < bytes)
        emulator_fail("bytes come to an mbarrier that does not expect them");
    b.bytes -= bytes;
    barrier_write(at, b);
}

struct barrier_phase {
    const uint64_t *barrier;
    unsigned parity;
};

bool phase_over(const void *context)
{
    const barrier_phase *p = (const barrier_phase *)context;
    return barrier_read(p->barrier).phase != p->parity;
}

const char *phase_describe(const void *context)
{
    static char text[160];
    const barrier_phase *p = (const barrier_phase *)context;
    mbarrier b = barrier_read(p->barrier);
    snprintf(text, sizeof text,
             "the end of a phase of parity %u of the mbarrier at %p, which lacks %u of %u arrivals "
             "and %u bytes",
             p->parity, (const void *)p->barrier, (unsigned)b.pending, (unsigned)b.expected,
             (unsigned)b.bytes);
    return text;
}

/* -- copies ------------------------------------------------------------------ */

struct tile_copy {
    CUtensorMap map;
    unsigned tile;
    int k, row;
    uint64_t *barrier;
};

std::vector<tile_copy> copies;                 /* under way */
std::vector<uint64_t *> initialised;           /* barriers of this block */
std::vector<std::vector<uint64_t *>> unfenced; /* [threads] barriers initialised */

void tile_copy_perform(const tile_copy *c)
{
    const CUtensorMap *map = &c->map;
    for (unsigned r = 0; r < map->box[1]; r++)
        for (unsigned i = 0; i < map->box[0]; i += 16) {
            unsigned char chunk[16] = {0};
            int64_t row = (int64_t)c->row + r, k = (int64_t)c->k + i;
            for (int b = 0; b < 16; b++)
                if (row >= 0 && (uint64_t)row < map->size[1] && k + b >= 0 &&
                    (uint64_t)(k + b) < map->size[0])
                    chunk[b] = map->plane[(uint64_t)row * map->pitch + (uint64_t)(k + b)];
            unsigned to = c->tile + r * map->box[0] + i;
            memcpy(shared_at(map->swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? swizzled(to) : to, 16),
                   chunk, 16);
        }
    barrier_complete(c->barrier, map->box[0] * map->box[1]);
}

CUresult map_encode(CUtensorMap *map, CUtensorMapDataType, cuuint32_t rank, void *address,
                    const cuuint64_t *size, const cuuint64_t *stride, const cuuint32_t *box,
                    const cuuint32_t *step, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                    CUtensorMapL2promotion, CUtensorMapFloatOOBfill)
{
    bool fits = rank == 2 && ((uintptr_t)map & 63) == 0 && ((uintptr_t)address & 15) == 0;
    for (int i = 0; i < 2 && fits; i++)
        fits = size[i] > 0 && size[i] <= (uint64_t)1 << 32 && box[i] > 0 && box[i] <= 256 &&
               step[i] == 1;
    fits = fits && stride[0] % 16 == 0 && stride[0] < (uint64_t)1 << 40 && box[0] % 16 == 0 &&
           (swizzle == CU_TENSOR_MAP_SWIZZLE_NONE || box[0] <= 128);
    if (!fits)
        return CUDA_ERROR_INVALID_VALUE;
    *map = {};
    map->plane = (const unsigned char *)address;
    map->size[0] = size[0], map->size[1] = size[1];
    map->pitch = stride[0];
    map->box[0] = box[0], map->box[1] = box[1];
    map->swizzle = swizzle;
    return CUDA_SUCCESS;
}

/* -- products ---------------------------------------------------------------- */

struct product {
    int *c;
    int n;
    uint64_t a, b;
    bool accumulate;
    int group;
};

/* Accumulators of which a product is under way. */
struct accumulator {
    int *c;
    int n, poison;
    std::vector<int> value;
};

struct lane_state {
    bool fenced;
    int groups; /* committed */
    std::vector<product> products;
    std::vector<accumulator> accumulators;
};

struct issued {
    uint64_t a, b;
    int n;
    bool accumulate;
};

std::vector<lane_state> lanes;                /* [threads] */
std::vector<std::vector<issued>> issues;      /* [warpgroups] all products, in order */
std::vector<std::vector<size_t>> warp_issues; /* [warpgroups][4] how many each warp issued */

/* 16 bytes from byte 16 `half` on of row `row` of an operand. */
const signed char *operand_at(uint64_t descriptor, int row, int half)
{
    unsigned start = (unsigned)(descriptor & 0x3fff) << 4;
    unsigned lead = (unsigned)(descriptor >> 16 & 0x3fff) << 4;
    unsigned stride = (unsigned)(descriptor >> 32 & 0x3fff) << 4;
    unsigned group = (unsigned)row / 8, line = (unsigned)row % 8;
    switch (descriptor >> 62) {
    case 0: /* cores of 8 x 16 bytes */
        return (const signed char *)shared_at(
            start + group * stride + line * 16 + (unsigned)half * lead, 16);
    case 1: /* rows of 128 bytes */
        return (const signed char *)shared_at(
            swizzled(start + group * stride + line * 128 + (unsigned)half * 16), 16);
    default:
        emulator_fail("a swizzle that the emulator does not know");
    }
}

__attribute__((no_sanitize("address", "undefined"))) int dot_32(const signed char *a,
                                                                const signed char *b)
{
    int sum = 0;
    for (int i = 0; i < 32; i++)
        sum += a[i] * b[i];
    return sum;
}

void operand_row(signed char to[32], uint64_t descriptor, int row)
{
    memcpy(to, operand_at(descriptor, row, 0), 16);
    memcpy(to + 16, operand_at(descriptor, row, 1), 16);
}

/* The part of one thread. */
void product_perform(const product *p, int *c)
{
    int thread = (int)emulator_thread(), warp = thread / 32 % 4, g = thread % 32 / 4,
        t = thread % 4;
    signed char a[2][32], b[32];
    for (int i = 0; i < 2; i++)
        operand_row(a[i], p->a, 16 * warp + g + 8 * i);
    for (int j = 0; j < p->n / 8; j++)
        for (int i = 0; i < 2; i++) {
            operand_row(b, p->b, 8 * j + 2 * t + i);
            for (int half = 0; half < 2; half++) {
                int *to = &c[4 * j + 2 * half + i];
                *to = (p->accumulate ? *to : 0) + dot_32(a[half], b);
            }
        }
}

void descriptor_check(uint64_t d)
{
    const uint64_t unused =
        (uint64_t)3 << 14 | (uint64_t)3 << 30 | (uint64_t)7 << 46 | (uint64_t)0x1fff << 49;
    if (d & unused)
        emulator_fail("a wgmma descriptor with unused bits set");
}

accumulator *accumulator_of(lane_state *lane, const int *c)
{
    for (size_t i = 0; i < lane->accumulators.size(); i++)
        if (lane->accumulators[i].c == c)
            return &lane->accumulators[i];
    return NULL;
}

/* The lanes of a warp must agree, and the warps of a warpgroup issue the same. */
void issue_check(const issued *mine)
{
    const emulator_slot *slots = emulator_exchange(EMULATOR_WGMMA, 0xffffffff, mine, sizeof *mine);
    for (int lane = 0; lane < 32; lane++)
        if (memcmp(slots[lane].bytes, mine, sizeof *mine) != 0)
            emulator_fail("the lanes of a warp issue different products");
    if (emulator_lane() != 0)
        return;
    unsigned warp = emulator_thread() / 32, group = warp / 4;
    size_t index = warp_issues[group][warp % 4]++;
    if (index == issues[group].size())
        issues[group].push_back(*mine);
    else if (memcmp(&issues[group][index], mine, sizeof *mine) != 0)
        emulator_fail("the warps of a warpgroup issue different products");
}

/* Copies back accumulators of which no product is left. */
void accumulators_deliver(lane_state *lane)
{
    size_t kept = 0;
    for (size_t i = 0; i < lane->accumulators.size(); i++) {
        accumulator *a = &lane->accumulators[i];
        bool busy = false;
        for (const product &p : lane->products)
            busy = busy || p.c == a->c;
        if (busy) {
            if (kept != i)
                lane->accumulators[kept] = *a;
            kept++;
            continue;
        }
        for (int j = 0; j < a->n / 2; j++)
            if (a->c[j] != a->poison)
                emulator_fail("an accumulator was written while its product was under way");
        memcpy(a->c, a->value.data(), a->value.size() * sizeof(int));
    }
    lane->accumulators.resize(kept);
}

} // namespace

/* -- called by the scheduler ------------------------------------------------- */

void hopper_block_begin(void)
{
    unsigned groups = (emulator_threads() + 127) / 128;
    window = 128 * (1 + emulator_draw() % 32);
    copies.clear();
    lanes.assign(emulator_threads(), lane_state());
    unfenced.assign(emulator_threads(), std::vector<uint64_t *>());
    issues.assign(groups, std::vector<issued>());
    warp_issues.assign(groups, std::vector<size_t>(4, 0));
}

void hopper_thread_end(void)
{
    const lane_state *lane = &lanes[emulator_thread()];
    if (!lane->products.empty())
        emulator_fail("a thread ends with products under way");
}

void hopper_block_end(void)
{
    if (!copies.empty())
        emulator_fail("a block ends with copies of tiles under way");
    /* The next block has to make its own. */
    for (uint64_t *barrier : initialised)
        *barrier = 0;
    initialised.clear();
    for (const std::vector<size_t> &warps : warp_issues)
        for (int w = 1; w < 4; w++)
            if (warps[w] != warps[0])
                emulator_fail("the warps of a warpgroup issued different numbers of products");
}

bool hopper_copies_run(bool idle)
{
    bool ran = false;
    while (!copies.empty() && (idle || emulator_draw() % 4 == 0)) {
        size_t i = emulator_draw() % copies.size();
        tile_copy c = copies[i];
        copies[i] = copies.back();
        copies.pop_back();
        tile_copy_perform(&c);
        ran = true;
        idle = false;
    }
    return ran;
}

/* -- called by kernels -------------------------------------------------------- */

unsigned shared_address(const void *p)
{
    ptrdiff_t offset = (const unsigned char *)p - (const unsigned char *)emulator_shared();
    if (offset < 0 || (size_t)offset > emulator_shared_bytes())
        emulator_fail("the address of something outside of dynamic shared memory");
    return window + (unsigned)offset;
}

void mbarrier_init(uint64_t *barrier, unsigned count)
{
    initialised.push_back(barrier);
    mbarrier b = {count, count, 0, 0, 0, MAGIC};
    if (count == 0 || count >= 1u << 15)
        emulator_fail("an mbarrier's count is out of range");
    memcpy(barrier, &b, sizeof b);
    unfenced[emulator_thread()].push_back(barrier);
}

void mbarrier_init_fence(void)
{
    for (uint64_t *barrier : unfenced[emulator_thread()]) {
        mbarrier b = barrier_read(barrier);
        b.fenced = 1;
        memcpy(barrier, &b, sizeof b);
    }
    unfenced[emulator_thread()].clear();
}

void mbarrier_arrive(uint64_t *barrier)
{
    barrier_arrive(barrier, 0);
}

void mbarrier_arrive_expect(uint64_t *barrier, unsigned bytes)
{
    barrier_arrive(barrier, bytes);
}

void mbarrier_wait(uint64_t *barrier, unsigned parity)
{
    barrier_phase p = {barrier, parity};
    if (parity > 1)
        emulator_fail("a parity that is neither 0 nor 1");
    emulator_wait_until(phase_over, phase_describe, &p);
}

void tile_load(unsigned tile, const CUtensorMap *map, int k, int row, uint64_t *barrier)
{
    if (tile % 1024 != 0)
        emulator_fail("a tile that is not aligned to 1024 bytes");
    if ((uintptr_t)map & 63)
        emulator_fail("a tensor map that is not aligned to 64 bytes");
    if (!barrier_read(barrier).fenced)
        emulator_fail("a copy to an mbarrier whose initialisation was not fenced");
    copies.push_back(tile_copy{*map, tile, k, row, barrier});
}

void wgmma_fence(void)
{
    (void)emulator_exchange(EMULATOR_WGMMA_FENCE, 0xffffffff, NULL, 0);
    lanes[emulator_thread()].fenced = true;
}

void emulator_wgmma(int *c, int n, uint64_t a, uint64_t b, bool accumulate)
{
    lane_state *lane = &lanes[emulator_thread()];
    issued mine;
    memset(&mine, 0, sizeof mine);
    mine.a = a, mine.b = b, mine.n = n, mine.accumulate = accumulate;
    descriptor_check(a);
    descriptor_check(b);
    issue_check(&mine);
    if (!lane->fenced)
        emulator_fail("wgmma without a wgmma_fence() since the last wait");
    accumulator *to = accumulator_of(lane, c);
    if (to == NULL) {
        lane->accumulators.push_back(
            accumulator{c, n, (int)(emulator_draw() | 1), std::vector<int>(c, c + n / 2)});
        to = &lane->accumulators.back();
        for (int i = 0; i < n / 2; i++)
            c[i] = to->poison;
    }
    product p = {c, n, a, b, accumulate, lane->groups};
    bool first = true; /* of those under way: products of one accumulator keep their order */
    for (const product &other : lane->products)
        first = first && other.c != c;
    lane->products.push_back(p);
    if (first && emulator_draw() % 4 == 0) {
        product_perform(&p, to->value.data());
        lane->products.back().n = 0; /* done, but not to be seen before the wait */
    }
}

void wgmma_commit(void)
{
    (void)emulator_exchange(EMULATOR_WGMMA_COMMIT, 0xffffffff, NULL, 0);
    lanes[emulator_thread()].groups++;
}

void emulator_wgmma_wait(int groups)
{
    lane_state *lane = &lanes[emulator_thread()];
    size_t kept = 0;
    for (size_t i = 0; i < lane->products.size(); i++) {
        product p = lane->products[i];
        if (p.group >= lane->groups - groups)
            lane->products[kept++] = p;
        else if (p.n > 0)
            product_perform(&p, accumulator_of(lane, p.c)->value.data());
    }
    lane->products.resize(kept);
    accumulators_deliver(lane);
    lane->fenced = false;
    /* The warp's part is done when all its lanes' are. */
    (void)emulator_exchange(EMULATOR_WGMMA_WAIT, 0xffffffff, NULL, 0);
}

void emulator_wgmma_result(const int *c)
{
    if (accumulator_of(&lanes[emulator_thread()], c) != NULL)
        emulator_fail("accumulators are read while a product is under way");
}

/* -- the driver --------------------------------------------------------------- */

cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                             unsigned long long flags,
                                             cudaDriverEntryPointQueryResult *result)
{
    bool known = strcmp(symbol, "cuTensorMapEncodeTiled") == 0 && version >= 12000 && flags == 0;
    *function = known ? (void *)map_encode : NULL;
    *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
