#!/usr/bin/env python3
"""The range coder and the .gpz format a second time, to confirm the goldens in C.

    golden_coder.py             prints every golden as hex
    golden_coder.py NAME=FILE.. fails unless these goldens stand in these files

Written from coder/FORMAT.md with integers of any size, so that there is no window,
no carry and no overflow to get wrong. Exit 77: libxxhash was not found.
"""
import ctypes
import ctypes.util
import re
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


def example(hash64):
    """The file of FORMAT.md's example and of test_container.c."""
    def sealed(data):
        return data + (hash64(data) % 2**32).to_bytes(4, "little")

    def alpha(value):
        distance = round(value * 65536) - 65536
        return varint(2 * distance if distance >= 0 else -2 * distance - 1)

    experts = varint(0) + alpha(1) + bytes.fromhex("0123456789abcdef") + varint(1) + alpha(0.25)
    body = varint(0) + varint(1024) + varint(512) + varint(16) + varint(2) + experts
    frame = sealed(b"\xb7g\r\n\x01" + varint(len(body) + 4) + body)

    stored_raw = b"Hello, world.\n"
    stored = sealed(varint(1) + varint(len(stored_raw)) + stored_raw)

    raw = b"abacabadabacabaabacabadabacabaa"
    table = {"a": (0, 1 << 29), "b": (1 << 29, 1 << 28), "c": (3 << 28, 1 << 27), "d": (7 << 27, 1 << 27)}
    length = -(-len(raw) // 2)
    streams = [encode([table[c] for c in raw[s:s + length].decode()]) for s in (0, length)]
    body = varint(len(raw)) + varint(2) + varint(len(streams[0]))
    body += (hash64(raw) % 2**32).to_bytes(4, "little") + b"".join(streams)
    coded = sealed(varint(2) + varint(len(raw)) + varint(len(body) + 4) + body)

    content = stored_raw + raw
    end = varint(0) + varint(len(content)) + hash64(content).to_bytes(8, "little")
    return frame, stored, coded, end


def main():
    goldens = {
        "mixed": encode(list(mixed_symbols(24))),
        "carry": encode(carry_symbols(6)),
        "ones": encode([(TOTAL - 1, 1)] * 4),
    }
    parts = example(xxh3())
    goldens["file"] = b"".join(parts)
    if len(sys.argv) == 1:
        for name, data in goldens.items():
            print(f"{name}: {data.hex()}")
        print("file in parts:", *(part.hex(" ") for part in parts), sep="\n    ")
        print("symbols of carry:", carry_symbols(6))
    for argument in sys.argv[1:]:
        name, path = argument.split("=", 1)
        with open(path, encoding="utf-8") as file:
            text = re.sub(r'/\*.*?\*/|[\s"]', "", file.read())
        if goldens[name].hex() not in text:
            sys.exit(f"{name} is not in {path}")


if __name__ == "__main__":
    main()
