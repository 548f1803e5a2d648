#!/bin/bash
# Tests the tests: breaks adaptation (context models, the mixer's updates, the workers that learn
# together) in ways that are easy to write, one at a time, and requires the test that stands for
# it to fail. A test that hangs has noticed, too.
#
#   test_adaptive_mutations.sh CC SOURCE_DIR WORK_DIR FLAG... -- LINK...
#
# FLAG: of the compiler. LINK: libraries of the tests.
set -u
cc=$1 source=$2 work=$3
shift 3
flags=()
while [ "$1" != -- ]; do
    flags+=("$1")
    shift
done
shift

# test, its filter (which only test_engine heeds), file, sed script. A script must change its file.
# Of two files the script changes the first, a header, and the second is compiled with it.
# Only a file's name counts: the script finds it in any folder.
mutations=(
    # context models: which tokens a match may follow, and how far
    'context_model||host/context_model.c|s/return at.stream == (uint32_t)stream || at.step < c->learnt;/return true;/'
    'context_model||host/context_model.c|s/return at.stream == (uint32_t)stream ||/return/'
    'context_model||host/context_model.c|s/|| at.step < c->learnt;/|| at.step <= c->learnt;/'
    'context_model||host/context_model.c|s/m->at.step == c->config.length\[m->at.stream\]/m->at.step > c->config.length[m->at.stream]/'
    'context_model||host/context_model.c|s/if (step < c->config.length\[s\] && step - c->origin/if (step + 1 < c->config.length[s] \&\& step - c->origin/'
    'context_model||host/context_model.c|s/(at.step < step ? at.step : step) - c->origin/(at.step < step ? at.step : step)/'
    'context_model||host/context_model.c|s/match_follow(c, s, end < c->config.length.*/;/'
    'context_model||host/context_model.c|s/m->missed &= m->length < MATCH_LONG;//'
    'context_model||host/context_model.c|s/length >= MATCH_TOKENS) {/length > MATCH_TOKENS) {/'
    # counts: halving, ageing, whom to replace
    'context_model||host/context_bucket.c|s/if (count > COUNT_MAX) {/if (count >= COUNT_MAX) {/'
    'context_model||host/context_bucket.c|s/count = COUNT_MAX . 2;/count = COUNT_MAX;/'
    'context_model||host/context_bucket.c|s/if ((entry\[e\] & 255) > 1)/if ((entry[e] \& 255) > 3)/'
    'context_model||host/context_bucket.c|s/entry\[e\] -= (entry\[e\] & 255) . 4;/entry[e] -= (entry[e] \& 255) \/ 3;/'
    'context_model||host/context_bucket.c|s/if ((entry\[e\] & 255) > 2)/if ((entry[e] \& 255) > 4)/'
    'context_model||host/context_bucket.c|s/e >= 1; e--/e >= 0; e--/'
    'context_model||host/context_bucket.c|s/if ((entry\[e\] & 255) < (entry\[at\] & 255))/if ((entry[e] \& 255) <= (entry[at] \& 255))/'
    'context_model||host/context_model.c|s/c->config.token\[s\]\[step\] >= (uint32_t)c->config.vocab)/false)/'
    # states, and their reset
    'context_model||host/context_model.c|s/weight = t->seen + 5;/weight = t->seen + 6;/'
    'context_model||host/context_model.c|s/t->shown = t->right = 0;/t->shown = 0;/'
    'context_model||host/context_model.c|s/if (p->stamp == (uint32_t)step + 1)/if (p->stamp)/'
    'context_model||host/context_model.c|s/q < Q_MIN ? Q_MIN : //'
    'context_model||host/context_model.c|s/c->origin = c->learnt = step;/c->learnt = step;/'
    'context_model||host/context_model.c|s/c->predicted\[r\].stamp = 0;/;/'
    'context_model||host/context_model.c|s/memset(c->stats, 0, sizeof c->stats);//'
    'context_model||host/context_model.c|s/c->clear = false;//'

    # n-grams of other texts: look-up and counting
    'context_model||host/context_model.c|s/k == NGRAMS_BEFORE/k == NGRAMS_BEFORE - 1/'
    'context_model||host/ngrams.c|s/ || x >= table->vocab)/)/'
    'context_model||host/ngrams.c|s/if (!.other)/if (1)/'
    'context_model||host/ngrams.c|s/if (k < found || found/if (found/'
    'ngrams||host/ngrams_build.c|s/if (seen->key\[at\] == key)/if (false)/'
    'ngrams||host/ngrams_build.c|s/seen->piece++;/;/'
    'ngrams||host/ngrams_build.c|s/shift < 64; shift/shift < 44; shift/'
    'ngrams||host/ngrams_build.c|s/if (count >= MIN_COUNT)/if (count > MIN_COUNT)/'
    'ngrams||host/ngrams_build.c|s/(g->count - 1 + weight/(g->count + weight/'
    'ngrams||host/ngrams_build.c|s/if (by_gain(&new, worst) < 0)/if (!worst->entry)/'
    'engine_plain||host/engine_group.c|s/.ngrams = c->ngrams,//'

    # the mixer's updates: sums of several parts, steps and their bounds
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/ + from->recent\[i\];/;/'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/to->seen\[i\] += from->seen\[i\];//'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/to->h\[k\] += from->h\[k\];//'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/to->curvature\[set\]\[j\] += .*//'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/clear_sums(from, config->vocab);//'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/state->curvature\[set\]\[j\] += curvature;/state->curvature[set][j] = curvature;/'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/state->h\[k\] += sums->h\[k\];/state->h[k] = sums->h[k];/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_adaptive.c|s/return a . b - (a % b < 0);/return a \/ b;/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_adaptive.c|s/mix_clamp(weight + step, -OPS_WEIGHT_MAX, OPS_WEIGHT_MAX)/(weight + step)/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_adaptive.c|s/d = d > least ? d : least;//'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/to->majorant\[set\]\[j\] += .*//'
    'mix_adaptive||kernels/cpu/cpu_mix_learn_isa.c|s/norm += abs(change->feature\[j\]);/norm += change->feature[j];/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/error < 0 ? -error : error/error/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_adaptive.c|s/step = mix_clamp(step, -MIX_ALPHA_STEP, MIX_ALPHA_STEP);//'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_adaptive.c|s/(int64_t)4000 << 8/(int64_t)8000 << 8/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_adaptive.c|s/ + MIX_STEP_BATCH . (curvature >> 16)//'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_adaptive.c|s/(all_h + (experts - 1) . h)/all_h/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_adaptive.c|s/start . 5/0/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/\*trust + expected;/*trust;/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/sum < MIX_BIAS_TRUST ? sum : MIX_BIAS_TRUST/sum/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/(came + expected + 2/(came - expected + 2/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/return moved > OPS_BIAS_MAX ? OPS_BIAS_MAX : moved;/return moved;/'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/memset(state->h, 0, sizeof state->h);//'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/memset(state->trust, 0, vocab . sizeof .state->trust);//'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/memset(sums->gradient, 0, sizeof sums->gradient);//'
    # several states: rows in state 0, counts and sums of another, resets and steps too far
    'mix_states||kernels/cpu/cpu_mix.c|s/int s = mix->state ? mix->state\[r\] : 0;/int s = 0;/'
    'mix_states||kernels/cpu/cpu_mix.c|s/expert->counts + (size_t)s . (size_t)mix->vocab/expert->counts/'
    'mix_states||kernels/cpu/cpu_mix.c|s/a->sums\[s . a->config.parts . a->threads + worker\]/a->sums[worker]/'
    'mix_states||kernels/cpu/cpu_mix.c|s/row->state = &a->state\[s\];/row->state = \&a->state[0];/'
    'mix_states||kernels/cpu/cpu_mix.c|s/a->state\[s\].alpha\[k\]/a->state[0].alpha[k]/'
    'mix_states||kernels/cpu/cpu_adaptive.c|s/i < (first + n) . workers(a)/i < a->config.states * workers(a)/'
    'mix_states||kernels/cpu/cpu_adaptive.c|s/s < first + n; s++/s < a->config.states; s++/'
    'mix_states||kernels/cpu/cpu_adaptive.c|s/cpu_for_rows(ctx, states,/cpu_for_rows(ctx, a->config.states,/'
    'mix_states||kernels/cpu/cpu_adaptive.c|s/    to->used = true;//'
    # a row's candidates, and its contribution to the sums
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/(logit >= -1024)/(logit >= -1000)/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/hits - 1;/hits % 3;/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/z > w ? z - w : 1/z/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/mix_clamp(sum >> 8, -MIX_DELTA_MAX, MIX_DELTA_MAX)/(sum >> 8)/'
    'mix_adaptive||kernels/cpu/cpu_mix_learn_isa.c|s/row->s0 -= a;//'
    'mix_adaptive||kernels/cpu/cpu_mix_learn_isa.c|s/row->s2\[k\] -= a . v . v;//'
    'mix_adaptive||kernels/cpu/cpu_mix_learn_isa.c|s/if (sums->recent_rows == MIX_RECENT_MAX)/if (false)/'
    'mix_adaptive||kernels/cpu/cpu_mix_learn_isa.c|s/row->sum\[change->symbol . MIX_TILE\] +=/row->sum[0] +=/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/q = (p + 8) >> 4/q = p >> 4/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/variance . (f . f >> 8)/variance * (f * f \/ 255)/'
    'mix_adaptive||kernels/cpu/cpu_mix_learn_isa.c|s/if (coded < vocab)/if (coded + 1 < vocab)/'
    'mix_adaptive||kernels/mixmath.h kernels/cpu/cpu_mix_learn_isa.c|s/variance > 0 ? variance : 0;/variance;/'
    'mix_adaptive||kernels/cpu/cpu_adaptive.c|s/memset(sums->seen, 0, n . sizeof .sums->seen);//'
    'mix_adaptive||kernels/cpu/cpu_mix.c|s/mix->candidates\[r\] >= 0)/true)/'
    'mix_adaptive||kernels/cpu/cpu_mix.c|s/row->alpha\[k\] = a && a->config.alpha/row->alpha[k] = a/'

    # workers: a barrier that does not wait, parts learnt twice or not, whose tokens, when
    'engine|workers*|host/engine_group.c|/assert(group->arrived <= /{n;s/if (.*)$/if (true)/}'
    'engine|workers*|host/engine_group.c|s/int part = group->parts_begun++;/int part = group->parts_begun++ \& 6;/'
    'engine_plain||host/engine_group.c|s/rows), w->parts, work/rows), w->parts - 1, work/'
    'engine|host*|host/context_model.c|s/key % parts != part)/key % parts != part || (part \&\& next == rows - 1))/'
    'engine_plain||host/engine_group.c|s/w.states . CONTEXT_MODEL_PARTS;/w.states * CONTEXT_MODEL_PARTS - 1;/'
    'engine|workers*|host/engine_group.c|s/group->parts_begun = group->parts_done = 0;/group->parts_done = 0;/'
    'engine|workers*|host/engine_group.c|s/    group->arrived = 0;$/;/'
    'engine|nobody*|host/engine_group.c|s/if (group->members > 0 && group->arrived == group->members)/if (false)/'
    'engine|nobody*|host/engine_group.c|s/group->members--;/;/'
    'engine|nobody*|host/engine_group.c|s/group->barriers == barrier && !group->abandoned/group->barriers == barrier/'
    'engine|nobody*|host/engine_group.c|s/group->abandoned ? FAIL(GPUZIP_ERR_CANCELLED) : //'
    'engine|workers*|host/engine_group.c|s/context_model_learn_end(group->state\[i\].cm, w->step);/context_model_learn_end(group->state[i].cm, w->step - 1);/'
    'engine|workers*|host/engine_group.c|s/context_model_reset(group->state\[part\].cm, w->step);/;/'
    'engine_plain||host/engine_group.c|s/adaptive_reset(group->ctx, group->learner, 0, w->states)/adaptive_reset(group->ctx, group->learner, 0, 0)/'
    'engine|workers*|host/engine_job.c|s/&made->index);/\&made->index), made->index = 0;/'
    'engine|workers*|host/engine_encode.c|s/if (group == to_update && s1 == job_active(job, t))/if (group == to_update \&\& i < steps \&\& s1 == job_active(job, t))/'
    'engine|workers*|host/engine_decode.c|s/job->update_due = g->t + 1;/job->update_due = g->t + 2;/'
    'engine|workers*|host/engine_decode.c|s/adapt_steps_to_update(e, g->t) > 1/adapt_steps_to_update(e, g->t) > 2/'
    'engine|workers*|host/engine_adapt.c|s/TRY(group_barrier(e->group, t, false));//'
    'engine_plain||host/engine_adapt.c|s/e->origin = step;/e->origin = 0;/'
    'engine|workers*|host/engine_adapt.c|s/query = g->asked + first/query = g->asked/'
    'engine_plain||host/engine_group.c|s/c->prior ? c->prior->weights\[0\] : NULL/NULL/'
    # windows: which steps each codes
    'engine_plain||host/engine_encode.c|s/schedule_window_at(s, k, job->steps)/schedule_window_at(s, 0, job->steps)/'
    'engine|blocks_decode|host/engine_decode.c|s/++next.k, job->steps/next.k, job->steps/'
    'engine_plain||host/engine_adapt.c|s/context_model_next_update(t, e->origin, e->config.schedule.update_interval)/(t + 1)/'
    # sliding windows: passes longer than the ring has room for, rotations of another block's positions
    'engine|batches*|host/engine_pass.c|s/if (job->run > 0 \&\& steps > job->run)/if (false)/'
    'engine|batches*|host/engine.c|s/ \&\& run <= e->run \&\&/ \&\&/'
    'engine|batches*|host/model_state.c|s/s->rope_first = begin = first;/s->rope_first = first;/'
    'engine|blocks_are*|host/model_state.c|s/s->rope_first = end - rows;/s->rope_first = 0;/'
    'engine|batches*|host/model_state.c|s/size_t wrap = (at \/ rows + 1) \* rows;/size_t wrap = end;/'
    # counts are forgotten with a block, and learnt once
    'engine|batches*|host/engine_decode.c|s/e->step.state + g->first + done/e->step.state + done/'
    'engine|blocks_are*|host/engine_adapt.c|s/TRY(e->ops->upload(e->ctx, e->count\[k\] + i . vocab, e->zeros, bytes));//'
    'engine|blocks_d*|host/engine_adapt.c|s/e->pending_first += n;/;/'
    'engine|blocks_d*|host/engine_adapt.c|s/e->pending_first = e->pending_end = 0;$/;/'

    # weights that learn: signs, terms, transposes and planes of the backward pass, the step's bounds
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/inv) \* (sink_error(s, query) - delta)/inv) * (sink_error(s, query) + delta)/'
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/unit = s->sink\[query\]/unit = -s->sink[query]/'
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/(e\[j\] - delta)/e[j]/'
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/rotate_back(job, h, job->rope->rows, f);/rotate_back(job, h, 0, f);/'
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/job->rope->sine + at, -1, /job->rope->sine + at, 1, /'
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/sequence->key_error, sequence->q,/sequence->key_error, sequence->a,/'
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/key_error\[j - first\] = e\[j\] \* scale;/key_error[j - first] = e[j];/'
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/e\[j\] \*= s->scratch->k_scale\[j\];/;/'
    'model_learn||kernels/cpu/learn/cpu_attention_back_isa.c|s/(x & 0xffff0000u) << 16/(x \& 0xffff0000u)/'
    'attention_back||kernels/cpu/learn/cpu_attention_back_isa.c|s/begin = s->begin\[query\] > first ? s->begin\[query\] : first;/begin = first > 0 ? first : 0;/'
    'model_learn||kernels/cpu/learn/cpu_attention_back.c|s/return x->slot < y->slot ? -1 : 1;/return 0;/'
    'model_learn||kernels/cpu/learn/cpu_attention_back.c|s/s->kv_head \* item.heads \* c->groups + //'
    'attention_back||kernels/cpu/learn/cpu_attention_back_isa.c|s/first = key \* group \/ ATTENTION_SEGMENT/first = (key * group + 63) \/ ATTENTION_SEGMENT/'
    'attention_back||kernels/cpu/learn/cpu_attention_back_isa.c|s/s->set.begin - s->sequence->begin) \* dims/s->set.begin) * dims/'
    'attention_back||kernels/cpu/learn/cpu_attention_back.c|s/if (++\*kv_head == kv_heads)/if (++*kv_head >= 1)/'
    'learn||kernels/cpu/learn/cpu_learn_rows_isa.c|s/(h\[i\] - m) - y\[i\] \* c/(h[i] - m) + y[i] * c/'
    'learn||kernels/cpu/learn/cpu_learn_rows_isa.c|s/float m = job->kind == OPS_NORM_RMS ? 0 : /float m = 0 * /'
    'learn||kernels/cpu/learn/cpu_learn_rows_isa.c|s/fmaf(gate, 1.0f - s, 1.0f)/fmaf(gate, s, 1.0f)/'
    'learn||kernels/cpu/learn/cpu_learn_rows_isa.c|s/followed = g\[symbol\] \* inv - 1.0f/followed = g[symbol] * inv/'
    'learn||kernels/detmath.h kernels/cpu/learn/cpu_learn_rows_isa.c|s/x < 0.0f ? tail : 1.0f - tail/tail/'
    'learn||kernels/cpu/learn/cpu_trainable_isa.c|s/hi\[c\] + (lo\[c\] >> 6)/hi[c]/'
    'learn||kernels/cpu/learn/cpu_trainable_isa.c|s/master\[c\] - det_rint_s32(step)/master[c] + det_rint_s32(step)/'
    'learn||kernels/cpu/learn/cpu_trainable_isa.c|s/m = m < most ? m : most;//'
    'learn||kernels/cpu/learn/cpu_trainable_isa.c|s/factor < 0x1p90f ? factor : 0x1p90f/factor/'
    'learn||kernels/cpu/learn/cpu_trainable_isa.c|s/pack_columns(t, p, panel, n, plane);//'
    'learn||kernels/cpu/learn/cpu_trainable_isa.c|s/p == 1 ? 127 : 255/255/'
    'learn||kernels/cpu/learn/cpu_trainable_isa.c|s/w \* WORD_ROWS + i < x->rows/w * WORD_ROWS + i + 1 < x->rows/'
    'model_learn||host/experts/model_learn.c|s/r.norm2_in, l->narrow, l->stream, l->stream/r.norm2_in, l->narrow, NULL, l->stream/'
    'model_learn||host/experts/model_learn.c|s/target + first, m->head.w/target, m->head.w/'
    'model_learn||host/experts/model_learn.c|s/&r->up_in, l->wide, residual/\&r->qkv_in, l->wide, residual/'
    'model_learn||host/experts/model_learner.c|s/    r.up += .*//'
    'model_learn||host/experts/model_learner.c|s/    r.q.sink_scale += heads;//'
    'model_learn||host/experts/model_learner.c|s/rows->rows == l->rows;/true;/'
    'model_learn||host/experts/model_forward.c|s/    s->has_step_logits = false;//'
)

