#!/usr/bin/env python3
"""Checks the structure of the source tree: layers, includes, sizes and wording.

    structure.py check SOURCE_DIR MANIFEST     prints findings; exit code 1 if there are any
    structure.py mutations SOURCE_DIR MANIFEST breaks each rule once; exit code 1 if one is missed

CMakeLists.txt writes MANIFEST, a word and its values a line:

    compiler PATH            the C compiler
    nm PATH
    objects PATH...          archives and objects of the product
    folder FOLDER DIR...     the include path with which FOLDER is compiled
"""

import ast
import io
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from pathlib import Path

# The layers. A folder may call and include itself, the folders on its line, theirs, and so on.
# A subfolder that is not listed belongs to its parent.
BELOW = {
    "host/status": [],
    "host": ["host/status"],  # gpuzip.h, whose types the engine and the layers above it use
    "coder": ["host/status"],
    "kernels": ["host/status"],
    "kernels/cpu": ["kernels"],
    "kernels/cuda": ["kernels"],
    "weights": ["host/status"],
    "weights/import": ["weights"],
    "weights/builtin": [],
    "host/tokenizer": ["host/status"],
    "host/tokenizer/import": ["host/tokenizer"],
    "host/experts": ["kernels", "weights"],
    "host/engine": ["host/experts", "kernels/cpu", "coder", "host"],
    "host/session": ["host/experts", "host/tokenizer/import", "weights/import", "weights/builtin",
                     "kernels/cpu", "kernels/cuda", "host"],
    "host/pipeline": ["host/session", "host/engine"],
    "host/api": ["host/pipeline"],
    "tools": ["host/api"],
}
# The host reaches the kernels through one table, which session/ takes from these folders; the
# folders of the backends export no include folder of their own.
NOT_INCLUDED = {"kernels/cpu", "kernels/cuda"}
PRODUCT = ("coder", "kernels", "weights", "host", "tools")

FOLDER_FILES = 25
FOLDER_FILES_OF = {
    "kernels/cuda": 30,  # one .cu a kernel, one .cuh for the parts that several share
    "tests/data": 100,  # inputs, no sources
}
FILE_LINES = 600
FUNCTION_LINES = 90
WHATS_PER_1000_LINES = 2

C_LIKE = {".c", ".h", ".cu", ".cuh", ".cpp"}
SOURCE = C_LIKE | {".sh", ".py", ".js", ".css", ".cmake"}


# ---- the tree ------------------------------------------------------------------------------------


def tree(root):
    """Paths, relative to root, of all files but hidden ones and build folders."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f[0] != "." and f != "__pycache__"
                            and not (folder == str(root) and f.startswith("build")))
        for name in sorted(names):
            if name[0] != "." and not name.endswith((".log", ".pyc")):
                yield Path(folder, name).relative_to(root)


def layer(path):
    """The folder of BELOW that a file belongs to, or None."""
    for folder in path.parents:
        if folder.as_posix() in BELOW:
            return folder.as_posix()
    return None


def closure():
    """folder -> all folders that it may use"""
    reach = {}

    def visit(folder, path):
        if folder in path:
            raise ValueError(f"BELOW has a ring: {path}")
        if folder not in reach:
            reach[folder] = {folder}.union(*(visit(f, path + [folder]) for f in BELOW[folder]))
        return reach[folder]

    for folder in BELOW:
        visit(folder, [])
    return reach


REACH = closure()


# ---- calls ---------------------------------------------------------------------------------------


def symbols(nm, objects):
    """object's source name -> (names it defines, names it needs), variants of a file together"""
    found = {}
    text = subprocess.run([nm, "-A", "-P", *objects], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=True).stdout
    for line in text.splitlines():
        place, rest = line.split(": ", 1)
        name, kind = rest.split()[:2]
        member = re.search(r"\[(.*)\]$", place)
        source = re.sub(r"\.o$", "", os.path.basename(member[1] if member else place))
        defines, needs = found.setdefault(source, (set(), set()))
        if kind == "U":
            needs.add(name)
        elif kind in "TDBRGSC" and name != "main":
            defines.add(name)
    return found


def calls(found):
    """source -> {source that it calls: one name}"""
    home = {name: source for source, (defines, _) in found.items() for name in defines}
    graph = {}
    for source, (defines, needs) in found.items():
        graph[source] = {home[n]: n for n in sorted(needs - defines)
                         if n in home and home[n] != source}
    return graph


def rings(graph):
    """Strongly connected components of more than one file (Tarjan)."""
    index, low, stack, result = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            ring = []
            while not ring or ring[-1] != node:
                ring.append(stack.pop())
            if len(ring) > 1:
                result.append(sorted(ring))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return result


