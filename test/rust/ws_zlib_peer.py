"""Compresses and inflates for test/rust/ws_compression.rs: zlib as a peer that is not ours.

Reads requests from stdin and answers each on stdout. A request is a line of words,

    deflate WINDOW_BITS TAKEOVER LEVEL MEM_LEVEL COUNT
    inflate WINDOW_BITS TAKEOVER COUNT

followed by COUNT messages; the answer is COUNT messages. A message is its size in 4 bytes, big-endian, and its bytes. Data
that does not inflate ends the process.
"""

import struct
import sys
import zlib

TAIL = b"\x00\x00\xff\xff"


def read_message():
    (size,) = struct.unpack(">I", sys.stdin.buffer.read(4))
    return sys.stdin.buffer.read(size)


def deflate(bits, takeover, level, mem_level, messages):
    def new():
        # zlib has no raw compressor with 8 bits.
        return zlib.compressobj(level, zlib.DEFLATED, -max(bits, 9), mem_level)

    context = new()
    for message in messages:
        data = context.compress(message) + context.flush(zlib.Z_SYNC_FLUSH)
        if not takeover:
            context = new()
        # A second flush in a row writes nothing: an empty message is an empty block (RFC 7692, 7.2.3.6).
        yield data.removesuffix(TAIL) or b"\x00"


def inflate(bits, takeover, messages):
    context = zlib.decompressobj(-bits)
    for message in messages:
        yield context.decompress(message + TAIL)
        if not takeover:
            context = zlib.decompressobj(-bits)


def main():
    for line in iter(sys.stdin.buffer.readline, b""):
        verb, *numbers = line.split()
        *settings, count = map(int, numbers)
        messages = [read_message() for _ in range(count)]
        results = deflate(*settings, messages) if verb == b"deflate" else inflate(*settings, messages)
        for result in results:
            sys.stdout.buffer.write(struct.pack(">I", len(result)) + result)
        sys.stdout.buffer.flush()


main()
