# Nothing is lost: sources that change, files that the run reads, folders that cannot be examined,
# names that cannot be made, other processes' temporary files.
# Second argument: the program that makes a tiny checkpoint.
. "$(dirname "$0")/check.sh"

head -n 400 "$data/alice29.txt" >long

# working FOLDER: waits until the program has a temporary file there.
working() {
    tries=0
    until ls -A "$1" | grep -q '^\.gpuzip-'; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "no temporary file"
        sleep 0.05
    done
}

# changes COMMAND [OPTION]: COMMAND runs while the program compresses s/log, which must say so and
# keep it.
mkdir s
changes() {
    rm -f s/* s/.gpuzip-*
    cp long s/log
    "$gz" -T1 $2 s/log 2>$err &
    pid=$!
    working s
    kill -s STOP $pid
    sh -c "$1"
    kill -s CONT $pid
    wait $pid
    code=$?
    [ $code -eq 2 ] || fail "exit code $code: $1"
    says 's/log: warning: changed while it was read'
    exists s/log
    exists s/log.gpz
}
changes 'echo late >>s/log' --rm
[ "$(tail -n 1 s/log)" = late ] || fail "a line was lost"
changes 'echo late >>s/log'
changes 'touch -d 2001-02-03 s/log' --rm
changes 'cp text s/new && mv s/new s/log' --rm
same s/log text
changes 'echo over | dd of=s/log conv=notrunc 2>/dev/null; touch -r text s/log' --rm
rm -rf s

# Where nothing changes, the source goes.
cp text plain
run 0 "$gz" --rm plain
silent
absent plain
run 0 "$gz" -d --rm plain.gpz
silent
absent plain.gpz
same plain text

# A model is neither removed nor replaced, by whatever name.
tiny=$("$2")
run 0 "$gz" model import "$tiny/tiny.bin" -o tiny.gpzm
mv "$tiny" checkpoint
cp tiny.gpzm kept
cp checkpoint/tiny.bin bin
ln tiny.gpzm hard.gpzm
ln -s tiny.gpzm soft.gpzm
for name in tiny.gpzm hard.gpzm; do
    run 2 "$gz" -f --rm --model tiny.gpzm $name
    says "$name: warning: is a model that this run reads, not removed"
    same $name kept
    rm $name.gpz
done
run 2 "$gz" -f --rm --model soft.gpzm tiny.gpzm
run 2 "$gz" -f --rm --model tiny.gpzm soft.gpzm
[ -L soft.gpzm ] || fail "the link was removed"
for name in tiny.gpzm hard.gpzm soft.gpzm; do
    run 1 "$gz" -f -o $name --model tiny.gpzm text
    says "$name: is a model that this run reads, not touched"
    same $name kept
done
run 1 "$gz" explain -f -o hard.gpzm --model tiny.gpzm text
same hard.gpzm kept
run 2 "$gz" -f --rm --model checkpoint/tiny.bin checkpoint/tokenizer.bin
exists checkpoint/tokenizer.bin
run 1 sh -c '"$1" -c --model tiny.gpzm text >>tiny.gpzm' sh "$gz"
same tiny.gpzm kept
run 1 sh -c '"$1" -c text >>text' sh "$gz"
says 'is the input itself'
[ "$(wc -c <text)" -eq 400 ] || fail "the input was written to"

# The same of importing and learning.
cp text lesson
ln lesson lesson.gpzm
run 1 "$gz" model import -f checkpoint/tiny.bin -o checkpoint/tiny.bin
same checkpoint/tiny.bin bin
run 1 "$gz" model import -f checkpoint/tiny.bin -o checkpoint/tokenizer.bin
cp checkpoint/tokenizer.bin words
run 1 "$gz" model import -f checkpoint/tiny.bin --tokenizer words -o words
run 1 "$gz" model learn -f --model tiny.gpzm lesson -o hard.gpzm --size 1
same hard.gpzm kept
run 1 "$gz" model learn -f --model tiny.gpzm lesson -o lesson.gpzm --size 1
says 'lesson.gpzm: is another input'
same lesson text

# A later argument is not replaced by an earlier one's output.
cp text x
cp lesson x.gpz
run 1 "$gz" -f x x.gpz
says 'x.gpz: is another input of this run'
same x.gpz text
rm -f x x.gpz x.gpz.gpz

# -r names all that cannot be examined.
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    chmod 755 .
    mkdir -p tree/closed tree/unlisted tree/good
    cp text tree/closed/a
    cp text tree/good/b
    chown -R 65534:65534 tree
    chmod 644 tree/closed
    chmod 311 tree/unlisted
    unprivileged='setpriv --reuid=65534 --regid=65534 --clear-groups'
    if $unprivileged test -x "$gz"; then
        run 1 $unprivileged "$gz" -r tree
        says 'tree/closed/a: '
        says 'tree/unlisted: '
        exists tree/good/b.gpz
    fi
fi

# A name that .gpz doesn't fit is refused before the work.
name=$(printf '%0253d' 0)
cp long "$name"
run 1 timeout 5 "$gz" "$name"
says 'File name too long'
run 1 "$gz" model import checkpoint/tiny.bin -o "$(printf '%0256d' 0)"
says 'File name too long'
name=$(printf '%0255d' 0)
run 0 "$gz" model import checkpoint/tiny.bin -o "$name"
rm -- 0*

# Temporary files of other processes: -r leaves them, -v names those that nobody works on.
mkdir busy
cp text busy/.gpuzip-Ab3dEf
cp text busy/.gpuzip-notours
cp long busy/long
mkfifo pipe
"$gz" -o busy/out <pipe &
pid=$!
exec 3>pipe
working busy
run 0 "$gz" -1 -r -v --rm busy
says 'busy/.gpuzip-Ab3dEf: left by'
[ "$(grep -c 'left by' $err)" -eq 1 ] || fail "a temporary file in use was called stale"
exists busy/.gpuzip-Ab3dEf
absent busy/.gpuzip-notours
cat text >&3
exec 3>&-
wait $pid || fail "the other process's file was lost"
holds busy '.gpuzip-Ab3dEf .gpuzip-notours.gpz long.gpz out '

# Signals leave nothing of an import or of learning behind.
ulimit -c 0
mkdir m
i=0
while [ $i -lt 100 ]; do
    cat long
    i=$((i + 1))
done >much
for signal in INT TERM HUP QUIT; do
    env --default-signal=INT,QUIT "$gz" model learn much -o m/learnt.gpzm &
    pid=$!
    working m
    kill -s $signal $pid
    wait $pid
    code=$?
    [ $code -gt 128 ] && [ "$(kill -l $code)" = $signal ] || fail "$signal: exit code $code"
    holds m ''
done

# FIFOs on the command line.
mkfifo fifo
for option in -c '-o out.gpz'; do
    cat text >fifo &
    run 0 timeout 60 "$gz" $option fifo
    wait
done
run 0 "$gz" -dc out.gpz
same $out text

# Zero bytes after the end, as tapes and tar's blocks add them.
head -c 10240 /dev/zero >zeros
cat out.gpz zeros >padded.gpz
run 0 "$gz" -dc padded.gpz
silent
same $out text
run 0 "$gz" -t padded.gpz
run 0 "$gz" -l padded.gpz
cat padded.gpz text >garbage.gpz
run 1 "$gz" -t garbage.gpz
says 'bytes follow the end'
run 1 "$gz" -l garbage.gpz
run 1 "$gz" -t zeros

# --rm removes no file that has other names, without -f.
cp text names
ln names other-name
run 2 "$gz" --rm names
says 'has 2 names, skipped because of --rm'
absent names.gpz
run 0 "$gz" names
rm names.gpz
run 0 "$gz" --rm -f names
absent names
same other-name text
