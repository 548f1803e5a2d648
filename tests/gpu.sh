#!/bin/bash
# Everything a GPU can check, in one go, the most important first, within a given time:
#
#   build        for this GPU's architecture alone
#   kernels      the kernels against the CPU's, memcmp; a missing GPU is a failure
#   archives     files coded on the CPU and on the GPU: the same bytes, each decoded by the other;
#                10 MB of text both ways
#   sanitizer    the kernels' tests under compute-sanitizer, if it is there
#   bench        gpuzip-bench: GPT-2 124M and the built-in model
#   torch        the same forward pass in PyTorch, if it is there
#   program      the program's own tests on the GPU
#   profile      ncu and nsys, if they are there
#
#   tests/gpu.sh [-o OUT] [-t SECONDS] [-s STEP,...] [-p PACK] [BUILD_DIR]
#   tests/gpu.sh -m PACK [-a ARCHITECTURE] [BUILD_DIR]
#
# -o  where the summary and the logs go; default: BUILD_DIR (default: build-gpu)
# -t  seconds for all of it; default 540. What there is no time for is counted as skipped.
# -s  only these steps of the list above, "build" among them unless there is a build
# -m  makes a pack, on a machine with nvcc but no GPU: the programs built for ARCHITECTURE (default
#     90a), the libraries they need, and what of GPUZIP_DATA is small, for a machine that has a GPU
#     but not what the build needs
# -p  takes the programs of such a pack instead of building
#
# Exit code 0: all that was run passed; 1: something failed or was cut off. Texts to code come from
# GPUZIP_DATA (or the pack); without it from the project itself. A GPU that is given up half-way is
# a failure here, even though the program would go on with the CPU.
# shellcheck disable=SC2317 # what step() runs is reached
set -u
source=$(cd "$(dirname "$0")/.." && pwd)
export PATH=$PATH:/usr/local/cuda/bin
out='' pack='' make_pack='' architecture='' total=540 only=''
while getopts o:t:s:p:m:a: option; do
    case $option in
    o) out=$OPTARG ;;
    t) total=$OPTARG ;;
    s) only=$OPTARG ;;
    p) pack=$(cd "$OPTARG" && pwd) || exit 1 ;;
    m) make_pack=$OPTARG ;;
    a) architecture=$OPTARG ;;
    *) exit 1 ;;
    esac
done
shift $((OPTIND - 1))
build=${1:-build-gpu}
out=${out:-$build}
gpu_tests=''
for test in "$source"/tests/*/test_cuda_*.c "$source"/tests/*/test_*_cuda.c; do
    [ -f "$test" ] && gpu_tests+=" $(basename "$test" .c)"
done
programs="gpuzip gpuzip-bench tiny_checkpoint $gpu_tests"

# configure ARCHITECTURE, compile
configure() {
    cmake -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DGPUZIP_CUDA=ON \
        -DGPUZIP_CUDA_ARCHITECTURES="$1-real" -DGPUZIP_REQUIRE_GPU=ON \
        -DCMAKE_BUILD_RPATH="\$ORIGIN/lib" # of a pack
}
compile() {
    # shellcheck disable=SC2086 # a list
    cmake --build "$build" -j "$(nproc)" --target $programs
}

# ---- a pack -------------------------------------------------------------------------------------

if [ "$make_pack" ]; then
    set -e
    configure "${architecture:-90a}"
    compile
    mkdir -p "$make_pack/lib" "$make_pack/data"
    for program in $programs; do
        strip -o "$make_pack/$program" "$build/$program"
        # All but the C library's own, which belong to the system.
        ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' |
            grep -vE '/(libc|libm|libdl|librt|libpthread|libgcc_s)\.so' |
            while read -r library; do cp -L "$library" "$make_pack/lib/"; done
    done
    for folder in dev models/stories260K models/babyllama; do
        [ -d "${GPUZIP_DATA:-/nowhere}/$folder" ] || continue
        mkdir -p "$make_pack/data/$folder"
        find "$GPUZIP_DATA/$folder" -maxdepth 1 -type f -size -8192k \
            -exec cp {} "$make_pack/data/$folder/" \;
    done
    du -sh "$make_pack"
    exit 0
