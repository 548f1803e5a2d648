#!/usr/bin/env python3
"""The range coder and the .gpz format a second time, to confirm the goldens in C.

    golden_coder.py              prints every golden as hex
    golden_coder.py NAME=FILE..  fails unless these goldens stand in these files
    golden_coder.py --read FILE  reads a .gpz file, all but its streams, and prints its headers

Written from coder/FORMAT.md with integers of any size, so that there is no window,
no carry and no overflow to get wrong. Exit 77: libxxhash was not found.
"""
import ctypes
import ctypes.util
import lzma
import re
import shutil
import subprocess
import sys

TOTAL = 1 << 30


# -- range coder ---------------------------------------------------------------

class Interval:
    """[low, low + range) / 2^shift, exactly."""

    def __init__(self):
        self.low, self.range, self.shift = 0, 2**64 - 1, 64

    def narrow(self, start, freq):
        assert 0 <= start < start + freq <= TOTAL
        unit = self.range >> 30
        self.low += unit * start
        self.range = self.range - unit * start if start + freq == TOTAL else unit * freq
        while self.range < 2**56:
            self.low, self.range, self.shift = self.low << 8, self.range << 8, self.shift + 8

    def shortest(self):
        """The shortest byte string in the interval, of several the smallest."""
        for size in range(self.shift // 8 + 1):
            step = 1 << (self.shift - 8 * size)
            value = -(-self.low // step)
            if value * step < self.low + self.range:
                return value.to_bytes(size, "big")

    def target(self, stream):
        """The symbol point at which a stream lies."""
        shift = max(self.shift, 8 * len(stream))
        value = int.from_bytes(stream, "big") << (shift - 8 * len(stream))
        code = (value >> (shift - self.shift)) - self.low
        return min(code // (self.range >> 30), TOTAL - 1)


def encode(symbols):
    interval = Interval()
    for symbol in symbols:
        interval.narrow(*symbol)
    stream = interval.shortest()
    interval = Interval()
    for start, freq in symbols:
        assert start <= interval.target(stream) < start + freq
        interval.narrow(start, freq)
    return stream


def mixed_symbols(count):
    """Intervals of every width, as golden_symbol() in test_rangecoder.c makes them."""
    x = 1
    for _ in range(count):
        x = (x * 1664525 + 1013904223) % 2**32
        freq = 1 << (x >> 27)
        freq = min(freq, TOTAL)
        x = (x * 1664525 + 1013904223) % 2**32
        yield (x >> 2) % (TOTAL - freq + 1), freq


def carry_symbols(count):
    """Symbols that each hold the point 1/2, then one above it: 7f ff ff .. becomes 80 00 00 ..,
    and then one more so that the zeros do not just vanish."""
    interval, symbols = Interval(), []
    for i in range(count + 1):
        at = interval.target(b"\x80")
        symbols.append((at - 1, 2) if i < count else (at + 1, 1))
        interval.narrow(*symbols[-1])
    return symbols + [(TOTAL // 3, 5)]


# -- container -----------------------------------------------------------------

def xxh3():
    name = ctypes.util.find_library("xxhash")
    if not name:
        print("libxxhash was not found", file=sys.stderr)
        sys.exit(77)
    function = ctypes.CDLL(name).XXH3_64bits
    function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    return lambda data: function(data, len(data))


def varint(value):
    head = b""
    while value > 127:
        head += bytes([value % 128 + 128])
        value //= 128
    return head + bytes([value])


class Corrupt(Exception):
    """The file violates FORMAT.md; the text says where."""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, size):
        if self.at + size > len(self.data):
            raise Corrupt("cut")
        self.at += size
        return self.data[self.at - size:self.at]

    def varint(self, low, high):
        value = shift = 0
        while True:
            byte = self.bytes(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if shift > 7 and byte == 0 or not low <= value <= high:
            raise Corrupt("a varint")
        return value

    def check(self, begin, hash64):
        """The check that follows, of all bytes from begin on."""
        want = (hash64(self.data[begin:self.at]) % 2**32).to_bytes(4, "little")
        if self.bytes(4) != want:
            raise Corrupt("a check")


SCOPE, CONTEXTS, BIASES, ALPHAS = 1, 2, 4, 8
MODEL, BAYES = 0, 1
MAGIC = b"\xb7g\r\n\x02" # and the version
ONE = 65536


class Frame:
    """A frame header. experts: (kind, alpha in 1/65536, model id or b"")."""

    def __init__(self, features, window, hop, update, experts, prior=0):
        self.features, self.window, self.hop = features, window, hop
        self.update, self.experts, self.prior = update, experts, prior

    def write(self, hash64, records=b""):
        body = varint(self.features) + varint(self.window) + varint(self.window - self.hop)
        body += varint(self.update)
        if self.features & CONTEXTS:
            body += varint(self.prior)
        body += varint(len(self.experts))
        for kind, alpha, model in self.experts:
            distance = alpha - ONE
            body += varint(kind) + varint(2 * distance if distance >= 0 else -2 * distance - 1)
            body += model
        body += records
        return sealed(MAGIC + varint(len(body) + 4) + body, hash64)

    @staticmethod
    def read(reader, hash64):
        begin = reader.at
        if reader.bytes(5) != MAGIC:
            raise Corrupt("magic or version")
        size = reader.varint(4, 4096)
        end = reader.at + size - 4
        features = reader.varint(0, 31)
        window = reader.varint(2, 2**20)
        hop = window - reader.varint(0, 0 if features & SCOPE else window)  # 0: sliding
        update = reader.varint(1, 2**20)
        prior = reader.varint(0, 0) if features & CONTEXTS else 0
        experts = []
        for _ in range(reader.varint(1, 8)):
            kind, code = reader.varint(MODEL, BAYES), reader.varint(0, 2**21)
            alpha = ONE - (code + 1) // 2 if code % 2 else ONE + code // 2
            if not 0 <= alpha < 2**20 or features & ALPHAS and alpha > 2**17:
                raise Corrupt("an alpha")
            experts.append((kind, alpha, reader.bytes(8) if kind == MODEL else b""))
        while reader.at < end: # optional records
            reader.varint(0, 2**63 - 1)
            reader.bytes(reader.varint(0, end - reader.at))
        if reader.at != end:
            raise Corrupt("the size of a header")
        reader.check(begin, hash64)
        return Frame(features, window, hop, update, experts, prior)

    def __str__(self):
        names = ["scope", "contexts", "biases", "alphas", "weights"]
        features = "+".join(n for i, n in enumerate(names) if self.features >> i & 1) or "none"
        experts = " ".join(f"{'bayes' if kind else model.hex()}*{alpha}"
                           for kind, alpha, model in self.experts)
        return f"{features} window {self.window} hop {self.hop} update {self.update} {experts}"


def sealed(data, hash64):
    return data + (hash64(data) % 2**32).to_bytes(4, "little")


LZMA2, ZSTD = 0, 1


def unpack_lzma2(data, raw):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": max(raw, 4096)}]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    try:
        content = decoder.decompress(data)
    except lzma.LZMAError as error:
        raise Corrupt(f"LZMA2: {error}") from error
    if not decoder.eof or decoder.unused_data:
        raise Corrupt("the end of LZMA2")
    return content


def unpack_zstd(data):
    """Walks over the blocks of one frame (RFC 8878); returns their content, None if it takes more
    than this to decode it and there is no program zstd."""
    reader = Reader(data)
    if reader.bytes(4) != b"\x28\xb5\x2f\xfd":
        raise Corrupt("the magic of zstd")
    head = reader.bytes(1)[0]
    single, checksum = head >> 5 & 1, head >> 2 & 1
    reader.bytes((0 if single else 1) + [0, 1, 2, 4][head & 3] + [single, 2, 4, 8][head >> 6])
    content, last = b"", False
    while not last:
        block = int.from_bytes(reader.bytes(3), "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        part = reader.bytes(1 if kind == 1 else size)
        content = None if kind > 1 or content is None else content + part * (size if kind == 1 else 1)
    reader.bytes(4 * checksum)
    if reader.at != len(data):
        raise Corrupt("the end of a frame of zstd")
    if content is None and shutil.which("zstd"):
        made = subprocess.run(["zstd", "-q", "-d", "-c"], input=data, capture_output=True, check=False)
        if made.returncode != 0:
            raise Corrupt("zstd")
        content = made.stdout
    return content


def read_packed(reader, raw, hash64, begin):
    """The fields after the raw size of a packed block."""
    end = reader.varint(9, 2**25)
    end += reader.at
    check = reader.bytes(4)
    form = reader.bytes(1)[0]
    data = reader.bytes(end - 4 - reader.at)
    reader.check(begin, hash64)
    if form > ZSTD:
        raise Corrupt("a form of packed blocks")
    content = unpack_lzma2(data, raw) if form == LZMA2 else unpack_zstd(data)
    if content is not None and (len(content) != raw or
                                (hash64(content) % 2**32).to_bytes(4, "little") != check):
        raise Corrupt("the content of a packed block")
    return raw, ("packed", ["LZMA2", "zstd"][form])


def read_block(reader, hash64):
    """Returns the raw size of the block that follows, 0 at an end mark, and its fields."""
    begin, kind = reader.at, reader.varint(0, 3)
    if kind == 0:
        return 0, ("end", reader.varint(0, 2**63 - 1), reader.bytes(8))
    raw = reader.varint(1, 2**24)
    if kind == 1:
        reader.bytes(raw)
        reader.check(begin, hash64)
        return raw, ("stored",)
    stored = len(varint(raw)) + raw + 5
    if kind == 3:
        block = read_packed(reader, raw, hash64, begin)
        if reader.at - begin >= stored:
            raise Corrupt("a packed block that is not small")
        return block
    end = reader.varint(0, 2**25)
    end += reader.at
    tokens = reader.varint(1, raw + 1)
    streams = reader.varint(1, 65536)
    if streams != -(-tokens // -(-tokens // streams)):
        raise Corrupt("a stream without tokens")
    sizes = [reader.varint(0, 2**24) for _ in range(streams - 1)]
    reader.bytes(4) # of the content, which is not known here
    last = end - 4 - reader.at - sum(sizes)
    if last < 0:
        raise Corrupt("the sizes of streams")
    for size in [*sizes, last]:
        if reader.bytes(size)[-1:] == b"\0":
            raise Corrupt("a stream that ends in a zero byte")
    reader.check(begin, hash64)
    if reader.at - begin >= stored:
        raise Corrupt("a coded block that is not small")
    return raw, ("coded", tokens, streams)


def read_file(data, hash64):
    """Yields the header and the blocks of each frame."""
    reader = Reader(data)
    while True:
        frame, blocks, size = Frame.read(reader, hash64), [], 0
        while True:
            raw, block = read_block(reader, hash64)
            if raw == 0:
                break
            blocks.append(block)
            size += raw
        if block[1] != size:
            raise Corrupt("the size of a frame")
        yield frame, blocks
        if reader.at == len(data):
            return


def example_frames():
    """Headers with every feature; those of test_container_fields.c."""
    one, other = bytes(range(1, 9)), bytes(range(9, 1, -1))
    every = CONTEXTS | BIASES | ALPHAS
    return [
        Frame(every, 1024, 512, 16, [(MODEL, ONE, one), (BAYES, 6554, b"")]),
        Frame(every | SCOPE, 2048, 2048, 1, [(MODEL, 2 * ONE, one)]),
        Frame(ALPHAS, 256, 128, 3, [(MODEL, 32768, one), (MODEL, 0, other), (BAYES, 2**17, b"")]),
        Frame(CONTEXTS, 2, 1, 2**20, [(MODEL, 2**20 - 1, other)]),
        Frame(BIASES, 2**20, 1, 128, [(BAYES, 2**17 + 1, b""), (MODEL, 1, one)]),
    ]


def example(hash64):
    """The file of FORMAT.md's example and of test_container.c."""
    experts = [(MODEL, ONE, bytes.fromhex("0123456789abcdef")), (BAYES, ONE // 4, b"")]
    frame = Frame(0, 1024, 512, 16, experts).write(hash64)

    stored_raw = b"Hello, world.\n"
    stored = sealed(varint(1) + varint(len(stored_raw)) + stored_raw, hash64)

    raw = b"abacabadabacabaabacabadabacabaa"
    table = {"a": (0, 1 << 29), "b": (1 << 29, 1 << 28), "c": (3 << 28, 1 << 27), "d": (7 << 27, 1 << 27)}
    length = -(-len(raw) // 2)
    streams = [encode([table[c] for c in raw[s:s + length].decode()]) for s in (0, length)]
    body = varint(len(raw)) + varint(2) + varint(len(streams[0]))
    body += (hash64(raw) % 2**32).to_bytes(4, "little") + b"".join(streams)
    coded = sealed(varint(2) + varint(len(raw)) + varint(len(body) + 4) + body, hash64)

    run = b"x" * 40 # one frame of zstd, with its size, of one block that repeats a byte
    frame_of_run = bytes([0x28, 0xb5, 0x2f, 0xfd, 0x20, 40]) + (40 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"x"
    body = (hash64(run) % 2**32).to_bytes(4, "little") + bytes([ZSTD]) + frame_of_run
    packed = sealed(varint(3) + varint(len(run)) + varint(len(body) + 4) + body, hash64)

    content = stored_raw + raw + run
    end = varint(0) + varint(len(content)) + hash64(content).to_bytes(8, "little")
    return frame, stored, coded, packed, end


def write_index(frame, head_size, blocks, hash64, piece=0):
    """The index frame of a frame's blocks, each (kind, size, raw size)."""
    record, before = varint(piece) + varint(head_size) + varint(len(blocks)), 0
    for kind, size, raw in blocks:
        record += varint(4 * size + kind) + varint(0 if raw == before else raw)
        before = raw
    end = varint(0) + varint(0) + hash64(b"").to_bytes(8, "little")
    size = len(frame.write(hash64, varint(1) + varint(len(record) + 2) + record + bytes(2)) + end)
    record += size.to_bytes(2, "little")
    return frame.write(hash64, varint(1) + varint(len(record)) + record) + end


def example_index(goldens, hash64):
    """The index of the example, which has a block of each kind."""
    frame = Frame.read(Reader(goldens["file"]), hash64)
    return write_index(frame, 31, [(1, 20, 14), (2, 20, 31), (3, 22, 40)], hash64)


def check_reading(goldens, frames, hash64):
    """A written archive reads back unchanged, and a change of any byte is noticed."""
    reader = Reader(goldens["frames"])
    for frame in frames:
        assert str(Frame.read(reader, hash64)) == str(frame)
    [(frame, blocks)] = read_file(goldens["file"], hash64)
    assert frame.features == 0
    assert blocks == [("stored",), ("coded", 31, 2), ("packed", "zstd")]
    [_, (frame, blocks)] = read_file(goldens["file"] + goldens["index"], hash64)
    assert blocks == []
    text = bytes(i * i % 251 for i in range(3000)) * 2
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": len(text)}]
    data = bytes([LZMA2]) + lzma.compress(text, lzma.FORMAT_RAW, filters=filters)
    body = (hash64(text) % 2**32).to_bytes(4, "little") + data
    block = sealed(varint(3) + varint(len(text)) + varint(len(body) + 4) + body, hash64)
    assert read_block(Reader(block), hash64) == (len(text), ("packed", "LZMA2"))
    data = frames[0].write(hash64)
    for i in range(len(data)):
        try:
            Frame.read(Reader(data[:i] + bytes([data[i] ^ 4]) + data[i + 1:]), hash64)
        except Corrupt:
            continue
        sys.exit(f"byte {i} of a header may change")


def main():
    goldens = {
        "mixed": encode(list(mixed_symbols(24))),
        "carry": encode(carry_symbols(6)),
        "ones": encode([(TOTAL - 1, 1)] * 4),
    }
    hash64 = xxh3()
    if sys.argv[1:2] == ["--read"]:
        with open(sys.argv[2], "rb") as file:
            for frame, blocks in read_file(file.read(), hash64):
                print(frame, *(" ".join(map(str, block)) for block in blocks), sep="\n    ")
        return
    parts = example(hash64)
    goldens["file"] = b"".join(parts)
    goldens["index"] = example_index(goldens, hash64)
    frames = example_frames()
    goldens["frames"] = b"".join(frame.write(hash64) for frame in frames)
    check_reading(goldens, frames, hash64)
    if len(sys.argv) == 1:
        for name, data in goldens.items():
            print(f"{name}: {data.hex()}")
        print("file in parts:", *(part.hex(" ") for part in parts), sep="\n    ")
        print("symbols of carry:", carry_symbols(6))
        print("frames:", *(f"{frame}: {frame.write(hash64).hex()}" for frame in frames), sep="\n    ")
    for argument in sys.argv[1:]:
        name, path = argument.split("=", 1)
        with open(path, encoding="utf-8") as file:
            text = re.sub(r'/\*.*?\*/|[\s"]', "", file.read())
        if goldens[name].hex() not in text:
            sys.exit(f"{name} is not in {path}")


if __name__ == "__main__":
    main()
