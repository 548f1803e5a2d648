"""Writes sample_ids.json: the Hugging Face tokenizer's ids of awkward strings.

    python samples.py FOLDER

A tokenizer in another language is right when it gives the same ids (special tokens in the text
are text, no BOS is added).
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer

SAMPLES = [
    "",
    " ",
    "a",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "It's they're we've I'm he'll she'd don't 'so 'tis 'twas rock'n'roll O'Neill's",
    "In 1997, 51.57% of 1,234,567 shares; 3.14159 x10^-23, 007",
    "Hard-wrapped prose goes on\nin the next line, and then\n\n    a paragraph begins.\n",
    "line one\r\nline two\r\n\r\n  indented\r\n",
    "tabs\tand\t\ttabs\n\tindented\n\t\ttwice\n",
    "run of spaces:" + " " * 1 + "1" + " " * 2 + "2" + " " * 17 + "17" + " " * 100 + "end" + " " * 33,
    "    leading and trailing    ",
    "\n\n\n \n  \n   x\n",
    'int main(void)\n{\n    for (int i = 0; i < 10; i++) {\n        printf("%d\\n", a[i] += 0x1F);\n    }\n}\n',
    'def f(self, *args):\n    """Docs."""\n    return [x**2 for x in args if x != self._y]\n',
    "== Heading ==\n* [[Link|text]] '''bold''' &quot;q&quot; {{cite|url=http://example.org/a_b?c=d}}",
    "<page>\n    <title>A</title>\n  </page>",
    "Größe naïve façade Ærøskøbing Łódź Ελληνικά Русский",
    "한국어 위키백과 日本語の文章 中文，標點。",
    "emoji \U0001f600\U0001f680 family \U0001f468\u200d\U0001f469\u200d\U0001f467 flag \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "combining e\u0301 n\u0303 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "nbsp\u00a0here\u2003em\u3000ideographic\u0085nel\u2028ls",
    "\u0661\u0662\u0663 \u00bd\u00b2 \u2167 \u0967\u0968",
    "\ufeffBOM and \u0001\u001f\u007f controls \x0b\x0c",
    "<|bos|>literal<|bos|>",
    "a" * 300,
    "ABCabc123!?" * 20,
    "-" * 79 + "\n" + "=" * 79 + "\n" + "*" * 5,
]


def main(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    rows = []
    for text in SAMPLES:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text, text
        rows.append({"text": text, "ids": ids})
    (folder / "sample_ids.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
