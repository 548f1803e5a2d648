# gpuzip model, --model and the exit codes of models. Second argument: the program that makes a
# tiny checkpoint; third: the one that gives a model file its check.
. "$(dirname "$0")/check.sh"

run 0 "$gz" model info
prints '^id  *[0-9a-f]\{64\}$'
prints '^vocabulary  *[0-9]'
run 0 "$gz" model info --json
prints '^{"name":.*}$'

run 3 "$gz" model info missing.gpzm
says 'missing.gpzm'
run 3 "$gz" --model missing.gpzm text
says 'missing.gpzm'
absent text.gpz
run 3 "$gz" --model missing.gpzm -q -t text

run 1 "$gz" model
says "'./model'"
run 1 "$gz" model bogus
run 1 "$gz" model import
run 1 "$gz" model import a
run 1 "$gz" model import a b -o c
run 1 "$gz" model import a -o c --weight-bits 9
run 1 "$gz" model import a -o c --kv-bits 15
run 1 "$gz" model info --bogus
run 1 "$gz" model import text -o text
says 'not touched'
run 1 "$gz" model import text -o x.gpzm
absent x.gpzm

# A file of that name.
cp text model
run 0 "$gz" ./model
exists model.gpz
run 0 "$gz" -c -- model

# Import: the source's options, the same id every time, no overwriting.
tiny=$("$2")
run 0 "$gz" model import "$tiny/tiny.bin" -o tiny.gpzm --name Tiny
silent
mv "$tiny" checkpoint
run 0 "$gz" model info tiny.gpzm
prints '^name  *Tiny$'
prints '^architecture  *llama$'
cp $out first
run 1 "$gz" model import checkpoint/tiny.bin -o tiny.gpzm --name Tiny
says 'already exists'
run 0 "$gz" model import -f checkpoint/tiny.bin -o tiny.gpzm --name Tiny
run 0 "$gz" model info tiny.gpzm
same $out first
run 0 "$gz" model import checkpoint/tiny.bin -o narrow.gpzm --weight-bits 8 --activation-bits 8 \
    --kv-bits 8
run 0 "$gz" model info narrow.gpzm --json
prints '"weight_bits":8,"activation_bits":8,"kv_bits":8'
mv checkpoint/tokenizer.bin .
run 1 "$gz" model import checkpoint/tiny.bin -o other.gpzm
run 0 "$gz" model import checkpoint/tiny.bin -o other.gpzm --tokenizer tokenizer.bin --name Tiny
same other.gpzm tiny.gpzm

# A file needs the model that compressed it. The model's weights are noise, so counts do
# the work: repetition becomes small, and the block is coded, not stored.
yes abc | head -c 1200 >dull
run 0 "$gz" --model tiny.gpzm --no-pack --naive-bayes --alpha 0,1 dull
run 3 "$gz" -d -o back dull.gpz
says 'dull.gpz: model missing: '
absent back
run 3 "$gz" -t --model narrow.gpzm dull.gpz
run 3 "$gz" -t dull.gpz text missing
run 0 "$gz" -dc --model tiny.gpzm dull.gpz
same $out dull
run 0 "$gz" -dc --model narrow.gpzm --model tiny.gpzm dull.gpz
same $out dull
run 0 "$gz" -lv dull.gpz
prints 'expert  *naive-bayes alpha 1$'
prints 'models  *not among'
run 0 "$gz" -lv --model tiny.gpzm dull.gpz
prints 'models  *at hand'

# A model learns texts: the same every time, another id, smaller files of text like them.
i=0
while [ $i -lt 30 ]; do # three texts in two files, and a fresh one of the same phrases
    i=$((i + 1))
    echo "$i: all is well that ends well, and $((i * i % 7)) of us know it"
done >wise
head -n 20 wise >lesson
{ head -n 20 wise | tail -n 10 && printf '\0' && head -n 20 wise; } >lessons
tail -n 10 wise >exam
run 1 "$gz" model learn
run 1 "$gz" model learn lesson
run 1 "$gz" model learn -o learnt.gpzm
run 1 "$gz" model learn lesson -o learnt.gpzm --size 0
run 1 "$gz" model learn lesson missing -o learnt.gpzm --size 1
says 'missing'
run 1 "$gz" model learn lesson . -o learnt.gpzm --size 1
run 3 "$gz" model learn lesson --model missing.gpzm -o learnt.gpzm
absent learnt.gpzm
run 0 "$gz" model learn --model tiny.gpzm lesson lessons -o learnt.gpzm --size 1
silent
run 0 "$gz" model info learnt.gpzm
prints '^n-grams  *1048576 bytes$'
run 1 "$gz" model learn --model tiny.gpzm lesson -o learnt.gpzm --size 1
says 'already exists'
run 0 "$gz" model learn --model learnt.gpzm lesson lessons -o again.gpzm --size 1
same again.gpzm learnt.gpzm
run 0 "$gz" --model tiny.gpzm -c exam
cp $out exam.tiny
run 0 "$gz" --model learnt.gpzm -c exam
cp $out exam.learnt
[ $(wc -c <exam.learnt) -lt $(($(wc -c <exam.tiny) * 9 / 10)) ] || fail 'nothing was learnt'
run 3 "$gz" -dc --model tiny.gpzm exam.learnt
run 0 "$gz" -dc --model tiny.gpzm --model learnt.gpzm exam.learnt
same $out exam
printf '' >empty.txt
run 0 "$gz" model learn --model tiny.gpzm empty.txt -o empty.gpzm --size 1

