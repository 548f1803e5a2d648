"""Holds the machine code of linear layers and attention to a golden table.

    sass_budget.py ARCHIVE COMPILER TABLE [--write]

ARCHIVE is libgpuzip_cuda.a, COMPILER the nvcc that built it. For each kernel and
architecture of TABLE: registers, bytes of stack (spills), instructions; and in its innermost loops
with products: instructions, branches, conversions to and from 64 bits. Registers and instructions
may exceed the table's by 3 %, the others by none. Another compiler's code isn't comparable: then,
or without cuobjdump and nvdisasm, the test is skipped. --write makes the table anew."""
import collections
import glob
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCES = ("linear_hopper", "linear", "attention", "attention_tile")
ARCHITECTURES = ("80", "89", "90a", "120")
SLACK = 1.03
NAMES = ("registers", "stack", "instructions", "in loops", "branches", "conversions")
PRODUCTS = ("IMMA", "IGMMA", "IDP")
BRANCHES = ("BRA", "BRX", "BSSY", "BSYNC", "CALL", "JMP", "WARPSYNC")


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


def find_tools(compiler):
    """The folder with both tools: nvcc's, one of PATH, or Triton's."""
    folders = [os.path.dirname(compiler)] + os.environ.get("PATH", "").split(os.pathsep)
    triton = importlib.util.find_spec("triton")
    if triton and triton.origin:
        folders.append(os.path.join(os.path.dirname(triton.origin), "backends/nvidia/bin"))
    site = os.path.join(os.environ.get("VIRTUAL_ENV", ""), "lib/python3*/site-packages")
    folders += glob.glob(os.path.join(site, "triton/backends/nvidia/bin"))
    for folder in folders:
        if all(shutil.which(tool, path=folder) for tool in ("cuobjdump", "nvdisasm")):
            return folder
    skip("no cuobjdump and nvdisasm")


def find_version(compiler):
    shown = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True)
    return re.search(r"\bV(\d[\d.]*)", shown.stdout).group(1)


def demangle(name):
    """linear_kernel<2,1,4> of _Z13linear_kernelILi2ELi1ELi4EEv11linear_args."""
    found = re.match(r"_Z(\d+)(.*)", name)
    length = int(found.group(1))
    kernel, rest = found.group(2)[:length], found.group(2)[length:]
    arguments = re.match(r"I((?:L[a-z]\d+E)+)E", rest)
    if not arguments:
        return kernel
    return "%s<%s>" % (kernel, ",".join(re.findall(r"L[a-z](\d+)E", arguments.group(1))))


def read_functions(text):
    """{mangled name: (operations, loops)}; a loop is (first, last) by a branch back."""
    functions, name, labels, branches, operations = {}, None, {}, [], []

    def end():
        if name:
            loops = {(labels[to], at) for at, to in branches if labels.get(to, at + 1) <= at}
            functions[name] = (operations, loops)

    for line in text.splitlines():
        section = re.match(r"\.text\.(\S+):", line)
        label = re.match(r"^\.(L_x_\d+):", line)
        code = re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*?);", line)
        if section:
            end()
            name, labels, branches, operations = section.group(1), {}, [], []
        elif label:
            labels[label.group(1)] = len(operations)
        elif code:
            instruction = re.sub(r"^@!?U?P\w+\s+", "", code.group(1))
            target = re.search(r"^BRA\S*\s.*`\(\.(L_x_\d+)\)", instruction)
            if target:
                branches.append((len(operations), target.group(1)))
            operations.append(instruction.split()[0])
    end()
    return functions


