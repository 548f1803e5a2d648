# With tar: archives of folders through gpuzip as a filter.
# -b 1: without 10 KB of padding, which takes time.
. "$(dirname "$0")/check.sh"

tar --version 2>/dev/null | grep -q GNU || skip "needs GNU tar"
mkdir -p dir/sub
cp text dir/one
cp text dir/sub/two
: >dir/empty
run 0 tar -b 1 -I "$gz" -cf x.tar.gpz dir
silent
run 0 "$gz" -t x.tar.gpz
mkdir back
run 0 tar -I "$gz" -xf x.tar.gpz -C back
silent
run 0 diff -r dir back/dir
run 0 tar -I "$gz" -tf x.tar.gpz
prints '^dir/sub/two$'

# With options, and with a name that tar calls without any.
run 0 tar -b 1 -I "$gz -1 -T1" -cf y.tar.gpz dir
run 0 sh -c "'$gz' -dc y.tar.gpz | tar -tf -"
prints '^dir/one$'
head -c 300 x.tar.gpz >cut.tar.gpz
run 2 tar -I "$gz" -xf cut.tar.gpz -C back
says 'truncated or damaged'
