# Blocks that the model does not suit: which kind they become, how they are listed, that they need
# neither model nor much time, and the effect of damage. Second argument: the program that makes a tiny
# checkpoint.
. "$(dirname "$0")/check.sh"

head -c 400000 "$gz" | tail -c 20000 >machine
head -c 20000 /dev/urandom | base64 -w 0 | head -c 20000 >letters
head -c 200000 /dev/zero >zeros
head -c 12000 /dev/urandom >random
head -c 4000 "$data/alice29.txt" >prose

# kind FILE STORED PACKED: FILE becomes one block, which is of this kind and comes back.
kind() {
    run 0 "$gz" -c "$1"
    cp $out x.gpz
    run 0 "$gz" -l --json x.gpz
    prints "\"blocks\":1,\"stored_blocks\":$2,\"packed_blocks\":$3,"
    run 0 "$gz" -lv x.gpz
    prints "blocks  *1, of which stored $2, packed $3\$"
    run 0 "$gz" -d <x.gpz
    same $out "$1"
    run 0 "$gz" -t x.gpz
    run 0 "$gz" --no-verify -T1 -c "$1"
    same $out x.gpz
}

kind prose 0 0
kind random 1 0
kind zeros 0 1
[ "$(wc -c <x.gpz)" -le 200 ] || fail "zeros are not small"
for file in machine letters; do
    kind $file 0 1
    run 0 "$gz" --no-pack -1 --no-verify -c $file
    [ "$(wc -c <x.gpz)" -le "$(wc -c <$out)" ] || fail "$file is larger packed"
    ! command -v xz >/dev/null || [ "$(wc -c <x.gpz)" -le $(($(xz -9e -c $file | wc -c) + 100)) ] ||
        fail "$file is larger than with xz"
done

# All kinds in a file, decoded by the kind; figures of the model are of the coded ones.
cat prose machine random letters prose >mixed
run 0 "$gz" -1 --no-verify --block-size 4000 --json mixed
prints '"blocks":15,'
prints '"packed_blocks":[1-9]'
prints '"stored_blocks":[1-9]'
coded=$(sed 's/.*\("model_bytes":[0-9]*\),.*/\1/' $out)
run 0 "$gz" -d -c --json mixed.gpz
same $out mixed
grep -q "$coded," $err || fail "decompressing counts otherwise"
grep -q '"packed_blocks":[1-9]' $err || fail "decompressing counts no packed blocks"
run 0 "$gz" -1 --stats -f machine
prints 'blocks  *1, of which stored 0, packed 1, in batches'
prints 'tokens  *0, of 0 bytes'

# No model is needed: not even that which coded other files.
mv "$("$2" long)" tiny
run 0 "$gz" --model tiny/tiny.bin -c machine
cp $out x.gpz
run 0 "$gz" -d <x.gpz
same $out machine

# Under a limit of memory it is larger, and read under the same one.
for limit in 18M 12M; do
    run 0 "$gz" --model tiny/tiny.bin --window 8 --hop 8 --streams 1 --adapt none -M $limit -c machine
    cp $out x.gpz
    run 0 "$gz" --model tiny/tiny.bin -M $limit -d <x.gpz
    same $out machine
done
run 0 "$gz" -c zeros
cp $out x.gpz
run 1 "$gz" -M 10M --model tiny/tiny.bin -d -c x.gpz
says 'memory'
run 0 "$gz" -M 12M --model tiny/tiny.bin -d -c x.gpz

# Damage is found before anything is written.
run 0 "$gz" -c machine
cp $out x.gpz
size=$(wc -c <x.gpz)
for at in 40 60 $((size / 2)) $((size - 20)) $((size - 5)); do
    byte=$(dd if=x.gpz bs=1 skip=$at count=1 2>/dev/null | od -An -tu1)
    cp x.gpz y.gpz
    printf "\\$(printf %o $((byte ^ 1)))" | dd of=y.gpz bs=1 seek=$at conv=notrunc 2>/dev/null
    run 1 "$gz" -d -o y y.gpz
    says 'damaged'
    absent y
done
head -c $((size / 2)) x.gpz >y.gpz
run 1 "$gz" -t y.gpz
says 'damaged'

# The page shows it as a packed block.
run 0 "$gz" explain machine -o page.html
grep -q 'class="s p">' page.html || fail "the packed block is not told"
grep -q 'of which stored 0, packed 1' page.html || fail "the packed block is not counted"
run 0 "$gz" explain -f x.gpz -o page.html
grep -q 'exactly its bytes' page.html || fail "explained otherwise"

# A file of the format's first version says so.
if command -v python3 >/dev/null; then
    python3 - "$data/../coder/golden_coder.py" >old.gpz 2>/dev/null <<'P' || exit 0
import importlib.util, sys
spec = importlib.util.spec_from_file_location("golden", sys.argv[1])
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)
golden.MAGIC = golden.MAGIC[:4] + b"\1"
sys.stdout.buffer.write(b"".join(golden.example(golden.xxh3())))
P
    run 1 "$gz" -d -c old.gpz
    says 'old.gpz: unsupported feature: a .gpz file of format version 1, .* reads version 2 only'
    run 1 "$gz" -l old.gpz
    says 'format version 1'
fi
