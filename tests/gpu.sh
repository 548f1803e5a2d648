#!/bin/bash
# All checks that need a GPU, in one call of less than ten minutes, the most valuable first:
#
#   build        for this GPU's architecture alone; not with a pack
#   kernels      the kernels against the CPU's, memcmp; a missing GPU is a failure
#   archives     four files coded on the CPU and on the GPU: the same bytes, decoded crosswise
#   bench        the program's default mode, 10 MB both ways; gpuzip-bench: GPT-2 124M, built-in
#   torch        the same forward pass in PyTorch, if it is there
#   sanitizer    compute-sanitizer's memcheck (linear, engine) and racecheck (linear), if there
#   profile      six kernels under ncu, if it is there
#   more         further archives, and the program's own tests on the GPU
#
#   tests/gpu.sh [-o OUT] [-k KEEP] [-t SECONDS] [-s STEP,...] [-a ARCHITECTURE] [BUILD_DIR]
#   tests/gpu.sh [-o OUT] [-k KEEP] [-t SECONDS] [-s STEP,...] -p PACK
#   tests/gpu.sh -m PACK [-a ARCHITECTURE] [BUILD_DIR]
#
# -o  the folder for the results, eight files; default: BUILD_DIR (default: build-gpu). Each line is
#     written when it is known: a run that is cut off keeps all before
# -k  a folder that remembers the finished steps: the next call with it takes up the rest, and
#     has the earlier lines in its OUT as well. A copy of an earlier OUT will do
# -t  seconds for all of it; default 560. Steps without time left are counted as skipped
# -s  only these steps of the list above, "build" among them unless there is a build
# -a  the architecture to build for; default: this GPU's
# -m  makes a pack PACK.tar.xz for a machine that has a GPU and this source tree, but not the
#     libraries of the build: the programs of BUILD_DIR with their libraries, and texts and small
#     models of GPUZIP_DATA. With -a it builds them first, by nvcc (90a for an H100 or H200). It is
#     below 34 MB, for such a machine takes 64 MiB together with the tree
# -p  takes the programs of such a pack, or of its unpacked folder, instead of building
#
# There, in one call:  tests/gpu.sh -p .gpu/pack.tar.xz -k /tmp/gpu -o "$OUT" -t 560
#
# Exit code 0: all that was run passed; 1: something failed or was cut off. A GPU that is given
# up half-way is a failure here, even though the program would go on with the CPU. GPU_TEXT and
# GPU_FILE are the bytes of the large text and the most of a small one (tests make them tiny).
# shellcheck disable=SC2317 # step() calls these functions
set -u
source=$(cd "$(dirname "$0")/.." && pwd)
export PATH=$PATH:/usr/local/cuda/bin
out='' keep='' pack='' make_pack='' architecture='' total=560 only=''
while getopts o:k:t:s:p:m:a: option; do
    case $option in
    o) out=$OPTARG ;;
    k) keep=$OPTARG ;;
    t) total=$OPTARG ;;
    s) only=$OPTARG ;;
    p) pack=$OPTARG ;;
    m) make_pack=$OPTARG ;;
    a) architecture=$OPTARG ;;
    *) exit 1 ;;
    esac
done
shift $((OPTIND - 1))
build=${1:-build-gpu}
out=${out:-$build}
text_bytes=${GPU_TEXT:-10000000} file_bytes=${GPU_FILE:-1000000}
builtin_model=$source/weights/builtin/builtin.gpzm
gpu_tests=''
for test in "$source"/tests/*/test_cuda_*.c "$source"/tests/*/test_*_cuda.c; do
    [ -f "$test" ] && gpu_tests+=" $(basename "$test" .c)"
done
programs="gpuzip gpuzip-bench tiny_checkpoint $gpu_tests"

# die TEXT
die() {
    echo "gpu.sh: $1" >&2
    exit 1
}

# configure ARCHITECTURE, compile
configure() {
    cmake -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DGPUZIP_CUDA=ON \
        -DGPUZIP_CUDA_ARCHITECTURES="$1-real"
}
compile() {
    # shellcheck disable=SC2086 # a list
    cmake --build "$build" -j "$(nproc)" --target $programs
}

# ---- a pack -------------------------------------------------------------------------------------

