"""Logits of the tiny checkpoints in tests/data by transformers, in float64: logits.h.

    python3 tests/oracle/logits.py > tests/oracle/logits.h

test_logits.c compares gpuzip's with them. Needs torch and transformers.
"""

import os

import torch
from transformers import AutoModelForCausalLM

ROWS = (0, 1, 7, 31)
TOKENS = 32


def main():
    data = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
    print("/* logits.h: made by logits.py; do not edit. */")
    print(f"#define LOGITS_TOKENS {TOKENS}")
    print("static const int logits_row[] = {" + ", ".join(map(str, ROWS)) + "};")
    for name in ("import_gpt2", "import_llama"):
        model = AutoModelForCausalLM.from_pretrained(os.path.join(data, name), dtype=torch.float64)
        vocab = model.config.vocab_size
        tokens = torch.tensor([[(i * i * 7 + i * 3 + 1) % vocab for i in range(TOKENS)]])
        with torch.no_grad():
            logits = model.eval()(tokens).logits[0]
        print(f"static const double {name}_logits[][{vocab}] = {{")
        for row in ROWS:
            print("    {" + ", ".join(f"{float(x):.9g}" for x in logits[row]) + "},")
        print("};")


if __name__ == "__main__":
    main()
