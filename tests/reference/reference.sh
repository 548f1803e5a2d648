# Archives of gpuzip against the second decoder, which the documents of the format gave: archives of
# every level, every set of experts and every kind of block, made with tiny models, and a short one of
# the built-in model. Then the second decoder with one rule broken on purpose, one after another,
# which must not decode all of them.
#
#   reference.sh GPUZIP TINY_CHECKPOINT REFERENCE PYTHON COMPILER
#
# ../cli/check.sh has the functions run, fail, prints and others.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../cli/check.sh"
source=$(cd "$here/../.." && pwd)
reference=$3 python=$4 cc=$5

# ---- models and texts ----------------------------------------------------------------------------

# import NAME SOURCE OPTION...: NAME.gpzm
import() {
    name=$1 from=$2
    shift 2
    run 0 "$gz" model import "$from" -o "$name.gpzm" "$@"
}

mv "$("$2")" tiny
mv "$("$2" long)" long
run 0 "$python" "$here/models.py" .
import wide tiny/tiny.bin
import narrow tiny/tiny.bin --weight-bits 8 --activation-bits 8 --kv-bits 8
import long long/tiny.bin
import erf gpt2 --tokenizer bytes.json
import tanh "$data/import_gpt2" --tokenizer bytes.json --weight-bits 8
import pieces "$data/import_llama" --tokenizer pieces.json --activation-bits 8
import post wpoe --kv-bits 8
for part in 1 2 3 4 5 6; do
    tail -c +$((part * 9000)) "$data/alice29.txt" | head -c 12000 >"lesson$part"
done
run 0 "$gz" model learn --model wide.gpzm lesson? -o learnt.gpzm --size 1

tail -c +20000 "$data/alice29.txt" | head -c 2200 >prose
head -c 500 "$gz" >code
yes 'abababababb aaaabbbb' | head -c 2500 >pattern
i=0
while [ $i -lt 40 ]; do # repeats with interruptions
    i=$((i + 1))
    echo "$i: all is well that ends well, $((i * i % 7)) of us know it well enough"
done >phrases
{ printf '\377\376' && cat phrases && printf '\303(\200' && head -c 60 code; } >mixture
yes abcd | head -c 4000 >dull
# Blocks of a little more than 4,096 tokens, and of 4,096, from which weights learn.
tail -c +20000 "$data/alice29.txt" | head -c 4700 >novel
head -c 4096 novel >bytes
{ head -c 4500 novel && printf '\377\376 ABC \303(' && head -c 150 "$gz"; } >torn
printf '' >empty
printf '\000' >one

# ---- archives ------------------------------------------------------------------------------------

models='wide narrow long erf tanh pieces post learnt'
archives=

# decode DECODER NAME: NAME.gpz to NAME.back; whether it became the content again
decode() {
    timeout 300 "$1" "$source/host/experts/context_prior.c" \
        $(for model in $models; do echo "$model.gpzm"; done) "$2.gpz" >"$2.back" 2>"$2.err" &&
        cmp -s "$2.back" "$2.text"
}

# code NAME FILE MODELS OPTION...: NAME.gpz of FILE, coded, not stored or packed, and decoded again
code() {
    name=$1 file=$2 with=
    for model in $3; do
        with="$with --model $model.gpzm"
    done
    shift 3
    cp "$file" "$name.text"
    run 0 "$gz" -T1 --no-verify --no-pack $with "$@" -c "$file"
    cp $out "$name.gpz"
    run 0 "$gz" -lv "$name.gpz"
    grep -q 'of which stored 0, packed 0' $out || fail "$name: not all blocks are coded"
    decode "$reference" "$name" || fail "$name: $(cat "$name.err")"
    archives="$archives $name"
}

for level in 1 2 3 4 5 6 7 8 9; do
    code level$level text wide -$level