# hollow FOLDER: takes the built-in model, which does not shrink and is in the source tree, out of
# the programs; "grafts" says where it belongs.
hollow() {
    # shellcheck disable=SC2086 # a list
    python3 - "$builtin_model" "$1" $programs <<'PYTHON'
import sys
model, folder = open(sys.argv[1], "rb").read(), sys.argv[2]
with open(f"{folder}/grafts", "w") as grafts:
    for name in sys.argv[3:]:
        data = open(f"{folder}/{name}", "rb").read()
        at = data.find(model)
        if at >= 0:
            with open(f"{folder}/{name}", "r+b") as program:
                program.seek(at)
                program.write(bytes(len(model)))
            print(name, at, file=grafts)
PYTHON
}

# unpack FILE FOLDER: once; the sums tell a pack of another tree.
unpack() {
    local program offset
    [ -f "$2/complete" ] && return
    mkdir -p "$2" && tar -xJf "$1" -C "$2" || return
    while read -r program offset; do
        dd if="$builtin_model" of="$2/$program" bs=1M seek="$offset" oflag=seek_bytes \
            conv=notrunc status=none || return
    done <"$2/grafts"
    (cd "$2" && sha256sum --quiet -c SHA256SUMS) && : >"$2/complete"
}

# gather FOLDER: everything that a pack holds.
gather() {
    local program data=${GPUZIP_DATA:-$source/../shared/data}
    mkdir -p "$1/lib" "$1/data"
    for program in $programs; do
        strip -o "$1/$program" "$build/$program" 2>/dev/null || cp "$build/$program" "$1/$program"
        # All but the C library's own, which belong to the system.
        ldd "$build/$program" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' |
            grep -vE '/(libc|libm|libdl|librt|libpthread|libgcc_s)\.so' |
            while read -r library; do cp -L "$library" "$1/lib/"; done
    done
    for folder in dev models/stories260K; do
        [ -d "$data/$folder" ] || continue
        mkdir -p "$1/data/$folder"
        find "$data/$folder" -maxdepth 1 -type f -size -2048k -exec cp {} "$1/data/$folder/" \;
    done
    # The model may have learnt from this text: good for speed, not for sizes.
    if [ -f "$data/train/wiki_en.txt.xz" ]; then
        xz -dc "$data/train/wiki_en.txt.xz" 2>/dev/null | head -c "$text_bytes" >"$1/data/large"
    fi
    # shellcheck disable=SC2086 # a list
    (cd "$1" && sha256sum $programs) >"$1/SHA256SUMS"
    hollow "$1"
}

