#!/bin/bash
# gpu.sh from the pack to the table, over the emulated backend and with tiny texts, so that no slip
# in it costs time of a rented GPU. ncu, compute-sanitizer and gpuzip-bench's measurements are
# stand-ins that check their options; the program and its archives are real.
#
#     test_gpu_script.sh GPUZIP_EMULATED TINY_CHECKPOINT GPUZIP GPUZIP_BENCH QUEUE_TEST_EMULATED
set -u
source=$(cd "$(dirname "$0")/../.." && pwd)
emulated=$1 tiny_checkpoint=$2 gpuzip=$3 bench=$4 queue=$5
for tool in python3 xz sha256sum tar; do
    command -v $tool >/dev/null || {
        echo "skipped: no $tool"
        exit 77
    }
done
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder" || exit 1

fail() {
    echo "FAILED: $*" >&2
    cat out/summary.txt out/log.txt 2>/dev/null >&2
    exit 1
}

# script FILE: FILE is an executable made of the standard input.
script() {
    cat >"$1" && chmod +x "$1"
}

# ---- a build folder of stand-ins ----------------------------------------------------------------

export XDG_CACHE_HOME=$folder/cache
tiny=$("$tiny_checkpoint") && mv "$tiny" checkpoint || exit 1
"$gpuzip" model import checkpoint/tiny.bin -o tiny.gpzm --weight-bits 8 --activation-bits 8 \
    --kv-bits 8 >/dev/null || exit 1
