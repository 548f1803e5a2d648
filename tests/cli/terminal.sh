# On a terminal: no compressed data either way; progress only there.
. "$(dirname "$0")/check.sh"

command -v script >/dev/null || skip "needs script(1)"

script -qec true /dev/null </dev/null >/dev/null 2>&1 || skip "no pseudo-terminal to be had"

# on_terminal COMMAND: runs it with a terminal for all streams; the terminal's text is in ./shown.
on_terminal() {
    script -qec "$1" /dev/null </dev/null >shown 2>&1
}

on_terminal "'$gz' -c text" && fail "wrote to a terminal"
grep -q 'not written to a terminal' shown || fail "no reason given"
on_terminal "'$gz' -cf text" && fail "wrote to a terminal with -f"
on_terminal "'$gz'" && fail "wrote to a terminal without a file"
on_terminal "'$gz' -d" && fail "read from a terminal"
grep -q 'not read from a terminal' shown || fail "no reason given"
on_terminal "'$gz' -l" && fail "listed a terminal"
run 0 "$gz" text
on_terminal "'$gz' -dc text.gpz" || fail "text may be shown"
[ "$(tr -d '\r' <shown | wc -c)" -eq "$(tr -d '\r' <text | wc -c)" ] || fail "shown otherwise"

# Progress shows on a terminal when it takes a while, unless -q.
for i in 1 2 3 4 5 6 7 8 9 10; do
    cat "$data/alice29.txt"
done >long
on_terminal "timeout 10 '$gz' --device cpu -9 long"
grep -q 'long:.*%' shown || fail "no progress shown"
rm -f long.gpz
on_terminal "timeout 5 '$gz' --device cpu -q -9 long"
grep -q '%' shown && fail "progress in spite of -q"
timeout 5 "$gz" --device cpu -9 -o other long 2>$err
silent

# The line fits the terminal; at the end one line stays. --no-progress shows neither.
long_name=a_name_that_is_longer_than_the_window_is_wide
head -c 120000 "$data/alice29.txt" >$long_name
on_terminal "stty cols 30; '$gz' --device cpu -T1 -1 -f $long_name"
tr '\r' '\n' <shown | awk 'length > 30 && !/ => .*bits\/byte/ { exit 1 }' || fail "a line is too wide"

# With room there are the tokens of a second and the device, too.
on_terminal "stty cols 70; '$gz' --device cpu -v -T1 -1 -f text"
grep -q 'token/s' shown && fail "tokens in a narrow terminal"
on_terminal "stty cols 150; '$gz' --device cpu -v -T1 -1 -f text"
grep -q 'bits/byte.* [0-9]* token/s  cpu' shown || fail "neither tokens nor device"
on_terminal "stty cols 150; timeout 10 '$gz' --device cpu -9 -fo other long"
tr '\r' '\n' <shown | grep -q 'long: .*left  cpu' || fail "no device in the progress"
on_terminal "'$gz' --device cpu -T1 -1 -f --no-progress $long_name"
[ ! -s shown ] || fail "progress was shown"

# Before a file is overwritten, the user is asked.
echo old >there
echo old >there.gpz
(sleep 1 && echo n) | script -qec "'$gz' there" /dev/null >shown 2>&1 && fail "a refusal is an error"
grep -q 'there.gpz: already exists; overwrite? (y/n)' shown || fail "no question"
[ "$(cat there.gpz)" = old ] || fail "overwritten"
(sleep 1 && echo y) | script -qec "'$gz' there" /dev/null >shown 2>&1 || fail "not overwritten"
run 0 "$gz" -dc there.gpz
same $out there