if [ "$make_pack" ]; then
    set -e
    [ "${make_pack%.tar.xz}" != "$make_pack" ] || die 'the name of a pack ends with .tar.xz'
    if [ "$architecture" ]; then
        configure "$architecture"
        compile
    fi
    for program in $programs; do
        [ -x "$build/$program" ] || die "there is no $build/$program; -a builds it"
    done
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    gather "$work"
    # Programs hold the same kernels: the dictionary must reach from one to the next.
    names=$(cd "$work" && ls -d ./*)
    # shellcheck disable=SC2086 # a list
    tar -cf - -C "$work" --owner=0 --group=0 $names |
        xz -T1 --lzma2="${GPU_XZ:-preset=5,dict=128MiB}" >"$make_pack"
    size=$(wc -c <"$make_pack")
    echo "$make_pack: $size bytes"
    [ "$size" -le 34000000 ] || die 'over 34,000,000 bytes: build for one architecture (-a 90a)'
    exit 0
fi

# ---- steps --------------------------------------------------------------------------------------

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$out" "${keep:=$work/keep}" || exit 1
out=$(cd "$out" && pwd)
keep=$(cd "$keep" && pwd)
summary=$out/summary.txt log=$out/log.txt
results='summary.txt log.txt bench.jsonl program.jsonl torch.jsonl ncu.txt'
for name in $results; do
    if [ -f "$keep/$name" ]; then
        [ "$keep" = "$out" ] || cp "$keep/$name" "$out/$name"
    else
        : >"$out/$name"
    fi
done
failed=0

# wanted STEP
wanted() {
    [ -z "$only" ] || [[ ,$only, == *,$1,* ]]
}

# note NAME RESULT SECONDS TEXT: a line of the summary, as soon as it is known. KEEP then has
# whatever OUT has.
note() {
    local name
    printf '%-34s %-8s %4s s  %s\n' "$@" | tee -a "$summary"
    for name in $results; do
        [ "$keep" = "$out" ] || cp "$out/$name" "$keep/$name"
    done
}

# finished NAME: in this call or an earlier one with the same KEEP.
finished() {
    local result
    for result in ok FAILED; do
        grep -qF -- "$(printf '%-34s %-8s ' "$1" $result)" "$summary" && return
    done
    return 1
}

# step NAME LIMIT COMMAND...: runs a command or an exported function for LIMIT seconds at most. 77
# is a skip. $work/note goes to the summary.
step() {
    local name=$1 limit=$2 begin=$SECONDS left=$((total - SECONDS)) result=ok code
    shift 2
    finished "$name" && return
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

# ---- the programs -------------------------------------------------------------------------------

# Not every machine with a GPU has nvidia-smi; the program's own list of devices will do.
smi() {
    nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1
}
export -f smi configure compile
export source build programs work keep out
if [ "$pack" ]; then
    if [ -f "$pack" ]; then
        unpack "$pack" "$keep/pack" || die "$pack: damaged, or of another source tree"
        pack=$keep/pack
    fi
    pack=$(cd "$pack" && pwd) || exit 1
    # Only the libraries that the system lacks, for python3 and the profilers see them too.
    mkdir "$work/lib"
    # shellcheck disable=SC2086 # a list
    (cd "$pack" && ldd $programs 2>/dev/null) | awk '/=> not found/ { print $1 }' | sort -u |
        while read -r library; do ln -s "$pack/lib/$library" "$work/lib/"; done
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$work/lib
elif wanted build; then
    if [ -z "$architecture" ]; then
        architecture=$(smi compute_cap | tr -d '. ')
        case $architecture in 90 | 100 | 120) architecture+=a ;; esac
    fi
    [ "$architecture" ] || die 'no nvidia-smi: -a must name the architecture'
    step configure 60 configure "$architecture"
    step build 300 compile
fi
bin=${pack:-$(cd "$build" && pwd)}
for program in $programs; do
    [ -x "$bin/$program" ] || {
        note "$program" FAILED 0 'not built'
        die 'there is nothing to test; on a machine without the tools of the build, use -p'
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
gpuzip=$bin/gpuzip bench=$bin/gpuzip-bench
data=${GPUZIP_DATA:-$source/../shared/data}
[ -z "$pack" ] || data=$pack/data
export cublas gpuzip bench bin data
export XDG_CACHE_HOME=$keep/cache # remembers the self-test's result

devices() {
    smi name,driver_version,memory.total,clocks.sm,clocks.max.sm,temperature.gpu
    echo "cuBLAS: ${cublas:-not there}; $(nproc) processors"
    "$gpuzip" --list-devices --json | tee "$work/devices"
    sed -n 's/.*"device":"cuda:0","product":"\([^"]*\)".*/\1/p' "$work/devices" >"$work/note"
    grep -q '"device":"cuda:0".*"self_test":"passed"' "$work/devices"
}
export -f devices
step devices 60 devices

# ---- kernels ------------------------------------------------------------------------------------

# kernels TEST [off|on]: without cuBLAS, or with it wherever that can be. Exit code 77 of a test
# means that it found no GPU.
kernels() {
    [ "${2:-off}" = off ] || [ "$cublas" ] || return 77
    if [ "${2:-}" ]; then
        export GPUZIP_CUBLAS=$2
    fi
    "$bin/$1"
    local code=$?
    [ "$code" -ne 77 ] || echo 'no GPU' >"$work/note"
    [ "$code" -eq 0 ]
}
export -f kernels
if wanted kernels; then
    for test in $gpu_tests; do
        step "$test" 60 kernels "$test"
    done
    step 'test_cuda_linear, no cuBLAS' 40 kernels test_cuda_linear off
    step 'test_cuda_linear, cuBLAS' 40 kernels test_cuda_linear on
fi

# ---- archives -----------------------------------------------------------------------------------

texts=$work/texts
mkdir "$texts"
find "$source"/{coder,host,kernels,tests,tools,weights} \
    -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | LC_ALL=C sort | xargs cat >"$work/sources"
