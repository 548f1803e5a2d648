# The whole program with the CUDA backend, on emulated devices: the same archives as the CPU's,
# whatever the devices, the groups of blocks and the failures. The first argument is the program
# over the emulated backend, the second the one that makes a tiny checkpoint, the third the
# program as it is built otherwise.
. "$(dirname "$0")/check.sh"

cpu=$3
tiny=$("$2")
mv "$tiny" checkpoint
tiny=$("$2" long)
mv "$tiny" long
export XDG_CACHE_HOME="$folder/cache" # the self-test's memory: not the user's
narrow='--weight-bits 8 --activation-bits 8 --kv-bits 8'
run 0 "$cpu" model import checkpoint/tiny.bin -o tiny.gpzm $narrow
run 0 "$cpu" model import long/tiny.bin -o long.gpzm $narrow
run 0 "$cpu" model import long/tiny.bin -o wide.gpzm

# emulated CODE SEED OPTION...: the program on emulated devices.
emulated() {
    wanted=$1
    seed=$2
    shift 2
    run "$wanted" env GPUZIP_EMULATOR_SEED="$seed" "$gz" "$@"
}

# Devices and their self-test; the second run takes the result from the cache.
run 0 env GPUZIP_EMULATOR_DEVICES=2 "$gz" --list-devices --json --model tiny.gpzm
prints '"device":"cuda:1","product":"Emulated device 1","self_test":"passed","full_speed":true'
[ "$(ls cache/gpuzip | wc -l)" -eq 2 ] || fail "two passed tests were not remembered"
run 0 env GPUZIP_EMULATOR_DEVICES=2 "$gz" --list-devices --json --model tiny.gpzm
run 1 "$gz" --device cuda:1 --model tiny.gpzm -c text
says "no device 'cuda:1'; there is: cpu, cuda:0 (Emulated device 0)"

# 20 KB each way, on two seeds: each decodes the archives of the other. The model's weights
# are noise, but its tokens are up to 8 bytes long, and the text is made of them.
LC_ALL=C awk 'BEGIN {
    split("aaaaaaaa abababab bbbb aaaa abab", piece, " ")
    for (size = 0; size < 20000; size += length(word)) {
        x = (x * 1103515245 + 12345) % 2147483648
        word = piece[int(x / 65536) % 5 + 1]
        printf "%s", word
    }
}' >letters
[ "$(wc -c <letters)" -eq 20000 ] || fail "not 20 KB"
settings='--model long.gpzm --alpha 0.01 --adapt none --no-pack --window 16 --hop 12 --streams 256'
run 0 "$cpu" $settings -c letters
cp $out letters.gpz
[ "$(wc -c <letters.gpz)" -lt 5000 ] || fail "the text was not coded"
emulated 0 1 --device cuda $settings --no-verify -c letters
same $out letters.gpz
emulated 0 2 --model long.gpzm -dc letters.gpz # auto: there is a device
same $out letters

# Prose, with counts that learn; the verification decodes on the device as well.
head -c 250 "$data/alice29.txt" >prose
settings='--model tiny.gpzm --naive-bayes --alpha 0.05,1 --window 16 --hop 8 --streams 16'
run 0 "$cpu" $settings --no-verify -c prose
cp $out prose.gpz
[ "$(wc -c <prose.gpz)" -lt 250 ] || fail "the prose was not coded"
for seed in 1 2; do
    emulated 0 $seed --device cuda:0 $settings -c prose
    same $out prose.gpz
done

# Costs measured on the host are the same, and so is the page that shows them.
run 0 "$cpu" explain $settings --adapt all prose -o page.html
emulated 0 1 explain --device cuda $settings --adapt all prose -o other.html
same other.html page.html

# Small blocks, several at a time, among them one that is stored.
{
    head -c 400 letters
    head -c 100 /dev/urandom
    tail -c 300 letters
} >blocks
settings='--model wide.gpzm --alpha 0.01 --adapt none --no-pack --window 3 --hop 2 --streams 3'
settings="$settings --block-size 100"
run 0 "$cpu" $settings -c blocks
cp $out blocks.gpz
run 0 "$cpu" -l --json blocks.gpz
prints '"blocks":8,"stored_blocks":1,'
emulated 0 1 --device cuda $settings --no-verify -v -c blocks
same $out blocks.gpz
says "^cuda:0: the weights of 'llama-.*' need [0-9.]* MiB; free are"
says '^cuda:0: blocks at once [2-9], streams [0-9]*; memory in MiB: weights .* total .* free'
export GPUZIP_EMULATOR_DEVICES=3
emulated 0 2 --device cuda:0,2 $settings --no-verify -c blocks
same $out blocks.gpz
cat blocks.gpz blocks.gpz >twice.gpz
emulated 0 3 --device cuda --model wide.gpzm -d <twice.gpz
cat blocks blocks | cmp - $out || fail "two frames from a pipe"
unset GPUZIP_EMULATOR_DEVICES

# A device that breaks, in the self-test or later, hands over to the CPU.
export GPUZIP_EMULATOR_FAIL=30
emulated 0 1 --device cuda $settings --no-verify -c blocks
same $out blocks.gpz
says "^gpuzip: warning: device 'cuda:0' reported an error; coding on the CPU instead$"
emulated 0 1 --device cuda --model wide.gpzm -dc blocks.gpz
same $out blocks
says 'reported an error'
export GPUZIP_EMULATOR_FAIL=2
rm -r cache
emulated 0 1 --model wide.gpzm -dc blocks.gpz
same $out blocks
says 'warning: .*reported an error; using the CPU'
emulated 1 1 --device cuda --model wide.gpzm -dc blocks.gpz
unset GPUZIP_EMULATOR_FAIL

# Little room: fewer blocks at once. None for the weights: under auto the CPU.
export GPUZIP_EMULATOR_MEMORY=500000
emulated 0 1 --device cuda $settings --no-verify -v -c blocks
same $out blocks.gpz
says '^cuda:0: blocks at once [123],'
export GPUZIP_EMULATOR_MEMORY=10000
emulated 0 1 --device auto --model wide.gpzm -dc blocks.gpz
same $out blocks
says 'warning: .*no room for its weights'
emulated 1 1 --device cuda --model wide.gpzm -dc blocks.gpz
unset GPUZIP_EMULATOR_MEMORY

# A device that computes wrongly is refused; under auto the CPU is used. A remembered
# counts only if it is as it was written.
export GPUZIP_EMULATOR_WRONG=1
rm -r cache
emulated 4 1 --device cuda --model wide.gpzm -dc blocks.gpz
says 'self-test failed'
emulated 4 1 --list-devices --model wide.gpzm
emulated 0 1 --model wide.gpzm -dc blocks.gpz
same $out blocks
[ "$(grep -c warning $err)" -eq 1 ] || fail "not one line of warning"
[ ! -e cache ] || fail "a failed test was remembered"
unset GPUZIP_EMULATOR_WRONG
run 0 "$gz" --list-devices --model wide.gpzm
echo >>"$(echo cache/gpuzip/self-test-*)"
run 4 env GPUZIP_EMULATOR_WRONG=1 "$gz" --list-devices --model wide.gpzm
mkdir nowhere
chmod 500 nowhere
run 0 env XDG_CACHE_HOME="$folder/nowhere/deeper" "$gz" --list-devices --model wide.gpzm
run 0 env XDG_CACHE_HOME="$folder/text" "$gz" --list-devices --model wide.gpzm
