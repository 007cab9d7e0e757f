# SPDX-License-Identifier: Apache-2.0
"""The self-attention baseline in float64 numpy, from a GGUF file of architecture "llama" as llama.cpp reads it,
against the logits of the official JAX code.

attention_oracle.py MODEL.gguf GOLDEN.safetensors     exit status 1 beyond 2e-5 of the rms

Needs numpy and Python's gguf package. Keys, names and the rotation of neighbouring channels are llama.cpp's for
this architecture (LLM_ARCH_LLAMA, rope type "norm").
"""

import json
import struct
import sys

import gguf
import numpy

BOUND = 2e-5


def read_golden(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    types = {"I32": numpy.int32, "F32": numpy.float32, "F64": numpy.float64}
    tensors = {}
    for name, info in header.items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            tensors[name] = numpy.frombuffer(data[begin:end], types[info["dtype"]]).reshape(info["shape"])
    return tensors


def read_model(path):
    reader = gguf.GGUFReader(path)
    weights = {}
    for tensor in reader.tensors:
        shape = [int(extent) for extent in reversed(tensor.shape)]
        weights[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float64).reshape(shape)
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert keys["general.architecture"] == "llama", keys["general.architecture"]
    return keys, weights


def rms_norm(x, gain, eps):
    return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def rotate(x, base):
    """x: [tokens, heads, channels]; channels 2i and 2i + 1 turn by position / base^(2i / channels)."""
    channels = x.shape[-1]
    angles = numpy.arange(len(x))[:, None] / base ** (numpy.arange(0, channels, 2) / channels)
    sine, cosine = numpy.sin(angles)[:, None], numpy.cos(angles)[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return numpy.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).reshape(x.shape)


def forward(keys, w, ids):
    eps, base = keys["llama.attention.layer_norm_rms_epsilon"], keys["llama.rope.freq_base"]
    heads, count = keys["llama.attention.head_count"], len(ids)
    x = w["token_embd.weight"][ids]
    mask = numpy.triu(numpy.full((count, count), -numpy.inf), 1)
    for layer in range(keys["llama.block_count"]):
        b = {name.split(".", 2)[2]: value for name, value in w.items() if name.startswith(f"blk.{layer}.")}
        h = rms_norm(x, b["attn_norm.weight"], eps)
        q, k, v = ((h @ b[f"attn_{name}.weight"].T).reshape(count, heads, -1) for name in "qkv")
        q, k = rotate(q, base), rotate(k, base)
        scores = numpy.einsum("ihc,jhc->hij", q, k) / numpy.sqrt(q.shape[-1]) + mask
        scores = numpy.exp(scores - scores.max(-1, keepdims=True))
        mixed = numpy.einsum("hij,jhc->ihc", scores / scores.sum(-1, keepdims=True), v)
        x = x + mixed.reshape(count, -1) @ b["attn_output.weight"].T
        h = rms_norm(x, b["ffn_norm.weight"], eps)
        gate = h @ b["ffn_gate.weight"].T
        x = x + (gate / (1 + numpy.exp(-gate)) * (h @ b["ffn_up.weight"].T)) @ b["ffn_down.weight"].T
    return rms_norm(x, w["output_norm.weight"], eps) @ w.get("output.weight", w["token_embd.weight"]).T


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    keys, weights = read_model(sys.argv[1])
    golden = read_golden(sys.argv[2])
    ids = golden["token_ids"] if "token_ids" in golden else golden["input_ids"]
    logits, wanted = forward(keys, weights, ids), golden["logits"].astype(numpy.float64)
    error = numpy.abs(logits - wanted).max() / numpy.sqrt((wanted**2).mean())
    print(f"{len(ids)} tokens: largest error {error:.2e} of the rms (bound {BOUND:.0e})")
    sys.exit(0 if error <= BOUND else 1)


if __name__ == "__main__":
    main()