# Files that are compiled once a level of instruction set, with the flags of each.
isas=(c)
case $(uname -m) in
x86_64) isas+=(avx2 avx512) ;;
esac
isa_flags() # LEVEL
{
    case $1 in
    avx2) echo -mavx2 -mfma -mf16c -mbmi2 ;;
    avx512) echo -mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl ;;
    esac
}

# find_file FOLDER PATH: the file of that name below the folder; names are unique.
find_file()
{
    find "$1" -name "$(basename "$2")" -not -path '*/build*'
}

# compile FILE OBJECT FOLDER FLAG...: headers are looked for beside the file and in the folder.
compile()
{
    local file=$1 object=$2 folder=$3
    shift 3
    "$cc" "-I$(dirname "$file")" "-I$folder" "${flags[@]}" "$@" -c "$file" -o "$object"
}

# link OUTPUT OBJECT...: the objects take precedence over the libraries.
link=("$@")
link()
{
    local output=$1
    shift
    "$cc" "$@" "${link[@]}" -o "$output"
}

# build FILE HEADERS FOLDER: the objects of a file, in the folder.
build()
{
    local isa
    if [[ $1 != *_isa.c ]]; then
        compile "$1" "$3/mutant.o" "$2"
        return
    fi
    for isa in "${isas[@]}"; do
        # shellcheck disable=SC2046 # several flags
        compile "$1" "$3/mutant_$isa.o" "$2" $(isa_flags "$isa") -DCPU_ISA_SUFFIX="$isa" || return
    done
}

