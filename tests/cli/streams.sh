# Standard streams, -, -c, -o; any bytes at all come back.
. "$(dirname "$0")/check.sh"

run 0 "$gz" text
silent
exists text
run 0 "$gz" -dc text.gpz
same $out text
run 0 "$gz" -d -c -- text.gpz
same $out text

# The same bytes by every way in and out.
run 0 "$gz" -c text
same $out text.gpz
run 0 "$gz" <text
same $out text.gpz
run 0 "$gz" - <text
same $out text.gpz
run 0 "$gz" -c - <text
same $out text.gpz
run 0 "$gz" --stdout text
same $out text.gpz
run 0 sh -c 'cat text | "$1" | "$1" -d | cat' sh "$gz"
same $out text
run 0 "$gz" text -o other
same other text.gpz
run 0 "$gz" -o - text
same $out text.gpz
run 0 "$gz" --output=third - <text
same third text.gpz
run 0 "$gz" --decompress third -o back
same back text
run 0 "$gz" -d -o /dev/null third
silent
run 1 "$gz" -o text text
says 'input itself'
run 1 "$gz" -f -o ./text text
says 'input itself'
run 0 "$gz" -dc third
same $out text

# -d takes the name's suffix away.
mkdir d && cp text.gpz d/a.b.gpz
run 0 "$gz" -d d/a.b.gpz
same d/a.b text
holds d 'a.b a.b.gpz '

# Odd contents.
printf '' >empty
printf 'x' >one
printf 'a\0b\377\376\r\n\200' >binary
head -c 500 "$gz" >code
for file in empty one binary code; do
    run 0 "$gz" -k $file
    run 0 "$gz" -dc $file.gpz
    same $out $file
    run 0 sh -c '"$1" -c <"$2" | "$1" -dc' sh "$gz" $file
    same $out $file
done

# Every level's file decodes without being told the level.
head -c 150 text >short
for level in 1 2 3 4 5 6 7 8 9; do
    run 0 "$gz" -$level -c short
    cp $out short.gpz
    run 0 "$gz" -dc short.gpz
    same $out short
done

# The reader leaves early: no complaint.
make_large
run 0 sh -c '"$1" -dc large.gpz | head -c 10' sh "$gz"
silent
run 0 sh -c 'trap "" PIPE; { "$1" -dc large.gpz; } | head -c 10' sh "$gz"
silent

# Descriptors that somebody made non-blocking, and a reader and a writer that are slow.
if command -v python3 >/dev/null; then
    run 0 "$gz" -d large.gpz
    run 0 sh -c '(sleep 0.5; cat large.gpz) | python3 -c "import os, sys
os.set_blocking(0, False)
os.set_blocking(1, False)
os.execv(sys.argv[1], sys.argv[1:])" "$1" -d | (sleep 1.5; cat)' sh "$gz"
    silent
    same $out large
fi
