"""Chooses, varies and packs the training text of gpuzip's built-in model.

    python prepare.py text   --data ../../../shared/data --out OUT
    python tokenizer.py      --out OUT
    python prepare.py tokens --out OUT

`text` takes a share of every set, cuts long books to one random span (more authors for the same
bytes), writes some documents the way files really look (hard-wrapped lines, plays, verse, MediaWiki
export, CRLF, spaced-out tokens) and shuffles all of them into text.bin: UTF-8 documents separated by NUL.
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
# name: (share of the text, longest span of one document in bytes)
SETS = {
    "wiki_en": (0.35, 60_000),
    "books_en": (0.25, 80_000),
    "docs_en": (0.12, 120_000),
    "code": (0.15, 60_000),
    "news_en": (0.04, 60_000),
    "multi": (0.09, 120_000),
}
KOREAN_KEPT = 0.25  # three bytes a character: many tokens, little use for the other languages
WRAPPED_BOOKS = 0.6
STAGED_BOOKS = 0.05
VERSE_BOOKS = 0.04
MARKED_UP_WIKI = 0.30
SPACED_WIKI = 0.04
CRLF = 0.03


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


def stage_book(text, rng):
    """Lays a novel out as a play: speech goes to names of the text in turn, the rest to brackets."""
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,11}\b", text)
    if len(names) < 4:
        return wrap_book(text, rng)
    cast = [rng.choice(names) for _ in range(rng.randint(3, 12))]
    if rng.random() < 0.6:
        cast = [name.upper() for name in cast]
    mark = rng.choice(["\t", ".\t", ". ", ": ", "\n", ".\n"])
    indent = rng.choice(["", "\t", "    "])
    width = rng.randint(38, 76)
    capital = width < 52 and rng.random() < 0.7  # verse
    lines, speaker = [], None
    for paragraph in filter(str.strip, re.split(r"\n+", text)):
        spoken = " ".join(re.findall(r"[\u201c\"]([^\u201d\"]+)[\u201d\"]", paragraph))
        if not spoken and rng.random() < 0.6:
            spoken, paragraph = paragraph, ""
        if spoken:
            speaker = rng.choice([name for name in cast if name != speaker] or cast)
            body = textwrap.wrap(spoken, width, break_on_hyphens=False)
            if capital:
                body = [line[:1].upper() + line[1:] for line in body]
            lines.append(speaker + mark + f"\n{indent}".join(body))
        else:
            lines.append(textwrap.fill(f"{indent}[{paragraph.strip()}]", width, subsequent_indent=indent))
    text = rng.choice(["\n\n", "\n\n", "\n"]).join(lines)
    return text.translate({0x2018: "'", 0x2019: "'", 0x2014: "--"}) if rng.random() < 0.7 else text


def verse_book(text, rng):
    """Breaks paragraphs into lines of verse, each with a capital, in stanzas."""
    width, stanza = rng.randint(34, 54), rng.choice([4, 4, 6, 8, 14, 10**6])
    indent = rng.choice(["", "", "  ", "    "])
    lines = []
    for paragraph in re.split(r"\n+", text):
        for i, line in enumerate(textwrap.wrap(paragraph, width, break_on_hyphens=False)):
            if i and i % stanza == 0:
                lines.append("")
            lines.append(indent * (i % 2) + line[:1].upper() + line[1:])
        lines.append("")
    return "\n".join(lines)


def user_name(rng):
    """An invented name: syllables, perhaps two words, perhaps a number."""
    syllable = lambda: rng.choice("b,br,ch,d,f,g,h,j,k,l,m,n,p,r,s,st,t,v,w,z".split(",")) + rng.choice(
        "a,e,i,o,u,ar,en,on,ee,is".split(",")
    )
    words = ["".join(syllable() for _ in range(rng.randint(2, 3))) for _ in range(rng.choice([1, 1, 2]))]
    name = rng.choice([" ", "_", ""]).join(word.capitalize() for word in words)
    return name + (str(rng.randint(1, 2026)) if rng.random() < 0.3 else "")


def page_comment(text, rng):
    """An invented edit comment: a section, or some words of the text."""
    headings = re.findall(r"==+ ?([^=\n]+?) ?==+", text)
    if headings and rng.random() < 0.5:
        return f"/* {rng.choice(headings)} */" + rng.choice(["", " wording", " spelling", " one more"])
    words = re.findall(r"[A-Za-z]+", text[:3000])
    start = rng.randrange(max(1, len(words) - 6))
    return " ".join(words[start : start + rng.randint(1, 6)]).lower()


def wiki_table(text, rng):
    """A table in wiki markup, its cells words and numbers of the text."""
    words, numbers = re.findall(r"\b[A-Z][a-z]{2,}\b", text), re.findall(r"\b\d[\d,.]*\d\b", text)
    if len(words) < 8 or len(numbers) < 4:
        return ""
    columns = [rng.choice([words, numbers, numbers]) for _ in range(rng.randint(2, 6))]
    columns[0] = words
    rows = ["! " + " !! ".join(rng.choice(words) for _ in columns)]
    inline = rng.random() < 0.6
    for _ in range(rng.randint(2, 12)):
        cells = [rng.choice(column) for column in columns]
        if rng.random() < 0.6:
            cells[0] = f"[[{cells[0]}]]"
        rows.append("| " + (" || ".join(cells) if inline else "\n| ".join(cells)))
    return '\n{| class="wikitable"\n' + "\n|-\n".join(rows) + "\n|}\n"


def page_header(title, text, rng):
    """A page of a MediaWiki XML export, of an older or a newer schema, with invented users and numbers."""
    number = lambda top: rng.randint(1, top)
    stamp = f"{2000 + number(26)}-{number(12):02}-{number(28):02}T{number(23):02}:{number(59):02}:{number(59):02}Z"
    newer = rng.random() < 0.5
    if rng.random() < 0.2:
        who = "<ip>%d.%d.%d.%d</ip>" % tuple(number(254) for _ in range(4))
    else:
        who = f"<username>{user_name(rng)}</username>\n        <id>{number(10 ** number(8))}</id>"
    comment = f"      <comment>{page_comment(text, rng)}</comment>\n" if rng.random() < 0.7 else ""
    minor = "      <minor />\n" if rng.random() < 0.4 else ""
    parent = f"      <parentid>{number(10**9)}</parentid>\n" if newer else ""
    model = "      <model>wikitext</model>\n      <format>text/x-wiki</format>\n" if newer else ""
    space = "    <ns>0</ns>\n" if newer else ""
    size = f'bytes="{len(text.encode())}" ' if newer and rng.random() < 0.5 else ""
    return (
        f"  <page>\n    <title>{title}</title>\n{space}    <id>{number(10 ** number(8))}</id>\n    <revision>\n"
        f"      <id>{number(10**9)}</id>\n{parent}      <timestamp>{stamp}</timestamp>\n"
        f"      <contributor>\n        {who}\n      </contributor>\n{minor}{comment}{model}"
        f'      <text {size}xml:space="preserve">{text}</text>\n    </revision>\n  </page>\n'
    )


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
    if rng.random() < 0.15:
        body.insert(rng.randrange(len(body) + 1), wiki_table(text, rng))
    if rng.random() < 0.4:
        others = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*", text)
        listed = {rng.choice(others) for _ in range(rng.randint(2, 9))} if others else ()
        stars = ("*", "* ")
        body.append("\n==See also==" + "".join(f"\n{rng.choice(stars)}[[{o}]]" for o in sorted(listed)))
    text = "\n".join(body).lstrip("\n").replace(title, f"'''{title}'''", 1)
    if rng.random() < 0.8:
        text = re.sub(r"\n(?=[A-Z'\[])", "\n\n", text)
    if rng.random() < 0.5:
        text += f"\n\n[[Category:{title}]]"
    text = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    if rng.random() < 0.3:  # the page's text alone
        return text
    return page_header(title, text, rng)


def space_out_wiki(text, _rng):
    """Writes an article as language-modelling corpora do: every token between blanks."""
    text = re.sub(r"(?<=\w)([-,.])(?=\w)", r" @\1@ ", text)
    text = re.sub(r"([,.;:!?()\"]|'s\b)(?=\s|[\w\"])", r" \1 ", text)
    lines = [" " + re.sub(" +", " ", line).strip() + " " for line in text.split("\n") if line]
    lines[0] = f" \n = {lines[0].strip()} = \n "
    return "\n".join(re.sub(r"^ ([A-Z][^.]{2,50}) \. $", r" \n = = \1 = = \n ", line) for line in lines)


def vary(name, text, rng):
    """One document as it will be seen in training."""
    if name == "books_en":
        style = rng.random()
        if style < WRAPPED_BOOKS:
            text = wrap_book(text, rng)
        elif style < WRAPPED_BOOKS + STAGED_BOOKS:
            text = stage_book(text, rng)
        elif style < WRAPPED_BOOKS + STAGED_BOOKS + VERSE_BOOKS:
            text = verse_book(text, rng)
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


def key_of(document):
    return hashlib.sha256(document).hexdigest()[:16]


def held_out(document):
    """One in 64: n-grams are not counted in these; their prior is learnt from some (prior_files.py)."""
    return key_of(document)[-1] == "0" and key_of(document)[-2] in "0123"


def write_text(data, out, size, seed, seen, book, leave):
    """`seen`: hashes of documents an earlier run has had; of those only a span of a long one is taken.
    size 0: all documents, whole, but those held out: the text for n-grams.
    book: longest span of a book. leave: leave out the documents held out of the n-grams."""
    rng = random.Random(seed)
    chosen, hashes, report = [], [], {}
    for name, (share, longest) in SETS.items():
        longest = book if name == "books_en" else longest
        path = data / "train" / f"{name}.txt.xz"
        packed = path.read_bytes()
        documents = lzma.decompress(packed).split(b"\0")
        rng.shuffle(documents)
        taken = count = 0
        for document in documents:
            if size and taken >= share * size:
                break
            key = key_of(document)
            if (key in seen and len(document) <= longest) or (leave and held_out(document)):
                continue
            if size and name == "multi" and re.search(b"[\xea-\xed][\x80-\xbf]{2}", document[:2000]):
                if rng.random() > KOREAN_KEPT:
                    continue
            piece = (span(document, longest, rng) if size else document).decode("utf-8", "ignore")
            piece = vary(name, piece, rng).encode()
            chosen.append(piece)
            hashes.append(key)
            taken, count = taken + len(piece), count + 1
        report[name] = {"sha256": hashlib.sha256(packed).hexdigest(), "documents": count, "bytes": taken}
        print(name, report[name], flush=True)
    rng.shuffle(chosen)
    (out / "text.bin").write_bytes(b"\0".join(chosen))
    (out / "text.json").write_text(json.dumps(report, indent=1))
    (out / "chosen.txt").write_text("\n".join(hashes) + "\n")


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
    parser.add_argument("--megabytes", type=int, default=227, help="of text to take; 0: all but the held-out documents")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--book", type=int, default=SETS["books_en"][1], help="bytes of the longest span of a book")
    parser.add_argument("--leave", action="store_true", help="leave out the documents held out of the n-grams")
    parser.add_argument("--seen", type=Path, help="chosen.txt of an earlier run, whose documents are left out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.step == "text":
        seen = set(args.seen.read_text().split()) if args.seen else set()
        leave = args.leave or not args.megabytes
        write_text(args.data, args.out, args.megabytes * 10**6, args.seed, seen, args.book, leave)
    else:
        write_tokens(args.out)
