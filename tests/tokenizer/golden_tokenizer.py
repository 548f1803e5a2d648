"""Makes the golden ids of the tokenizers with the reference implementations.

    python golden_tokenizer.py train     trains our two tiny tokenizers in data/
    python golden_tokenizer.py write     writes data/tokenizer_golden.txt
    python golden_tokenizer.py check     exits 1 if that file would change

Needs the packages tokenizers and sentencepiece, and what lies in $GPUZIP_DATA (or ../../shared/data);
`check` exits 77 without them. Lines of the golden file, fields separated by tabs:

    text NAME HEX                 a text
    variant NAME JSON             data/tokenizer_tiny.json with another pre_tokenizer
    metaspace NAME JSON           data/tokenizer_tiny_llama.json, the same, and no normalizer
    ids TOKENIZER NAME ID ID ...  the ids of a text
"""

import io
import json
import lzma
import os
import struct
import sys
from pathlib import Path

HERE = Path(__file__).parent.parent
DATA = Path(os.environ.get("GPUZIP_DATA", HERE.parent.parent / "shared" / "data"))
TINY_JSON = HERE / "data" / "tokenizer_tiny.json"
TINY_MODEL = HERE / "data" / "tokenizer_tiny.model"
TINY_LLAMA = HERE / "data" / "tokenizer_tiny_llama.json"
GOLDEN = HERE / "data" / "tokenizer_golden.txt"

# What the tiny tokenizers are trained on: lines of ours that hold a bit of everything.
TRAINING = (
    """The river ran past the mill, and the miller's daughter counted the boats: one, two, three.
"They're late again," she said; "it's the third time this week, isn't it?" Nobody answered her.
In 1871 the bridge was 1234 feet long; by 1999 it measured 2,500 feet, or 762.0 metres (2499.9).
    for (int i = 0; i < count; i++) {
        total += values[i] * 2;    // twice, since every edge is seen from both ends
    }
if x == 10:\n\treturn None\n\n\n# a comment   with   wide   gaps\r\nand a line of Windows\r\n\r\n
Über den Dächern hört man die Glocken läuten; größer als früher, süßer auch. Ça va? Où était-il?
Привет, мир! Как дела? 日本語の文章と漢字。中文也有一些字。 한국어 문장입니다. العربية हिन्दी ελληνικά
Smiles: 😀 👍🏽 👩‍👩‍👧 ❤️ and flags 🇩🇪🇫🇷. Signs: ½ × ¾ ≤ π ² ³ € … — “quoted” ‘text’.
"""
)

TEXTS = {
    "empty": "",
    "letter": "a",
    "space": " ",
    "sentence": "The quick brown fox jumps over the lazy dog.",
    "contractions": "I'm sure they'll say it's what we've done; he'd DON'T, I'LL, 'tis o'clock 's",
    "leading": "   three spaces before, two after  ",
    "runs": "a  b   c    d" + " " * 17 + "e" + " " * 100 + "f" + " " * 300,
    "tabs": "\tone\t\ttwo \t three\t\n\t\t\tfour",
    "lines": "one\ntwo\n\nthree\n\n\n   four  \n  \n five\n",
    "crlf": "one\r\ntwo\r\n\r\nthree\r\n  four\r\r\nfive\n\r",
    "digits": "0 12 345 6789 1234567890 3.14159 1,000,000 2023-11-21T07:03:38Z 0xDEADBEEF",
    "numbers": "x² + y³ = ½ · ¾, Ⅷ ٣٤٥ १२३ 一二三 ①②",
    "punctuation": "!!! ??? ... --- *** (([[{{}}]])) <> <= >= != == && || ~~ `` '' \"\" ;;; ,,, :::",
    "code": "int main(void)\n{\n    if (x->y != NULL && *p++)\n\treturn printf(\"%d\\n\", a[i]);\n}\n",
    "latin": "Größe, naïve café, Ångström, señor, façade, żółć, İstanbul ıI ſ ﬁ",
    "combining": "e\u0301 o\u0308 n\u0303 a\u030a\u0323 Z\u0351\u036b\u0343 \u0915\u094d\u0937\u093f",
    "cyrillic": "Привет, мир! Съешь же ещё этих мягких французских булок.",
    "greek": "Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.",
    "cjk": "日本語の文章です。中文句子,全角!한국어 문장입니다. 「引用」",
    "rtl": "שלום עולם! مرحبا بالعالم ١٢٣",
    "indic": "नमस्ते दुनिया। வணக்கம் สวัสดีชาวโลก",
    "emoji": "😀😃 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 ❤️ 🇩🇪🇫🇷 1️⃣ 🤷🏾‍♂️.",
    "spaces": "a\u00a0b\u2003c\u3000d\u2028e\u200bf\u180eg\u0085h\u1680i\ufeffj",
    "controls": "a\u0001b\u0008c\u001bd\u007fe\u000bf\u000cg",
    "astral": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 \U0001f9ff \U0010fffd \ue000 \uffff",
    "url": "https://example.org/a_b-c/%20?q=1&r=[2]#frag user@mail.example",
    "long": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    + "!" * 70
    + "ab" * 60,
    "mixed": TRAINING,
}


