# SPDX-License-Identifier: Apache-2.0
"""Writes a synthetic JAX train state in the layout of the official trainer, of random values, for timing
`ttt convert`: step, parameters, both moments of Adam, its counters; everything in BF16.

make_train_state.py SIZE FILE     SIZE: 125m, 350m, 760m, 1.3b, each with -mlp or without; 1.3b-mlp is 7.85 GB

Needs numpy; takes a few hundred MB of memory whatever the size.
"""

import argparse
import math
import struct

import numpy

SIZES = {  # width, feed-forward width, layers, heads
    "125m": (768, 2048, 12, 12),
    "350m": (1024, 2736, 24, 16),
    "760m": (1536, 4096, 24, 16),
    "1.3b": (2048, 5504, 24, 32),
}
VOCABULARY, MINI_BATCH, CONVOLUTION = 32000, 16, 4
BLOCK = 1 << 23  # values of the random block that all tensors are cut from


def array_header(count):
    return bytes([0x90 | count]) if count < 16 else b"\xdc" + struct.pack(">H", count)


def text(value):
    raw = value.encode()
    return bytes([0xA0 | len(raw)]) + raw if len(raw) < 32 else b"\xd9" + bytes([len(raw)]) + raw


def unsigned(value):
    if value < 128:
        return bytes([value])
    if value < 256:
        return b"\xcc" + bytes([value])
    return b"\xcd" + struct.pack(">H", value) if value < 65536 else b"\xce" + struct.pack(">I", value)


def sized(codes, size):
    """The header of a bin or an ext: its three codes are for lengths of 1, 2 and 4 bytes."""
    if size < 1 << 8:
        return bytes([codes[0], size])
    return bytes([codes[1]]) + struct.pack(">H", size) if size < 1 << 16 else bytes([codes[2]]) + struct.pack(">I", size)


BIN, EXT = (0xC4, 0xC5, 0xC6), (0xC7, 0xC8, 0xC9)


def record_header(path, shape, dtype, size):
    """[path, bin(ext 1([shape, dtype, bin]))] up to the values."""
    inner = array_header(3) + array_header(len(shape)) + b"".join(map(unsigned, shape)) + text(dtype)
    inner += sized(BIN, size)
    extension = sized(EXT, len(inner) + size) + b"\x01" + inner
    names = array_header(len(path)) + b"".join(map(text, path))
    return array_header(2) + names + sized(BIN, len(extension) + size) + extension


def tensors(size):
    """(path, JAX shape) of every parameter, in the order of the file: names sorted as strings."""
    width, inner, layers, heads = SIZES[size.removesuffix("-mlp")]
    head, is_mlp = width // heads, size.endswith("-mlp")
    hidden = 4 * head if is_mlp else head
    matrix, vector, convolution = [width, width], [width], [CONVOLUTION, 1, width]
    block = {
        ("conv", "conv1", "bias"): vector,
        ("conv", "conv1", "kernel"): convolution,
        ("conv", "conv_norm", "kernel"): vector,
        ("feed_forward", "w1", "kernel"): [width, inner],
        ("feed_forward", "w2", "kernel"): [inner, width],
        ("feed_forward", "w3", "kernel"): [width, inner],
        ("ffn_norm", "kernel"): vector,
        ("seq_norm", "kernel"): vector,
    }
    mixer = {
        ("conv_k", "bias"): vector,
        ("conv_k", "kernel"): convolution,
        ("conv_q", "bias"): vector,
        ("conv_q", "kernel"): convolution,
        ("learnable_token_idx",): [MINI_BATCH],
        ("learnable_ttt_lr/bias",): [heads, 1],
        ("learnable_ttt_lr/kernel",): [heads, width, 1],
        ("post_norm", "bias"): vector,
        ("post_norm", "scale"): vector,
        ("ttt_bias_0",): [heads, 1, hidden],
        ("ttt_dense_0",): [heads, head, hidden],
        ("ttt_norm/bias",): [heads, head],
        ("ttt_norm/scale",): [heads, head],
        ("wg", "kernel"): matrix,
        ("wo", "kernel"): matrix,
        ("wq", "kernel"): matrix,
        ("wv", "kernel"): matrix,
    }
    if is_mlp:
        mixer |= {("ttt_bias_1",): [heads, 1, head], ("ttt_dense_1",): [heads, hidden, head]}
    block |= {("seq_modeling_block", *path): shape for path, shape in mixer.items()}
    for layer in sorted(map(str, range(layers))):
        for path in sorted(block):
            yield ("model", "h", layer, *path), block[path]
    yield ("model", "ln_f", "kernel"), vector
    yield ("model", "wte", "embedding"), [VOCABULARY, width]


class Writer:
    def __init__(self, file):
        self.file = file
        self.random = numpy.random.default_rng(1)
        values = self.random.standard_normal(BLOCK, dtype=numpy.float32) * numpy.float32(0.02)
        self.block = (values.view(numpy.uint32) >> 16).astype("<u2").tobytes()

    def values(self, path, shape):
        count = math.prod(shape)
        self.file.write(record_header(path, shape, "bfloat16", 2 * count))
        while count > 0:
            part = min(count, BLOCK // 2)
            begin = 2 * int(self.random.integers(BLOCK - part))
            self.file.write(memoryview(self.block)[begin : begin + 2 * part])
            count -= part

    def counter(self, path):
        self.file.write(record_header(path, [], "int32", 4) + struct.pack("<i", 1000))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=[size + kind for size in SIZES for kind in ("", "-mlp")])
    parser.add_argument("file")
    args = parser.parse_args()
    with open(args.file, "wb", buffering=1 << 20) as file:
        writer = Writer(file)
        writer.counter(["step"])
        for path, shape in tensors(args.size):
            writer.values(["params", "params", *path], shape)
        writer.counter(["opt_state", "1", "0", "count"])
        for moment in ("mu", "nu"):
            for path, shape in tensors(args.size):
                writer.values(["opt_state", "1", "0", moment, "params", *path], shape)
        writer.counter(["opt_state", "1", "2", "count"])


if __name__ == "__main__":
    main()
