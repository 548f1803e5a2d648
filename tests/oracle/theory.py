#!/usr/bin/env python3
"""The properties of a product of experts, on real files: the wPoE authors' model and Naive Bayes.

    theory.py GPUZIP DATA      DATA holds models/ and dev/; exit 77: it is not there

Of gpuzip's own costs, measured for each expert and coded for products, with log2 Z from
reference.py's float32 (expected.json):
    CE(pi) = sum alpha_k CE_k + E[log2 Z], within 0.1 %; less where codes end at 30 bits;
    CE(pi) <= sum alpha_k CE_k where the alphas sum to 1, for then Z <= 1;
    the least CE(pi) on the simplex is less than the best expert's;
    the same model twice, its alphas summing to 1, makes the same blocks to the last byte.
One archive of each file is decoded by another process and compared; oracle.sh does more.
"""
import json
import os
import subprocess
import sys
import tempfile

OPTIONS = ["--adapt", "none", "--window", "2048", "--hop", "2048", "--streams", "1",
           "--window-scope"]


class Costs:
    """Bits that gpuzip needs for a file with some experts."""

    def __init__(self, gpuzip, model, path, work):
        self.gpuzip, self.model, self.path = gpuzip, model, path
        self.packed = os.path.join(work, "x.gpz")

    def run(self, models, *options):
        experts = [arg for _ in range(models) for arg in ("--model", self.model)]
        with open(self.packed, "wb") as out:
            done = subprocess.run([self.gpuzip, "-q", "--no-verify", "--no-pack", "--json", "-c", *experts,
                                   *OPTIONS, *options, self.path],
                                  stdout=out, stderr=subprocess.PIPE, check=True)
        stats = json.loads(done.stderr)
        assert stats["stored_blocks"] == 0
        self.alone = [expert["bits"] for expert in stats["measured"]["experts"]]
        return stats["model_bits"]

    def product(self, model, bayes):
        return self.run(1, "--naive-bayes", "--alpha", f"{model},{bayes}")

    def decodes(self):
        """Whether the last product comes back, by a process of its own."""
        back = subprocess.run([self.gpuzip, "-q", "-dc", "--model", self.model, self.packed],
                              stdout=subprocess.PIPE, check=True).stdout
        with open(self.path, "rb") as file:
            return back == file.read()

    def blocks(self):
        """The archive after the frame header."""
        with open(self.packed, "rb") as file:
            data = file.read()
        return data[6 + data[5]:]


failed = False


def require(condition, text):
    global failed
    if not condition:
        failed = True
        print("FAILED:", text)


def check_file(costs, name, alphas, log2_z):
    model = costs.run(1)
    alone = costs.blocks()
    bayes = costs.product(0, 1)
    print(f"{name}: model {model:.0f} bits, Naive Bayes {bayes:.0f}")
    least = model
    for (a, b), z in zip(alphas, log2_z):
        product = costs.product(a, b)
        mean = a * costs.alone[0] + b * costs.alone[1]
        error = product / (mean + z) - 1
        print(f"    alphas {a:4} {b:4}: {mean:8.0f} {z:+8.0f} = {mean + z:8.0f}, "
              f"coded {product:8.0f}, {100 * error:+.3f} %")
        # A code is 30 bits at most; a model can ask for more, of bytes that it never saw.
        capped = costs.alone[0] > 1.001 * model
        require(error < 0.001 and (capped or error > -0.001), "the identity")
        if a + b == 1:
            require(product <= mean, "Z <= 1")
            least = min(least, product)
    require(costs.decodes(), "the decoded text equals the original")
    require(least < 0.99 * min(model, bayes), "no alphas are better than the best expert")
    for parts in ("0.5,0.5", "0.25,0.75"):
        twice = costs.run(2, "--alpha", parts)
        require(twice == model and costs.blocks() == alone, f"the same model twice, {parts}")


def main():
    gpuzip, data = sys.argv[1:]
    model = os.path.join(data, "models", "wpoe_enwik8_dim64")
    if not os.path.isdir(model):
        print(f"{model} is not there: skipped")
        sys.exit(77)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected.json"),
              encoding="ascii") as file:
        expected = json.load(file)["theory"]
    with tempfile.TemporaryDirectory() as work:
        imported = os.path.join(work, "wpoe.gpzm")
        subprocess.run([gpuzip, "model", "import", model, "-o", imported], check=True)
        for name, log2_z in expected["log2_z"].items():
            path = os.path.join(work, name)
            with open(os.path.join(data, "dev", name), "rb") as src, open(path, "wb") as dst:
                dst.write(src.read(expected["bytes"]))
            costs = Costs(gpuzip, imported, path, work)
            check_file(costs, name, expected["alphas"], log2_z)
    sys.exit(failed)


if __name__ == "__main__":
    main()
