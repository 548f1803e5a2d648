"""Draws training logs as one curve in SVG: bits per byte over tokens seen.

    python curves.py LOG:BYTES_PER_TOKEN ... >curves.svg
"""

import json
import math
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 56, 16, 36, 48
SMOOTH = 9  # entries of 20 seconds
COLOURS = ["#2a6fbb", "#c0562b", "#3a8a4d"]


def read(argument):
    """[(million tokens, bits per byte, tokens a row)] of one log."""
    path, bytes_per_token = argument.rsplit(":", 1)
    entries = [json.loads(line) for line in Path(path).read_text().splitlines()]
    scale = 1 / math.log(2) / float(bytes_per_token)
    points = []
    for i, entry in enumerate(entries):
        near = entries[max(0, i - SMOOTH // 2) : i + SMOOTH // 2 + 1]
        near = [e["loss"] for e in near if e["length"] == entry["length"]]
        points.append((entry["tokens"] / 1e6, sum(near) / len(near) * scale, entry["length"]))
    return points


def text(x, y, words, anchor="middle", colour="#666"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def draw(runs):
    last = math.ceil(max(points[-1][0] for points in runs) / 5) * 5
    low = math.floor(min(p[1] for points in runs for p in points) * 5) / 5
    high = 2.8
    x = lambda tokens: LEFT + tokens / last * (WIDTH - LEFT - RIGHT)
    y = lambda bits: TOP + (high - min(bits, high)) / (high - low) * (HEIGHT - TOP - BOTTOM)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 20, "Training loss in bits per byte of text (3 minutes' mean)", "start", "#222"),
        text(WIDTH - RIGHT, HEIGHT - 10, "million tokens seen", "end"),
    ]
    for i in range(round((high - low) * 5) + 1):
        bits = low + i / 5
        out.append(f'<path d="M{LEFT} {y(bits):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(text(LEFT - 8, y(bits) + 4, f"{bits:.1f}", "end"))
    for tokens in range(0, last + 1, 5):
        out.append(text(x(tokens), HEIGHT - BOTTOM + 18, tokens))
    for run, points in enumerate(runs):
        colour = COLOURS[run % len(COLOURS)]
        shown = [p for p in points if p[1] <= high]
        path = " ".join(f"{x(tokens):.1f},{y(bits):.1f}" for tokens, bits, _ in shown)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        for (before, _, old), (tokens, bits, new) in zip([(0, 0, 0)] + shown, shown):
            if old != new:  # another row length begins
                below = 26 * (run % 2)  # where the run before does not pass
                out.append(text(x(tokens) + 4, y(bits) - 8 + below, f"rows of {new}", "start", colour))
                out.append(f'<circle cx="{x(tokens):.1f}" cy="{y(bits):.1f}" r="2.5" fill="{colour}"/>')
    return "\n".join(out + ["</svg>"]) + "\n"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.stdout.write(draw([read(argument) for argument in sys.argv[1:]]))
