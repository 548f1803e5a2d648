"""The Python package, on texts of few tokens. python.sh builds it and runs this."""

import contextlib
import gc
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import gpuzip

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "alice29.txt")
PROGRAM = os.environ["GPUZIP_PROGRAM"]
with open(DATA, "rb") as alice:
    TEXT = alice.read(1200)
BINARY = random.Random(1).randbytes(300_000)
EMPTY = gpuzip.compress(b"")
PACKED = gpuzip.compress(TEXT)


def run(*command, data=b""):
    """(exit code, stdout, stderr)"""
    ended = subprocess.run(command, input=data, capture_output=True)
    return ended.returncode, ended.stdout, ended.stderr


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield name


class Buffers(unittest.TestCase):
    def test_round_trips(self):
        for data in (b"", b"a", TEXT, BINARY, bytes(70_000)):
            self.assertEqual(gpuzip.decompress(gpuzip.compress(data)), data)
        self.assertLess(len(PACKED), len(TEXT) / 3)

    def test_any_buffer(self):
        for data in (bytearray(TEXT), memoryview(TEXT)[::2], memoryview(TEXT)):
            self.assertEqual(gpuzip.decompress(bytearray(gpuzip.compress(data))), bytes(data))
        with self.assertRaises(TypeError):
            gpuzip.compress("text")

    def test_program_and_module_read_each_other(self):
        for data in (b"", TEXT, BINARY):
            self.assertEqual(run(PROGRAM, "-dc", data=gpuzip.compress(data)), (0, data, b""))
            code, packed, _ = run(PROGRAM, "-c", data=data)
            self.assertEqual(code, 0)
            self.assertEqual(gpuzip.decompress(packed), data)
            self.assertEqual(packed, gpuzip.compress(data))

    def test_settings_are_those_of_the_program(self):
        for flags, options in (
            (["-1"], {"level": 1}),
            (["--window", "64", "--streams", "3"], {"window": 64, "streams": 3}),
            (["--adapt", "none"], {"adapt": gpuzip.Adapt.NONE}),
            (["--naive-bayes"], {"naive_bayes": True}),
            (["--no-pack", "--no-verify"], {"packing": False, "verify": False}),
        ):
            code, packed, error = run(PROGRAM, "-c", *flags, data=TEXT)
            self.assertEqual((code, error), (0, b""), flags)
            self.assertEqual(packed, gpuzip.compress(TEXT, **options), flags)
            self.assertEqual(gpuzip.decompress(packed), TEXT)

    def test_several_frames(self):
        self.assertEqual(gpuzip.decompress(PACKED + EMPTY + PACKED), TEXT * 2)
        self.assertEqual(gpuzip.content_size(PACKED + PACKED), 2 * len(TEXT))

    def test_bad_settings(self):
        for options in ({"level": 0}, {"level": 10}, {"adapt": 17}, {"alphas": [1, 2]},
                        {"block_size": 1 << 30}, {"block_size": -1}):
            with self.assertRaises(ValueError, msg=str(options)):
                gpuzip.compress(b"x", **options)
        for options in ({"window": 1}, {"models": "/no/such/model"}, {"device": "nonsense"}):
            with self.assertRaises(gpuzip.GpuzipError, msg=str(options)) as caught:
                gpuzip.compress(b"x", **options)
            self.assertTrue(str(caught.exception))
            self.assertTrue(gpuzip.Status(caught.exception.status))
        with self.assertRaises(TypeError):
            gpuzip.compress(b"x", bogus=1)

    def test_damaged_data(self):
        statuses = gpuzip.Status
        for data, status in ((b"", statuses.FORMAT), (b"some text", statuses.FORMAT),
                             (PACKED + b"tail", statuses.CORRUPT)):
            with self.assertRaises(gpuzip.GpuzipError) as caught:
                gpuzip.decompress(data)
            self.assertEqual(caught.exception.status, status)
        for size in range(7, len(PACKED), 37):
            with self.assertRaises(gpuzip.GpuzipError) as caught:
                gpuzip.decompress(PACKED[:size])
            self.assertEqual(caught.exception.status, statuses.CORRUPT)
        for at in range(7, len(PACKED), 37):
            damaged = bytearray(PACKED)
            damaged[at] ^= 4
            with self.assertRaises(gpuzip.GpuzipError):
                gpuzip.decompress(damaged)
        self.assertEqual(gpuzip.decompress(PACKED), TEXT)  # the session still works


