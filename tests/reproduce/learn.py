#!/usr/bin/env python3
"""learn.py GPUZIP: the gain of `gpuzip model learn` on Debian's changelogs of this machine.

Those of nine in ten source packages are learnt; 100,000 bytes of the others (up to 4,000 of each) are compressed with
and without, decoded by another process and compared."""
import glob
import gzip
import hashlib
import os
import subprocess
import sys
import tempfile


def main():
    gpuzip = os.path.abspath(sys.argv[1])
    texts = {}
    for path in sorted(glob.glob("/usr/share/doc/*/changelog.Debian.gz")):
        text = gzip.open(path).read()
        texts.setdefault(text.split(b" ")[0], text)
    lesson = exam = b""
    for name, text in sorted(texts.items()):
        if hashlib.sha256(name).digest()[0] % 10 == 0:
            exam += text[:4000]
        else:
            lesson += text + b"\0"
    exam = exam[:100000]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        open("lesson", "wb").write(lesson)
        open("exam", "wb").write(exam)
        subprocess.run([gpuzip, "model", "learn", "-q", "lesson", "-o", "x.gpzm"], check=True)
        print(f"learnt {len(lesson)} bytes of {len(texts)} packages; {len(exam)} bytes of others:")
        for name, model in (("without", []), ("with", ["--model", "x.gpzm"])):
            packed = subprocess.run([gpuzip, "-qc", *model, "exam"], check=True, stdout=subprocess.PIPE).stdout
            back = subprocess.run([gpuzip, "-qdc", *model], check=True, input=packed, stdout=subprocess.PIPE).stdout
            if back != exam:
                sys.exit("comes back changed")
            print(f"{name:8} {len(packed)}")


if __name__ == "__main__":
    main()