done
code streams prose wide --streams 7 --update 5 --block-size 900
code hops prose learnt --window 24 --hop 7 --streams 2
code sliding phrases wide --window 9 --streams 3
code scope pattern long --window 32 --hop 32 --window-scope --streams 3
code scope-counts pattern long --window 32 --hop 32 --window-scope --naive-bayes --adapt none
code narrow prose narrow --update 40
code learnt prose learnt --streams 2
code several prose 'wide narrow learnt' --naive-bayes --alpha learn --streams 3
code fit phrases 'wide narrow' --naive-bayes --alpha fit --window 12 --block-size 2000
code counts prose wide --naive-bayes --alpha 0,1 --adapt none
code plain pattern long --adapt none
code biases pattern long --adapt biases --streams 2
code alphas prose wide --naive-bayes --adapt alphas --update 3
code contexts phrases wide --adapt contexts --streams 4
code erf phrases erf
code erf-hops prose erf --window 20 --hop 20
code tanh prose tanh --naive-bayes --alpha learn
code pieces prose pieces --window 30 --streams 2
code pieces-blocks phrases pieces --block-size 700
code post prose post --naive-bayes
code binary code wide
code mixture mixture pieces --naive-bayes
code mixture-bytes mixture erf

# Weights that learn: each norm, activation, width, kind of position and of window.
code weights8 novel wide -8
code weights9 novel narrow -9 --streams 5
code weights-rows torn pieces -8 --streams 300
code weights-sink novel wide -8 --window 9 --streams 3
code weights-hops novel erf -8 --window 24 --hop 7 --streams 2
code weights-scope novel tanh -8 --window 32 --hop 32 --window-scope --streams 12
code weights-post bytes post -8 --window 17 --streams 30
code weights-several novel 'tanh erf' -8 --streams 4

# Stored and packed blocks, several frames, nothing at all.
all_of() {
    name=$1
    shift
    cat "$@" >"$name.text"
    for file; do
        run 0 "$gz" -T1 --model wide.gpzm -c "$file"
        cat $out
    done >"$name.gpz"
    decode "$reference" "$name" || fail "$name: $(cat "$name.err")"
}
head -c 700 /dev/urandom >random
yes 'a line of a log, as many have' | head -c 20000 >log
all_of frames text random dull empty one log mixture
run 0 "$gz" -lv frames.gpz
prints 'stored [1-9][0-9]*, packed [1-9]'
all_of empty empty

# More blocks than one index frame lists.
cp prose many.text
run 0 "$gz" -T1 --model wide.gpzm --block-size 3 -c prose
cp $out many.gpz
decode "$reference" many || fail "many: $(cat many.err)"

# Zeros behind the last frame are padding, other bytes are not.
cp frames.text padded.text
{ cat frames.gpz && head -c 777 /dev/zero; } >padded.gpz
decode "$reference" padded || fail "padded: $(cat padded.err)"
printf x >>padded.gpz
! decode "$reference" padded || fail "a byte behind the padding is taken"

# The built-in model: its merges, its tables, its true n-grams.
models="$source/weights/builtin/builtin" && head -c 120 prose >builtin.text
run 0 "$gz" -T1 --no-verify -c builtin.text
cp $out builtin.gpz
decode "$reference" builtin || fail "builtin: $(cat builtin.err)"
models='wide narrow long erf tanh pieces post learnt'

# A damaged byte, anywhere.
cp level6.text damaged.text
size=$(wc -c <level6.gpz)
for at in 0 5 9 20 40 60 $((size / 2)) $((size - 20)) $((size - 1)); do
    byte=$(od -An -tu1 -j $at -N 1 level6.gpz)
    cp level6.gpz damaged.gpz
    printf "\\$(printf %o $((byte ^ 16)))" | dd of=damaged.gpz bs=1 seek=$at conv=notrunc 2>.results/err
    ! decode "$reference" damaged || fail "byte $at may be damaged"
done

# ---- broken rules --------------------------------------------------------------------------------

