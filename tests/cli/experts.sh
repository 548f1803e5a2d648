# Several experts: models on one tokenizer, Naive Bayes, their alphas given, learnt and fitted.
# Second argument: the program that makes a tiny checkpoint.
. "$(dirname "$0")/check.sh"

tiny=$("$2")
mv "$tiny" checkpoint
tiny=$("$2" long)
mv "$tiny" long
run 0 "$gz" model import checkpoint/tiny.bin -o a.gpzm
run 0 "$gz" model import checkpoint/tiny.bin -o b.gpzm --weight-bits 8
run 0 "$gz" model import checkpoint/tiny.bin -o c.gpzm --kv-bits 8
run 0 "$gz" model import long/tiny.bin -o other.gpzm
A='--model a.gpzm' B='--model b.gpzm' C='--model c.gpzm'
head -c 5000 "$data/alice29.txt" >prose

# size OPTION...: the compressed size of the prose; in any order and with any number of threads it is
# decoded.
size() {
    run 0 "$gz" -T1 --no-pack "$@" -c prose
    cp $out prose.gpz
    run 0 "$gz" -T2 --no-pack "$@" --no-verify -c prose
    same $out prose.gpz
    run 0 "$gz" -T2 -d $C $B $A <prose.gpz
    same $out prose
    bytes=$(wc -c <prose.gpz)
    run 0 "$gz" -lv prose.gpz
}

# no_larger A B THOUSANDTHS: A bytes are no more than B, and so much
no_larger() {
    [ $(($1 * 1000)) -le $(($2 * (1000 + $3))) ] || fail "$1 bytes, not as few as $2"
}

# Equal parts to begin with, where they are learnt.
size $A --naive-bayes
alone=$bytes
size $A $B --naive-bayes --alpha learn --streams 3
[ "$(grep -c 'expert  *model .* alpha 0.5$' $out)" -eq 2 ] || fail "not equal parts"
prints 'expert  *naive-bayes alpha 0.1'
prints 'adapts  *contexts biases alphas'
size $A $B $C --naive-bayes --alpha learn --window 64 --hop 32 --streams 5 --block-size 2000
[ "$(grep -c 'expert  *model .* alpha 0.3333' $out)" -eq 3 ] || fail "not equal parts"

# Given alphas hold, or are where learning begins. The weights are noise: counts do the work.
size $A $B --naive-bayes --alpha 0.02,0.03,1
given=$bytes
prints 'adapts  *contexts biases, every'
no_larger $given "$alone" 0
size $A $B --naive-bayes --alpha learn:0.02,0.03,1
learnt=$bytes
prints 'expert  *naive-bayes alpha 1$'
prints 'adapts  *contexts biases alphas,'
cp prose.gpz learnt.gpz
size $A $B --naive-bayes --alpha 0.02,0.03,1 --adapt contexts,biases,alphas
same prose.gpz learnt.gpz
size $A $B --naive-bayes --adapt none --alpha 0.02,0.03,1
plain=$bytes

# Fitted alphas: at least as good as guessed ones, though fitted to a sample.
size $A $B --naive-bayes --adapt none --alpha fit
no_larger "$bytes" "$plain" 5
size $A $B $C --naive-bayes --adapt contexts,biases --alpha fit
no_larger "$bytes" "$given" 20 # without regard to contexts
size $A $B --naive-bayes --alpha fit --update 7
cp prose.gpz fitted.gpz
size $A $B --naive-bayes --update 7 # the default of several models
same prose.gpz fitted.gpz
prints 'adapts  *contexts biases alphas, every 7'
no_larger "$bytes" "$learnt" 5
size $A --alpha fit --window 16 --hop 16 --window-scope --block-size 700 --streams 2

# From a pipe the same; a file too small for a fit is compressed without one.
size $A $B --naive-bayes --alpha fit --block-size 1000
cat prose | "$gz" $A $B --naive-bayes --alpha fit --block-size 1000 | cmp - prose.gpz ||
    fail "another file from a pipe"
for bytes in 0 1 2 3 20; do
    head -c $bytes /dev/urandom >tail
    run 0 "$gz" $A $B --naive-bayes --alpha fit -c tail
    cp $out tail.gpz
    run 0 "$gz" $A $B -dc tail.gpz
    same $out tail
done
run 0 "$gz" $A --alpha fit --memory 12500K -c prose

# Several files, each with its own alphas, in one.
head -c 2000 prose >x
yes abcd | head -c 3000 >y
run 0 "$gz" $A $B --naive-bayes --alpha fit -c x y x
cp $out all.gpz
run 0 "$gz" $B $A -dc all.gpz
cat x y x | cmp - $out || fail "several files"

# Memory is reckoned for all models.
run 0 "$gz" $A --memory 12500K --no-verify --streams 2 -c x
run 1 "$gz" $A $B $C $A $B $C --memory 12500K --no-verify -c x
says 'needs .* more than the .* that the limit leaves'

# The smallest context counts, and a tokenizer cannot be shared out.
run 0 "$gz" $A $B --window 64 -c x
run 1 "$gz" $A $B --window 65 -c x
says 'from 2 to 64'
run 1 "$gz" $A $B --model other.gpzm -c x
says "'a.gpzm' and 'other.gpzm' have different tokenizers"
run 1 "$gz" --model other.gpzm $A -c x
says "'other.gpzm' and 'a.gpzm' have different tokenizers"
run 1 "$gz" $A $B --alpha 1 -c x
run 1 "$gz" $A $B --alpha learn:1,1,1 -c x
run 1 "$gz" $A $B --alpha learn --adapt contexts,biases -c x
says 'needs alphas in --adapt'
run 1 "$gz" $A $B --alpha fit,1 -c x
run 1 "$gz" $A $B --alpha learn: -c x
run 1 "$gz" $A --alpha learn:3 -c x
says 'at most 2'
run 1 "$gz" $A $A $A $A $A $A $A $A --naive-bayes -c x
says 'at most 8 experts'
run 3 "$gz" $A -dc all.gpz
