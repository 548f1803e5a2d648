# Output files: refusals, attributes, full disks, folders that cannot be written.
. "$(dirname "$0")/check.sh"

# Nothing is overwritten without -f.
echo precious >text.gpz
run 1 "$gz" text
says 'already exists'
[ "$(cat text.gpz)" = precious ] || fail "overwritten"
run 1 "$gz" text -o text.gpz
says '-f overwrites'
run 0 "$gz" -f text
run 0 "$gz" -t text.gpz
run 1 "$gz" -d text.gpz
says 'text: already exists'
echo changed >text
run 0 "$gz" -df text.gpz
[ "$(wc -c <text)" -eq 400 ] || fail "not restored"
ln -s nowhere dangling.gpz
cp text dangling
run 1 "$gz" dangling
says 'already exists'
mkdir folder.gpz
cp text folder
run 1 "$gz" folder
says 'is a folder'
run 1 "$gz" -f folder
holds folder.gpz ''

# An older file stays as it is when its successor fails.
head -c 40 text.gpz >cut.gpz
echo precious >cut
run 1 "$gz" -df cut.gpz
[ "$(cat cut)" = precious ] || fail "a failed run destroyed the older file"
rm cut
run 1 "$gz" -d cut.gpz
absent cut

# A file that appears while its name is being worked for is not replaced.
mkfifo pipe
"$gz" -o late <pipe 2>$err &
pid=$!
exec 3>pipe
tries=0
until ls -A | grep -q '^\.gpuzip-'; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "no temporary file"
    sleep 0.1
done
echo precious >late
cat text >&3
exec 3>&-
wait $pid
[ $? -eq 1 ] || fail "replaced a file that appeared meanwhile"
says 'appeared meanwhile'
[ "$(cat late)" = precious ] || fail "destroyed a file that appeared meanwhile"

# Mode and times go with the file.
chmod 640 text
touch -d '2001-02-03 04:05:06.789' text
run 0 "$gz" -f text
[ "$(stat -c '%a %Y' text.gpz)" = "$(stat -c '%a %Y' text)" ] || fail "mode or time not kept"
run 0 "$gz" -d text.gpz -o copy
[ "$(stat -c '%a %y' copy)" = "$(stat -c '%a %y' text)" ] || fail "mode or time not restored"
chmod 4755 copy
run 0 "$gz" copy
[ "$(stat -c %a copy.gpz)" = 755 ] || fail "set-user-id was kept"
(
    umask 027
    cat text | "$gz" -o piped
)
[ "$(stat -c %a piped)" = 640 ] || fail "the umask was not honoured"
if [ "$(id -u)" -eq 0 ]; then
    cp text owned
    chown 1234:2345 owned
    run 0 "$gz" owned
    [ "$(stat -c %u:%g owned.gpz)" = 1234:2345 ] || fail "owner not kept"
fi

# A name as long as the file system takes leaves room for a temporary one.
long=$(printf '%0250d' 0)
cp text "$long"
run 0 "$gz" "$long"
exists "$long.gpz"
long=$(printf '%0253d' 0)
cp text "$long"
run 1 "$gz" "$long"

# Where nothing can be written, that is said.
run 1 "$gz" text -o missing/text.gpz
says 'cannot create'
run 1 "$gz" text -o /proc/text.gpz
says 'cannot create'
if [ "$(id -u)" -eq 0 ]; then
    command -v setpriv >/dev/null && unprivileged='setpriv --reuid=65534 --regid=65534 --clear-groups'
else
    unprivileged=env
fi
if [ "${unprivileged-}" ]; then
    mkdir closed
    cp text closed/
    chmod 644 closed/text
    chmod 755 "$folder"
    chmod 555 closed
    if $unprivileged test -x "$gz"; then
        run 1 $unprivileged "$gz" closed/text
        says 'cannot create'
        holds closed 'text '
    fi
    chmod 000 closed/text
    run 1 $unprivileged env -C "$folder" cat closed/text
    if $unprivileged test -x "$gz"; then
        run 1 $unprivileged "$gz" -c closed/text
        says 'cannot open'
    fi
    chmod 755 closed
    if [ "$(id -u)" -eq 0 ] && $unprivileged test -x "$gz"; then
        # A group that we may not give: it must not pass its rights on to another one.
        mkdir open
        cp text open/
        chown 65534:1234 open/text
        chmod 664 open/text
        chmod 777 open
        run 0 $unprivileged "$gz" open/text
        [ "$(stat -c '%a %g' open/text.gpz)" = '644 65534' ] || fail "another group may write"
    fi
fi
run 1 sh -c '"$1" -c text >/dev/full' sh "$gz"
says 'No space left'
run 1 "$gz" -o /dev/full text
says 'No space left'
run 1 sh -c '"$1" -dc text.gpz >/dev/full' sh "$gz"
says 'No space left'
for option in -h -H -V '-l text.gpz' '--stats -t text.gpz' '-l --json text.gpz'; do
    run 1 sh -c '"$1" $2 >/dev/full' sh "$gz" "$option"
    says 'No space left'
done
run 1 sh -c '"$1" -c text >&-' sh "$gz"
says 'Bad file descriptor'
run 1 sh -c '"$1" -dc text.gpz >&-' sh "$gz"
says 'Bad file descriptor'
run 1 sh -c '"$1" <&-' sh "$gz"
run 0 sh -c '"$1" -t text.gpz >&- 2>&- <&-' sh "$gz"

# A limit on file sizes counts as a full disk or a signal; either way nothing is left.
mkdir limited
make_large
mv large.gpz limited
(
    cd limited
    ulimit -f 8
    "$gz" -d large.gpz
) 2>/dev/null && fail "wrote past the limit"
holds limited 'large.gpz '
ls -A | grep '^\.gpuzip-' && fail "a temporary file was left"
exit 0
