"""Chooses, varies and packs the training text of gpuzip's built-in model.

    python prepare.py text   --data ../../../shared/data --out /tmp/train
    python tokenizer.py      --out /tmp/train
    python prepare.py tokens --out /tmp/train

`text` takes a share of every set, cuts long books to one random span (more authors for the same
bytes), writes some documents the way files really look (hard-wrapped lines, MediaWiki export,
CRLF, spaced-out tokens) and shuffles all of them into text.bin: UTF-8 documents separated by NUL.
`tokens` encodes them into tokens.bin: uint16, every document preceded by BOS.
"""

import argparse
import hashlib
import json
import lzma
import random
import re
import textwrap
from pathlib import Path

import numpy as np

SEED = 20261121
# name: (bytes to take, longest span of one document in bytes). The shares of the mixture.
SETS = {
    "wiki_en": (84_000_000, 60_000),
    "books_en": (72_000_000, 165_000),
    "docs_en": (29_000_000, 120_000),
    "code": (31_000_000, 60_000),
    "news_en": (10_000_000, 60_000),
    "multi": (14_000_000, 120_000),
}
KOREAN_KEPT = 0.25  # three bytes a character: many tokens, little use for the other languages
WRAPPED_BOOKS = 0.6
MARKED_UP_WIKI = 0.30
SPACED_WIKI = 0.04
CRLF = 0.03

NAMES = "Conversion script,Maveric149,Koyaanis Qatsi,Larry_Sanger,Jimbo Wales,Rich Farmbrough,SmackBot"
COMMENTS = "/* History */,rv vandalism,fmt,typo,/* External links */,robot Adding: [[de:]],+cat,copyedit"


def wrap_book(text, rng):
    """Hard-wraps paragraphs as e-text editions do; paragraphs may be indented or run on."""
    width = rng.randint(60, 79)
    indent = " " * rng.choice([0, 0, 0, 2, 3, 4, 5])
    gap = rng.choice(["\n\n", "\n\n", "\n\n", "\n"]) if indent else "\n\n"
    if rng.random() < 0.5:  # typewriter quotes, whichever the source had
        text = text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2014: "--"})
        if rng.random() < 0.3:  # `single' quotation in the British manner
            text = re.sub(r'"([^"\n]{1,400})"', r"`\1'", text)
    wrapped = []
    for paragraph in re.split(r"\n\s*\n", text):
        if re.search(r"\S\n\S", paragraph):  # verse and the like keep their lines
            wrapped.append(paragraph)
        else:
            wrapped.append(
                textwrap.fill(paragraph, width, initial_indent=indent, break_on_hyphens=False)
            )
    return gap.join(wrapped)


def mark_up_wiki(text, rng):
    """Dresses an extracted article as a page of a MediaWiki XML export (links, headings, header).

    The extracted text has lost its markup; dumps are a common thing to compress.
    """
    lines = text.split("\n")
    title, body = lines[0], []
    density = rng.choice([0.15, 0.3, 0.5])

    def link(match):
        if rng.random() > density:
            return match[0]
        words = match[0]
        if rng.random() < 0.12:
            return f"[[{words}|{words.split()[-1]}]]"
        return f"[[{words}]]"

    for line in lines[1:]:
        if re.fullmatch(r"[A-Z][^.\n]{2,50}\.", line):  # how the extractor left headings
            marks = rng.choice(["==", "==", "=="] + ["==="])
            space = rng.choice(["", " "])
            body.append(f"\n{marks}{space}{line[:-1]}{space}{marks}")
            continue
        line = re.sub(r"(?<=[a-z,] )[A-Z][a-z]+(?: (?:of )?[A-Z][a-z]+)*", link, line)
        line = re.sub(r"(?<= )[a-z]{6,12}(?=[ ,.])", lambda m: link(m) if rng.random() < 0.12 else m[0], line)
        body.append(line)
    text = "\n".join(body).lstrip("\n").replace(title, f"'''{title}'''", 1)
    if rng.random() < 0.8:
        text = re.sub(r"\n(?=[A-Z'\[])", "\n\n", text)
    if rng.random() < 0.5:
        text += f"\n\n[[Category:{title}]]"
    text = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    if rng.random() < 0.3:  # the page's text alone
        return text
    number = lambda top: rng.randint(1, top)
    stamp = f"200{number(6)}-{number(12):02}-{number(28):02}T{number(23):02}:{number(59):02}:{number(59):02}Z"
    if rng.random() < 0.2:
        who = "<ip>%d.%d.%d.%d</ip>" % tuple(number(254) for _ in range(4))
    else:
        who = f"<username>{rng.choice(NAMES.split(','))}</username>\n        <id>{number(400000)}</id>"
    comment = f"      <comment>{rng.choice(COMMENTS.split(','))}</comment>\n" if rng.random() < 0.7 else ""
    minor = "      <minor />\n" if rng.random() < 0.4 else ""
    return (
        f"  <page>\n    <title>{title}</title>\n    <id>{number(99999)}</id>\n    <revision>\n"
        f"      <id>{number(60000000)}</id>\n      <timestamp>{stamp}</timestamp>\n"
        f"      <contributor>\n        {who}\n      </contributor>\n{minor}{comment}"
        f'      <text xml:space="preserve">{text}</text>\n    </revision>\n  </page>\n'
    )