class Objects(unittest.TestCase):
    def test_compressor(self):
        compressor = gpuzip.GpuzipCompressor()
        parts = [compressor.compress(TEXT[i:i + 100]) for i in range(0, len(TEXT), 100)]
        self.assertEqual(compressor.last_mode, compressor.CONTINUE)
        self.assertEqual(b"".join(parts) + compressor.flush(), PACKED)
        self.assertEqual(compressor.flush(), b"")
        self.assertEqual(compressor.compress(TEXT, compressor.FLUSH_FRAME), PACKED)
        self.assertEqual(gpuzip.GpuzipCompressor().flush(), EMPTY)

    def test_blocks_are_written_before_the_end(self):
        compressor = gpuzip.GpuzipCompressor(1, block_size=50_000)
        packed = compressor.compress(BINARY * 6)  # more than the library keeps for a batch
        self.assertGreater(len(packed), 50_000)
        self.assertEqual(gpuzip.decompress(packed + compressor.flush()), BINARY * 6)

    def test_decompressor_byte_by_byte(self):
        decompressor = gpuzip.GpuzipDecompressor()
        content = b""
        for i in range(len(PACKED)):
            self.assertFalse(decompressor.eof)
            self.assertTrue(decompressor.needs_input)
            content += decompressor.decompress(PACKED[i:i + 1])
        self.assertEqual(content, TEXT)
        self.assertTrue(decompressor.eof)
        self.assertFalse(decompressor.needs_input)
        with self.assertRaises(EOFError):
            decompressor.decompress(b"x")

    def test_unused_data(self):
        for tail in (b"", b"tail", PACKED):
            decompressor = gpuzip.GpuzipDecompressor()
            self.assertEqual(decompressor.decompress(PACKED + tail), TEXT)
            self.assertEqual((decompressor.eof, decompressor.unused_data), (True, tail))
        decompressor = gpuzip.GpuzipDecompressor()
        self.assertEqual(decompressor.decompress(EMPTY + b"x"), b"")
        self.assertEqual((decompressor.eof, decompressor.unused_data), (True, b"x"))

    def test_max_length(self):
        zeros = gpuzip.compress(bytes(5_000_000))
        decompressor = gpuzip.GpuzipDecompressor()
        self.assertEqual(decompressor.decompress(zeros, 0), b"")
        size = 0
        while not decompressor.eof:
            self.assertFalse(decompressor.needs_input)
            part = decompressor.decompress(b"", 999_999)
            self.assertLess(0, len(part))
            self.assertLessEqual(len(part), 999_999)
            size += len(part)
        self.assertEqual(size, 5_000_000)

    def test_stored_and_packed_blocks_are_scanned(self):
        data = gpuzip.compress(BINARY, block_size=100_000)
        data += gpuzip.compress(bytes(9999), block_size=4000)
        content, frames = b"", 0
        while data:
            decompressor = gpuzip.GpuzipDecompressor()
            for i in range(0, len(data), 5003):
                content += decompressor.decompress(data[i:i + 5003])
                if decompressor.eof:
                    data = decompressor.unused_data + data[i + 5003:]
                    break
            frames += 1
        self.assertEqual((content, frames), (BINARY + bytes(9999), 2))

    def test_an_index_belongs_to_the_frame_before_it(self):
        indexed = gpuzip.compress(bytes(9999), block_size=4000)
        many = gpuzip.compress(random.Random(2).randbytes(5000), block_size=10)  # two index frames
        for first, size in ((indexed, 9999), (many, 5000)):
            for tail in (b"", b"tail", PACKED, EMPTY):
                decompressor = gpuzip.GpuzipDecompressor()
                self.assertEqual(len(decompressor.decompress(first + tail)), size)
                self.assertEqual((decompressor.eof, decompressor.unused_data), (True, tail))
        whole = indexed.rfind(b"\xb7g\r\n")  # the index begins there
        for piece in (1, 7):  # it comes later: eof does not wait for it, as nobody knows of it
            decompressor = gpuzip.GpuzipDecompressor()
            for i in range(0, whole, piece):
                self.assertFalse(decompressor.eof)
                decompressor.decompress(indexed[i:min(i + piece, whole)])
            self.assertEqual((decompressor.eof, decompressor.unused_data), (True, b""))
        decompressor = gpuzip.GpuzipDecompressor()
        self.assertEqual(decompressor.decompress(indexed[whole:] + PACKED + b"x"), TEXT)
        self.assertEqual((decompressor.eof, decompressor.unused_data), (True, b"x"))
        decompressor = gpuzip.GpuzipDecompressor()
        self.assertEqual(decompressor.decompress(indexed[whole:]), b"")
        self.assertTrue(decompressor.eof)

    def test_errors(self):
        for data in (b"no gpuzip data", PACKED[:30] + b"\xff" * 60):
            decompressor = gpuzip.GpuzipDecompressor()
            for _ in range(2):
                with self.assertRaises(gpuzip.GpuzipError):
                    decompressor.decompress(data)
            self.assertFalse(decompressor.eof)
        with self.assertRaises(gpuzip.GpuzipError):
            gpuzip.GpuzipCompressor(window=1).compress(b"x", gpuzip.GpuzipCompressor.FLUSH_FRAME)

    def test_unfinished_objects_leave_no_threads(self):
        for _ in range(3):
            gpuzip.GpuzipCompressor().compress(TEXT)
            gpuzip.GpuzipDecompressor().decompress(PACKED[:40])
        gc.collect()
        deadline = time.monotonic() + 60
        while threading.active_count() > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(threading.active_count(), 1)

    def test_python_ends_with_unfinished_objects(self):
        code, _, error = run(sys.executable, "-c", "import gpuzip\n"
                             "c = gpuzip.GpuzipCompressor()\nc.compress(b'text')\n"
                             "d = gpuzip.GpuzipDecompressor()\nd.decompress(c.flush()[:9])\n"
                             "c.compress(b'more')")
        self.assertEqual((code, error), (0, b""))


