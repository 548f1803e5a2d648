#!/bin/bash
# Tests the tests: breaks the engine's waiting and its turns in ways that are easy to write, one
# at a time, and requires the emulated tests to fail on each.
#
#   test_engine_mutations.sh CC CXX SOURCE_DIR WORK_DIR FLAG... -- LINK...
#
# FLAG: of the compiler. LINK: what the test program is linked from but the engine.
set -u
cc=$1 cxx=$2 source=$3 work=$4
shift 4
flags=()
while [ "$1" != -- ]; do
    flags+=("$1")
    shift
done
shift

# file, tests that must notice, sed script. A script must change its file.
mutations=(
    # what was fetched is read too early, or another mark is waited for
    'engine_pass.c|code_is*|s/TRY(e->ops->wait(e->ctx, index));//'
    'engine_encode.c|code_is*|s/TRY(e->ops->mark(e->ctx, index));//'
    'engine_decode.c|code_is*|s/TRY(e->ops->wait(e->ctx, MARK_STEP));//'
    'engine_decode.c|code_is*|s/wait(e->ctx, MARK_STEP)/wait(e->ctx, 0)/'
    # a stage is written over while it is in use
    'engine_pass.c|code_is*|s/TRY(e->ops->wait(e->ctx, oldest));//'
    'engine.c|code_is*|s/lay_out_pass(e, &g->rows, g->memory)/lay_out_pass(e, \&g->rows, e->stage[0].memory)/'
    # what is read next is not what was found, or stands elsewhere
    'engine_decode.c|code_is*|s/int32_t bos = .*;/int32_t bos = 5;/'
    'engine_decode.c|code_is*|s/TRY(place_group(job, g));/(void)place_group;/'
    'engine_decode.c|code_is*|s/pos = NULL;/;/'
    # streams and their blocks
    'engine_job.c|code_is*|s/return x->length > y->length ? -1 : 1;/return x->length > y->length ? 1 : -1;/'
    'engine.c|damage*|s/job.stream.s..block->status = FAIL/job.stream[0].block->status = FAIL/'
    # what is learnt: from rows that pad a replayed step, from candidates of other rows
    'engine_decode.c|what_adapts*|s/ && !team_learner(job->e->team)//'
    'engine_decode.c|what_adapts*|s/TRY(queue_candidates(d, g));//'
    'engine_learn.c|what_adapts*|s/e->pass.candidates + first, g->rows/e->pass.candidates, g->rows/'
    # what is made is not released
    'engine_decode.c|steps_are*|s/ops->recording_destroy(job->e->ctx, d.mix.recording);//'
)

# compile FOLDER FILE OBJECT
compile()
{
    "$cc" "${flags[@]}" -O1 -I"$1" -I"$source/host" -c "$1/$2" -o "$3" || exit 1
}

mkdir -p "$work" || exit 1
compile "$source/tests" test_engine_cuda.c "$work/test.o"
for file in "$source"/host/engine*.c "$source"/host/contexts*.c "$source/host/model.c" \
    "$source/host/ngrams.c"; do
    compile "$source/host" "$(basename "$file")" "$work/$(basename "${file%.c}").o"
done
missed=0
for mutation in "${mutations[@]}"; do
    IFS='|' read -r file filter script <<<"$mutation"
    own=("$work"/engine*.o "$work"/contexts*.o "$work/model.o" "$work/ngrams.o" "$work/test.o")
    sed "$script" "$source/host/$file" >"$work/$file"
    if cmp -s "$work/$file" "$source/host/$file"; then
        echo "NO CHANGE       $mutation"
        missed=1
        continue
    fi
    mkdir -p "$work/mutant.d"
    compile "$work" "$file" "$work/mutant.d/${file%.c}.o"
    others=()
    for object in "${own[@]}"; do
        [ "$(basename "$object")" = "${file%.c}.o" ] || others+=("$object")
    done
    "$cxx" -fsanitize=address,undefined "$work/mutant.d/${file%.c}.o" "${others[@]}" "$@" \
        -o "$work/mutant" || exit 1
    if GPUZIP_TEST_FILTER=$filter timeout 300 "$work/mutant" >"$work/log" 2>&1; then
        echo "SURVIVED        $mutation"
        missed=1
    else
        echo "killed          $mutation"
    fi
done
exit $missed
