# Memory: the peak of the process is within 10 % of the total that -v says in advance, and below -M,
# both ways. Under a limit that does not suffice there is a message. Second argument: the program
# that makes a tiny checkpoint.
. "$(dirname "$0")/../cli/check.sh"
command -v python3 >/dev/null || skip "no python3"

head -c 9000 "$data/alice29.txt" >prose
head -c 60000 "$data/alice29.txt" >long
head -c 3000000 /dev/urandom >random

# taken COMMAND...: runs it and sets $peak, the KiB that it took at most
taken() {
    python3 -c 'import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
open(".results/peak", "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)' "$@" >$out 2>$err || fail "exit code $?: $*"
    peak=$(cat .results/peak)
}

# honest: what the last run said
honest() {
    said=$(sed -n 's/.*memory in MiB: .* total \([0-9]*\).*/\1/p' $err)
    [ -n "$said" ] || fail "no total"
    [ $((peak * 9)) -le $((said * 10240 + 10240)) ] && [ $((said * 10240)) -le $((peak * 11)) ] ||
        fail "$said MiB said, $peak KiB taken"
}

for level in 1 6 9; do
    taken "$gz" -v -$level -c prose
    honest
    cp $out x.gpz
    taken "$gz" -v -dc x.gpz
    honest
done
taken "$gz" -v -1 --no-verify -c long
honest

# A limit holds, and serves both ways.
for limit in 60 80; do
    for file in long random; do
        taken "$gz" -v -1 --no-verify -M ${limit}M -c $file
        [ "$peak" -le $((limit * 1126)) ] || fail "-M ${limit}M: $peak KiB taken"
        cp $out x.gpz
        taken "$gz" -v -M ${limit}M -dc x.gpz
        [ "$peak" -le $((limit * 1126)) ] || fail "-d -M ${limit}M: $peak KiB taken"
        same $out $file
    done
done
for limit in 1 30M 45M; do
    run 1 "$gz" -M $limit -c prose
    says 'raise it with --memory'
done
run 0 "$gz" -6 -c long
cp $out x.gpz
run 1 "$gz" -M 60M -dc x.gpz
says 'raise it with --memory'
[ ! -s $out ] || fail "output of a block that was refused"