def space_out_wiki(text, _rng):
    """Writes an article as language-modelling corpora do: every token between blanks."""
    text = re.sub(r"(?<=\w)([-,.])(?=\w)", r" @\1@ ", text)
    text = re.sub(r"([,.;:!?()\"]|'s\b)(?=\s|[\w\"])", r" \1 ", text)
    lines = [" " + re.sub(" +", " ", line).strip() + " " for line in text.split("\n") if line]
    lines[0] = f" \n = {lines[0].strip()} = \n "
    return "\n".join(re.sub(r"^ ([A-Z][^.]{2,50}) \. $", r" \n = = \1 = = \n ", line) for line in lines)


def vary(name, text, rng):
    """One document as it will be seen in training."""
    if name == "books_en" and rng.random() < WRAPPED_BOOKS:
        text = wrap_book(text, rng)
    elif name == "multi" and rng.random() < WRAPPED_BOOKS / 2:
        text = wrap_book(text, rng)
    elif name == "wiki_en":
        style = rng.random()
        if style < MARKED_UP_WIKI:
            text = mark_up_wiki(text, rng)
        elif style < MARKED_UP_WIKI + SPACED_WIKI:
            text = space_out_wiki(text, rng)
    if rng.random() < CRLF:
        text = text.replace("\n", "\r\n")
    return text


def span(document, longest, rng):
    """The document, or a random part of it that starts at a line."""
    if len(document) <= longest:
        return document
    start = rng.randrange(len(document) - longest // 2)
    start = 0 if start < longest // 2 else document.find(b"\n", start) + 1
    return document[start : start + longest]


def write_text(data, out):
    rng = random.Random(SEED)
    chosen, report = [], {}
    for name, (target, longest) in SETS.items():
        path = data / "train" / f"{name}.txt.xz"
        packed = path.read_bytes()
        documents = lzma.decompress(packed).split(b"\0")
        rng.shuffle(documents)
        taken = count = 0
        for document in documents:
            if taken >= target:
                break
            if name == "multi" and re.search(b"[\xea-\xed][\x80-\xbf]{2}", document[:2000]):
                if rng.random() > KOREAN_KEPT:
                    continue
            piece = span(document, longest, rng).decode("utf-8", "ignore")
            piece = vary(name, piece, rng).encode()
            chosen.append(piece)
            taken, count = taken + len(piece), count + 1
        report[name] = {"sha256": hashlib.sha256(packed).hexdigest(), "documents": count, "bytes": taken}
        print(name, report[name], flush=True)
    rng.shuffle(chosen)
    (out / "text.bin").write_bytes(b"\0".join(chosen))
    (out / "text.json").write_text(json.dumps(report, indent=1))


def write_tokens(out):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # "<|bos|>" in a text is seven characters like others
    documents = (out / "text.bin").read_bytes().split(b"\0")
    total = 0
    with open(out / "tokens.bin", "wb") as file:
        for i in range(0, len(documents), 500):
            batch = [d.decode() for d in documents[i : i + 500]]
            for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                ids = np.array([0] + encoding.ids, np.uint16)
                ids.tofile(file)
                total += len(ids)
    size = (out / "text.bin").stat().st_size
    print(f"{len(documents)} documents, {size} bytes, {total} tokens, {size / total:.3f} bytes a token")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("step", choices=["text", "tokens"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.step == "text":
        write_text(args.data, args.out)
    else:
        write_tokens(args.out)