# Two models are two experts, if they share a vocabulary.
run 0 "$gz" -f --model tiny.gpzm --model narrow.gpzm --naive-bayes --alpha 0.01,0.02,1 dull
run 0 "$gz" -dc --model tiny.gpzm --model narrow.gpzm dull.gpz
same $out dull
run 3 "$gz" -t --model tiny.gpzm dull.gpz
run 0 "$gz" -l dull.gpz
prints '[0-9a-f]\{8\}+[0-9a-f]\{8\}  dull.gpz$'

# export: the same model in a file of its own, with a check, which files of before lack.
cp tiny.gpzm old.gpzm
dd if=/dev/zero of=old.gpzm bs=1 count=8 seek=184 conv=notrunc 2>/dev/null
run 0 "$gz" -d --model narrow.gpzm --model old.gpzm -c dull.gpz
run 0 "$gz" model export old.gpzm -o new.gpzm
same new.gpzm tiny.gpzm
run 1 "$gz" model export old.gpzm -o new.gpzm
says 'already exists'
run 1 "$gz" model export -f old.gpzm -o old.gpzm
run 1 "$gz" model export old.gpzm
run 3 "$gz" model export missing.gpzm -o x
absent x
run 0 "$gz" model export -o builtin.gpzm
run 0 "$gz" model info builtin.gpzm
cp $out first
run 0 "$gz" model info
same $out first
rm builtin.gpzm

# Models under their ids, in the folders where they are looked for.
mkdir -p found/gpuzip/models
run 0 "$gz" model export tiny.gpzm -o found
tiny_id=$(ls found | grep gpzm | cut -d. -f1)
run 0 "$gz" model export narrow.gpzm -o found/gpuzip/models
run 0 env GPUZIP_MODEL_PATH=/missing:found XDG_DATA_HOME="$folder/found" "$gz" -dc dull.gpz
same $out dull
run 0 env GPUZIP_MODEL_PATH=found "$gz" -dc --model narrow.gpzm dull.gpz
same $out dull
run 3 env GPUZIP_MODEL_PATH=found "$gz" -dc dull.gpz
run 0 env GPUZIP_MODEL_PATH=found "$gz" model info "$(echo "$tiny_id" | head -c 8)"
prints "^id  *$tiny_id\$"
run 3 env GPUZIP_MODEL_PATH=found "$gz" model info "$(echo "$tiny_id" | head -c 7)"
mv "found/$tiny_id.gpzm" "found/$(echo "$tiny_id" | head -c 16)-renamed.gpzm"
run 0 env GPUZIP_MODEL_PATH=found XDG_DATA_HOME="$folder/found" "$gz" -t dull.gpz
rm found/*-renamed.gpzm
cp narrow.gpzm "found/$tiny_id.gpzm"
run 3 env GPUZIP_MODEL_PATH=found "$gz" -t --model narrow.gpzm dull.gpz
says 'its id is another than its name says'
rm -r found

# The name is no part of the id.
run 0 "$gz" model import checkpoint/tiny.bin --tokenizer tokenizer.bin -o named.gpzm --name Other
run 0 "$gz" -d --model narrow.gpzm --model named.gpzm -c dull.gpz

# flip FILE POSITION MASK: changes bits of a byte
flip() {
    byte=$(dd if="$1" bs=1 skip="$2" count=1 2>/dev/null | od -An -tu1)
    # shellcheck disable=SC2059 # the octal number is the format
    printf "\\$(printf %o $((byte ^ $3)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# A damaged file is refused, wherever the damage is: no archive is made with it.
size=$(wc -c <tiny.gpzm)
position=0
bit=1
while [ $position -lt "$size" ]; do
    cp tiny.gpzm wrong.gpzm
    flip wrong.gpzm $position $bit
    run 1 "$gz" --model wrong.gpzm text -o x
    says 'wrong.gpzm: '
    [ $position -lt 192 ] || says 'the model file is damaged'
    absent x
    position=$((position + size / 61))
    bit=$((bit < 128 ? 2 * bit : 1))
done
head -c $((size - 64)) tiny.gpzm >wrong.gpzm
run 1 "$gz" model info wrong.gpzm
says 'the model file is damaged'

# A wrong fingerprint is damage where there is no check, wrong arithmetic where there is one.
cp old.gpzm wrong.gpzm
flip wrong.gpzm 104 1
run 1 "$gz" --model wrong.gpzm text -o x
says 'the model file is damaged'
absent x
"$3" wrong.gpzm || fail "no check"
run 4 "$gz" --model wrong.gpzm text -o x
says 'self-test'
absent x

# GPUZIP_MODEL is the model where none is given; decompression has the built-in one as well.
run 0 "$gz" --model tiny.gpzm -c text
cp $out of-tiny.gpz
run 0 "$gz" -c text
cp $out built-in.gpz
run 0 env GPUZIP_MODEL=tiny.gpzm "$gz" -c text
same $out of-tiny.gpz
run 0 env GPUZIP_MODEL= "$gz" -c text
same $out built-in.gpz
for file in of-tiny built-in; do
    run 0 env GPUZIP_MODEL=tiny.gpzm "$gz" -dc $file.gpz
    same $out text
done
run 0 env GPUZIP_MODEL=missing.gpzm "$gz" --model tiny.gpzm -c text
same $out of-tiny.gpz
run 3 env GPUZIP_MODEL=missing.gpzm "$gz" text
says 'missing.gpzm'
run 0 env GPUZIP_MODEL=missing.gpzm "$gz" -l built-in.gpz
