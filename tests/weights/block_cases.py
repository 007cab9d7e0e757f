#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Blocks of weights as the Python package "gguf" quantises and reads them.

    python3 tests/weights/block_cases.py > tests/weights/block_cases.txt

A line is one case, four fields in hexadecimal, bytes in memory order: 32 fp32 weights, a type's name, its block,
and the weights that the block stands for. Blocks of 256 weights, which the package only reads, have "-" in place of
the first field. Needs: pip install gguf numpy
"""
import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize


def blocks():
    random = np.random.default_rng(1)
    ramp = np.arange(32, dtype=np.float32)
    yield "zeros", ramp * 0
    yield "minus zeros", ramp * -0.0
    yield "halves, for both ways to round", np.where(ramp == 0, 127, (ramp - 16) + 0.5)
    yield "equal magnitudes: the first decides", np.where(ramp % 2 == 0, -3.0, 3.0)
    yield "equal magnitudes, plus first", np.where(ramp % 2 == 0, 3.0, -3.0)
    yield "steps of Q4_0", ramp % 17 - 8
    yield "one outlier", np.where(ramp == 31, -100.0, 0.01 * ramp)
    yield "scale below the normal numbers of F16", random.normal(size=32) * 3e-5
    yield "scale that F16 rounds to zero", random.normal(size=32) * 1e-8
    yield "scale that F16 makes infinite", random.normal(size=32) * 1e8
    for i in range(12):
        yield "random", random.normal(size=32) * 10.0 ** (i % 4 - 2)


for _, values in blocks():
    values = np.asarray(values, dtype=np.float32)
    for kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0):
        with np.errstate(over="ignore", invalid="ignore"):
            block = quantize(values, kind)
            back = dequantize(block, kind)
        assert back.dtype == np.float32
        print(values.tobytes().hex(), kind.name, block.tobytes().hex(), back.tobytes().hex())


def f16(value):
    return np.float16(value).tobytes()


def k_blocks(num_parts_bytes, scales):
    """Random quants and part scales under each of `scales`, then the extremes of every field."""
    random = np.random.default_rng(2)
    for scale in scales:
        yield scale, random.integers(0, 256, num_parts_bytes, dtype=np.uint8).tobytes()
    for byte in (0, 0x7F, 0xFF):
        yield scales[0], bytes([byte]) * num_parts_bytes


def show(kind, block):
    with np.errstate(over="ignore", invalid="ignore"):
        back = dequantize(np.frombuffer(block, dtype=np.uint8)[None, :], kind)
    assert back.dtype == np.float32 and back.size == 256
    print("-", kind.name, block.hex(), back.tobytes().hex())


FINITE = (1e-4, -0.37, 6e-8, 65504.0)
for scale, rest in k_blocks(140, FINITE + (np.inf,)):
    show(GGMLQuantizationType.Q4_K, f16(scale) + f16(scale * -0.71) + rest)
for scale, rest in k_blocks(208, FINITE + (np.inf,)):
    show(GGMLQuantizationType.Q6_K, rest + f16(scale))