head -c "$file_bytes" "$work/sources" >"$texts/sources"
head -c "$file_bytes" "$source/README.md" >"$texts/README.md"
head -c "$file_bytes" "$source/tests/data/alice29.txt" >"$texts/alice29.txt"
head -c $((file_bytes / 5)) "$bin/gpuzip-bench" >"$texts/binary"
head -c $((file_bytes / 15)) /dev/urandom >"$texts/random"
printf x >"$texts/one"
: >"$texts/empty"
for name in enwik6 code_dev.txt german_dev.txt math_test.txt wiki.valid.tokens; do
    [ -f "$data/dev/$name" ] && head -c "$file_bytes" "$data/dev/$name" >"$texts/$name"
done
# 10 MB in which nothing repeats, for matches would be found too often; without a pack's text
# it is shorter.
{
    for name in large dev/enwik6 dev/wiki.valid.tokens dev/math_test.txt dev/german_dev.txt; do
        [ ! -f "$data/$name" ] || cat "$data/$name"
    done
    cat "$source/tests/data/alice29.txt" "$work/sources"
} | head -c "$text_bytes" >"$work/large"

# run_quietly COMMAND...: fails if the program warns, for then the GPU was given up. A library
# may print whatever it likes.
run_quietly() {
    "$@" 2>"$work/stderr"
    local code=$?
    cat "$work/stderr" >&2
    [ "$code" -eq 0 ] && ! grep -aq '^gpuzip: ' "$work/stderr"
}

# cross FILE OPTIONS...: both ways over both devices. Decoding knows its options from the archive,
# all but the model.
cross() {
    local file=$1 device other decode=()
    shift
    [ "${1:-}" = --model ] && decode=("$1" "$2")
    for device in cuda cpu; do
        run_quietly "$gpuzip" --device "$device" --no-verify "$@" -c "$file" >"$work/$device.gpz" ||
            return 1
    done
    cmp "$work/cpu.gpz" "$work/cuda.gpz" || return 1
    for device in cpu cuda; do
        other=cuda
        [ "$device" = cuda ] && other=cpu
        run_quietly "$gpuzip" --device "$other" "${decode[@]}" -dc "$work/$device.gpz" \
            >"$work/back" || return 1
        cmp "$file" "$work/back" || return 1
    done
    echo "$(wc -c <"$file") bytes, $(wc -c <"$work/cpu.gpz") compressed" >"$work/note"
}
export -f run_quietly cross

# archive NAME OPTIONS...
archive() {
    local name=$1
    shift
    [ -f "$texts/$name" ] && step "archives: $name${*:+ ${*##*/}}" 45 cross "$texts/$name" "$@"
}
if wanted archives; then
    archive enwik6
    archive sources -1
    archive alice29.txt --naive-bayes --update 4
    model=$data/models/stories260K/stories260K.bin
    if [ -f "$model" ]; then
        archive README.md --model "$model"
    else
        archive README.md -7
    fi
fi

# ---- speed --------------------------------------------------------------------------------------

# large NAME OPTIONS...: the large text over the GPU both ways, with the seconds of each phase.
large() {
    local name=$1 line way
    shift
    run_quietly "$gpuzip" --device cuda --no-verify --json "$@" -f -o "$work/large.gpz" \
        "$work/large" >"$work/lines" || return 1
    run_quietly "$gpuzip" --device cuda --json -d -f -o "$work/back" "$work/large.gpz" \
        >>"$work/lines" || return 1
    for way in encode decode; do
        read -r line
        echo "{\"type\":\"program\",\"name\":\"$way\",\"mode\":\"$name\",${line#?}"
    done <"$work/lines" | tee -a "$out/program.jsonl"
    sed -n 's/.*"bytes_per_second":\([0-9]*\).*/\1 bytes a second/p' "$work/lines" |
        paste -sd, >"$work/note"
    cmp "$work/large" "$work/back"
}
# measure OPTIONS...: each line is in OUT as soon as it is measured.
measure() {
    local code
    "$bench" --device cuda:0 --quick --text "$work/large" \
        --log >(trap '' TERM && cat >>"$out/bench.jsonl") "$@"
    code=$?
    wait $!
    smi clocks.sm,clocks.max.sm,temperature.gpu,power.draw
    return "$code"
}
torch() {
    command -v python3 >/dev/null || return 77
    python3 "$source/tests/cuda/bench_torch.py" --gpuzip "$out/bench.jsonl" \
        --log "$out/torch.jsonl" --batches 8,32 --mode "$1"
}
export -f large measure torch
gpt2='--model gpt2-124m --random'
if wanted bench; then
    step 'default mode, 10 MB both ways' 70 large default
    # shellcheck disable=SC2086 # options
    step 'bench: GPT-2 124M, coding' 110 measure --coding $gpt2 --seconds 30