# file|sed script|archives that are tried first. A script must change its file.
cat >mutations <<'END'
forward.c|s/window - 1, 16256, sink/p, 16256, sink/|sliding
forward.c|s/if (p >= window) {/if (p > window) {/|sliding
forward.c|s/p - window + 1 : 0/p - window : 0/|sliding
forward.c|s/rintf(e \* 0x1p24f)/(e * 0x1p24f)/|level6
forward.c|s/c = one - scaled(square, c, 63)/c = one + scaled(square, c, 63)/|level6
forward.c|s/? gelu_tanh/? gelu_erf/|tanh
forward.c|s/ldexpf(1.0f, 20 - p)/ldexpf(1.0f, 19 - p)/|erf
forward.c|s/e->scale.token. \* m->embedding_factor/e->scale[token]/|post
forward.c|s/if (m->post_norm)/if (!m->post_norm)/|post
learning.c|s/master.at. - (int64_t)/master[at] + (int64_t)/|weights-scope
learning.c|s/30011u/30013u/|weights-scope
learning.c|s/& 65535;/\& 32767;/|weights-scope
learning.c|s/0.00625f/0.0062f/|weights-scope
learning.c|s/< 256 ? 256 : rows/> 0 ? 256 : rows/|weights-rows
learning.c|s/most = w->bits == 8 ? 0x1p17f/most = w->bits == 8 ? 0x1p15f/|weights-scope
learning.c|s/+ 64) >> 7/+ 63) >> 7/|weights-scope
learning.c|s/? 1.0f : 128.0f/? 2.0f : 128.0f/|weights-rows
learning.c|s/weight_at(w, (size_t)n \* (size_t)w->k + (size_t)k)/weight_at(w, (size_t)k * (size_t)w->n + (size_t)n)/|weights-scope
learning.c|s/r = first; r < l->rows/r = first; r + 1 < l->rows/|weights-scope
learning.c|s/size_t r = 0; r < rows; r++) {/size_t r = 1; r < rows; r++) {/|weights-scope
learning.c|s/max) \* 0x1.715476p+0f/max) * 0x1.71p+0f/|weights-scope
learning.c|s/row->target < (uint32_t)m->vocab ? g/true ? g/|weights-rows
learning.c|s/&m->head, e, 16256/\&m->head, e, activation_max(m)/|weights-rows
learning.c|s/m->norm == NORM_LAYER ? ((float)sum/m->norm != NORM_LAYER ? ((float)sum/|weights-scope
learning.c|s/- n.i. \* c)/+ n[i] * c)/|weights-rows
learning.c|s/i, 2, dn, true, G/i, 2, dn, false, G/|weights-scope
learning.c|s/0x1.12ba9cp-3f/0x1.6e4e26p-5f/|weights-scope
learning.c|s/x \* 0x1.988454p-2f/x * 0x1.988454p-1f/|weights-hops
learning.c|s/fmaf(g, 1.0f - s, 1.0f)/fmaf(g, s, 1.0f)/|weights-rows
learning.c|s/(dp - delta)/dp/|weights-scope
learning.c|s/sink, s->window - 1/sink, position/|weights-sink
learning.c|s/position >= s->window ? n - 1 : n;/n;/|weights-sink
learning.c|s/a \* cosine + b \* sine/a * cosine - b * sine/|weights-rows
learning.c|s/count, 2047/count, 2046/|weights-scope
learning.c|s/back <= (int)i/back < (int)i/|weights-scope
learning.c|s/g \* group + i % group/g + i % group * m->kv_heads/|weights-sink weights8
learning.c|s/i, 1, G, false, G/i, 2, G, false, G/|weights-post
learning.c|s/UP, du, m->post_norm/UP, du, false/|weights-post
learning.c|/linear_back(l, i, OUT/{h;d};/step_matrix(l, i, OUT/G|weights-scope
mixing.c|s/Z >> 20/Z >> 19/|mixture
mixing.c|s/- m->symbols/- m->config.vocab/|mixture
mixing.c|s/: Z - w;/: Z;/|level6
mixing.c|s/o < -256 ?/o < -257 ?/|streams learnt several
mixing.c|s/600 \* 256/601 * 256/|level6 streams
mixing.c|s/3 \* (s->R/2 * (s->R/|streams several
mixing.c|s/>> 4, sum = 0/>> 5, sum = 0/|level6
mixing.c|s/60 \* one/59 * one/|level6 biases
mixing.c|s/2 \* (m->T.i. + E + 2/2 * (m->T[i] + 2/|level6
mixing.c|s/(K - 1) \* m->H/K * m->H/|several
mixing.c|s/start \/ 5/start \/ 4/|tanh several
mixing.c|s/>> 12, a =/>> 11, a =/|several
contexts.c|s/total - count, others/total, others/|level6
contexts.c|s/b->count.i. \/ 4/b->count[i] \/ 3/|level6 contexts
contexts.c|s/b->check == (uint32_t)(h >> 32)/true/|contexts
contexts.c|s/<= b->count.at./< b->count[at]/|contexts several
contexts.c|s/at.step < c->end/at.step <= c->end/|contexts streams
contexts.c|s/m->length < MATCH_LONG;/false;/|contexts
contexts.c|s/u - c->origin >= MATCH_LEAST/u - c->origin > MATCH_LEAST/|contexts
contexts.c|s/\*n + 5 + m/*n + 6 + m/|level6
contexts.c|s/gathering.8. = {6, 5, 4, 3, 7/gathering[8] = {6, 7, 5, 4, 3/|learnt
contexts.c|s/>> 18) + ((uint64_t)n << 48/>> 17) + ((uint64_t)n << 48/|learnt
contexts.c|s/list->other = 127/list->other = 126/|learnt
contexts.c|s/8 \* level_of(count/8 * level_of(count + 1/|level6
contexts.c|s/16 \* row_class/8 * row_class/|level6
contexts.c|s/c->buckets < 2 \* sum/c->buckets < sum/|level6
reference.c|s/(t + 1 - origin) %/(t - origin) %/|level6
reference.c|s/mixer_reset(c->mixer);//|scope-counts
reference.c|s/t - begin == window - hop/t - begin == window/|hops
reference.c|s/= LISTED \* get_varint/= 479 * get_varint/|many
reference.c|s/+ 10);/+ 11);/|many
reference.c|s/(LEARN_ROWS + streams - 1)/LEARN_ROWS/|weights-scope
reference.c|s/n >= LEARN_TOKENS/n > LEARN_TOKENS/|weights-post
reference.c|s/ends = hop &&/ends = false \&\&/|weights-hops
reference.c|s/learner_reset(c->learner.k.);/continue;/|weights-scope
reference.c|s/wanted && c->learn ?/c->learn ?/|weights-hops
range.c|s/d->range - d->unit \* start/d->unit * freq/|level6
END
flags='-std=gnu17 -O1 -ffp-contract=off'
for file in "$here"/*.c; do
    "$cc" $flags -c "$file" -o "$(basename "$file" .c).o" || fail "cannot compile $file"
done
survived=0
while IFS='|' read -r file script first; do
    sed "$script" "$here/$file" >broken.c
    ! cmp -s broken.c "$here/$file" || fail "changes nothing: $file $script"
    "$cc" $flags -I"$here" -c broken.c -o broken.o || fail "does not compile: $file $script"
    objects=broken.o
    for other in "$here"/*.c; do
        other=$(basename "$other" .c)
        [ $other.c = $file ] || objects="$objects $other.o"
    done
    "$cc" $objects -o broken -lcrypto -llzma -lzstd -lxxhash -lm || fail 'does not link'
    killed=
    for name in $first $archives; do
        [ -f "$name.gpz" ] || fail "no archive $name"
        decode ./broken $name || { killed=$name && break; }
    done
    [ -n "$killed" ] || survived=$((survived + 1))
    echo "${killed:-SURVIVED}: $file $script"
done <mutations
[ $survived -eq 0 ] || fail "$survived broken rules were not noticed"
