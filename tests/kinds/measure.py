#!/usr/bin/env python3
"""How large files of many kinds become, which kind of block holds them, and the time it takes.

    measure.py GPUZIP [--before GPUZIP] [--size BYTES] [--no-verify] [--check] [FILE or KIND]...

Prints a table in Markdown: a row for each FILE, and for each KIND of kinds.py made with BYTES bytes;
without any, for all kinds. Sizes are those of xz -9e and zstd -19 where these are installed; seconds
are user time with one thread (-T1), the start of the program included. Archives are
decompressed and compared. --check fails if a file is more than 1 % and 100 bytes larger than with
the better of xz and zstd; 77 if one is not installed.
"""
import argparse
import os
import shutil
import sys
import tempfile

import kinds

NAMES = {1: "stored", 2: "coded", 3: "packed"}


def run(command, source, target):
    """Returns the seconds of user time that the command took from source to target."""
    with open(source, "rb") as stdin, open(target, "wb") as stdout:
        pid = os.posix_spawnp(command[0], command, os.environ,
                              file_actions=[(os.POSIX_SPAWN_DUP2, stdin.fileno(), 0),
                                            (os.POSIX_SPAWN_DUP2, stdout.fileno(), 1)])
        _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} <{source}: failed")
    return usage.ru_utime


def size_with(command, source, target):
    """Returns the size in bytes, None if there is no such program."""
    if not shutil.which(command[0]):
        return None
    run(command, source, target)
    return os.path.getsize(target)


def shown(size):
    return "-" if size is None else f"{size:,}"


def first_kind(path):
    """The kind of the first block of an archive."""
    with open(path, "rb") as file:
        data = file.read(4200)
    size, shift, at = 0, 0, 5
    while True:
        size |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            break
    return NAMES.get(data[at + size], "-")


def row(a, name, path, work):
    out, back = os.path.join(work, "out"), os.path.join(work, "back")
    options = ["-q", "-T1", "-c"] + (["--no-verify"] if a.no_verify else [])
    cells = [name, f"{os.path.getsize(path):,}"]
    if a.before:
        seconds = run([a.before, *options], path, out)
        cells += [f"{os.path.getsize(out):,}", f"{seconds:.2f}"]
    seconds = run([a.gpuzip, *options], path, out)
    decoding = run([a.gpuzip, "-q", "-T1", "-dc"], out, back)
    with open(path, "rb") as one, open(back, "rb") as other:
        if one.read() != other.read():
            sys.exit(f"{path}: comes back changed")
    size = os.path.getsize(out)
    others = [size_with(["xz", "-9e", "-c"], path, back),
              size_with(["zstd", "-q", "-19", "-c"], path, back)]
    cells += [f"**{size:,}**", first_kind(out), f"{seconds:.2f}", f"{decoding:.2f}", *map(shown, others)]
    print("| " + " | ".join(cells) + " |", flush=True)
    if a.check and size > min(others) * 1.01 + 100:
        sys.exit(f"{name}: {size} bytes, much more than {min(others)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("gpuzip")
    parser.add_argument("--before")
    parser.add_argument("--size", type=int, default=60000)
    parser.add_argument("--no-verify", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("what", nargs="*")
    a = parser.parse_intermixed_args()
    if a.check and not (shutil.which("xz") and shutil.which("zstd")):
        print("skipped: no xz or no zstd")
        sys.exit(77)
    before = ["before", "its s"] if a.before else []
    heads = ["file", "bytes", *before, "gpuzip", "block", "s", "s back", "xz -9e", "zstd -19"]
    print("| " + " | ".join(heads) + " |")
    print("|---|" + "---:|" * (len(heads) - 1))
    with tempfile.TemporaryDirectory() as work:
        made = os.path.join(work, "made")
        for path in a.what:
            if os.path.isfile(path):
                row(a, os.path.basename(path), path, work)
        for name, data in kinds.kinds(a.size):
            if data and (not a.what or name in a.what):
                with open(made, "wb") as file:
                    file.write(data)
                row(a, name, made, work)


if __name__ == "__main__":
    main()
