"""Trains the byte-level BPE of gpuzip's built-in model on a fair sample of text.bin.

    python tokenizer.py --out OUT      (after `prepare.py text`)

Every byte has a token, so any text has one; id 0 is <|bos|>. The pattern is GPT-2's with two
changes: digits in pairs (years are two tokens, any number is cheap), and 's, 't and so on only
at the end of a word ('so is not 's + o). Runs of white space keep their line feed, so that a
line break with its indentation is one token in code.
"""

import argparse
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PATTERN = (
    r"'(?:s|t|re|ve|m|ll|d)(?!\p{L})| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
WORD = r" ?\p{L}+"
WORD_AFTER_LINE = r"[ \n]?\p{L}+"  # hard-wrapped prose: a line feed in place of the blank
VOCAB = 4096
SAMPLE_BYTES = 40_000_000


def train(text, vocab, pattern):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<|bos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    return tokenizer


def sample(path):
    """The first documents of text.bin, which are in random order."""
    documents = path.read_bytes()[:SAMPLE_BYTES].decode("utf-8", "ignore").split("\0")
    # Short pieces: a long run of letters or blanks is no word worth a token.
    return (d[i : i + 20_000] for d in documents for i in range(0, len(d), 20_000))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocab", type=int, default=VOCAB)
    parser.add_argument("--line-feeds", action="store_true", help="a word may take the line feed before it")
    args = parser.parse_args()
    pattern = PATTERN.replace(WORD, WORD_AFTER_LINE) if args.line_feeds else PATTERN
    tokenizer = train(sample(args.out / "text.bin"), args.vocab, pattern)
    tokenizer.save(str(args.out / "tokenizer.json"))
    print(tokenizer.get_vocab_size(), "tokens")
