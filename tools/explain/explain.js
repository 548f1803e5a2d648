"use strict";
/* Tells of the token under the pointer or the caret, and colours the text by other numbers. */
(() => {
    const numbers = JSON.parse(document.getElementById("numbers").textContent);
    const text = document.getElementById("text"), tip = document.getElementById("tip");
    const told = document.getElementById("told"), by = document.getElementById("by");
    const tokens = text.querySelectorAll("i");
    const names = [...document.querySelectorAll("th.name")].map((cell) => cell.textContent);
    const place = [];
    let sum = 0, current = -1;
    tokens.forEach((token, i) => {
        token.number = i;
        place.push(sum);
        sum += numbers.size[i];
    });

    const bits = (hundredths) => (hundredths / 100).toFixed(2);
    const shown = (token) => token.textContent.replace(/ /g, "\u2423").replace(/\t/g, "\u21e5")
        .replace(/\n/g, "").slice(0, 200);

    function chance(cost) {
        return cost < 3.3 ? (100 / 2 ** cost).toFixed(cost < 0.02 ? 1 : 0) + " %"
            : "1 in " + Math.round(2 ** cost).toLocaleString("en");
    }

    function row(table, name, value) {
        const line = table.insertRow();
        const head = document.createElement("th");
        head.textContent = name;
        line.append(head);
        line.insertCell().textContent = value;
    }

    /* Fills the tip in for token i; returns the same as a sentence. */
    function describe(i) {
        const token = tokens[i], stored = token.classList.contains("s"),
            packed = token.classList.contains("p");
        const code = document.createElement("code"), table = document.createElement("table");
        code.textContent = shown(token);
        tip.replaceChildren(code, table);
        const cost = bits(numbers.bits[i]) + " bits";
        row(table, packed ? "packed block" : stored ? "stored block" : "cost", cost);
        if (!stored) {
            row(table, "probability", chance(numbers.bits[i] / 100));
            numbers.alone.forEach((alone, k) => row(table, names[k] + " alone",
                bits(alone[i]) + " bits"));
        }
        row(table, "at byte", place[i].toLocaleString("en"));
        row(table, "bytes", numbers.size[i].toLocaleString("en"));
        return shown(token) + ": " + cost;
    }

    function show(i) {
        if (current >= 0)
            tokens[current].classList.remove("at");
        current = i;
        tip.hidden = i < 0;
        if (i < 0)
            return "";
        const said = describe(i), token = tokens[i];
        token.classList.add("at");
        const box = token.getClientRects()[0] || token.getBoundingClientRect();
        const left = Math.min(box.left, innerWidth - tip.offsetWidth - 8);
        const below = box.bottom + 6;
        const top = below + tip.offsetHeight > innerHeight ? box.top - tip.offsetHeight - 6 : below;
        tip.style.left = Math.max(left, 8) + "px";
        tip.style.top = Math.max(top, 8) + "px";
        return said;
    }

    text.addEventListener("mouseover", (event) => {
        const token = event.target.closest("#text i");
        show(token ? token.number : -1);
    });
    text.addEventListener("mouseleave", () => show(-1));
    text.addEventListener("blur", () => show(-1));
    addEventListener("scroll", () => tip.hidden = true, {passive: true});
    text.addEventListener("keydown", (event) => {
        const step = {ArrowRight: 1, ArrowDown: 10, ArrowLeft: -1, ArrowUp: -10}[event.key];
        if (!step || tokens.length === 0)
            return;
        event.preventDefault();
        const next = Math.min(Math.max(current + step, 0), tokens.length - 1);
        tokens[next].scrollIntoView({block: "nearest"});
        told.textContent = show(next);
    });

    function grade(hundredths) {
        let colour = 0;
        while (colour < numbers.steps.length && hundredths >= 100 * numbers.steps[colour])
            colour++;
        return "c" + colour;
    }

    function grade_gain(hundredths) {
        const size = Math.abs(hundredths), step = size >= 400 ? 3 : size >= 100 ? 2 : size >= 10 ? 1 : 0;
        return "g" + (hundredths > 0 ? 3 - step : 3 + step);
    }

    by.addEventListener("change", () => {
        const kind = by.value[0], k = Number(by.value.slice(1));
        document.querySelectorAll(".legend").forEach((legend) => {
            legend.hidden = legend.classList.contains("gains") !== (kind === "g");
        });
        tokens.forEach((token, i) => {
            if (token.classList.contains("s"))
                return;
            token.className = kind === "c" ? grade(numbers.bits[i])
                : kind === "a" ? grade(numbers.alone[k][i])
                : grade_gain(numbers.alone[k][i] - numbers.bits[i]);
        });
    });
})();
