"""The size of a file in independent chunks of gzip or LZMA2.

    chunks.py gzip|LZMA2 FILE OUT

`gzip -dc` or `xz -dc` decompresses OUT to FILE: a member or stream a chunk. Prints its size less the
headers of all chunks but one, as Deletang et al. count; a header is the size of a compressed file of one zero byte.
"""

import gzip
import lzma
import sys

CHUNK = 2048


def main():
    name, source, target = sys.argv[1:]
    compress = {"gzip": lambda data: gzip.compress(data, 9, mtime=0), "LZMA2": lzma.compress}[name]
    with open(source, "rb") as f:
        text = f.read()
    coded = [compress(text[at : at + CHUNK]) for at in range(0, len(text), CHUNK)]
    with open(target, "wb") as f:
        f.write(b"".join(coded))
    print(sum(map(len, coded)) - (len(coded) - 1) * len(compress(b"\0")))


if __name__ == "__main__":
    main()
