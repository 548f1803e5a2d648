#!/bin/bash
# Tests the tests: breaks the engine's waiting and its turns in ways that are easy to write, one
# at a time, and requires the emulated tests to fail on each.
#
#   test_engine_mutations.sh CC CXX SOURCE_DIR WORK_DIR FLAG... -- OBJECT... -- LINK...
#
# FLAG: of the compiler. OBJECT: the test program's, the engine's among them, of which a mutant
# takes one's place. LINK: the libraries. As many mutations run at a time as there are processors.
set -u
cc=$1 cxx=$2 source=$3 work=$4
shift 4
flags=()
while [ "$1" != -- ]; do
    flags+=("$1")
    shift
done
shift
objects=()
while [ "$1" != -- ]; do
    objects+=("$1")
    shift
done
shift
link=("$@")

# file, tests that must notice, sed script. A script must change its file.
mutations=(
    # the host reads a download too early, or waits for another event
    'engine_pass.c|code_is*|s/TRY(e->ops->wait_event(e->ctx, index));//'
    'engine_encode.c|code_is*|s/TRY(e->ops->event(e->ctx, index));//'
    'engine_decode.c|code_is*|s/TRY(e->ops->wait_event(e->ctx, EVENT_STEP));//'
    'engine_decode.c|code_is*|s/wait_event(e->ctx, EVENT_STEP)/wait_event(e->ctx, 0)/'
    # a stage is written over while it is in use
    'engine_pass.c|code_is*|s/TRY(e->ops->wait_event(e->ctx, oldest));//'
    'engine.c|code_is*|s/lay_out_pass(e, &g->rows, g->memory)/lay_out_pass(e, \&g->rows, e->stage[0].memory)/'
    # the next token is not the decoded one, or has another position
    'engine_decode.c|code_is*|s/int32_t bos = .*;/int32_t bos = 5;/'
    'engine_decode.c|code_is*|s/TRY(set_positions(job, g));/(void)set_positions;/'
    'engine_decode.c|code_is*|s/pos = NULL;/;/'
    # streams and their blocks
    'engine_job.c|code_is*|s/return x->length > y->length ? -1 : 1;/return x->length > y->length ? 1 : -1;/'
    'engine.c|damage*|s/engine_stream .own = job.stream.s..own;/engine_stream *own = job.stream[0].own;/'
    # learning from rows that pad a replayed step, or from candidates of other rows
    'engine_decode.c|what_adapts*|s/ && !group_learner(job->e->group)//'
    'engine_decode.c|what_adapts*|s/TRY(queue_candidates(d, g));//'
    'engine_adapt.c|what_adapts*|s/e->pass.candidates + first, g->rows/e->pass.candidates, g->rows/'
    # the states of blocks that share a batch
    'engine_group.c|what_adapts*|s/return x->longest > y->longest ? -1 : 1;/return x->longest > y->longest ? 1 : -1;/'
    'engine_encode.c|what_adapts*|s/g->state\[rows\] = job->stream\[s\].state;/g->state[rows] = 0;/'
    'engine.c|what_adapts*|s/TRY(upload_states(job));/(void)upload_states;/'
    # a graph is not released
    'engine_decode.c|steps_are*|s/ops->graph_destroy(job->e->ctx, d.mix.graph);//'
)

# try FOLDER MUTATION: prints how it ended. The script in it may have bars.
try()
{
    local folder=$1 file filter script original object others=()
    IFS='|' read -r file filter script <<<"$2"
    original=$(find "$source/host" -name "$file")
    mkdir -p "$folder"
    sed "$script" "$original" >"$folder/$file"
    for object in "${objects[@]}"; do
        [[ $object == */"$file".o || $object == */"${file%.c}".o ]] || others+=("$object")
    done
    if cmp -s "$folder/$file" "$original"; then
        echo "NO CHANGE       $2"
    elif [ ${#others[@]} = ${#objects[@]} ] ||
        ! "$cc" "-I$(dirname "$original")" "${flags[@]}" -O1 -c "$folder/$file" -o "$folder/mutant.o" ||
        ! "$cxx" -fsanitize=address,undefined "$folder/mutant.o" "${others[@]}" "${link[@]}" \
            -o "$folder/mutant"; then
        echo "NO PROGRAM      $2"
    elif GPUZIP_TEST_FILTER=$filter timeout 300 "$folder/mutant" >"$folder/log" 2>&1; then
        echo "SURVIVED        $2"
    else
        echo "killed          $2"
    fi
    rm -r "$folder"
}

rm -rf "$work"
mkdir -p "$work" || exit 1
jobs=$(nproc)
for i in "${!mutations[@]}"; do
    [ "$i" -lt "$jobs" ] || wait -n
    try "$work/$i" "${mutations[i]}" >"$work/result$i" &
done
wait
for i in "${!mutations[@]}"; do cat "$work/result$i"; done
[ "$(cat "$work"/result* | grep -c '^killed')" = ${#mutations[@]} ]
