#!/usr/bin/env python3
"""prior.py [prior.txt] > ../../host/contexts_prior.c: what context experts know before they learn.

prior.txt holds probabilities of the states of host/contexts.h, and weights of the sets of
kernels/ops.h, as trained (README.md, "Context experts"); this rounds them to Q16. Sets that no
training file used begin with 0.3 for every context."""
import os
import sys

CONTEXTS = ["b3", "o1", "o2", "o3", "o4", "o6", "m6"]
STATES, LEVELS, KNOWN, WEIGHTS = 64, 5, 3, 9

path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "prior.txt")
q, weights = {}, {}
for line in open(path):
    field = line.split()
    if line.startswith("#") or not field:
        continue
    if field[0] in CONTEXTS:
        q[field[0]] = [min(round(float(x) * 65536), 65535) for x in field[1:]]
        assert len(q[field[0]]) == STATES
    else:
        # There, sets are numbered ((longest + 1) * 5 + level) * 4 + known.
        s, known = divmod(int(field[0]), 4)
        longest, level = divmod(s, LEVELS)
        assert 1 <= longest <= len(CONTEXTS) and 1 <= known <= KNOWN
        weights[(longest - 1, level, known - 1)] = [round(float(x) * 65536) for x in field[1:]]
        assert len(field) == 1 + WEIGHTS

unused = [round(0.3 * 65536)] * len(CONTEXTS) + [0] * (WEIGHTS - len(CONTEXTS))


def rows(values, per_line):
    for i in range(0, len(values), per_line):
        print("            " + ", ".join(map(str, values[i:i + per_line])) + ",")


print("/* contexts_prior.c: made by weights/train/prior.py; not to be edited. */")
print('#include "contexts.h"\n')
print("/* clang-format off */")
print("const contexts_prior contexts_prior_builtin = {")
print("    .q = {")
for name in CONTEXTS:
    print(f"        {{ /* {name} */")
    rows(q[name], 16)
    print("        },")
print("    },\n    .weights = {")
for longest, name in enumerate(CONTEXTS):
    for level in range(LEVELS):
        for known in range(KNOWN):
            w = ", ".join(map(str, weights.get((longest, level, known), unused)))
            print(f"        {{{w}}}, /* {name}, {level}, {known + 1} */")
print("    },\n};")
