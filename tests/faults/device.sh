# Faults of a GPU: the N-th call of the CUDA runtime (allocations, copies, events, streams, graphs)
# or the N-th kernel fails, on an emulated device. The result is that of the CPU, or there is an
# error and nothing is left.
#
#     sh device.sh GPUZIP_EMULATED TINY_CHECKPOINT GPUZIP FAULTS
. "$(dirname "$0")/../cli/check.sh"

cpu=$3
faults=$4
tiny=$("$2")
mv "$tiny" checkpoint
export XDG_CACHE_HOME="$folder/cache"
run 0 "$cpu" model import checkpoint/tiny.bin -o tiny.gpzm --weight-bits 8 --activation-bits 8 \
    --kv-bits 8
head -c 60 text >small
settings='--model tiny.gpzm --naive-bayes --alpha 0.05,1 --window 16 --hop 8 --streams 4
    --block-size 30 --no-verify --no-pack'
run 0 "$cpu" $settings -c small
cp $out small.gpz
mkdir d

# fault VARIABLE NUMBER: sets $passed if the number is larger than the calls that a run makes
codes0=0 codes1=0
fault() {
    for way in compress decompress; do
        rm -rf d/*
        case $way in
        compress)
            cp small d/x
            wanted=small.gpz result=d/x.gpz
            set -- "$1" "$2" $settings d/x
            ;;
        decompress)
            cp small.gpz d/x.gpz
            wanted=small result=d/x
            set -- "$1" "$2" -d --model tiny.gpzm d/x.gpz
            ;;
        esac
        variable=$1 number=$2
        shift 2
        env "$variable=$number" timeout 120 "$gz" --device cuda "$@" >$out 2>$err
        code=$?
        case $code in
        0)
            same $result $wanted
            codes0=$((codes0 + 1))
            ;;
        1)
            says 'gpuzip: '
            absent $result
            codes1=$((codes1 + 1))
            ;;
        *) fail "$variable=$number, $way: exit code $code" ;;
        esac
        [ "$(ls -A d | grep -c '^\.gpuzip')" -eq 0 ] || fail "$variable=$number: a file was left"
        set -- "$variable" "$number"
    done
}

# The first calls one by one, the later ones ever more sparsely.
number=1
done=0
while [ $done -lt "$faults" ]; do
    fault GPUZIP_EMULATOR_FAIL_CALL $number
    fault GPUZIP_EMULATOR_FAIL $number
    done=$((done + 4))
    number=$((number + 1 + number / 12))
done
echo "$done faults: exit codes 0: $codes0, 1: $codes1"
