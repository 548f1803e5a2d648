# check.sh: functions that the tests of the program share. Each is run as `sh TEST.sh GPUZIP` with
# the program's path; exit code 0: passed, 1: failed (and says where), 77: skipped.
#
# Sourced first. Then $gz is the program, the working folder an empty one that is removed
# at the end, and ./text a short text to compress.

gz=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
data=$(cd "$(dirname "$0")/../data" && pwd)
folder=$(mktemp -d) || exit 1
trap 'cd / && rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder" || exit 1
mkdir .results # of run(): hidden, so that `ls` shows the program's files alone
head -c 400 "$data/alice29.txt" >text # few tokens: every test codes many times
LC_ALL=C.UTF-8
export LC_ALL

fail() {
    echo "FAILED: $*" >&2
    sed 's/^/  stderr: /' .results/err >&2 2>/dev/null
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

# run CODE COMMAND...: COMMAND must end with CODE. Its output is in $out and $err.
escape=$(printf '\033')
out=.results/out
err=.results/err
run() {
    wanted=$1
    shift
    "$@" >$out 2>$err
    got=$?
    [ $got -eq "$wanted" ] || fail "exit code $got, not $wanted: $*"
    ! grep -q "$escape" $err || fail "an escape sequence on stderr"
}

# says PATTERN, silent: check the stderr of the last run().
says() {
    grep -q -e "$1" $err || fail "stderr lacks '$1'"
}

silent() {
    [ ! -s $err ] || fail "stderr is not empty"
}

# prints PATTERN: checks the stdout of the last run().
prints() {
    grep -q -e "$1" $out || fail "stdout lacks '$1'"
}

same() {
    cmp "$1" "$2" >/dev/null || fail "$1 and $2 differ"
}

exists() {
    [ -e "$1" ] || fail "$1 is not there"
}

absent() {
    [ ! -e "$1" ] && [ ! -L "$1" ] || fail "$1 is there"
}

# holds FOLDER NAMES: the folder's names as of ls -A, separated by blanks.
holds() {
    shown=$(ls -A "$1" | tr '\n' ' ')
    [ "$shown" = "$2" ] || fail "$1 holds '$shown', not '$2'"
}

# make_large: ./large.gpz, which gives 400 KB without much work: no model helps with random
# bytes, so its frames hold them as they are. Frames of 9000 bytes do not fill a pipe evenly:
# it takes a part of the last.
make_large() {
    head -c 9000 /dev/urandom >random
    "$gz" -1 --no-verify -c random >frame || fail "cannot compress random bytes"
    for tens in 1 2 3 4 5; do
        cat frame frame frame frame frame frame frame frame frame frame
    done >large.gpz
    rm random frame
}
