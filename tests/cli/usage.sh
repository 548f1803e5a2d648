# Options: forms, refusals, help.
. "$(dirname "$0")/check.sh"

run 0 "$gz" -h
prints '^Usage: gpuzip'
[ "$(wc -l <$out)" -le 24 ] || fail "-h does not fit a screen"
[ "$(wc -L <$out)" -le 80 ] || fail "-h is too wide"
run 0 "$gz" --help
run 0 "$gz" -H
prints '--window-scope'
[ "$(wc -L <$out)" -le 90 ] || fail "-H is too wide"
run 0 "$gz" --long-help
run 0 "$gz" -V
prints '^gpuzip [0-9]'
prints '^backends: cpu'
run 0 "$gz" --version
silent

for options in --bogus -Z '-T x' '-T -1' '-T 1x' '--window 1' '--window 1.5' \
    '--hop 0' '--streams 0' '--streams many' '--update 0' '--block-size 0' '--block-size 17M' \
    '--block-size 1T' '--block-size -1' '--block-size 99999999999999999999' '--memory 1X' '--memory 17179869184G' \
    '--device gpu' '--alpha x' '--alpha 1,' '--alpha -1' '--alpha 16' '--alpha nan' \
    '--alpha 1,1' '--naive-bayes --alpha 1' '--alpha 1,1,1,1,1,1,1,1,1' '-c -o x' '--adapt some' '--adapt all,' \
    '--adapt none,biases' '--adapt biasesx' '--adapt bias' --adapt= \
    '--window 8 --hop 9' '-r -o x' -0; do
    run 1 "$gz" $options text
    says '^gpuzip: '
    says "^Try 'gpuzip -h'"
done
for option in -o -T --model --alpha --window; do
    run 1 "$gz" text $option
    says "^gpuzip: $option needs an argument"
done
holds . '.results text '
run 1 "$gz" -qq --bogus
silent

# Devices.
run 0 "$gz" --list-devices
prints '^cpu  *passed '
run 0 "$gz" --json --list-devices
prints '^{"device":"cpu",.*"self_test":"passed"'
run 1 "$gz" --device cuda:99 text
says '; there is: cpu'
run 1 env GPUZIP_DEVICE=cuda:99 "$gz" text
says '; there is: cpu'
run 1 env GPUZIP_DEVICE=gpu "$gz" text
says "^Try 'gpuzip -h'"
run 0 env GPUZIP_DEVICE=gpu "$gz" -c --device cpu text

# Forms of options.
run 0 "$gz" -kvf5T1 text
says 'text: .*%.*bits/byte'
run 0 "$gz" -dcq text.gpz
same $out text
run 0 "$gz" text.gpz -dc
same $out text
run 0 "$gz" --uncompress --to-stdout text.gpz
same $out text
run 0 "$gz" -f --threads=2 --block-size 1K --window 64 --hop 32 --streams 2 --memory 1GiB text
run 0 "$gz" -T0 --device cpu -dc text.gpz
same $out text
run 0 "$gz" -f --naive-bayes --alpha 0.7,0.3 --update 8 text
run 0 "$gz" -dc text.gpz
same $out text

# Adaptation: all parts; given alphas stay fixed unless --adapt names them; or none.
adapts() {
    listed=$1
    shift
    run 0 "$gz" -f "$@" text
    run 0 "$gz" -lv text.gpz
    prints "adapts  *$listed, every 16 steps\$"
}
adapts 'contexts biases alphas'
cp text.gpz default
adapts 'contexts biases alphas' --adapt contexts,biases,alphas
same text.gpz default
adapts 'contexts biases' --alpha 1
adapts 'contexts biases alphas' --alpha 1 --adapt contexts,biases,alphas
same text.gpz default
adapts 'contexts biases alphas weights' --adapt all
adapts 'weights' --adapt weights
adapts 'contexts biases alphas weights' -8
adapts 'contexts biases' -9 --alpha 1
adapts 'biases' --adapt biases
adapts 'contexts alphas' --adapt alphas,contexts
run 1 "$gz" -f --adapt alphas --alpha 2.5 text
says 'at most 2'
run 0 "$gz" -f --adapt none text
run 0 "$gz" -lv text.gpz
! grep -q adapts $out || fail 'something adapts'
run 0 "$gz" -f --adapt all text
run 0 "$gz" -dc text.gpz
same $out text
run 0 "$gz" -f --naive-bayes --adapt contexts,alphas --update 5 text
run 0 "$gz" -dc text.gpz
same $out text
run 0 "$gz" -f --naive-bayes --window 64 --hop 64 --window-scope text
run 0 "$gz" -dc text.gpz
same $out text

# Verbosity: -q takes warnings away, not their exit code; -qq errors too.
run 2 "$gz" text.gpz
says 'warning: '
run 2 "$gz" -q text.gpz
silent
run 1 "$gz" -q missing
says missing
run 1 "$gz" -qq missing
silent

# Threads change nothing.
run 0 "$gz" -T1 -c text
cp $out one
run 0 "$gz" -T4 -c text
same $out one

# Frames that adapt differently, one after another.
for parts in all none contexts biases contexts,biases all; do
    run 0 "$gz" -c --adapt $parts text
    cat $out
done >frames.gpz
cat text text text text text text >texts
run 0 "$gz" -dc frames.gpz
same $out texts

# Options before a command, an abbreviation that means something else elsewhere, the limit of threads.
run 0 "$gz" -q -v explain text -o page.html
exists page.html
run 0 "$gz" --quiet model info
run 1 "$gz" --long text
says 'long is not an option'
run 1 "$gz" -T 4096 text
says '0 to 1024'
