#!/bin/bash
# Tests the tests: breaks the kernels in ways that are easy to write, one at a time, and
# requires the emulated tests to fail on each.
#
#   test_cuda_mutations.sh CXX SOURCE_DIR WORK_DIR OPS_OBJECT LINEAR_OBJECT MIX_OBJECT -I... -- LINK...
#
# The objects are the three test programs, LINK their libraries: a mutated file's object comes
# before them on the command line, so that the linker does not take the library's own. As many
# mutations run at a time as there are processors.
set -u
cxx=$1 source=$2 work=$3 ops=$4 linear=$5 adaptive=$6
shift 6
includes=()
while [ "$1" != -- ]; do
    includes+=("$1")
    shift
done
shift
link=("$@")

# file, tests that must notice, sed script. A script must change its file, of kernels/cuda/ or
# kernels/mixmath.h, which the device alone then has changed: the tests compare it with the host.
mutations=(
    # a missing barrier
    'cuda_linear.cu|linear_cuda|/This step.s copies are there/{n;d}'
    'cuda_linear.cu|linear_tiles|/the stages are free/d'
    'linear.cuh cuda_linear.cu|linear_cuda|s/__syncwarp(); .. wait for reads of the previous.*//'
    'cuda_linear.cu|linear_r*|/partial\[warp\]/{n;s/__syncthreads();//}'
    'cuda_attention.cu|attention_c*|/weigh_chunk<QUERIES>/{n;s/__syncthreads();//}'
    'cuda_attention.cu|attention_long|/score_chunk<QUERIES>/{n;s/__syncthreads();//}'
    'cuda_mix.cu|mix_vocab|/before\[tile\] = sum;/{n;n;s/__syncthreads();//}'
    'cuda_mix.cu|mix_cuda|/found_tile = thread;/{n;n;s/__syncthreads();//}'
    'block.cuh cuda_norm.cu|norm_cuda|/scratch\[warp\] = value;/{n;s/__syncthreads();//}'
    'block.cuh cuda_norm.cu|norm_cuda|/value = warp_sum(lane < warps/{n;s/__syncthreads();//}'
    'cuda_attention_tile.cu|attention_c*|s/__syncthreads(); .. this chunk is there.*//'
    # copies not waited for, or into a stage in use
    'cuda_linear.cu|linear_cuda|s/cp_async_wait<1>/cp_async_wait<2>/'
    'cuda_linear.cu|linear_cuda|s/int next = step + p.stages - 1;/int next = step + p.stages;/'
    'cuda_attention_tile.cu|attention_c*|s/cp_async_wait<0>/cp_async_wait<1>/'
    'cuda_attention_tile.cu|attention_c*|s/if (next < c->count)/if (next + 1 < c->count)/'
    # a wrong lane mapping
    'cuda_linear.cu|linear_cuda|s/(matrix \& 1) \* 8 + i/(matrix >> 1) * 8 + i/'
    'linear.cuh cuda_linear.cu|linear_cuda|s/(i >> 2) \* 8 + t \* 2/(i >> 2) * 8 + t/'
    'cuda_linear.cu|linear_r*|s/low.x, high.x, low.y, high.y/low.x, low.y, high.x, high.y/'
    'cuda_attention.cu|attention_c*|/dot += __shfl_xor_sync(WARP_ALL, dot, 2)/d'
    'cuda_attention.cu|attention_c*|s/bool last = c + KEY_LANES >= chunks;/bool last = true;/'
    'cuda_attention.cu|attention_c*|s/int then = last ? j + THREADS . KEY_LANES : j;/int then = j;/'
    'cuda_attention_tile.cu|attention_c*|s/c + (matrix >> 1)) \* TILE_QUERIES/c + (matrix \& 1)) * TILE_QUERIES/'
    'cuda_attention_tile.cu|attention_c*|s/odd << 1 \& 0x7f007f00/odd << 9 \& 0x7f007f00/'
    'cuda_attention_tile.cu|attention_c*|s/w\[nf + 1\]\[h \* 2\] << 16/w[nf + 1][h] << 16/'
    'cuda_attention_tile.cu|attention_c*|s/lanes <= 2; lanes <<= 1/lanes <= 1; lanes <<= 1/'
    'cuda_kv.cu|attention_c*|s/high \* cosine\[i\] + low/high * cosine[i] - low/'
    'block.cuh cuda_mix.cu|mix_cuda|s/lane >= lanes ? before/lane > lanes ? before/'
    # a short loop
    'cuda_linear.cu|linear_cuda|s/for (int step = 0; step < steps; step++)/for (int step = 0; step < steps - 1; step++)/'
    'cuda_attention.cu|attention_c*|s/pos - aligned + 1}/pos - aligned}/'
    'cuda_attention.cu|attention_c*|s/block < (count + 15) . 16/block < count \/ 16/'
    'cuda_attention_tile.cu|attention_c*|s/c < pitch . 16; c += 2/c < pitch \/ 16 - 2; c += 2/'
    'cuda_norm.cu|quantize*|s/pack(a >> 7, b >> 7, c >> 7, d >> 7)/pack(a >> 7, c >> 7, b >> 7, d >> 7)/'
    'cuda_norm.cu|quantize*|s/x + p->dim + i)/x + i)/'
    'cuda_norm.cu|norm_cuda|s/warp_sum(sum), warp_sum(squares)/sum, warp_sum(squares)/'
    'cuda_norm.cu|norm_cuda|s/if (row >= p.rows)/if (row > p.rows)/'
    'cuda_norm.cu|quantize*|s/i < p.pitch; i += THREADS/i < p.dim - 1; i += THREADS/'
    'cuda_mix.cu|mix_vocab|s/tile < tiles; tile += WARPS/tile < tiles - 1; tile += WARPS/'
    # a wrong comparison, a dropped plane, a wrong shift
    'cuda_mix.cu|mix_cuda|s/before += i < symbol/before += i <= symbol/'
    'cuda_linear.cu|linear_cuda|s/acc\[pa + pw\]\[mf\]/acc[pa][mf]/'
    'mix.cuh cuda_mix.cu|mix_cuda|s/__mulhi(l . 128/__mulhi(l * 64/'
    'linear.cuh cuda_linear_hopper.cu|linear_tiles|s/sum \* 128 + opaque/sum * 64 + opaque/'
    'linear.cuh cuda_linear.cu|linear_cuda|s/low = low \* 128/low = low * 64/'
    'linear.cuh cuda_linear.cu|linear_extremes|s/sums\[1\] + (sums\[2\] >> 7)/sums[1]/'
    'linear.cuh cuda_linear.cu|linear_tiles|s/odd ? left\[0\] : right\[0\]/odd ? right[0] : left[0]/'
    'linear.cuh cuda_linear.cu|linear_tiles|s/(threadIdx.x \& 1) \* 8 +/(threadIdx.x \& 1) * 4 +/'
    'linear.cuh cuda_linear.cu|linear_tiles|s/row < p->rows \&\& column < p->n)$/row < p->rows)/'
    'linear.cuh cuda_linear.cu|linear_tiles|s/before\[step ^ 1\], first_row, column + 16/before[step ^ 1], first_row, column/'
    'linear.cuh cuda_linear_hopper.cu|linear_second_tiles|s/load_vectors(p, before\[step\], first_row, column)/load_vectors(p, before[step], first_row, first_column)/'
    'mixmath.h cuda_mix.cu|mix_cuda|s/MIX_DIVISOR_BITS 34/MIX_DIVISOR_BITS 33/'
    # windows: one position more or less at the start, at the end of the ring
    'kv.cuh cuda_attention.cu|attention_w*|s/pos - kv->window + 1/pos - kv->window/'
    'cuda_attention.cu|attention_w*|s/ && first + j >= w->skip//'
    'cuda_attention.cu|attention_w*|s/ && first + j >= window->skip//'
    'cuda_attention.cu|attention_w*|s/j = w.skip + threadIdx.x/j = threadIdx.x/'
    'cuda_attention_tile.cu|attention_w*|s/pos) < (unsigned)p->kv.window/pos) <= (unsigned)p->kv.window/'
    'cuda_attention_tile.cu|attention_w*|s/s.full_first = kv_window_begin(&p->kv, high)/s.full_first = kv_window_begin(\&p->kv, low)/'
    'cuda_attention_tile.cu|attention_w*|s/s.full_last = low/s.full_last = high/'
    'cuda_attention_tile.cu|attention_w*|s/s.seen_last = high/s.seen_last = low/'
    'cuda_attention_tile.cu|attention_w*|s/s.seen_first = kv_window_begin(&p->kv, low)/s.seen_first = kv_window_begin(\&p->kv, high)/'
    'cuda_attention_tile.cu|attention_w*|s/(i < KEYS ? kv->k_scale : kv->v_scale - KEYS)/kv->k_scale/'
    'cuda_attention_tile.cu|attention_c*|s/second \* 128 + third;/second * 64 + third;/'
    'cuda_attention_tile.cu|attention_w*|s/(p->pos\[tile.first_row + tile.rows - 1\] - c.first)/(p->pos[tile.first_row] - c.first)/'
    'kv.cuh cuda_attention.cu|attention_w*|s/at < kv->ring ? at : at - kv->ring/at/'
    'kv.cuh cuda_attention.cu|attention_w*|s/at < kv->ring ? at : at - kv->ring/at <= kv->ring ? at : at - kv->ring/'
    'kv.cuh cuda_attention_tile.cu|attention_w*|s/at < kv->ring ? at : at - kv->ring/at <= kv->ring ? at : at - kv->ring/'
    'cuda_attention.cu|attention_far|s/aligned % kv->ring/aligned \& (kv->ring - 1)/'
    'cuda_attention_tile.cu|attention_far|s/c.begin = c.first % kv->ring/c.begin = 0/'
    'cuda_kv.cu|attention_w*|s/ring = pos % kv->ring/ring = pos % (kv->ring - 1)/'
    'cuda_kv.cu|attention_w*|s/round_up_32(window + run - 1)/round_up_32(window)/'
    # the division of rows: kept too long, of other rows; one row of a block's
    'cuda_memory.cu|attention_layers|s/ctx->divided.rows = 0;//'
    'cuda_attention.cu|attention_layers|s/__syncthreads(); .. the next row has.*//'
    'cuda_attention.cu|attention_layers|s/i < p.plan.counts\[0\]; i += gridDim.x/i < p.plan.counts[0]; i += p.rows/'
    # the sink: not where a window has just left it, or sooner; another's, of other rotations
    'cuda_attention.cu|attention_w*|s/has_sink = pos >= kv->window/has_sink = pos > kv->window/'
    'cuda_attention_tile.cu|attention_w*|s/has_sink = l.pos\[h\] >= p->kv.window/has_sink = l.pos[h] > p->kv.window/'
    'cuda_kv.cu|attention_w*|s/if (is_sink \&\& pos < kv->window)/if (is_sink \&\& pos < kv->window - 1)/'
    'cuda_kv.cu|attention_w*|s/if (is_sink \&\& pos < kv->window)/if (is_sink \&\& pos <= kv->window)/'
    'cuda_kv.cu|attention_w*|s/if (pos == 0) {/if (pos == kv->ring) {/'
    'cuda_kv.cu|attention_w*|s/is_sink ? p.rope.rows : pos/is_sink ? p.rope.rows - 1 : pos/'
    'cuda_kv.cu|attention_w*|s/pos & (p.rope.rows - 1)/pos \& (p.rope.rows \/ 2 - 1)/'
    'kv.cuh cuda_attention.cu|attention_w*|s/ \* kv->kv_heads \* kv->ring + sequence/ * kv->kv_heads * kv->ring + sequence \/ 2/'
    'attention.cuh cuda_attention.cu|attention_w*|s/p->q.sink_scale\[query\]/p->q.scale[query]/'
    'attention.cuh cuda_attention_tile.cu|attention_w*|s/p->q.sink_scale\[query\]/p->q.scale[query]/'
    # the sink: not in a maximum, not in a sum, in one more than once
    'cuda_attention.cu|attention_w*|s/max\[i\] = has_sink ? s->sink_score\[i\] : -INFINITY/max[i] = -INFINITY/'
    'cuda_attention.cu|attention_w*|s/vmax = has_sink ? kv->v_scale\[sink\] : 0.0f/vmax = 0.0f/'
    'cuda_attention.cu|attention_w*|/^static.*begin_sums/,/^}/s/if (threadIdx.x == 0)/if (threadIdx.x < 32)/'
    'cuda_attention.cu|attention_w*|/^static.*begin_sums/,/^}/s/denominator\[i\] +=.*/;/'
    'cuda_attention.cu|attention_w*|s/(e \* kv->v_scale\[sink\]) \* inv/(e * kv->v_scale[0]) * inv/'
    'cuda_attention.cu|attention_w*|s/if (pass == 0 && has_sink)/if (has_sink)/'
    'cuda_attention.cu|attention_w*|s/warp_sum(sink_dot(p, query, sink, lane, 32))/sink_dot(p, query, sink, lane, 32)/'
    'cuda_attention_tile.cu|attention_w*|s/l.max\[h\] = l.sink\[h\]/l.max[h] = -INFINITY/'
    'cuda_attention_tile.cu|attention_w*|s/l.vmax\[h\] = has_sink ? p->kv.v_scale\[sink\] : 0.0f/l.vmax[h] = 0.0f/'
    'cuda_attention_tile.cu|attention_w*|/l->sink\[h\] - l->max/{n;s/l->denominator.*/;/}'
    'cuda_attention_tile.cu|attention_w*|s/(e \* kv->v_scale\[sink\]) \* l->inv/(e * kv->v_scale[0]) * l->inv/'
    'cuda_attention_tile.cu|attention_w*|/if (has_sink)$/{n;s/sum += .*/;/}'
    'cuda_attention_tile.cu|attention_w*|/dot += __shfl_xor_sync(WARP_ALL, dot, 1)/d'
    # candidates: changes dropped, from other weights, of another set, unseen by some threads
    'cuda_mix.cu|adaptive_s*|s/before\[tile + 1\] += changes_before.*/;/'
    'cuda_mix.cu|adaptive_s*|s/before += changes_before(&changes, symbol);//'
    'cuda_mix.cu|adaptive_s*|s/IS_ADAPTIVE(KIND) ? changed_weight(changes, i, w) : w/w/'
    'cuda_mix.cu|adaptive_s*|/changes_before(changes, (tile + 1)/{n;s/__syncthreads();//}'
    'cuda_mix.cu|adaptive_s*|s/__syncthreads(); .. one thread has found.*//'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|/change_one<KIND>(p, row, ch, from, threadIdx.x, z);/{n;s/__syncthreads();//}'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|s/ch->symbol\[c\] < i ?/ch->symbol[c] <= i ?/'
    'mixmath.h cuda_mix.cu|adaptive_s*|s/hits - 1;/hits % 3;/'
    'mixmath.h cuda_mix.cu|adaptive_s*|s/OPS_ORDER_SETS + selector/selector/'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|s/(weight\[j\] + other\[j\])/weight[j]/'
    'mixmath.h cuda_mix.cu|adaptive_s*|s/(logit >= -1024)/(logit >= -1536)/'
    'mixmath.h cuda_mix.cu|adaptive_s*|s/z > w ? z - w : 1/z/'
    'mixmath.h cuda_mix.cu|adaptive_s*|s/mix_clamp(sum >> 8, -MIX_DELTA_MAX,/mix_clamp(sum >> 8, INT32_MIN,/'
    'mix.cuh cuda_mix.cu|adaptive_s*|s/? alpha\[threadIdx.x\]/? mix->expert[threadIdx.x].alpha/'
    # several states: rows in state 0, one shared by all, resets and steps too far
    'cuda_mix.cu|adaptive_s*|s/from.state = mix->state != NULL ? mix->state\[blockIdx.x\] : 0;/from.state = 0;/'
    'cuda_mix.cu|count_add*|s/(state != NULL ? (size_t)state\[i\] . vocab : 0) + symbol/symbol/'
    'mix.cuh cuda_mix.cu|adaptive_s*|s/x->counts\[(size_t)from.state . p->mix.vocab + i\]/x->counts[i]/'
    'adaptive.cuh cuda_mix.cu|adaptive_s*|s/in_state(z->weights, stride, s)/z->weights/'
    'adaptive.cuh cuda_mix.cu|adaptive_s*|s/in_state(z->expected, stride, s)/z->expected/'
    'cuda_adaptive.cu|adaptive_s*|s/s < first + n; s++/s < a->config.states; s++/'
    'cuda_adaptive.cu|adaptive_s*|s/dim3(blocks, (unsigned)states)/dim3(blocks, (unsigned)c->states)/'
    'cuda_adaptive.cu|adaptive_s*|s/state_at(&all, blockIdx.y)/state_at(\&all, 0)/'
    # sums that are learnt: of the unchanged weights, of candidates too, in rows not learnt from
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|s/pc - probability(ch->old\[thread\], inv)/0/'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|/ch->p\[thread\] = pc;/,/^}/{s/^    __syncthreads();//}'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|s/p->mix.candidates\[blockIdx.x\] < 0)/p->mix.candidates[blockIdx.x] < -1)/'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|s/m.s1 -= warp_sum(a . v);//'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|s/for (int i = 0; i < 2; i++)/for (int i = 0; i < 1; i++)/'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|s/atomicAdd(sum, (unsigned long long)x)/*sum = *sum * 1 + (unsigned long long)(x >> 1) * 2/'
    # learning: no bound, a wrong one, no rounding, sums kept, other contexts not waited for
    'cuda_adaptive.cu|adaptive_s*|s/s->expected\[i\] = 0;//'
    'cuda_adaptive.cu|adaptive_s*|s/s->gradient\[i\] = s->curvature\[i\] = s->majorant/s->gradient[i] = s->majorant/'
    'cuda_adaptive.cu|adaptive_s*|s/s->gradient\[i\] = s->curvature\[i\] = s->majorant/s->curvature[i] = s->majorant/'
    'cuda_adaptive.cu|adaptive_s*|s/ = s->majorant\[i\] = 0;/ = 0;/'
    'mix_adaptive.cuh cuda_mix.cu|adaptive_s*|s/norm += abs(f);/norm += f;/'
    'cuda_adaptive.cu|adaptive_s*|s/s->g\[k\] = s->h\[k\] = 0;/s->g[k] = 0;/'
    'cuda_adaptive.cu|adaptive_parts|s/TRY(wait_for_parts(ctx, a));//'
    # the ring of capability 9.0: a wait too few, a wrong parity, a missing or early arrival
    'cuda_linear_hopper.cu|linear_tiles|s/mbarrier_wait(&full\[at.stage\], at.parity);//'
    'cuda_linear_hopper.cu|linear_tiles|s/mbarrier_wait(&empty\[at.stage\], at.parity ^ 1);//'
    'cuda_linear_hopper.cu|linear_tiles|s/at.parity ^ 1);/at.parity);/'
    'cuda_linear_hopper.cu|linear_tiles|s/at.parity ^ (wraps ? 1u : 0u)/at.parity/'
    'cuda_linear_hopper.cu|linear_tiles|/wgmma_wait<0>();/{n;n;s/mbarrier_arrive.*/;/}'
    'cuda_linear_hopper.cu|linear_tiles|s/mbarrier_arrive(&empty\[before\]);/mbarrier_arrive(\&empty[at.stage]);/'
    'cuda_linear_hopper.cu|linear_tiles|s/mbarrier_init(&empty\[s\], CONSUMERS . 4)/mbarrier_init(\&empty[s], CONSUMERS)/'
    'cuda_linear_hopper.cu|linear_tiles|s/mbarrier_init_fence();//'
    'cuda_linear_hopper.cu|linear_tiles|/mbarrier_init_fence/{n;n;s/__syncthreads();//}'
    # wrong numbers of bytes, tiles where there are none
    'cuda_linear_hopper.cu|linear_tiles|s/mbarrier_arrive_expect(barrier, shape::stage_bytes)/mbarrier_arrive_expect(barrier, shape::stage_bytes - BOX_BYTES)/'
    'cuda_linear_hopper.cu|linear_tiles|s/mbarrier_arrive_expect(barrier, shape::stage_bytes)/mbarrier_arrive_expect(barrier, shape::stage_bytes + 16)/'
    'cuda_linear_hopper.cu|linear_tiles|s/k, row + r, barrier/k, row, barrier/'
    'cuda_linear_hopper.cu|linear_tiles|s/(address + TILE_ALIGN - 1) . TILE_ALIGN \* TILE_ALIGN/address/'
    # products: waits, fences, descriptors, fragments
    'cuda_linear_hopper.cu|linear_tiles|s/wgmma_wait<0>();//'
    'cuda_linear_hopper.cu|linear_tiles|s/wgmma_wait<1>();//'
    'cuda_linear_hopper.cu|linear_tiles|s/wgmma_wait<1>();/wgmma_wait<2>();/'
    'cuda_linear_hopper.cu|linear_tiles|s/wgmma_fence();//'
    'cuda_linear_hopper.cu|linear_tiles|s/wgmma_commit();//'
    'cuda_linear_hopper.cu|linear_tiles|s/!first || k > 0 || second/!first || k > 0/'
    'cuda_linear_hopper.cu|linear_tiles|s/!first || k > 0 || second/true/'
    'linear.cuh cuda_linear_hopper.cu|linear_tiles|s/sums\[s\] = acc\[s\]\[c . 2 + i\]/sums[s] = acc[s][c \/ 2 + (i ^ 2)]/'
    'ptx_hopper.cuh cuda_linear_hopper.cu|linear_tiles|s/(uint64_t)1 << 62/(uint64_t)2 << 62/'
    'ptx_hopper.cuh cuda_linear_hopper.cu|linear_tiles|s/(uint64_t)1 << 62/(uint64_t)0/'
    'ptx_hopper.cuh cuda_linear_hopper.cu|linear_tiles|s/8 \* TILE_ROW >> 4/4 * TILE_ROW >> 4/'
    'ptx_hopper.cuh cuda_linear_hopper.cu|linear_tiles|s/CU_TENSOR_MAP_SWIZZLE_128B/CU_TENSOR_MAP_SWIZZLE_NONE/'
    'ptx_hopper.cuh cuda_linear_hopper.cu|linear_tiles|s/size\[2\] = {pitch, rows}/size[2] = {rows, pitch}/'
    # cuBLAS: the order of planes, rows left over, a graph
    'cuda_blas.cu|linear_tiles|s/bool second = pw == 1/bool second = pw == 2/'
    'cuda_blas.cu|linear_tiles|s/int rows = p->rows . 16 \* 16, pitch/int rows = p->rows, pitch/'
    'cuda_blas.cu|linear_tiles|s/pitch = (p->n + 15) . 16 \* 16/pitch = p->n/'
    'cuda_blas.cu|linear_tiles|s/sets > 1 ? from\[set\]/sets > 1 ? from[0]/'
    'cuda_blas.cu|linear_tiles|s/q.a_scale += first/q.a_scale += 0/'
    'cuda_blas.cu|linear_recorded|s/capture != cudaStreamCaptureStatusNone/false/'
)

