#!/usr/bin/env python3
"""prior_files.py --data DATA --out OUT: the files that train_prior learns from.

Texts are drawn from the documents that prepare.py holds out of the training sets (DATA/train, README.md) and written as
it writes them; nothing of DATA/dev is used. Tables, logs and the like, which the sets lack, are made up.
Prints the names and sizes."""
import argparse
import json
import lzma
import os
import random
import struct

import prepare

KINDS = ["alpha", "beta", "gamma", "delta"]


def read(data, name):
    """The documents of a set that no n-grams were counted in, and the line of its list for each."""
    base = os.path.join(data, "train", name)
    documents = lzma.open(base + ".txt.xz").read().split(b"\0")
    lines = lzma.open(base + ".list.xz").read().decode().split("\n")
    held = [i for i, document in enumerate(documents) if prepare.held_out(document)]
    return [documents[i] for i in held], [lines[i] for i in held]


def join(documents, size):
    """The first documents, one after another, that make up size bytes."""
    out = b""
    for document in documents:
        out += document + b"\n"
        if len(out) >= size:
            break
    return out[:size]


def texts(data, r):
    """Names and bytes of the texts from the training sets."""
    books, _ = read(data, "books_en")
    long = [b for b in books if len(b) > 200000]
    first, second = r.sample(long, 2)
    yield "book1", prepare.wrap_book(first.decode()[20000:180000], r).encode()[:150000]
    yield "book2", second[50000:200000]
    wiki, _ = read(data, "wiki_en")
    r.shuffle(wiki)
    pages = (prepare.mark_up_wiki(d.decode(), r).encode() for d in wiki[: len(wiki) // 2])
    yield "wikixml", join(pages, 300000)
    yield "wikitext", join(wiki[len(wiki) // 2 :], 150000)
    code, lines = read(data, "code")
    for extension, size in (("c", 120000), ("py", 60000), ("js", 40000)):
        own = [d for d, line in zip(code, lines)
               if line.split("\t")[0].rsplit(".", 1)[-1] == extension]
        yield "code_" + extension, join(own, size)
    documents, _ = read(data, "docs_en")
    yield "docs", join((d[:15000] for d in r.sample(documents, 16)), 100000)
    multi, lines = read(data, "multi")
    for language, size in (("por", 100000),):
        own = [d for d, line in zip(multi, lines) if language in line.lower()]
        yield language, r.choice(own)[100000:100000 + size]
    own = [d for d, line in zip(multi, lines) if "kor" in line.lower()]
    yield "korean", join(r.sample(own, 20), 60000)
    news, _ = read(data, "news_en")
    yield "news", join(r.sample(news, 60), 100000)


def csv(r):
    products = ["Widget", "Gadget", "Sprocket", "Flange", "Gear box", "Ball bearing"]
    rows = ["id,date,store,product,qty,price,total"]
    for i in range(2500):
        n, price = r.randint(1, 20), r.choice([4.99, 12.5, 7.25, 99, round(r.uniform(1, 200), 2)])
        rows.append(f"{100000 + i},2024-{1 + i // 210:02}-{r.randint(1, 28):02},"
                    f"S{r.randint(1, 12):03},{r.choice(products)},{n},{price:.2f},{n * price:.2f}")
    return "\n".join(rows)[:100000]


def log(r):
    paths = ["/", "/index.html", "/login", "/api/v1/items/%d", "/static/app.js", "/search?q=%d"]
    agents = ["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "curl/7.88.1",
              "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Gecko/20100101 Firefox/121.0"]
    hosts = [".".join(str(r.randint(1, 254)) for _ in range(4)) for _ in range(40)]
    rows, t = [], 0
    for _ in range(1000):
        t += r.randint(0, 9)
        path = r.choice(paths)
        path = path % r.randint(1, 500) if "%d" in path else path
        rows.append(f"{r.choice(hosts)} - - [12/Mar/2024:{t // 3600:02}:{t // 60 % 60:02}:"
                    f"{t % 60:02} +0000] \"GET {path} HTTP/1.1\" "
                    f"{r.choice([200, 200, 200, 304, 404, 500])} {r.randint(100, 90000)} \"-\" "
                    f"\"{r.choice(agents)}\"")
    return "\n".join(rows)[:120000]


def objects(r):
    tags = ["red", "green", "blue", "new", "old", "sale"]
    made = [{"id": i, "name": r.choice(KINDS) + str(r.randint(1, 99)),
             "active": r.random() < 0.7, "score": round(r.gauss(50, 12), 3),
             "tags": r.sample(tags, 2),
             "pos": {"lat": round(r.uniform(-90, 90), 5), "lon": round(r.uniform(-180, 180), 5)}}
            for i in range(700)]
    return json.dumps(made, indent=2)[:120000]


def arithmetic(r):
    rows = []
    for _ in range(3000):
        a, b, c, v = r.randint(-20, 99), r.randint(2, 50), r.randint(-99, 999), r.choice("xyzabk")
        rows += r.choice([[f"Solve {b}*{v} + {c} = {b * a + c} for {v}.", str(a)],
                          [f"What is {c} + {a}?", str(a + c)],
                          [f"Calculate {a * b} divided by {b}.", str(a)],
                          [f"What is the remainder when {abs(c)} is divided by {b}?",
                           str(abs(c) % b)],
                          [f"Sort {a}, {b}, {c} in descending order.",
                           ", ".join(map(str, sorted([a, b, c], reverse=True)))]])
    return "\n".join(rows)[:100000]


def numbers(r):
    return "\n".join("%.6f %.6f %d" % (r.gauss(0, 1), r.uniform(0, 100), r.randint(0, 9999))
                     for _ in range(2500))[:60000]


def records(r):
    """A binary file: little-endian fields, offsets, names, padding."""
    out, at = b"", 0
    while len(out) < 60000:
        at += r.randint(8, 64)
        out += struct.pack("<IHHiq16s", at, r.randint(0, 3), r.choice([0, 1, 0xffff]),
                           r.randint(-500, 500), r.choice([0, at * 16, -1]),
                           (r.choice(KINDS) + str(r.randint(0, 30))).encode())
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True)
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    files = dict(texts(a.data, random.Random(20261121)))
    for i, made in enumerate((csv, log, objects, arithmetic, numbers, records)):
        text = made(random.Random(i))
        files[made.__name__] = text if isinstance(text, bytes) else text.encode()
    code = files["code_c"]
    files["repeat"] = code[:40000] + files["wikitext"][:20000] + code[:30000]
    for name, text in files.items():
        with open(os.path.join(a.out, name), "wb") as f:
            f.write(text)
        print(f"{name:10} {len(text)}")


if __name__ == "__main__":
    main()
