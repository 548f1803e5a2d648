"""python -m gpuzip: compresses files to .gpz, or back; without a file, standard input."""

import argparse
import os
import shutil
import sys

from . import GpuzipError, LEVEL_DEFAULT, GpuzipFile, library_version

SUFFIX = ".gpz"


def target_name(name, decompress):
    if not decompress:
        return name + SUFFIX
    if not name.endswith(SUFFIX) or name == SUFFIX:
        raise ValueError(f"{name}: its name does not end in {SUFFIX}")
    return name[:-len(SUFFIX)]


def copy(source, target, args):
    """source, target: binary file objects."""
    if args.decompress:
        with GpuzipFile(source, "r", models=args.model) as file:
            shutil.copyfileobj(file, target)
    else:
        with GpuzipFile(target, "w", args.level, models=args.model) as file:
            shutil.copyfileobj(source, file)


def code_file(name, args):
    if name == "-" or args.stdout:
        source = sys.stdin.buffer if name == "-" else open(name, "rb")
        with source:
            copy(source, sys.stdout.buffer, args)
        sys.stdout.buffer.flush()
        return
    target_path = target_name(name, args.decompress)
    with open(name, "rb") as source, open(target_path, "wb" if args.force else "xb") as target:
        try:
            copy(source, target, args)
        except BaseException:
            os.unlink(target_path)
            raise


def main():
    parser = argparse.ArgumentParser(prog="python -m gpuzip", description=__doc__)
    parser.add_argument("-d", "--decompress", action="store_true", help="decompress")
    parser.add_argument("-c", "--stdout", action="store_true", help="write to standard output")
    parser.add_argument("-f", "--force", action="store_true", help="replace existing files")
    parser.add_argument("-m", "--model", action="append", default=[], help="a path or a name")
    parser.add_argument("-V", "--version", action="version", version=library_version)
    for level in range(1, 10):
        parser.add_argument(f"-{level}", dest="level", action="store_const", const=level,
                            default=LEVEL_DEFAULT, help=argparse.SUPPRESS)
    parser.add_argument("file", nargs="*", default=["-"], help="-: standard input")
    args = parser.parse_args()
    failed = False
    for name in args.file:
        try:
            code_file(name, args)
        except (GpuzipError, OSError, ValueError) as error:
            print(f"gpuzip: {name}: {error}" if isinstance(error, GpuzipError)
                  else f"gpuzip: {error}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