# environment FILE: the path that runs the file, where it is not the usual one.
environment()
{
    case $1 in
    cuda_linear_hopper.cu) echo GPUZIP_EMULATOR_CAPABILITY=90 ;;
    cuda_blas.cu) echo GPUZIP_CUBLAS=on ;;
    esac
}

# run FOLDER FILE TESTS: whether the tests pass with FOLDER/cuda/FILE in place of the library's.
run()
{
    local folder=$1 file=$2 filter=$3 test=$ops
    [[ $filter == linear* ]] && test=$linear
    [[ $filter == adaptive* ]] && test=$adaptive
    "$cxx" -std=c++20 -O1 -w -Wno-psabi -ffp-contract=off -x c++ "${includes[@]}" \
        -c "$folder/cuda/$file" -o "$folder/mutant.o" &&
        "$cxx" -fsanitize=address,undefined "$folder/mutant.o" "$test" "${link[@]}" \
            -o "$folder/mutant" || return 2
    env GPUZIP_TEST_FILTER="$filter" $(environment "$file") timeout 600 "$folder/mutant" \
        >"$folder/log" 2>&1 || return 1
}

# try FOLDER MUTATION: prints how it ended. Without a script the code is not broken and must pass.
try()
{
    local folder=$1 files filter script names result=0
    IFS='|' read -r files filter script <<<"$2"
    read -r -a names <<<"$files"
    mkdir -p "$folder"
    cp -rL "$source/kernels/cuda" "$folder/cuda" && cp "$source/kernels/mixmath.h" "$folder/cuda" ||
        exit 1
    cp "$folder/cuda/${names[0]}" "$folder/original"
    sed -i "$script" "$folder/cuda/${names[0]}"
    if [ "$script" ] && cmp -s "$folder/cuda/${names[0]}" "$folder/original"; then
        result=same
    else
        run "$folder" "${names[-1]}" "$filter" || result=$?
    fi
    case ${script:+mutant}$result in
    0) echo "passes          $2" ;;
    1) echo "FAILS UNBROKEN  $2" ;;
    mutant0) echo "SURVIVED        $2" ;;
    mutant1) echo "killed          $2" ;;
    mutantsame) echo "NO CHANGE       $2" ;;
    *) echo "NO PROGRAM      $2" ;;
    esac
    rm -r "$folder"
}

# The controls: the same builds, unbroken.
mapfile -t controls < <(printf '%s\n' "${mutations[@]}" | sed 's/^\([^|]*|[^|]*|\).*/\1/' | sort -u)
rm -rf "$work"
mkdir -p "$work" || exit 1
all=("${controls[@]}" "${mutations[@]}")
jobs=$(nproc)
for i in "${!all[@]}"; do
    [ "$i" -lt "$jobs" ] || wait -n
    try "$work/$i" "${all[i]}" >"$work/result$i" &
done
wait
for i in "${!all[@]}"; do cat "$work/result$i"; done
[ "$(cat "$work"/result* | grep -cE '^(killed|passes) ')" = ${#all[@]} ]