def check_calls(root, manifest, extra=()):
    places = {p.name: layer(p) for p in tree(root) if p.parts[0] in PRODUCT}
    places.update({Path(p).name.removesuffix(".o"): folder for folder, p in extra})
    objects = manifest["objects"] + [p for _, p in extra]
    found = {s: v for s, v in symbols(manifest["nm"][0], objects).items() if places.get(s)}
    missing = [f for f in BELOW if f not in ("host", "host/status", "kernels", "kernels/cuda")
               and f not in {places[s] for s in found}]
    if missing:
        yield f"calls: no objects of {' '.join(missing)} to look into"
    graph = calls(found)
    for ring in rings(graph):
        arrows = [f"{a} -> {b} ({graph[a][b]})" for a in ring for b in graph[a] if b in ring]
        yield f"calls: a ring of {len(ring)} files: " + ", ".join(arrows)
    for source, others in sorted(graph.items()):
        for other, name in sorted(others.items()):
            if places[other] not in REACH[places[source]]:
                yield (f"calls: upward or sideways: {places[source]}/{source} -> "
                       f"{places[other]}/{other} ({name})")


# ---- includes ------------------------------------------------------------------------------------


def includes(compiler, folders, header, work):
    """Whether a file of one line, #include "header", gets through the preprocessor. (A header of
    the same name that the system has, such as cuda.h, does not count.)"""
    source = Path(work, "include.c")
    source.write_text(f'#include "{header.name}"\n')
    run = subprocess.run([compiler, "-E", "-D_GNU_SOURCE", "-DCPU_ISA_SUFFIX=c",
                          *("-I" + f for f in folders), str(source)],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    read = {os.path.realpath(f) for f in re.findall(r'^# \d+ "([^"]*)"', run.stdout, re.MULTILINE)}
    return run.returncode == 0 and os.path.realpath(header) in read


def check_includes(root, manifest):
    headers = {}
    for path in tree(root):
        if path.suffix == ".h" and path.parts[0] in PRODUCT and layer(path):
            headers.setdefault(layer(path), []).append(path)
    able = {}  # (folder, folder of headers) -> whether one can include of the other
    with tempfile.TemporaryDirectory() as work:
        for folder, path in manifest["folder"]:
            for of, files in headers.items():
                legal = [p for p in files
                         if includes(manifest["compiler"][0], path, Path(root, p), work)]
                able[folder, of] = able.get((folder, of), False) or bool(legal)
                if of not in REACH[folder]:
                    for p in legal:
                        yield f'includes: {folder} can include "{p.name}" of {of}'
    for (folder, of), legal in able.items():
        if not legal and (of == folder or of in BELOW[folder]) and of not in NOT_INCLUDED:
            yield f"includes: {folder} cannot include any header of {of}"


# ---- sizes ---------------------------------------------------------------------------------------


def functions(path, text):
    """(first line, lines) of each function, by the braces in column 0 of this style"""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.lineno, node.end_lineno - node.lineno + 1
        return
    begin, before = None, ""
    for number, line in enumerate(text.splitlines(), 1):
        opens = ((line == "{" and not re.match("namespace|extern", before))
                 or re.match(r"(\w+\(\)|(async )?function\b.*) \{$", line))
        if opens and begin is None:
            begin = number
        elif line == "}" and begin is not None:
            yield begin, number - begin + 1
            begin = None
        before = line


def check_sizes(root):
    folders = {}
    for path in tree(root):
        folders.setdefault(path.parent.as_posix(), []).append(path)
        if path.suffix not in SOURCE:
            continue
        text = Path(root, path).read_text(errors="replace")
        lines = text.count("\n")
        if lines > FILE_LINES:
            yield f"sizes: {path} has {lines} lines, more than {FILE_LINES}"
        for first, count in functions(path, text):
            if count > FUNCTION_LINES:
                yield f"sizes: {path}:{first}: a function of {count} lines"
    for folder, files in folders.items():
        if len(files) > FOLDER_FILES_OF.get(folder, FOLDER_FILES):
            yield f"sizes: {folder}/ has {len(files)} files"


# ---- wording -------------------------------------------------------------------------------------

COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def words(path, text):
    """The part of a file that people read: comments and strings, or all of it."""
    if path.suffix in C_LIKE:
        return "\n".join(COMMENT_OR_STRING.findall(text))
    if path.suffix == ".py":
        kinds = (tokenize.COMMENT, tokenize.STRING)
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        return "\n".join(t.string for t in tokens if t.type in kinds)
    return text


def check_words(root):
    lines, whats = {}, {}
    for path in tree(root):
        if path.suffix not in SOURCE | {".md"} and path.name != "CMakeLists.txt":
            continue
        if path.parts[:2] in (("tests", "data"), ("tests", "structure")):
            continue  # inputs; this script, which speaks of the word
        text = Path(root, path).read_text(errors="replace")
        lines[path] = text.count("\n")
        whats[path] = len(re.findall(r"\bwhat\b", words(path, text), re.IGNORECASE))
    total, count = sum(lines.values()), sum(whats.values())
    if count * 1000 > total * WHATS_PER_1000_LINES:
        folders = {}
        for path, n in whats.items():
            folders[path.parent.as_posix()] = folders.get(path.parent.as_posix(), 0) + n
        worst = sorted(folders.items(), key=lambda x: -x[1])
        yield (f"words: \"what\" {count} times in {total} lines, more than "
               f"{total * WHATS_PER_1000_LINES // 1000}: "
               + ", ".join(f"{folder} {n}" for folder, n in worst if n))


# ---- the two modes -------------------------------------------------------------------------------


def read_manifest(path):
    manifest = {"folder": []}
    for line in Path(path).read_text().splitlines():
        word, *values = line.split()
        if word == "folder":
            manifest["folder"].append((values[0], values[1:]))
        elif word:
            manifest.setdefault(word, []).extend(values)
    return manifest


def compiled(compiler, work, name, code):
    source, target = Path(work, name), Path(work, name + ".o")
    source.write_text(code)
    subprocess.run([compiler, "-c", str(source), "-o", str(target)], check=True)
    return str(target)


def mutations(root, manifest):
    """(name, findings, the word that a new finding must contain) of each broken rule"""
    compiler = manifest["compiler"][0]
    with tempfile.TemporaryDirectory() as work:
        ring = [("coder", compiled(compiler, work, f"ring_{a}.c",
                                   f"int {b}(void);\nint {a}(void)\n{{\n    return {b}();\n}}\n"))
                for a, b in (("one", "two"), ("two", "one"))]
        yield "a ring", check_calls(root, manifest, ring), "ring_one.c -> ring_two.c"
        for folder, other, name in (("coder", "host/engine", "gpuzip_above"),
                                    ("host/engine", "host/session", "gpuzip_beside")):
            pair = [(folder, compiled(compiler, work, f"below_{name}.c",
                                      f"int {name}(void);\nint f_{name}(void)\n{{\n"
                                      f"    return {name}();\n}}\n")),
                    (other, compiled(compiler, work, f"above_{name}.c",
                                     f"int {name}(void)\n{{\n    return 1;\n}}\n"))]
            yield f"{folder} calls {other}", check_calls(root, manifest, pair), f"above_{name}.c"
        yield ("no objects", check_calls(root, {**manifest, "objects": manifest["objects"][:1]}),
               "no objects of")

    where = dict(manifest["folder"])
    for folder, other in (("coder", "host/engine"), ("host/engine", "host/pipeline"),
                          ("host/experts", "host/engine"), ("kernels", "weights")):
        wrong = {**manifest, "folder": [(folder, where[folder] + where[other])]}
        yield f"{folder} includes {other}", check_includes(root, wrong), f"of {other}"
    wrong = {**manifest, "folder": [("host/engine", [])]}
    yield "no include path", check_includes(root, wrong), "cannot include any header of host/experts"

    with tempfile.TemporaryDirectory() as scratch:
        for i in range(FOLDER_FILES + 1):
            Path(scratch, f"file{i}.c").write_text("/* text */\n")
        Path(scratch, "long.c").write_text("\n" * (FILE_LINES + 1))
        body = "    f();\n" * FUNCTION_LINES
        Path(scratch, "function.c").write_text("void f(void)\n{\n" + body + "}\n")
        Path(scratch, "script.sh").write_text("f() {\n" + body + "}\n")
        Path(scratch, "script.py").write_text("def f():\n" + body)
        for word in (" has 30 files", "long.c has", "function.c:2", "script.sh:1", "script.py:1"):
            yield word, check_sizes(scratch), word
    for name, text in (("a.c", "int x; /* what is found */\n"), ("a.md", "What is found\n"),
                       ("a.py", "x = 1  # what is found\n"), ("b.c", 'char *s = "what is";\n')):
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, name).write_text(text)
            yield f"wording of {name}", check_words(scratch), "what"


def main():
    mode, root, manifest = sys.argv[1], sys.argv[2], read_manifest(sys.argv[3])
    if mode == "mutations":
        missed = 0
        for name, findings, word in mutations(root, manifest):
            killed = any(word in finding for finding in findings)
            print(f"{'killed  ' if killed else 'SURVIVED'} {name}")
            missed += not killed
        return min(missed, 1)
    findings = [*check_calls(root, manifest), *check_includes(root, manifest), *check_sizes(root),
                *check_words(root)]
    print("\n".join(findings) or "no findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
