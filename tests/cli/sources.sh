# Input files: the program skips all but regular files at once and heeds suffixes.
. "$(dirname "$0")/check.sh"

mkdir folder
mkfifo fifo
ln -s text link
ln -s missing dangling

run 2 "$gz" folder
says 'is a folder, skipped'
run 2 timeout 20 "$gz" fifo
says 'not a regular file'
run 2 timeout 20 "$gz" -t fifo
run 2 timeout 20 "$gz" -d fifo
run 2 timeout 20 "$gz" -l fifo
run 2 "$gz" /dev/null
says 'not a regular file'
run 2 "$gz" link
says 'symbolic link'
run 2 "$gz" dangling
run 1 "$gz" -f dangling
run 1 "$gz" missing
says 'No such file'
run 1 "$gz" ''
holds . '.results dangling fifo folder link text '

# -f and -c look behind a link; where one stands, its target stays.
run 0 "$gz" -c link
cp $out behind.gpz
run 0 "$gz" -f link
same link.gpz behind.gpz
[ -L link ] || fail "the link was replaced"
run 0 "$gz" -t link.gpz
ln -s link.gpz other.gpz
run 0 "$gz" -t other.gpz
run 2 "$gz" -d other.gpz
absent other

# -f and -c read a FIFO and wait for it.
(sleep 0.2 && cat text >fifo) &
run 0 timeout 60 "$gz" -c fifo
wait
same $out behind.gpz
(sleep 0.2 && cat text >fifo) &
run 0 timeout 60 "$gz" -f -c fifo
wait
same $out behind.gpz
run 0 "$gz" -f -c /dev/null
cp $out nothing.gpz
run 0 "$gz" -dc nothing.gpz
[ ! -s $out ] || fail "something came of nothing"

# Suffixes.
run 2 "$gz" link.gpz
says 'has the suffix .gpz already'
run 0 "$gz" -f link.gpz
run 0 "$gz" -dc link.gpz.gpz
same $out link.gpz
cp behind.gpz plain
run 2 "$gz" -d plain
says 'lacks the suffix .gpz'
run 0 "$gz" -dc plain
same $out text
run 0 "$gz" -d plain -o named
same named text
run 0 "$gz" -d <plain
same $out text
run 0 "$gz" -df plain
same plain.out text
run 0 "$gz" -t plain
cp behind.gpz .gpz
run 2 "$gz" -d .gpz
says 'lacks the suffix'

# Names that begin with a dash.
cp text ./-dashed
run 0 "$gz" -- -dashed
exists ./-dashed.gpz
run 0 "$gz" -d -c -- -dashed.gpz
same $out text

# -r: all files below, except links and archives.
mkdir -p tree/sub/deep
cp text tree/a
cp text tree/sub/deep/b
cp behind.gpz tree/sub/c.gpz
ln -s ../text tree/link
mkfifo tree/fifo
run 0 timeout 60 "$gz" -r tree
silent
holds tree 'a a.gpz fifo link sub '
holds tree/sub 'c.gpz deep '
holds tree/sub/deep 'b b.gpz '
rm tree/a tree/sub/deep/b
run 0 timeout 60 "$gz" -d -r tree
same tree/a text
same tree/sub/deep/b text
same tree/sub/c text
run 0 timeout 60 "$gz" -t --recursive tree link.gpz
run 1 "$gz" -r tree/none
run 0 sh -c '"$1" -r - <text' sh "$gz"
same $out behind.gpz
run 2 "$gz" -r link

# -S: another suffix, for making names and for taking them.
mkdir suffix
cp text suffix/a
run 0 "$gz" -S .lm suffix/a
same suffix/a.lm behind.gpz
run 2 "$gz" -S .lm suffix/a.lm
says 'has the suffix .lm already'
run 2 "$gz" -d suffix/a.lm
says 'lacks the suffix .gpz'
rm suffix/a
run 0 "$gz" -d -r --suffix=.lm suffix
same suffix/a text
for suffix in '' a/b; do
    run 1 "$gz" -S "$suffix" text
    says '^gpuzip: -S takes'
done

# --files-from: names by the line, or by NUL; behind the operands; none is no standard input.
mkdir list
cp text list/a
cp text 'list/b c'
cp text list/d
printf 'list/a\n\nlist/b c' >names
run 0 "$gz" --files-from names list/d
holds list 'a a.gpz b c b c.gpz d d.gpz '
run 0 sh -c 'printf "list/a.gpz\0list/b c.gpz\0" | "$1" -tv --files-from -' sh "$gz"
says 'list/a.gpz: good'
says 'list/b c.gpz: good'
run 1 sh -c 'printf "list/none\nlist/d.gpz\n" | "$1" -tv --files-from -' sh "$gz"
says 'list/none: cannot open'
says 'list/d.gpz: good'
run 0 "$gz" --files-from /dev/null
silent
run 1 "$gz" --files-from none
says 'cannot read the list'

# --output-dir-flat: results of all folders in one.
run 0 "$gz" --output-dir-flat out text tree/a.gpz -f
holds out 'a.gpz.gpz text.gpz '
run 0 "$gz" -d --output-dir-flat ./out list/a.gpz
same out/a text
run 1 "$gz" -d --output-dir-flat out list/a.gpz
says 'out/a: already exists'
run 1 "$gz" --output-dir-flat out -c text
says 'excludes -o and -c'
run 1 "$gz" --output-dir-flat none/none text
says 'cannot create'
