# A file's name never reaches the terminal unfiltered.
. "$(dirname "$0")/check.sh"

name=$(printf 'a\033[31m\n\007\177z')
cp text "$name"
run 0 "$gz" -v "$name"
says 'a\\x1b\[31m\\x0a\\x07\\x7fz: '
[ "$(grep -vc ': blocks at once' $err)" -eq 1 ] || fail "more than one line beside the memory's"
exists "$name.gpz"
run 1 "$gz" -v "$name"
says 'a\\x1b'
run 0 "$gz" -l "$name.gpz"
prints 'a\\x1b\[31m\\x0a'
run 0 "$gz" --stats -t "$name.gpz"
prints 'a\\x1b'
run 0 "$gz" -l --json "$name.gpz"
prints '"file":"a\\u001[bB]'
run 1 "$gz" "--$name"
says 'x1b'

# UTF-8 is shown where the terminal can show it, and nowhere else.
cp text 'naïve'
run 0 "$gz" -v 'naïve'
says 'naïve: '
LC_ALL=C run 1 "$gz" 'naïve'
says 'na\\xc3\\xafve'
invalid=$(printf 'bad\377')
cp text "$invalid"
run 0 "$gz" -v "$invalid"
says 'bad\\xff: '
run 0 "$gz" -l --json "$invalid.gpz"
prints '"file":"bad\\\\xff'
reversed=$(printf 'evil\342\200\256txt') # U+202E, right-to-left override
cp text "$reversed"
run 0 "$gz" -v "$reversed"
says 'evil\\xe2\\x80\\xaetxt'