mkdir build tools empty
script build/gpuzip <<END
#!/bin/sh
echo "libother: a warning that is none of the program's" >&2
export ASAN_OPTIONS=detect_leaks=0 # cli_emulated looks for leaks
exec '$emulated' --model '$folder/tiny.gpzm' "\$@"
END
# A run that measures writes the lines of --log; --list reads all other options.
script build/gpuzip-bench <<END
#!/bin/bash
'$bench' "\$@" --list >/dev/null || exit
while [ "\$1" != --log ]; do shift; [ \$# -gt 0 ] || exit 0; done
cat '$folder/lines' >"\$2"
END
cat >lines <<'END'
{"type":"device","int8_products_per_second":2e15,"int8_library_per_second":1e15,"int8_gemm_per_second":1e15,"copy_bytes_per_second":4e12}
{"type":"kernel","model":"gpt2-124m","bits":"8/15/12","name":"forward pass","shape":"8 x 1024","rows":8192,"tokens":8192,"seconds":0.01}
{"type":"kernel","model":"gpt2-124m","bits":"8/15/8","name":"forward pass","shape":"8 x 1024","rows":8192,"tokens":8192,"seconds":0.02}
{"type":"kernel","model":"gpt2-124m","bits":"8/15/12","name":"mix, decode","shape":"","rows":4096,"seconds":0.0001}
{"type":"skipped","model":"gpt2-124m","bits":"8/15/12","name":"coding","shape":"4096 streams","why":"need more memory; as many as fit:"}
{"type":"coding","model":"gpt2-124m","bits":"8/15/12","name":"decode","streams":3584,"steps":16,"context":8,"tokens":48,"bytes":200,"seconds":0.1,"forward":0.05,"mix":0.01,"coder":0.01,"floor_seconds":0.06,"bound":"copy"}
END
for test in "$source"/tests/*/test_cuda_*.c "$source"/tests/*/test_*_cuda.c; do
    name=$(basename "$test" .c)
    [ -f "$test" ] && echo 'exit 0' | script "build/$name"
done
printf '#!/bin/sh\nexec "%s"\n' "$queue" | script build/test_cuda_queue
printf '#!/bin/sh\nexec "%s" "$@"\n' "$tiny_checkpoint" | script build/tiny_checkpoint
# A program that holds the built-in model: the pack takes it out and the unpacking puts it back.
{
    printf '#!/bin/sh\nexit 0\n'
    cat "$source/weights/builtin/builtin.gpzm"
} | script build/test_cuda_ops
script tools/compute-sanitizer <<'END'
#!/bin/sh
[ "$1 $3 $4" = '--tool --error-exitcode 1' ] || exit 9
case $2 in memcheck | racecheck) ;; *) exit 9 ;; esac
shift 4
exec "$@"
END
script tools/ncu <<'END'
#!/bin/bash
[ "$1" = --import ] && { printf '    Duration      us     12.34\n'; exit; }
while [ "$1" != -o ]; do shift; [ $# -gt 0 ] || exit 9; done
: >"$2.ncu-rep"
shift 2
exec "$@"
END
echo 'exit 127' | script tools/nvidia-smi # as on a machine without it

# ---- the pack -----------------------------------------------------------------------------------

export GPU_TEXT=150 GPU_FILE=60 GPU_XZ=preset=0,dict=32MiB GPUZIP_DATA=$folder/empty
bash "$source/tests/gpu.sh" -m pack.tar.xz build >/dev/null || fail 'no pack'
[ "$(wc -c <pack.tar.xz)" -lt 1000000 ] || fail 'the pack has the built-in model'

# run CODE OPTION...
run() {
    local wanted=$1 got
    shift
    rm -rf out
    PATH=$folder/tools:$PATH bash "$source/tests/gpu.sh" -p pack.tar.xz -o out "$@" >output 2>&1
    got=$?
    [ $got -eq "$wanted" ] || fail "exit code $got, not $wanted: $* $(cat output)"
}

# has RESULT NAME: a line of the summary
has() {
    grep -q -- "^$2 *$1 " out/summary.txt || fail "not $1: $2"
}

# Two calls do what one did not have the time for.
run 0 -k keep -s kernels,archives -t 500
cmp build/test_cuda_ops keep/pack/test_cuda_ops || fail 'the built-in model was not put back'
for name in devices test_cuda_queue test_engine_cuda 'archives: sources -1' \
    'archives: alice29.txt .*'; do
    has ok "$name"
done
begin=$(wc -l <out/summary.txt)
run 0 -k keep -s kernels,archives,bench,sanitizer,profile -t 500
[ "$(grep -c '^test_cuda_queue ' out/summary.txt)" -eq 1 ] || fail 'a finished step ran again'
[ "$(wc -l <out/summary.txt)" -gt "$begin" ] || fail 'nothing was taken up'
for name in 'default mode, 10 MB both ways' 'bench: GPT-2 124M, coding' 'racecheck test_cuda_linear' \
    'ncu: linear out' 'ncu: norm'; do
    has ok "$name"
done
for line in 'decode, 3584 streams: of the floor *>= 60 % *60.0 % (copy)' \
    '4096 streams: need more memory' 'default, decode.* MB/s'; do
    grep -q "$line" out/table.txt || fail "the table lacks $line: $(cat out/table.txt)"
done
[ "$(grep -c 12.34 out/ncu.txt)" -eq 6 ] || fail 'not six kernels'
[ "$(tar -tf out/ncu.tar | grep -c 'ncu-rep$')" -eq 6 ] || fail 'not six reports'
[ "$(find out -type f | wc -l)" -le 8 ] || fail 'more files than come back'

# A test without a GPU and a GPU that is given up are failures; no later call repeats them.
echo 'exit 77' | script keep/pack/test_cuda_mix_adaptive
mkdir given_up
grep '^devices ' out/summary.txt >given_up/summary.txt
GPUZIP_EMULATOR_FAIL_CALL=40 run 1 -k given_up -p keep/pack -s kernels,archives
has FAILED test_cuda_mix_adaptive
has FAILED 'archives: sources -1'
grep -q '^gpuzip: .*cuda' out/log.txt || fail 'it failed for another reason'
run 0 -k given_up -p keep/pack -s kernels

# A step that is cut off keeps the lines before it, and the next call repeats it.
mkdir cut
cp given_up/summary.txt cut
sed -i '/^test_cuda_linear /d; /^test_cuda_ops /d' cut/summary.txt
echo 'echo half; exec sleep 100' | script keep/pack/test_cuda_linear
run 1 -k cut -p keep/pack -s kernels -t 12
has 'cut off' test_cuda_linear
has skipped test_cuda_ops
grep -q '^half$' out/log.txt || fail 'a line is lost'
echo 'exit 0' | script keep/pack/test_cuda_linear
run 0 -k cut -p keep/pack -s kernels
has ok test_cuda_linear
has ok test_cuda_ops