fi
if wanted torch; then
    step 'PyTorch, compiled' 100 torch default
    [ -s "$out/torch.jsonl" ] || step 'PyTorch, not compiled' 40 torch none
fi
if wanted bench; then
    # shellcheck disable=SC2086 # options
    step 'bench: GPT-2 124M, kernels' 40 measure --kernels $gpt2
    step 'bench: built-in, coding' 50 measure --coding --streams 1024,4096 --seconds 10
    step 'bench: built-in, kernels' 30 measure --kernels
fi

# ---- compute-sanitizer --------------------------------------------------------------------------

# sanitize TOOL TEST
sanitize() {
    command -v compute-sanitizer >/dev/null || return 77
    compute-sanitizer --tool "$1" --error-exitcode 1 "$bin/$2"
}
export -f sanitize
if wanted sanitizer; then
    step 'memcheck test_cuda_linear' 45 sanitize memcheck test_cuda_linear
    step 'memcheck test_engine_cuda' 45 sanitize memcheck test_engine_cuda
    step 'racecheck test_cuda_linear' 45 sanitize racecheck test_cuda_linear
fi

# ---- profiles -----------------------------------------------------------------------------------

# profile OPTION VALUE: two launches of a kernel, which a range (its name followed by a slash) or a
# pattern of the function's name tells from others. ncu ends the program after them.
profile() {
    command -v ncu >/dev/null || return 77
    rm -f "$work/profile.ncu-rep"
    ncu --clock-control none --set full --nvtx "$1" "$2" -c 2 --kill yes -f -o "$work/profile" \
        "$bench" --device cuda:0 --kernels --quick --seconds 1 --model gpt2-124m --random
    [ -f "$work/profile.ncu-rep" ] || return 1
    mkdir -p "$keep/ncu"
    cp "$work/profile.ncu-rep" "$keep/ncu/${2//[^a-z_]/}.ncu-rep"
    tar -cf "$out/ncu.tar" -C "$keep" ncu
    ncu --import "$work/profile.ncu-rep" --page details >"$work/details" || return 1
    cat "$work/details" >>"$out/ncu.txt"
    sed -n 's/^ *Duration *\([a-z]*\) *\([0-9.,]*\) *$/\2 \1/p' "$work/details" | paste -sd' ' \
        >"$work/note"
}
export -f profile
if wanted profile; then
    step 'ncu: linear out' 25 profile --nvtx-include 'linear out/'
    step 'ncu: attention_tile' 25 profile -k regex:attention_tile_kernel
    step 'ncu: attention, decode' 25 profile -k 'regex:^attention_kernel'
    step 'ncu: mix_decode' 25 profile -k regex:mix_decode_kernel
    step 'ncu: norm' 25 profile -k 'regex:^norm_'
    step 'ncu: linear up' 25 profile --nvtx-include 'linear up/'
fi

# ---- more, if time is left ----------------------------------------------------------------------

program_test() {
    GPUZIP_DEVICE=cuda sh "$source/tests/cli/$1.sh" "$gpuzip" "$bin/tiny_checkpoint"
}
export -f program_test
if wanted bench; then
    step '10 MB both ways, model alone' 60 large 'model alone' --adapt none
    # shellcheck disable=SC2086 # options
    step 'bench: GPT-2 124M, 8-bit cache' 90 measure --coding $gpt2 --kv-bits 8 --streams 4096 \
        --seconds 20
fi
if wanted more; then
    for name in alice29.txt code_dev.txt german_dev.txt wiki.valid.tokens math_test.txt binary \
        random one empty; do
        archive $name
    done
    for topic in streams several reports; do
        step "program on the GPU: $topic" 60 program_test $topic
    done
fi
# A build that takes minutes and may be somewhat faster.
if wanted torch; then
    step 'PyTorch, max-autotune' 180 torch max-autotune-no-cudagraphs
fi

# ---- the table ----------------------------------------------------------------------------------

printf '\n%s\n' "== $(smi name,driver_version)"
cat "$summary"
if command -v python3 >/dev/null && { wanted bench || wanted torch; }; then
    python3 "$source/tests/cuda/gpu_table.py" "$out/bench.jsonl" "$out/torch.jsonl" \
        "$out/program.jsonl" | tee "$out/table.txt"
fi
exit $failed