class Files(unittest.TestCase):
    def test_binary(self):
        with folder() as name:
            path = os.path.join(name, "x.gpz")
            with gpuzip.open(path, "wb", 3) as file:
                self.assertTrue(file.writable())
                self.assertFalse(file.readable() or file.seekable())
                for line in TEXT.splitlines(True):
                    self.assertEqual(file.write(line), len(line))
                self.assertEqual(file.tell(), len(TEXT))
                with self.assertRaises(io.UnsupportedOperation):
                    file.read()
            self.assertTrue(file.closed)
            file.close()
            with self.assertRaises(FileExistsError):
                gpuzip.open(path, "x")
            self.assertEqual(run(PROGRAM, "-dc", path)[:2], (0, TEXT))
            with gpuzip.open(path, "a") as file:
                file.write(memoryview(BINARY))
            with gpuzip.open(path) as file:
                self.assertEqual(list(file), list(io.BytesIO(TEXT + BINARY)))
                self.assertEqual(file.read(), b"")
                self.assertEqual(file.tell(), len(TEXT + BINARY))
                self.assertEqual(file.seek(10), 10)
                self.assertEqual(file.read(20), TEXT[10:30])
                self.assertEqual(file.readline(), TEXT[30:].splitlines(True)[0])
                self.assertEqual(file.seek(-5, io.SEEK_END), len(TEXT + BINARY) - 5)
                self.assertEqual(file.read1(), BINARY[-5:])
                with self.assertRaises(io.UnsupportedOperation):
                    file.write(b"x")

    def test_text(self):
        with folder() as name:
            path = os.path.join(name, "x.gpz")
            with gpuzip.open(path, "wt", encoding="utf-8", newline="\n") as file:
                print("Grüße", "zweite", sep="\n", file=file)
            with gpuzip.open(path, "rt", encoding="utf-8") as file:
                self.assertEqual(file.readlines(), ["Grüße\n", "zweite\n"])
            with gpuzip.open(path, "rb") as file:
                self.assertEqual(file.read(), "Grüße\nzweite\n".encode())

    def test_file_objects_stay_open(self):
        memory = io.BytesIO()
        with gpuzip.GpuzipFile(memory, "w") as file:
            file.write(TEXT)
        self.assertEqual(memory.getvalue(), PACKED)
        memory.seek(0)
        with gpuzip.GpuzipFile(memory) as file:
            buffer = bytearray(100)
            self.assertEqual(file.readinto(buffer), 100)
            self.assertEqual(bytes(buffer) + file.read(), TEXT)
        self.assertFalse(memory.closed)

    def test_damage(self):
        for data in (b"", b"text", PACKED[:-1], PACKED + b"x"):
            with gpuzip.GpuzipFile(io.BytesIO(data)) as file:
                with self.assertRaises(gpuzip.GpuzipError):
                    file.read()
        for mode in ("", "rw", "rtb", "u"):
            with self.assertRaises(ValueError):
                gpuzip.open(io.BytesIO(), mode)
        with self.assertRaises(TypeError):
            gpuzip.open(3)

    def test_command_line(self):
        command = [sys.executable, "-m", "gpuzip"]
        with folder() as name:
            path = os.path.join(name, "x")
            with open(path, "wb") as file:
                file.write(TEXT)
            self.assertEqual(run(*command, path), (0, b"", b""))
            self.assertEqual(run(*command, path)[0], 1)  # is there
            os.unlink(path)
            self.assertEqual(run(*command, "-d", path + ".gpz"), (0, b"", b""))
            self.assertEqual(run(*command, "-c", path), (0, PACKED, b""))
            self.assertEqual(run(*command, "-dc", data=PACKED), (0, TEXT, b""))
            code, out, error = run(*command, "-d", data=PACKED[:50])
            self.assertEqual((code, out), (1, b""))
            self.assertIn(b"truncated", error)