fi

# ---- steps --------------------------------------------------------------------------------------

mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
summary=$out/summary.txt log=$out/log.txt
: >"$summary"
: >"$log"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
failed=0

# wanted STEP
wanted() {
    [ -z "$only" ] || [[ ,$only, == *,$1,* ]]
}

# note NAME RESULT SECONDS TEXT: a line of the summary, as soon as it is known.
note() {
    printf '%-34s %-8s %4s s  %s\n' "$@" | tee -a "$summary"
}

# step NAME LIMIT COMMAND...: runs a command or an exported function for LIMIT seconds at most. 77
# is a skip. What it writes to $work/note goes to the summary.
step() {
    local name=$1 limit=$2 begin=$SECONDS left=$((total - SECONDS)) result=ok code
    shift 2
    if [ $left -lt 5 ]; then
        note "$name" skipped 0 'no time left'
        return
    fi
    [ "$limit" -lt $left ] || limit=$left
    rm -f "$work/note"
    echo "== $name" | tee -a "$log"
    timeout -k 5 "$limit" bash -c '"$@"' step "$@" 2>&1 | tee -a "$log"
    code=${PIPESTATUS[0]}
    case $code in
    0) ;;
    77)
        result=skipped
        [ -s "$work/note" ] || echo 'not there' >"$work/note"
        ;;
    124 | 137) result='cut off' failed=1 ;;
    *) result=FAILED failed=1 ;;
    esac
    note "$name" "$result" $((SECONDS - begin)) "$(cat "$work/note" 2>/dev/null)"
}

# skip NAME WHY
skip() {
    note "$1" skipped 0 "$2"
}

# ---- the programs -------------------------------------------------------------------------------

capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 |
    tr -d '. ')
if [ -z "$capability" ]; then
    echo "gpu.sh: nvidia-smi finds no GPU" >&2
    exit 1
fi
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,temperature.gpu \
    --format=csv | tee -a "$log"

export -f configure compile
export source build programs work
if [ "$pack" ]; then
    skip build "programs of $pack"
elif wanted build; then
    case ${architecture:=$capability} in 90 | 100 | 120) architecture=${architecture}a ;; esac
    step configure 60 configure "$architecture"
    step build 300 compile
fi
bin=${pack:-$(cd "$build" && pwd)}
for program in $programs; do
    [ -x "$bin/$program" ] || {
        note "$program" FAILED 0 'not built'
        echo "gpu.sh: there is nothing to test; on a machine without what the build needs, use -p" >&2
        exit 1
    }