# run FILTER PROGRAM: of a test; one that hangs has noticed, too
run()
{
    GPUZIP_TEST_FILTER=$1 timeout 100 "$2" >"$2.log" 2>&1
}

# try NUMBER: prints a mutation's result. The script in it may have bars.
try()
{
    local mutation=${mutations[$1]} folder=$work/$1 test filter file script rest
    test=${mutation%%|*} rest=${mutation#*|}
    filter=${rest%%|*} rest=${rest#*|}
    file=${rest%%|*} script=${rest#*|}
    local changed unit compiled headers
    changed=$(find_file "$source" "${file%% *}") unit=$(find_file "$source" "${file##* }")
    mkdir -p "$folder"
    sed "$script" "$changed" >"$folder/$(basename "$changed")"
    compiled=$folder/$(basename "$unit") headers=$(dirname "$unit")
    [ "$changed" = "$unit" ] || cp "$unit" "$compiled"
    if cmp -s "$folder/$(basename "$changed")" "$changed"; then
        echo "NO CHANGE       $mutation"
    elif ! build "$compiled" "$headers" "$folder" ||
        ! link "$folder/mutant" "$work/$test.o" "$folder"/mutant*.o; then
        echo "NO PROGRAM      $mutation"
    elif run "$filter" "$folder/mutant"; then
        echo "SURVIVED        $mutation"
    else
        echo "killed          $mutation"
    fi
    rm -r "$folder"
}

rm -rf "$work"
mkdir -p "$work" || exit 1
for test in context_model ngrams mix_adaptive mix_states attention_back learn model_learn engine_plain engine; do
    compile "$(find_file "$source/tests" "test_$test.c")" "$work/$test.o" \
        "$source/tests/support" || exit 1
    link "$work/$test" "$work/$test.o" || exit 1
    [ $test = engine ] || run "" "$work/$test" || exit 1
done
for filter in 'workers*' 'host*' 'nobody*' 'blocks_are*'; do
    run "$filter" "$work/engine" || exit 1
done
jobs=$(nproc)
for i in "${!mutations[@]}"; do
    [ "$i" -lt "$jobs" ] || wait -n
    try "$i" >"$work/result$i" &
done
wait
cat "$work"/result*
[ "$(cat "$work"/result* | grep -c '^killed')" = ${#mutations[@]} ]
