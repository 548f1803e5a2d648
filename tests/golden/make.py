#!/usr/bin/env python3
"""Made the files of this folder: archives that are decoded for ever, and some that never are.

    python3 make.py GPUZIP FOLDER

good-*.gpz decode to golden.txt, or to 60 of them with "learnt" in their name, for whose weights to learn;
with ../reproduce/50K.gpzm where their name has "coded".
bad-*.gpz are damaged (exit code 1). unsupported-*.gpz are intact, of a format to come (exit code 1 and a
message that says so). The files stay as they are: a new feature gets new ones. Needs libxxhash.
"""
import lzma
import struct
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "coder"))
from golden_coder import varint, xxh3  # noqa: E402

TEXT = (b"It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
        b"foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, "
        b"it was the season of Darkness, it was the spring of hope, it was the winter of despair.\n")


def main():
    gpuzip, folder = sys.argv[1], Path(sys.argv[2])
    model = ["--model", str(HERE.parent / "reproduce" / "50K.gpzm")]
    hash64 = xxh3()
    made = {}

    def run(*options, data=TEXT):
        return subprocess.run([gpuzip, "-qq", "-T1", *options, "-c"], input=data, check=True,
                              stdout=subprocess.PIPE).stdout

    def sealed(data):
        return data + struct.pack("<I", hash64(data) & 0xFFFFFFFF)

    def end(content=TEXT):
        return b"\0" + varint(len(content)) + struct.pack("<Q", hash64(content))

    def stored(content=TEXT):
        return sealed(b"\1" + varint(len(content)) + content)

    coded = run(*model, "--no-pack")
    head = 6 + coded[5]  # of fewer than 128 bytes
    header = coded[:head]
    made["good-coded"] = coded
    made["good-coded-levels"] = b"".join(
        run(*model, "--no-pack", f"-{level}", data=TEXT[i * 99:(i + 1) * 99]) for i, level in enumerate((1, 5, 7)))
    made["good-coded-experts"] = run(*model, *model, "--naive-bayes", "--alpha", "0.4,0.3,0.3", "--no-pack")
    made["good-coded-hops"] = run(*model, "--window", "40", "--hop", "13", "--streams", "3", "--no-pack")
    made["good-coded-scope"] = run(*model, "--window", "64", "--hop", "64", "--window-scope", "--update", "5",
                                   "--streams", "2", "--no-pack")
    made["good-coded-plain"] = run(*model, "--adapt", "none", "--block-size", "100", "--no-pack")
    for name, streams in (("one", "1"), ("many", "5")):
        made[f"good-coded-learnt-{name}"] = run(*model, "-9", "--streams", streams, "--no-pack", data=60 * TEXT)
    made["good-stored"] = header + stored() + end()
    def packed(form, payload):
        rest = struct.pack("<IB", hash64(TEXT) & 0xFFFFFFFF, form) + payload
        return sealed(b"\3" + varint(len(TEXT)) + varint(len(rest) + 4) + rest)

    lzma2 = lzma.compress(TEXT, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}])
    zstd = subprocess.run(["zstd", "-19", "-c", "--no-check"], input=TEXT, check=True, stdout=subprocess.PIPE).stdout
    made["good-packed-lzma2"] = header + packed(0, lzma2) + end()
    made["good-packed-zstd"] = header + packed(1, zstd) + end()
    made["bad-packed"] = header + packed(0, lzma2[:-1] + b"\1") + end()
    made["good-empty-frames"] = (header + end(b"")) * 2 + header + stored() + end() + bytes(300)
    made["bad-header-check"] = header[:-1] + bytes([header[-1] ^ 1]) + coded[head:]
    made["bad-block-check"] = coded[:-20] + bytes([coded[-20] ^ 1]) + coded[-19:]
    made["bad-end-hash"] = coded[:-1] + bytes([coded[-1] ^ 128])
    made["bad-end-size"] = header + stored() + b"\0" + varint(len(TEXT) + 1) + end()[-8:]
    made["bad-no-end"] = header + stored()
    made["bad-long-varint"] = header + sealed(b"\1" + bytes([len(TEXT) & 127 | 128, len(TEXT) >> 7 | 128, 0]) + TEXT) + end()
    made["bad-block-left-out"] = header + stored(TEXT[:100]) + end()
    made["bad-blocks-swapped"] = header + stored(TEXT[100:]) + stored(TEXT[:100]) + end()
    made["unsupported-version"] = sealed(header[:4] + b"\x09" + header[5:-4]) + coded[head:]
    made["unsupported-feature"] = sealed(header[:6] + b"\x60" + header[7:-4]) + coded[head:]
    (folder / "golden.txt").write_bytes(TEXT)
    for name, data in made.items():
        (folder / "archives" / f"{name}.gpz").write_bytes(data)


if __name__ == "__main__":
    main()
