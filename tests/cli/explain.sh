# gpuzip explain: a page of where the bits went.
. "$(dirname "$0")/check.sh"

run 0 "$gz" explain text
silent
exists text.html
grep -q '<title>text ' text.html || fail "the title lacks the file's name"
grep -q 'Content-Security-Policy' text.html || fail "the page may load things"

# As for other results: none that is there is touched, none is left half written.
cp text.html before
run 1 "$gz" explain text
says 'text.html: already exists, not touched; -f overwrites it'
same text.html before
echo old >text.html
run 0 "$gz" explain -f text
same text.html before
for options in '--window 1' '-d' '-l' '-r' '--rm' '--alpha 1,2' '-o page -c' 'text'; do
    run 1 "$gz" explain $options text
    says '^gpuzip: '
done
run 1 "$gz" explain missing
run 2 "$gz" explain .
run 1 "$gz" explain -f text -o no/page
run 1 "$gz" explain -f text -o text
rm before
holds . '.results text text.html '

# Wherever it goes, and whatever computes it, it is the same page.
run 0 "$gz" explain -T1 text -o one
run 0 "$gz" explain -T2 --stats text -o two
prints 'information capacity'
same one two
same one text.html
run 0 "$gz" explain -c text
same $out one
run 0 "$gz" explain <text
grep -q '<title>(stdin) ' $out || fail "the title lacks (stdin)"
rm one two text.html

# Of a .gpz file, the bits of its own bytes.
run 0 "$gz" -2 --adapt all --naive-bayes --window 64 --hop 32 --streams 2 text
run 0 "$gz" explain text.gpz
grep -q 'the figures describe exactly its bytes' text.gpz.html || fail "other bytes than the file's"
grep -q 'Window 64, hop 32' text.gpz.html || fail "not the file's settings"
grep -q 'Naive Bayes' text.gpz.html || fail "not the file's experts"
cat text.gpz text.gpz >twice.gpz
run 0 "$gz" explain twice.gpz -c
grep -q 'or from several parts' $out || fail "two frames are not those of one"
head -c 60 text.gpz >cut.gpz
run 1 "$gz" explain cut.gpz
says 'cut.gpz: .*damaged'
absent cut.gpz.html
tiny=$("$2" long)
run 0 "$gz" --model "$tiny/tiny.bin" --alpha 0.01 -c text
cp $out tiny.gpz
if [ "$(wc -c <tiny.gpz)" -lt 400 ]; then # else it is stored
    run 3 "$gz" explain tiny.gpz
fi
absent tiny.gpz.html
rm twice.gpz cut.gpz tiny.gpz text.gpz text.gpz.html
holds . '.results text '

# Nothing, and nothing but noise.
: >empty
run 0 "$gz" explain empty
head -c 3000 /dev/urandom >noise
run 0 "$gz" explain noise -o noise.html
grep -q 'class=s>' noise.html || fail "the stored block is not told"

# Bytes that would be more than text.
hostile='a<b>&"'"'"'.txt'
{
    printf '<script>alert(1)</script></i></div></main>--><!-- & &lt; "\047 ]]>\000\033[31m\177\r\n\t'
    printf '\342\200\256rtl\342\200\254 \355\240\200 \300\257 \364\220\200\200 \360\237\230'
    printf '\360\237\230\200 Gr\303\274\303\237e \344\275\240\345\245\275 \357\277\276\357\273\277'
    cat text
} >"$hostile"
run 0 "$gz" explain "$hostile" -o hostile.html

# 600 KB: what is shown has an end, what is told has not.
LC_ALL=C awk 'BEGIN {
    split("aaaaaaaa abababab bbbb aaaa abab", piece, " ")
    for (size = 0; size < 600000; size += length(word)) {
        x = (x * 1103515245 + 12345) % 2147483648
        word = piece[int(x / 65536) % 5 + 1]
        printf size % 80 < 8 ? "%s\n" : "%s", word
    }
}' >letters
run 0 "$gz" explain --model "$tiny/tiny.bin" --alpha 0.01 --window 8 --hop 8 letters
rm -r "$tiny"
grep -q 'The first 524,2[89][0-9] of [0-9,]* bytes are shown' letters.html || fail "no word on the rest"
[ "$(wc -c <letters.html)" -lt 12000000 ] || fail "the page is too large"

command -v python3 >/dev/null || exit 0
cat >check.py <<'EOF'
"""Reads a page as a browser would, but strictly: tags match, and only ours are there."""
import html.parser, json, re, sys

VOID = {"meta", "path"}
KNOWN = set("""html head meta title style body header h1 h2 h3 p strong main dl dt dd div small sub
sup section table tr th td span svg path rect text details summary label select option i b script mark
footer code""".split())

class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.scripts, self.tokens, self.codes = [], 0, [], []
    def handle_starttag(self, tag, attributes):
        assert tag in KNOWN, tag
        for name, value in attributes:
            assert not name.startswith("on") and name not in ("src", "href", "srcset"), name
        if tag == "script":
            self.scripts += 1
        if tag == "i" and "div" in self.open[-1:]:
            self.tokens.append("")
        if tag not in VOID:
            self.open.append(tag)
    def handle_startendtag(self, tag, attributes):
        assert tag in VOID, tag
    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.open, self.getpos())
    def handle_comment(self, data):
        raise AssertionError("a comment")
    def handle_data(self, data):
        if self.open[-1:] == ["i"] and self.tokens:
            self.tokens[-1] += data
        if self.open[-2:] == ["i", "b"]:
            self.codes.append(data)

page = Page()
data = open(sys.argv[1], "rb").read()
text = data.decode("utf-8")  # strict
assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe]",
                     text), "controls"
page.feed(text)
page.close()
assert page.open == [] and page.scripts == 2, (page.open, page.scripts)
assert "://" not in text.replace("arXiv:", ""), "an address"
numbers = json.loads(re.search(r'id="numbers">(.*?)</script>', text, re.S).group(1))
assert len(page.tokens) == len(numbers["size"]) == len(numbers["bits"]), len(page.tokens)
assert all(len(alone) == len(numbers["bits"]) for alone in numbers["alone"])
shown = "".join(page.tokens)
assert eval(sys.argv[2]), shown[:300]
EOF
page() {
    python3 check.py "$1" "$2" 2>$err || fail "the page $1"
}
run 0 "$gz" explain text
page text.html 'sum(numbers["size"]) == 400 and shown == open("text").read()'
page empty.html 'not page.tokens'
page noise.html 'len(page.tokens) == 1'
page hostile.html 'shown.startswith("<script>alert(1)</script>") and "Gr\u00fc\u00dfe" in shown'
page hostile.html '([code for code in page.codes if re.fullmatch("[0-9A-F]{2}", code)] ==
    "ED A0 80 C0 AF F4 90 80 80 F0 9F 98".split())'
page hostile.html '{"NUL", "ESC", "DEL", "CR", "U+202E", "U+202C", "U+FFFE", "U+FEFF"} <= set(page.codes)'
page letters.html '524288 <= sum(numbers["size"]) < 524304'