def count_loops(operations, loops):
    """Instructions, branches and 64-bit conversions in the innermost loops with products."""
    def multiplies(loop):
        return any(operations[i].startswith(PRODUCTS) for i in range(loop[0], loop[1] + 1))

    def returns(loop):
        """From code that the compiler moved behind the kernel's end, into the middle of a loop."""
        return any(a < loop[0] <= b < loop[1] for a, b in loops)

    hot = [loop for loop in loops if multiplies(loop) and not returns(loop)]
    inner = [a for a in hot
             if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in hot)]
    at = sorted({i for first, last in inner for i in range(first, last + 1)})
    ops = [operations[i] for i in at]
    return (len(ops), sum(op.split(".")[0] in BRANCHES for op in ops),
            sum(op.startswith(("I2F", "F2I")) and "64" in op for op in ops))


def measure(tools, archive, architecture, folder):
    """{kernel: (a number for each of NAMES)} of an architecture; empty: not built for it."""
    measured = {}
    for source in SOURCES:
        cubin = os.path.join(folder, "cuda_%s.sm_%s.cubin" % (source, architecture))
        if not os.path.exists(cubin):
            continue
        usage = subprocess.run([os.path.join(tools, "cuobjdump"), "-res-usage", cubin], check=True,
                               capture_output=True, text=True).stdout
        resources = dict((name, (int(registers), int(stack))) for name, registers, stack in
                         re.findall(r"Function (\S+):\s+REG:(\d+) STACK:(\d+)", usage))
        text = subprocess.run([os.path.join(tools, "nvdisasm"), "-c", cubin], check=True,
                              capture_output=True, text=True).stdout
        for name, (operations, loops) in read_functions(text).items():
            if name in resources and any(op.startswith(PRODUCTS) for op in operations):
                measured[demangle(name)] = (*resources[name], len(operations),
                                            *count_loops(operations, loops))
    return measured


def read_table(path):
    version, table = None, collections.OrderedDict()
    for line in open(path):
        words = line.split()
        if line.startswith("nvcc "):
            version = words[1]
        elif words and not line.startswith("#"):
            table[words[0], words[1]] = tuple(int(word) for word in words[2:])
    return version, table


def write_table(path, version, measured):
    with open(path, "w") as table:
        print("# Of sass_budget.py --write: architecture, kernel, registers, bytes of stack,",
              "instructions; in the\n# innermost loops with products: instructions, branches,",
              "64-bit conversions.", file=table)
        print("nvcc", version, file=table)
        for (architecture, kernel), numbers in sorted(measured.items()):
            print("%-4s %-30s" % (architecture, kernel), *("%5d" % n for n in numbers), file=table)


def compare(table, measured):
    """Returns the number of kernels that exceed the table or are not in it."""
    wrong = 0
    built = {architecture for architecture, _ in measured}
    for key in sorted(set(table) | set(measured)):
        if key[0] not in built:
            continue
        if key not in table or key not in measured:
            print("sm_%s %s:" % key, "not in the table" if key in measured else "is not built")
            wrong += 1
            continue
        for name, golden, now in zip(NAMES, table[key], measured[key]):
            slack = SLACK if name in ("registers", "instructions", "in loops") else 1
            if now > golden * slack:
                print("sm_%s %s:" % key, name, "%d, were %d" % (now, golden))
                wrong += 1
    return wrong


def main():
    archive, compiler, path = sys.argv[1:4]
    tools, version = find_tools(compiler), find_version(compiler)
    if "--write" not in sys.argv:
        golden, table = read_table(path)
        if golden != version:
            skip("nvcc %s, the table is of %s" % (version, golden))
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([os.path.join(tools, "cuobjdump"), "-xelf", "all", os.path.abspath(archive)],
                       cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for architecture in ARCHITECTURES:
            for kernel, numbers in measure(tools, archive, architecture, folder).items():
                measured[architecture, kernel] = numbers
    if not measured:
        skip("built for none of " + ", ".join(ARCHITECTURES))
    if "--write" in sys.argv:
        write_table(path, version, measured)
        return
    wrong = compare(table, measured)
    print(len(measured), "kernels,", wrong, "over budget")
    sys.exit(1 if wrong else 0)


main()