def split(pattern, behavior, invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
REGEX = dict(BYTES, use_regex=True)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


# Names of the variants of the tiny tokenizer.json, and their pre-tokenizers.
VARIANTS = {
    "bare": BYTES,
    "gpt2": REGEX,
    "llama3": sequence(split(LLAMA3, "Isolated"), BYTES),
    "removed": sequence(split(LLAMA3, "Removed", True), BYTES),
    "previous": sequence(split(r"[aeiou ]", "MergedWithPrevious"), BYTES),
    "previous_inverted": sequence(split(r"[aeiou ]", "MergedWithPrevious", True), BYTES),
    "next": sequence(split(r"[aeiou ]", "MergedWithNext"), BYTES),
    "next_inverted": sequence(split(r"[aeiou ]", "MergedWithNext", True), BYTES),
    "contiguous": sequence(split(r"[aeiou]|\s", "Contiguous"), BYTES),
    "string": sequence(split("e.", "Isolated", kind="String"), BYTES),
    "empty_matches": sequence(split(r"(?=[aeiou])|x*", "Isolated"), BYTES),
    "words": sequence(split(r"\w+|\W", "Isolated"), BYTES),
    "digits": sequence({"type": "Digits", "individual_digits": True}, REGEX),
    "digit_runs": sequence({"type": "Digits", "individual_digits": False}, BYTES),
    "punctuation": sequence({"type": "Punctuation", "behavior": "Contiguous"}, BYTES),
    "stages": sequence(
        split(r"[\r\n]", "Isolated"),
        split(r"\s?\p{L}+", "Isolated"),
        split(r"\s?\p{P}+", "Isolated"),
        split("[一-龥ࠀ-一가-퟿]+", "Isolated"),
        {"type": "Digits", "individual_digits": True},
        BYTES,
    ),
}

# Variants of our SentencePiece model as tokenizer.json, which then has no normalizer.
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
METASPACES = {
    "metaspace": METASPACE,
    "metaspace_unsplit": dict(METASPACE, split=False),
    "metaspace_never": dict(METASPACE, prepend_scheme="never"),
    "metaspace_digits": sequence(METASPACE, {"type": "Digits", "individual_digits": True}),
}


def train():
    import sentencepiece
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tiny = Tokenizer(models.BPE())
    # No pattern: merges reach across words and lines, so every split shows in the ids.
    tiny.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tiny.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=["<|bos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tiny.train_from_iterator(TRAINING.splitlines(keepends=True) * 2, trainer)
    tiny.save(str(TINY_JSON))

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=560,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        self_test_sample_size=0,
        minloglevel=2,
    )
    TINY_MODEL.write_bytes(model.getvalue())
    TINY_LLAMA.write_text(json.dumps(llama_json(TINY_MODEL), ensure_ascii=False, indent=0) + "\n")


def llama_json(path):
    """Our SentencePiece model in the form that Hugging Face gives Llama 2's."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for i, piece in enumerate(pieces):
        if model.is_byte(i) or model.is_control(i) or model.is_unknown(i):
            continue
        for cut in range(1, len(piece)):
            if piece[:cut] in vocab and piece[cut:] in vocab:
                parts = [piece[:cut], piece[cut:]]
                merges.append((-model.get_score(i), vocab[parts[0]], vocab[parts[1]], parts))
    merges = [parts for *_, parts in sorted(merges)]
    added = [
        dict(id=i, content=pieces[i], single_word=False, lstrip=False, rstrip=False,
             normalized=False, special=True)
        for i in range(3)
    ]  # fmt: skip
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, space],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>",
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
            "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": merges,
        },
    }  # fmt: skip


def llama2c(path, vocab):
    """An encoder with the meaning of llama2.c's: the best pair first, the leftmost of equals."""
    data = path.read_bytes()
    pieces, scores, pos = [], [], 4
    for _ in range(vocab):
        score, size = struct.unpack_from("<fi", data, pos)
        pieces.append(data[pos + 8 : pos + 8 + size])
        scores.append(score)
        pos += 8 + size
    ids = {piece: i for i, piece in reversed(list(enumerate(pieces)))}

    def encode(text):
        tokens = []
        for char in " " + text if text else "":
            char = char.encode()
            tokens += [ids[char]] if char in ids else [byte + 3 for byte in char]
        while True:
            pairs = [pieces[a] + pieces[b] for a, b in zip(tokens, tokens[1:])]
            best = [(-scores[ids[pair]], at) for at, pair in enumerate(pairs) if pair in ids]
            if not best:
                return tokens
            at = min(best)[1]
            tokens[at : at + 2] = [ids[pairs[at]]]

    return encode


def golden():
    import sentencepiece
    from tokenizers import Tokenizer

    def huggingface(text):
        tokenizer = Tokenizer.from_str(text)
        return lambda text: tokenizer.encode(text, add_special_tokens=False).ids

    def sentence_model(path):
        return sentencepiece.SentencePieceProcessor(model_file=str(path)).encode

    tiny = json.loads(TINY_JSON.read_text())
    encoders = {
        "gpt2": huggingface((DATA / "tokenizers/gpt2/tokenizer.json").read_text()),
        "llama3": huggingface(
            lzma.open(DATA / "tokenizers/llama3/tokenizer.json.xz").read().decode()
        ),
        "llama2": sentence_model(DATA / "tokenizers/llama2/tokenizer.model"),
        "tok512": llama2c(DATA / "models/stories260K/tok512.bin", 512),
        "tok105": sentence_model(DATA / "models/babyllama/tok105.model"),
        "tiny_model": sentence_model(TINY_MODEL),
        "tiny_llama": huggingface(TINY_LLAMA.read_text()),
    }
    for name, pre_tokenizer in VARIANTS.items():
        encoders[name + "_variant"] = huggingface(
            json.dumps(dict(tiny, pre_tokenizer=pre_tokenizer))
        )
    llama = dict(json.loads(TINY_LLAMA.read_text()), normalizer=None)
    for name, pre_tokenizer in METASPACES.items():
        encoders[name] = huggingface(json.dumps(dict(llama, pre_tokenizer=pre_tokenizer)))
    lines = [f"text\t{name}\t{text.encode().hex()}" for name, text in TEXTS.items()]
    lines += [
        f"variant\t{name}_variant\t{json.dumps(value, ensure_ascii=True)}"
        for name, value in VARIANTS.items()
    ]
    lines += [f"metaspace\t{name}\t{json.dumps(value)}" for name, value in METASPACES.items()]
    for name, encode in encoders.items():
        for text_name, text in TEXTS.items():
            ids = encode(text)
            # It has no byte tokens (0 is <unk>), and drops spaces that it thinks superfluous.
            if name == "tok105" and (0 in ids or "  " in text or text != text.strip()):
                continue
            # It would make the same ids with and without a space at the start.
            if name in METASPACES and text.startswith(" "):
                continue
            lines.append("\t".join(["ids", name, text_name, *map(str, ids)]))
    return "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] == ["train"]:
        train()
    elif sys.argv[1:] == ["write"]:
        GOLDEN.write_text(golden())
    elif sys.argv[1:] == ["check"]:
        try:
            made = golden()
        except (ImportError, FileNotFoundError) as error:
            print("skipped:", error)
            sys.exit(77)
        if made != GOLDEN.read_text():
            sys.exit("tokenizer_golden.txt is not what the references make")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
