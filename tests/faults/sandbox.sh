# The sandbox of decoding, where the kernel has one: what the process may still do is written in
# /proc and seen in system calls that fail. Skipped elsewhere.
. "$(dirname "$0")/../cli/check.sh"

run 0 "$gz" text
run 0 "$gz" -vv -t text.gpz
grep -q '^confined: ' $err || skip "no Landlock, no seccomp"
says '^confined: .*programs and connections'

# All ways of naming a target work.
mkdir d d/e other
cp text.gpz d/a.gpz
cp text.gpz d/e/b.gpz
run 0 "$gz" -d -r --rm d
same d/a text
same d/e/b text
absent d/a.gpz
run 0 "$gz" -d -o other/x text.gpz
same other/x text
cp text.gpz d/c.gpz
run 0 "$gz" -d --rm -o other/y d/c.gpz
absent d/c.gpz
same other/y text
run 0 "$gz" -dc text.gpz
same $out text
run 0 "$gz" -d -f -o /dev/null text.gpz
(cd d && "$gz" -d -f ../text.gpz) || fail "a target in a parent folder"
ln -s ../text.gpz d/link.gpz
run 0 "$gz" -d -f d/link.gpz
same d/link text
cat text.gpz | "$gz" -d >piped
same piped text

# While it decodes, it is confined: a FIFO keeps it waiting.
mkfifo fifo
"$gz" -dc fifo >got &
pid=$!
exec 3>fifo
tries=0
until grep -q '^Seccomp:[[:space:]]*2$' /proc/$pid/status 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail "no filter of system calls"
    sleep 0.05
done
grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/$pid/status || fail "may gain privileges"
cat text.gpz >&3
exec 3>&-
wait $pid || fail "exit code $?"
same got text
