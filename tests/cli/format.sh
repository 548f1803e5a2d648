# Archives as a second reader of coder/FORMAT.md finds them: their headers hold the options' values,
# and every field and check is in its place. Second argument: the program that makes a tiny
# checkpoint.
. "$(dirname "$0")/check.sh"
command -v python3 >/dev/null || skip 'no python3'
reader=$data/../coder/golden_coder.py

# header PATTERN OPTIONS...: of ./text compressed, the second reader prints PATTERN.
header() {
    pattern=$1
    shift
    run 0 "$gz" -c --no-verify "$@" text
    cp $out text.gpz
    python3 "$reader" --read text.gpz >$out 2>$err
    got=$?
    [ $got -ne 77 ] || skip 'no libxxhash'
    [ $got -eq 0 ] || fail "the reader refuses $*"
    prints "$pattern"
}

header '^none window 512 hop 0 update 1 [0-9a-f]\{16\}\*65536$' --adapt none
prints '^    coded [0-9]* 1$'
header '^contexts+biases+alphas+weights window 512 hop 0 update 16 [0-9a-f]*\*65536$' --adapt all
header '^contexts window 32 hop 8 update 5 ' --adapt contexts --window 32 --hop 8 --update 5
header '^scope+biases window 64 hop 64 ' --adapt biases --window 64 --hop 64 --window-scope
header '^alphas .*\*32768 bayes\*6554$' --adapt alphas --naive-bayes --alpha 0.5,0.1
header "^    stored" -1 --block-size 3

# Blocks that the model does not suit, as a second reader unpacks them.
{ cat "$gz" | head -c 60000 | tail -c 30000; } >text
header "^    packed LZMA2" -1
head -c 30000 /dev/urandom | base64 -w 0 | head -c 30000 >text
header "^    packed zstd" -1
header "^    coded" -1 --no-pack
