# gpuzip-mpi: the same bytes for any number of ranks, as of `gpuzip --part`; failing and killed ranks leave no file.
#
#   mpi.sh GPUZIP TINY_CHECKPOINT GPUZIP_MPI MPIEXEC
. "$(dirname "$0")/../cli/check.sh"

[ "$3" != none ] || skip "no MPI (libopenmpi-dev, libmpich-dev)"
mpi=$(cd "$(dirname "$3")" && pwd)/$(basename "$3") mpiexec=$4
mv "$("$2")" tiny
# Open MPI refuses more ranks than cores, and root, unless it is told otherwise; MPICH ignores these.
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_mpi_yield_when_idle=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe TMPDIR=/tmp
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
export OMPI_MCA_mpi_yield_when_idle PRTE_MCA_rmaps_default_mapping_policy TMPDIR
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" # Open MPI's own
"$mpiexec" -n 2 true 2>$err || skip "no MPI job can be run here"
settings='-T1 --model tiny/tiny.bin --block-size 700'

head -c 20000 "$data/alice29.txt" >long # 29 blocks: 8 shares
: >empty
for i in 1 2 3 4 5 6 7 8; do
    run 0 "$gz" $settings --part $i/8 -c long
    cat $out
done >wanted.gpz
for ranks in 1 2 5; do
    run 0 "$mpiexec" -n $ranks "$mpi" $settings -f long text empty
    same long.gpz wanted.gpz
    run 0 "$gz" -T1 --model tiny/tiny.bin -dc long.gpz text.gpz empty.gpz
    cat long text | cmp - $out || fail "$ranks ranks"
    run 0 "$gz" -T1 --model tiny/tiny.bin -d --range 10000:500 long.gpz
    tail -c +10001 long | head -c 500 | cmp - $out || fail "a range"
    run 0 "$mpiexec" -n $ranks "$mpi" -T1 --model tiny/tiny.bin -d long.gpz -o back
    same back long
    rm back
done
run 1 "$mpiexec" -n 2 "$mpi" $settings long
says 'long.gpz: already exists'

# Damage in one share, an absent file, a rank without the model: an error, and nothing is left.
holds_no_more() {
    absent back
    ! ls -A | grep -q '^\.gpuzip-' || fail "a temporary file was left"
}
cp long.gpz damaged.gpz
printf '\377\377\377' | dd of=damaged.gpz bs=1 seek=6000 conv=notrunc 2>$err
run 1 "$mpiexec" -n 3 "$mpi" -T1 --model tiny/tiny.bin -d damaged.gpz -o back
says 'damaged.gpz: '
holds_no_more
run 1 "$mpiexec" -n 2 "$mpi" $settings absent
says 'absent'
run 1 "$mpiexec" -n 2 "$mpi" $settings -c long
says 'does not take'
"$mpiexec" -n 1 "$mpi" $settings -o back long : -n 1 "$mpi" -T1 --model none -o back long >$out 2>$err &&
    fail "a rank had no model"
holds_no_more

# A rank that is killed in the middle. The job takes many seconds; the rank is found by its parent.
[ -d /proc/$$ ] || exit 0
yes "$(cat text)" | head -c 3000000 >slow
"$mpiexec" -n 3 "$mpi" -T1 --model tiny/tiny.bin --block-size 100K --adapt none --no-pack \
    slow -o back >$out 2>$err &
job=$!
tries=0 rank=
while [ -z "$rank" ] || ! ls -A | grep -q '^\.gpuzip-'; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || fail "the job does not begin"
    kill -0 $job 2>/dev/null || fail "the job has ended before a rank could be killed"
    sleep 0.1
    rank=$(for folder in /proc/[0-9]*; do # a child of the job, of rank 1
        grep -qz '_RANK=1$' "$folder/environ" 2>/dev/null &&
            grep -q "^PPid:[[:space:]]*$job\$" "$folder/status" 2>/dev/null && echo "${folder#/proc/}"
    done | head -n 1)
done
kill -KILL "$rank"
wait $job && fail "the job ended well without a rank"
sleep 1 # the launcher ends the others
holds_no_more
