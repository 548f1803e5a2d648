#!/usr/bin/env python3
"""Compares the options of a program in all places that list them.

    options_agree.py SOURCE_DIR GPUZIP GPUZIP_BENCH

The places are the tables of getopt in the source, the help, the page of the manual and the
completions of bash, zsh and fish. Also compares the functions of gpuzip.h with gpuzip(3). Prints
differences; exit code 1 if there are any.
"""

import re
import subprocess
import sys
from pathlib import Path

PROGRAMS = {
    "gpuzip": (["tools/gpuzip/args.c", "tools/gpuzip/model_cmd.c"], "-H"),
    "gpuzip-bench": (["tools/bench/bench_args.c"], "-h"),
}


def of_tables(texts):
    """option -> whether it takes an argument, from the calls and tables of getopt_long()"""
    options = {}
    for text in texts:
        for name, kind in re.findall(r'\{"([a-z-]+)", (no|required)_argument,', text):
            options["--" + name] = kind == "required"
        short = re.search(r'"(:[0-9A-Za-z:]+)"', text)[1]
        for letter, colon in re.findall(r"([0-9A-Za-z])(:?)", short):
            options["-" + letter] = bool(colon)
    return options


def of_help(text):
    found = set(re.findall(r"--[a-z][a-z-]*[a-z]", text))
    found |= set(re.findall(r"(?:^|\s)(-[A-Za-z])(?=[,#])", text, re.MULTILINE))
    if "-1 .. -9" in text:
        found |= {f"-{n}" for n in range(1, 10)}
    return found


def of_manual(text):
    """the options that head a paragraph; to mention one elsewhere does not suffice"""
    found = set()
    heads = "\n".join(re.findall(r"^\.It .*", text, re.MULTILINE))
    for word in re.findall(r"\bFl (\S+)", heads):
        word = "-" + word.replace("\\-", "-")
        if len(word) == 2 or word.startswith("--"):
            found.add(word)
    if "Fl 1 No .. Fl 9" in text:
        found |= {f"-{n}" for n in range(1, 10)}
    return found


def of_bash(text):
    return {word for part in re.findall(r"'([^']*)'", text) for word in part.split()
            if re.fullmatch(r"--?[A-Za-z0-9][a-z-]*", word)}


def of_zsh(text):
    """option -> whether it takes an argument; {a,b}'[...]' stands for both"""
    words = re.findall(r"""["'](?:\([^)]*\)|\*)?(--?[A-Za-z0-9][a-z-]*[+=]?)\[""", text)
    for group in re.findall(r"(-?)\{([^}]*)\}'\[", text):
        words += [group[0] + word for word in group[1].split(",")]
    return {word.rstrip("+="): word[-1] in "+=" for word in words}


def of_fish(program, text):
    """option -> whether it takes an argument"""
    options = {}
    text = re.sub(r"for level in (.*)\n(.*)\$level(.*)\nend",
                  lambda m: "".join(f"{m[2]}{n}{m[3]}\n" for n in m[1].split()), text)
    for line in re.findall(rf"^ *complete -c {program} (.*)", text, re.MULTILINE):
        takes = bool(re.search(r" -[rx]\b", line))
        for letter in re.findall(r"(?:^| )-s (\S)", line):
            options["-" + letter] = takes
        for name in re.findall(r"(?:^| )-l (\S+)", line):
            options["--" + name] = takes
    return options


def differences(place, found, table):
    for option in sorted(set(table) - set(found)):
        yield f"{place}: {option} is missing"
    for option in sorted(set(found) - set(table)):
        yield f"{place}: {option} is not an option"
    if isinstance(found, dict):
        for option in sorted(set(found) & set(table)):
            if found[option] != table[option]:
                yield f"{place}: {option}: does it take an argument?"


def check_program(root, name, path):
    files, help_option = PROGRAMS[name]
    table = of_tables([(root / file).read_text() for file in files])
    shown = subprocess.run([path, help_option], stdout=subprocess.PIPE, text=True, check=True).stdout
    install = root / "tools/install"

    def text(file):
        return (install / file).read_text()

    places = {
        f"{name} {help_option}": of_help(shown),
        f"{name}.1": of_manual(text(f"man/{name}.1")),
        f"{name}.bash": of_bash(text(f"completions/{name}.bash")),
        f"_{name}": of_zsh(text(f"completions/_{name}")),
        f"{name}.fish": of_fish(name, text(f"completions/{name}.fish")),
    }
    print(f"{name}: {len(table)} options")
    for place, found in places.items():
        yield from differences(place, found, table)


def check_functions(root):
    header = "".join((root / "host" / file).read_text()
                     for file in ("gpuzip.h", "status/gpuzip_status.h"))
    declared = set(re.findall(r"GPUZIP_API [^;(]*?(gpuzip_\w+)\(", header))
    page = (root / "tools/install/man/gpuzip.3").read_text()
    synopsis = page[page.index(".Sh SYNOPSIS"):page.index(".Sh DESCRIPTION")]
    named = set(re.findall(r"^\.Fn (\w+)", synopsis, re.MULTILINE))
    print(f"gpuzip.h: {len(declared)} functions")
    for name in sorted(declared ^ named):
        yield f"gpuzip.3: {name} is {'missing' if name in declared else 'not in gpuzip.h'}"


def main():
    root = Path(sys.argv[1])
    findings = [*check_functions(root)]
    for name, path in zip(PROGRAMS, sys.argv[2:]):
        findings += check_program(root, name, path)
    print("\n".join(findings) or "no differences")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