done
# cuBLAS, which is looked for when it is needed; PyTorch brings one.
cublas=$(ldconfig -p | awk '/libcublas\.so\.1[23] / { print $NF; exit }')
if [ -z "$cublas" ]; then
    # shellcheck disable=SC2046 # folders
    cublas=$(find -L /usr/local/cuda/lib64 /usr/local/cuda/lib \
        $(python3 -c 'import sys; print(*(p + "/nvidia" for p in sys.path if p))' 2>/dev/null) \
        -name 'libcublas.so.1[23]' -print -quit 2>/dev/null)
    [ -z "$cublas" ] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${cublas%/*}
fi
echo "cuBLAS: ${cublas:-not there}" | tee -a "$log"
export cublas
gpuzip=$bin/gpuzip bench=$bin/gpuzip-bench
GPUZIP_DATA=${GPUZIP_DATA:-${pack:+$pack/data}}
[ -d "${GPUZIP_DATA:-/nowhere}/dev" ] || GPUZIP_DATA=$source/../shared/data
export gpuzip bench bin out GPUZIP_DATA

# ---- kernels ------------------------------------------------------------------------------------

# with_cublas off|on: by the kernels alone, or by cuBLAS wherever that can be.
with_cublas() {
    [ "$1" = off ] || [ "$cublas" ] || return 77
    GPUZIP_CUBLAS=$1 "$bin/test_cuda_linear"
}
export -f with_cublas
if wanted kernels; then
    for test in $gpu_tests; do
        step "$test" 90 "$bin/$test"
    done
    step 'test_cuda_linear, no cuBLAS' 60 with_cublas off
    step 'test_cuda_linear, cuBLAS' 60 with_cublas on
fi

# ---- archives -----------------------------------------------------------------------------------

texts=$work/texts
mkdir "$texts"
find "$source"/coder "$source"/host "$source"/kernels "$source"/tests "$source"/tools "$source"/weights \
    -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | LC_ALL=C sort | xargs cat >"$texts/sources"
cp "$source/README.md" "$source/tests/data/alice29.txt" "$texts/"
head -c 200000 "$gpuzip" >"$texts/binary"
head -c 70000 /dev/urandom >"$texts/random"
printf x >"$texts/one"
: >"$texts/empty"
for name in enwik6 code_dev.txt german_dev.txt math_test.txt wiki.valid.tokens; do
    [ -f "$GPUZIP_DATA/dev/$name" ] && cp "$GPUZIP_DATA/dev/$name" "$texts/"
done
# 10 MB; what repeats is farther apart than any window.
: >"$work/text10"
while [ "$(wc -c <"$work/text10")" -lt 10000000 ]; do
    for name in enwik6 wiki.valid.tokens alice29.txt code_dev.txt german_dev.txt README.md sources; do
        [ -f "$texts/$name" ] && cat "$texts/$name"
    done >>"$work/text10"
done
truncate -s 10000000 "$work/text10"

# run_quietly COMMAND...: fails if it warns, for then the GPU was given up.
run_quietly() {
    "$@" 2>"$work/stderr" && [ ! -s "$work/stderr" ] && return
    cat "$work/stderr" >&2
    return 1
}

# cross FILE OPTIONS...: both ways over both devices.
cross() {
    local file=$1 device other
    shift
    for device in cuda cpu; do
        run_quietly "$gpuzip" --device "$device" --no-verify "$@" -c "$file" >"$work/$device.gpz" ||
            return 1
    done
    cmp "$work/cpu.gpz" "$work/cuda.gpz" || return 1
    for device in cpu cuda; do
        other=cuda
        [ "$device" = cuda ] && other=cpu
        run_quietly "$gpuzip" --device "$other" "$@" -dc "$work/$device.gpz" >"$work/back" ||
            return 1
        cmp "$file" "$work/back" || return 1
    done
    echo "$(wc -c <"$file") bytes, $(wc -c <"$work/cpu.gpz") compressed" >"$work/note"
}

# seconds COMMAND...: runs it into $work/out; prints the seconds of the clock and the processors.
seconds() {
    local TIMEFORMAT='%R s (processors %U + %S)'
    { time run_quietly "$@" >"$work/out"; } 2>&1
}

# large LEVEL: 10 MB of text over the GPU both ways.
large() {
    local encode decode
    if ! encode=$(seconds "$gpuzip" --device cuda --no-verify "$1" -c "$work/text10"); then
        echo "$encode"
        return 1
    fi
    mv "$work/out" "$work/large.gpz"
    if ! decode=$(seconds "$gpuzip" --device cuda -dc "$work/large.gpz"); then
        echo "$decode"
        return 1
    fi
    echo "$(wc -c <"$work/large.gpz") bytes; encode $encode, decode $decode" >"$work/note"
    cmp "$work/text10" "$work/out"
}
export -f run_quietly cross seconds large

if wanted archives; then
    for name in README.md alice29.txt sources enwik6 code_dev.txt german_dev.txt \
        wiki.valid.tokens math_test.txt binary random one empty; do
        [ -f "$texts/$name" ] && step "archives: $name" 60 cross "$texts/$name"
    done
    step 'archives: alice29.txt -1' 60 cross "$texts/alice29.txt" -1
    step 'archives: README.md -9' 60 cross "$texts/README.md" -9
    step 'archives: Naive Bayes' 60 cross "$texts/README.md" --naive-bayes --update 4
    for model in stories260K/stories260K.bin babyllama/model5000.bin; do
        name="archives: ${model%/*}"
        model=$GPUZIP_DATA/models/$model
        if [ -f "$model" ]; then
            step "$name" 60 cross "$texts/README.md" --model "$model"
        else
            skip "$name" 'no model'
        fi
    done
    step '10 MB, -1' 60 large -1
    step '10 MB, -6' 90 large -6
fi

# ---- compute-sanitizer --------------------------------------------------------------------------

# sanitize TOOL TEST
sanitize() {
    command -v compute-sanitizer >/dev/null || return 77
    compute-sanitizer --tool "$1" --error-exitcode 1 "$bin/$2"
}
export -f sanitize
if wanted sanitizer; then
    for tool in memcheck racecheck; do
        for test in test_cuda_ops test_cuda_linear; do
            step "$tool $test" 45 sanitize $tool $test
        done
    done
    step 'memcheck test_engine_cuda' 45 sanitize memcheck test_engine_cuda
fi

# ---- speed --------------------------------------------------------------------------------------

measure() {
    local code
    "$bench" --device cuda:0 --quick --text "$work/text10" --log "$work/lines" "$@"
    code=$?
    cat "$work/lines" >>"$out/bench.jsonl"
    nvidia-smi --query-gpu=clocks.sm,clocks.max.sm,temperature.gpu,power.draw --format=csv,noheader
    return "$code"
}
torch() {
    command -v python3 >/dev/null || return 77
    python3 "$source/tests/cuda/bench_torch.py" --gpuzip "$out/bench.jsonl" --log "$out/torch.jsonl" \
        --batches 8,32 --mode "$1"
}
export -f measure torch
if wanted bench; then
    rm -f "$out/bench.jsonl"
    step 'bench: GPT-2 124M, coding' 120 measure --coding --model gpt2-124m --seconds 30
    step 'bench: GPT-2 124M, 8-bit cache' 90 measure --coding --model gpt2-124m --kv-bits 8 \
        --streams 4096 --seconds 20
    step 'bench: built-in, coding' 60 measure --coding --streams 1024,4096 --seconds 12
    step 'bench: built-in, kernels' 30 measure --kernels
    step 'bench: GPT-2 124M, kernels' 40 measure --kernels --model gpt2-124m
fi
if wanted torch; then
    rm -f "$out/torch.jsonl"
    step 'PyTorch, compiled' 120 torch default
    [ -s "$out/torch.jsonl" ] || step 'PyTorch, not compiled' 60 torch none
fi

# ---- the program's tests, every file coded on the GPU -------------------------------------------

program_test() {
    GPUZIP_DEVICE=cuda sh "$source/tests/cli/$1.sh" "$gpuzip" "$bin/tiny_checkpoint"
}
export -f program_test
if wanted program; then
    for topic in streams sources targets several damage models reports; do
        step "program on the GPU: $topic" 60 program_test $topic
    done
fi

# ---- profiles -----------------------------------------------------------------------------------

profile_ncu() {
    command -v ncu >/dev/null || return 77
    ncu --clock-control none --section SpeedOfLight --section Occupancy --launch-skip 200 \
        --launch-count 60 "$bench" --device cuda:0 --coding --quick --seconds 1 --streams 1024 \
        --model gpt2-124m >"$out/ncu.txt" 2>&1 && grep -c Duration "$out/ncu.txt"
}
profile_nsys() {
    command -v nsys >/dev/null || return 77
    nsys profile --force-overwrite true -t cuda,nvtx,osrt -o "$work/nsys" "$gpuzip" --device cuda \
        --no-verify -c "$texts/alice29.txt" >/dev/null &&
        nsys stats --report nvtx_sum,cuda_gpu_kern_sum,cuda_gpu_mem_time_sum "$work/nsys.nsys-rep" \
            >"$out/nsys.txt" && sed -n 1,60p "$out/nsys.txt"
}
export texts
export -f profile_ncu profile_nsys
if wanted profile; then
    step ncu 60 profile_ncu
    step nsys 60 profile_nsys
fi

# What takes minutes to compile and may be somewhat faster.
if wanted torch; then
    step 'PyTorch, max-autotune' 180 torch max-autotune-no-cudagraphs
fi

# ---- the table ----------------------------------------------------------------------------------

echo
echo "== $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)"
cat "$summary"
if command -v python3 >/dev/null && { wanted bench || wanted torch; }; then
    python3 "$source/tests/cuda/gpu_table.py" "$out/bench.jsonl" "$out/torch.jsonl" | tee -a "$summary"
fi
exit $failed
