#!/usr/bin/env python3
"""Makes files of many kinds, to see which kind of block gpuzip writes for each and how large it is.

    kinds.py FOLDER [BYTES]     one file a kind, of at most BYTES bytes (default 60000)

Synthetic files depend on a fixed seed alone. Others are cut from files of a Debian system, and are
left out where these are absent.
"""
import base64
import glob
import io
import json
import os
import random
import sqlite3
import struct
import sys
import tarfile
import tempfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
ALICE = os.path.join(HERE, "..", "data", "alice29.txt")
B64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def read(*patterns, size, skip=0):
    """Bytes of the files of the patterns, in order, until `size` are there."""
    data = b""
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    data += file.read()
            if len(data) >= size + skip:
                break
    return data[skip:skip + size]


def text(size):
    data = read(ALICE, size=size)
    more = read("/usr/share/doc/*/README*", "/usr/share/doc/*/copyright", size=size)
    return (data + more)[:size]


def letters(r, alphabet, size):
    return bytes(r.choices(alphabet, k=size))


def tar(patterns, size):
    out, total = io.BytesIO(), 0
    with tarfile.open(fileobj=out, mode="w") as archive:
        for pattern in patterns:
            for path in sorted(glob.glob(pattern)):
                if not os.path.isfile(path) or os.path.islink(path):
                    continue
                info = tarfile.TarInfo(path.lstrip("/"))
                with open(path, "rb") as file:
                    data = file.read(min(40000, size // 8))
                info.size, info.mtime = len(data), 1700000000
                archive.addfile(info, io.BytesIO(data))
                total += len(data)
                if total >= size:
                    break
    return out.getvalue()[:size]


def database(r, size):
    words = text(min(size, 200000)).decode("latin-1").split()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "d")
        db = sqlite3.connect(path)
        db.execute("create table note (id integer primary key, at real, who text, body text)")
        for i in range(size // 90):
            at = r.randrange(max(1, len(words) - 20))
            db.execute("insert into note values (?, ?, ?, ?)",
                       (i, 1.7e9 + r.random() * 1e6, r.choice(["ann", "bob", "eve"]),
                        " ".join(words[at:at + r.randrange(4, 16)])))
        db.commit()
        db.close()
        with open(path, "rb") as file:
            return file.read()[:size]


def picture(r, size):
    """A BMP of 24 bits: smooth, with some noise."""
    width = 256
    rows = max(1, (size - 54) // (3 * width))
    data = struct.pack("<2sIHHI", b"BM", 54 + rows * width * 3, 0, 0, 54)
    data += struct.pack("<IiiHHIIiiII", 40, width, rows, 1, 24, 0, 0, 2835, 2835, 0, 0)
    pixels = bytearray()
    for y in range(rows):
        for x in range(width):
            light = 128 + (x * y // 97 % 64) - 32 + r.randrange(-3, 4)
            pixels += bytes((light & 255, light + x // 8 & 255, light + y // 8 & 255))
    return (data + bytes(pixels))[:size]


def sound(r, size):
    """A WAV of 16 bits: sums of slow waves of integers, with noise."""
    a = b = 0
    va, vb = 300, 150
    samples = []
    for _ in range(size // 2):
        va -= a // 600
        a += va
        vb -= b // 90
        b += vb
        samples.append(max(-32768, min(32767, a // 2 + b + r.randrange(-20, 21))))
    head = b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 44100, 88200, 2, 16)
    return (head + b"data" + struct.pack("<I", size) + struct.pack(f"<{len(samples)}h", *samples))[:size]


def repeats(r, alphabet, size):
    data = bytearray(letters(r, alphabet, min(2000, size)))
    while len(data) < size:
        if r.random() < 0.5:
            data += letters(r, alphabet, r.randrange(20, 200))
        else:
            at = r.randrange(len(data))
            data += data[at:at + r.randrange(20, 400)]
    return bytes(data[:size])


def records(r, size):
    rows = []
    while sum(map(len, rows)) < size:
        rows += [json.dumps({"id": r.getrandbits(40), "user": r.choice(["ann", "bob", "eve"]),
                             "score": round(r.random() * 100, 3), "active": r.random() < 0.5,
                             "tags": r.sample(["red", "blue", "green", "old", "new"], 2)}) + "\n"
                 for _ in range(100)]
    return "".join(rows).encode()[:size]


def table(r, size):
    rows = ["time,sensor,temperature,humidity,state\n"]
    at = 1700000000
    while sum(map(len, rows)) < size:
        for _ in range(200):
            at += r.randrange(1, 60)
            rows.append(f"{at},s{r.randrange(20):02d},{20 + r.gauss(0, 3):.2f},{50 + r.gauss(0, 9):.1f},"
                        f"{r.choice(['ok', 'ok', 'ok', 'warn'])}\n")
    return "".join(rows).encode()[:size]


def log(r, size):
    rows = []
    at = 1700000000
    while sum(map(len, rows)) < size:
        for _ in range(200):
            at += r.randrange(3)
            rows.append(f"2023-11-14T{at // 3600 % 24:02d}:{at // 60 % 60:02d}:{at % 60:02d}Z host{r.randrange(4)} "
                        f"sshd[{r.randrange(1000, 32000)}]: Failed password for invalid user "
                        f"{r.choice(['root', 'admin', 'test', 'oracle'])} from "
                        f"{r.randrange(256)}.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(256)} "
                        f"port {r.randrange(1024, 65536)} ssh2\n")
    return "".join(rows).encode()[:size]


def dump(r, size):
    data = read("/usr/bin/gzip", "/usr/bin/tar", "/usr/bin/git", size=size // 4)
    rows = []
    for i in range(0, len(data), 16):
        part = data[i:i + 16]
        rows.append(f"{i:08x}  " + " ".join(f"{b:02x}" for b in part) + "  |" +
                    "".join(chr(b) if 32 <= b < 127 else "." for b in part) + "|\n")
    return "".join(rows).encode()[:size]


def cbf(r, size):
    """Text and noise in turns, as a container of documents with compressed pictures."""
    words, data = text(size), b""
    while len(data) < size:
        data += words[len(data):len(data) + size // 10] + r.randbytes(size // 10)
    return data[:size]


def kinds(size):
    r = random.Random(size)
    noise = r.randbytes(size)
    english = text(size)
    latin = "".join(chr(c) for c in range(0xe0, 0xff))
    python = read("/usr/lib/python3*/*.py", size=size)
    yield "text-en", english
    yield "text-po-de", read("/usr/share/vim/vim90/tutor/tutor.de*", size=size)
    yield "text-ru", read("/usr/share/vim/vim90/tutor/tutor.ru.utf-8", size=size)
    yield "text-ja", read("/usr/share/vim/vim90/tutor/tutor.ja.utf-8", size=size)
    yield "text-el-8bit", read("/usr/share/vim/vim90/tutor/tutor.el", size=size)
    yield "text-utf16", english[:size // 2].decode("latin-1").encode("utf-16")
    yield "text-rot13", english.translate(bytes((c - 65 + 13) % 26 + 65 if 65 <= c < 91 else
                                                (c - 97 + 13) % 26 + 97 if 97 <= c < 123 else c
                                                for c in range(256)))
    yield "text-upper", english.upper()
    yield "text-ebcdic", english.decode("latin-1").encode("cp500")
    yield "text-accents", "".join(r.choice(latin + " " * 6) for _ in range(size // 2)).encode()
    yield "words-shuffled", b" ".join(r.sample(english.split(), len(english.split())))
    yield "python", python
    yield "c-headers", read("/usr/include/*.h", size=size)
    yield "minified-js", read("/usr/share/javascript/*/*.min.js", size=size)
    yield "json", read("/usr/share/cmake-3*/Templates/MSBuild/FlagTables/*.json",
                       "/usr/lib/node_modules/npm/package.json", size=size)
    yield "json-records", records(r, size)
    yield "csv", table(r, size)
    yield "numbers", "".join(f"{r.random():.6f}\n" for _ in range(size // 9)).encode()
    yield "log", log(r, size)
    yield "log-dpkg", read("/var/log/dpkg.log", size=size)
    yield "pem", read("/etc/ssl/certs/*.pem", size=size)
    yield "uuids", "".join(f"{r.getrandbits(128):032x}\n" for _ in range(size // 33)).encode()
    yield "hex", noise[:size // 2].hex().encode()
    yield "hex-dump", dump(r, size)
    yield "base64", letters(r, B64, size)
    yield "base64-lines", base64.encodebytes(noise)[:size]
    yield "base64-of-text", base64.encodebytes(english)[:size]
    yield "base85", base64.b85encode(noise)[:size]
    yield "percent", "".join(f"%{b:02X}" for b in noise[:size // 3]).encode()
    yield "printable", letters(r, bytes(range(33, 127)), size)
    yield "digits", letters(r, b"0123456789", size)
    yield "acgt", letters(r, b"ACGT", size)
    yield "acgt-repeats", repeats(r, b"ACGT", size)
    yield "acgt-lines", b"\n".join(letters(r, b"ACGT", 60) for _ in range(size // 61))
    yield "zeros", bytes(size)
    yield "one-line-again", (b"The same line again and again.\n" * (size // 31 + 1))[:size]
    yield "random", noise
    yield "random-repeats", repeats(r, bytes(range(256)), size)
    yield "zlib-of-text", zlib.compress(text(8 * size), 9)[:size]
    yield "elf-small", read("/usr/bin/[a-c]*", size=size)
    yield "elf-large", read("/usr/bin/git", size=size, skip=1000000)
    yield "elf-strings", read("/usr/lib/x86_64-linux-gnu/libc.so.6", size=size, skip=1600000)
    yield "so", read("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", size=size, skip=2000000)
    yield "archive-a", read("/usr/lib/gcc/x86_64-linux-gnu/*/libgcc.a", size=size)
    yield "pyc", read("/usr/lib/python3*/__pycache__/*.pyc", size=size)
    yield "mo", read("/usr/share/vim/vim90/lang/pl.UTF-8/LC_MESSAGES/vim.mo", size=size)
    yield "ttf", read("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", size=size, skip=200000)
    yield "png", read("/usr/share/doc/*/contributing/doc_img/*.png", "/usr/share/doc/*/html/topics/deps.png",
                      size=size)
    yield "pdf", read("/usr/share/doc/libtasn1-doc/libtasn1.pdf", size=size)
    yield "svg", read("/usr/share/doc/postgresql-common/dependencies.svg", size=size)
    yield "terminfo", tar(["/usr/share/terminfo/*/*", "/lib/terminfo/*/*"], size)
    yield "tar-text", tar(["/usr/share/doc/*/copyright"], size)
    yield "tar-mixed", tar(["/usr/bin/[a-d]*", "/usr/share/doc/*/copyright", "/usr/share/doc/*/*.gz"], size)
    yield "text-and-noise", cbf(r, size)
    yield "database", database(r, size)
    yield "bmp", picture(r, size)
    yield "wav", sound(r, size)
    yield "floats", b"".join(struct.pack("<f", r.gauss(0, 1)) for _ in range(size // 4))
    yield "integers", b"".join(struct.pack("<I", i * 37 + r.randrange(9)) for i in range(size // 4))


def main():
    folder, size = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60000
    os.makedirs(folder, exist_ok=True)
    for name, data in kinds(size):
        if data:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()
