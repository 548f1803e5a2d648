# The page of gpuzip explain in a browser, where there is one: its script runs without a
# complaint, tells of tokens and colours them anew, by pointer and by key.
. "$(dirname "$0")/check.sh"

for browser in chromium chromium-browser google-chrome chrome; do
    command -v "$browser" >/dev/null && break
done
command -v "$browser" >/dev/null || skip "no Chromium"

run 0 "$gz" explain --naive-bayes text
cat >act.js <<'EOF'
<script>
const all = document.querySelectorAll("#text i"), by = document.getElementById("by");
const tip = document.getElementById("tip"), told = [];
all[5].dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
told.push(tip.hidden, tip.querySelectorAll("tr").length, all[5].className.endsWith(" at"));
const text = document.getElementById("text");
text.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
told.push(all[6].className.endsWith(" at"), document.getElementById("told").textContent !== "");
text.dispatchEvent(new MouseEvent("mouseleave"));
told.push(tip.hidden);
const before = [...all].map((token) => token.className).join();
for (const option of by.options) {
    by.value = option.value;
    by.dispatchEvent(new Event("change"));
    told.push([...all].map((token) => token.className).join() === before);
}
told.push(document.documentElement.scrollWidth <= innerWidth);
document.title = "told " + told.join(" ");
</script></body>
EOF
sed -e '/<\/body>/{r act.js
d}' text.html >acted.html
HOME=$folder timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --user-data-dir="$folder/profile" --enable-logging=stderr --window-size=900,700 \
    --dump-dom "file://$folder/acted.html" >dom 2>log || fail "the browser: $(tail -1 log)"
! grep -q 'CONSOLE' log || fail "the browser complains: $(grep CONSOLE log)"
grep -o '<title>told [^<]*' dom >said
# tip shown, with rows: cost, probability, two experts, place, size; marked; ...
[ "$(cat said)" = '<title>told false 6 true true true true true false false false false true' ] ||
    fail "the page did: $(cat said)"