class Counting(io.BytesIO):
    """A file that counts the bytes read."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


class Places(unittest.TestCase):
    """Reading in any order."""

    CONTENT = TEXT + BINARY[:600] + TEXT[:700]

    def archives(self):
        """With an index, without one, and joined of both kinds, behind other bytes"""
        options = {"block_size": 400, "verify": False}
        indexed = gpuzip.compress(self.CONTENT, **options)
        bare = gpuzip.compress(self.CONTENT, index=False, **options)
        self.assertLess(len(bare), len(indexed))
        self.assertGreater(len(gpuzip.compress(TEXT, index=True)), len(PACKED))
        joined = b"".join(gpuzip.compress(self.CONTENT[begin:begin + 1000], index=index, **options)
                          for begin, index in ((0, False), (1000, True), (2000, None)))
        return indexed, bare, joined

    def test_any_order(self):
        for packed in self.archives():
            plain = io.BytesIO(self.CONTENT)
            compressed = io.BytesIO(b"before" + packed)
            compressed.seek(6)
            with gpuzip.open(compressed) as file:
                self.assertEqual(file.read(5), plain.read(5))
                for offset, whence, size in ((0, 2, 5), (-7, 2, 100), (1234, 0, 1), (2300, 0, 150),
                                             (5, 1, 20), (-50, 1, 40), (0, 0, -1), (399, 0, 2)):
                    self.assertEqual(file.seek(offset, whence), plain.seek(offset, whence))
                    self.assertEqual(file.read(size), plain.read(size), (offset, whence, size))
                self.assertEqual(file.seek(10_000), len(self.CONTENT))
                for offset, whence in ((-1, 0), (-10_000, 2), (0, 3)):
                    with self.assertRaises(ValueError):
                        file.seek(offset, whence)

    def test_one_block_is_read(self):
        compressed = Counting(gpuzip.compress(BINARY, block_size=50_000))  # stored
        with gpuzip.open(compressed) as file:
            file.seek(170_000)
            self.assertEqual(file.read(5000), BINARY[170_000:175_000])
            file.seek(160_000)
            self.assertEqual(file.read(5000), BINARY[160_000:165_000])
        self.assertLess(compressed.count, 55_000)

    def test_errors(self):
        packed = bytearray(self.archives()[0])
        packed[len(packed) // 2] ^= 1
        with gpuzip.open(io.BytesIO(packed)) as file:
            file.seek(0, 2)
            file.seek(1300)
            with self.assertRaises(gpuzip.GpuzipError):
                file.read()
        with gpuzip.open(io.BytesIO(b"no archive")) as file:
            with self.assertRaises(gpuzip.GpuzipError):
                file.seek(1)

        class Failing(io.BytesIO):
            def read(self, size=-1):
                raise OSError("no disk")

        with gpuzip.open(Failing(packed)) as file:
            with self.assertRaisesRegex(OSError, "no disk"):
                file.seek(1)


class Threads(unittest.TestCase):
    def test_parallel(self):
        failures = []

        def work(number):
            data = TEXT[number:number + 300]
            for _ in range(2):
                if gpuzip.decompress(gpuzip.compress(data, threads=1), threads=1) != data:
                    failures.append(number)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_other_threads_run_while_coding(self):
        longest, last, done = 0, time.monotonic(), threading.Event()
        thread = threading.Thread(target=lambda: (gpuzip.compress(TEXT * 10), done.set()))
        thread.start()
        turns = 0
        while not done.wait(0.001):
            turns += 1
        thread.join()
        self.assertGreater(turns, 20)

    def test_interrupt(self):
        ended = subprocess.Popen([sys.executable, "-c", "import gpuzip, signal\n"
                                  "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
                                  "print('begins', flush=True)\n"
                                  f"text = open({DATA!r}, 'rb').read() * 50\n"
                                  "try: gpuzip.compress(text, 9)\n"
                                  "except KeyboardInterrupt: print('interrupted')"],
                                 stdout=subprocess.PIPE)
        with ended:
            self.assertEqual(ended.stdout.readline(), b"begins\n")
            time.sleep(1)
            ended.send_signal(signal.SIGINT)
            self.assertEqual(ended.communicate()[0], b"interrupted\n")

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    def test_fork(self):
        code, _, error = run(sys.executable, "-c", "import gpuzip, os, sys\n"
                             "z = gpuzip.compress(b'some text', threads=1)\n"
                             "child = os.fork()\n"
                             "assert gpuzip.decompress(z, threads=1) == b'some text'\n"
                             "if child: sys.exit(os.waitpid(child, 0)[1] != 0)")
        self.assertEqual((code, error), (0, b""))


class Others(unittest.TestCase):
    def test_numcodecs(self):
        try:
            from numcodecs.registry import get_codec, register_codec
        except ImportError:
            self.skipTest("no numcodecs")
        from gpuzip._numcodecs import Gpuzip
        register_codec(Gpuzip)  # the entry point is known once the package is installed
        codec = get_codec({"id": "gpuzip", "level": 2})
        self.assertEqual(bytes(codec.decode(codec.encode(TEXT))), TEXT)
        self.assertEqual(get_codec(codec.get_config()), codec)
        out = bytearray(len(TEXT))
        codec.decode(codec.encode(TEXT), out)
        self.assertEqual(out, TEXT)

    def test_fsspec(self):
        try:
            import fsspec
        except ImportError:
            self.skipTest("no fsspec")
        gpuzip.register_fsspec()
        with folder() as name:
            path = os.path.join(name, "x.gpz")
            with fsspec.open(path, "wb", compression="infer") as file:
                file.write(TEXT)
            with fsspec.open(path, "rb", compression="infer") as file:
                self.assertEqual(file.read(), TEXT)
            self.assertEqual(run(PROGRAM, "-dc", path)[:2], (0, TEXT))


if __name__ == "__main__":
    unittest.main()
