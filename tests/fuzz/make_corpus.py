#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpus of the fuzz targets: small files, each named for what a reader must say of it.

Run without arguments; it replaces the folders of corpus/ beside it. Files that a fuzzer found are
added here by their content, so that the corpus can always be made again.
"""

import io
import json
import struct
import zipfile
from pathlib import Path

U64_MAX = 2**64 - 1
HOSTILE = {"0": 0, "1": 1, "2e31-1": 2**31 - 1, "2e32-1": 2**32 - 1, "2e63": 2**63, "2e64-1": U64_MAX}


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return u64(len(raw)) + raw


def align(raw, alignment=32):
    return raw + bytes(-len(raw) % alignment)


# --- GGUF -----------------------------------------------------------------------------------------------------

SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<B",
    10: "<Q",
    11: "<q",
    12: "<d",
}


def entry(key, kind, raw):
    return text(key) + u32(kind) + raw


def array(kind, count, raw):
    return u32(kind) + u64(count) + raw


def tensor(name, extents, kind=0, offset=0):
    """`extents` innermost first, as in the file."""
    return text(name) + u32(len(extents)) + b"".join(map(u64, extents)) + u32(kind) + u64(offset)


def gguf(entries=(), tensors=(), data=b"", alignment=32, magic=b"GGUF", version=3, counts=None):
    num_tensors, num_entries = counts or (len(tensors), len(entries))
    header = (
        magic + u32(version) + u64(num_tensors) + u64(num_entries) + b"".join(entries) + b"".join(tensors)
    )
    return align(header, alignment) + align(data, alignment)


def gguf_files():
    everything = [entry(f"scalar.{kind}", kind, struct.pack(form, 1)) for kind, form in SCALARS.items()]
    everything += [
        entry(f"array.{kind}", 9, array(kind, 3, struct.pack("<3" + form[1], 0, 1, 1)))
        for kind, form in SCALARS.items()
    ]
    everything += [
        entry("string", 8, text("a string")),
        entry("strings", 9, array(8, 3, text("") + text("▁the") + text(b"\xff"))),
    ]
    aligned = [entry("general.alignment", 4, u32(64))]
    sizes = {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 9: 36}
    large = {10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 15: 292}
    flag = entry("k", 7, b"\1")
    one = tensor("t", [8])

    yield "valid-empty", gguf()
    yield "valid-empty-unpadded", gguf(alignment=1)
    yield "valid-metadata-of-all-types", gguf(everything)
    for kind in SCALARS:
        yield f"valid-empty-array-{kind}", gguf([entry("k", 9, array(kind, 0, b""))])
    yield "valid-one-tensor", gguf([], [one], bytes(32))
    yield "valid-scalar-tensor", gguf([], [tensor("t", [])], bytes(4))
    yield "valid-rank-4", gguf([], [tensor("t", [2, 3, 1, 2])], bytes(48))
    yield "valid-alignment-64", gguf(aligned, [tensor("a", [1]), tensor("b", [1], 0, 64)], bytes(68), 64)
    yield "valid-alignment-1", gguf(
        [entry("general.alignment", 4, u32(1))], [tensor("a", [3], 24), tensor("b", [1], 24, 3)], bytes(4), 1
    )
    yield "valid-alignment-64-without-data", gguf(aligned, alignment=64)
    yield "valid-unordered", gguf([], [tensor("b", [8], 0, 32), tensor("a", [8])], bytes(64))
    yield "valid-gap", gguf([], [tensor("a", [8]), tensor("b", [8], 0, 96)], bytes(128))
    yield "valid-small-blocks", gguf(
        [], [tensor(f"t{k}", [32], k, 64 * i) for i, k in enumerate(sizes)], bytes(64 * 6)
    )
    yield "valid-plain-types", gguf(
        [],
        [tensor(f"t{k}", [1], k, 32 * i) for i, k in enumerate((0, 1, 24, 25, 26, 27, 28, 30))],
        bytes(256),
    )
    for kind, size in large.items():
        yield f"valid-blocks-{kind}", gguf([], [tensor("t", [256], kind)], bytes(size))

    yield "refused-nothing", b""
    for size in (1, 3, 4, 7, 8, 15, 16, 23):
        yield f"refused-cut-at-{size}", gguf()[:size]
    for name, magic in {"ggml": b"GGML", "lower-case": b"gguf", "reversed": b"FUGG"}.items():
        yield f"refused-magic-{name}", gguf(magic=magic)
    for version in (0, 1, 2, 4, 3 << 24, 2**32 - 1):
        yield f"refused-version-{version}", gguf(version=version)
    for name, number in HOSTILE.items():
        if number:
            yield f"refused-tensor-count-{name}", gguf(counts=(number, 0))
            yield f"refused-metadata-count-{name}", gguf(counts=(0, number), alignment=1)
        yield f"refused-key-length-{name}", (
            gguf([u64(number) + flag[8:]]) if number != 1 else gguf([u64(2) + flag[8:]])
        )
        if number > 8:
            yield f"refused-string-length-{name}", gguf([entry("k", 8, u64(number) + b"text")], alignment=1)
            yield f"refused-array-length-{name}", gguf([entry("k", 9, u32(4) + u64(number))], alignment=1)
            yield f"refused-array-string-length-{name}", gguf(
                [entry("k", 9, array(8, 1, u64(number)))], alignment=1
            )
            yield f"refused-extent-{name}", gguf([], [tensor("t", [number], 24)], bytes(32))
            yield f"refused-offset-{name}", gguf([], [tensor("t", [8], 0, number)], bytes(32))
            yield f"refused-name-length-{name}", gguf([], [u64(number) + one[8:]], bytes(32))
            rank = min(number, 2**32 - 1)
            yield f"refused-rank-{name}", gguf([], [text("t") + u32(rank) + bytes(64)], bytes(32))
            yield f"refused-type-{name}", gguf([], [tensor("t", [8], rank)], bytes(32))
            yield f"refused-value-type-{name}", gguf([entry("k", rank, bytes(8))])
            yield f"refused-alignment-{name}", gguf([entry("general.alignment", 4, u32(rank))])
    for number in (0, 3, 33, 2**17, 2**31):
        yield f"refused-alignment-{number}", gguf([entry("general.alignment", 4, u32(number))])
    yield "refused-alignment-of-64-bits", gguf([entry("general.alignment", 10, u64(32))])
    yield "refused-nested-array", gguf([entry("k", 9, array(9, 1, array(4, 1, u32(1))))])
    yield "refused-empty-nested-array", gguf([entry("k", 9, array(9, 0, b""))])
    yield "refused-deep-nested-array", gguf([entry("k", 9, array(9, 1, b"") * 100)])
    yield "refused-array-type-13", gguf([entry("k", 9, array(13, 1, u32(1)))])
    yield "refused-boolean-2", gguf([entry("k", 7, b"\2")])
    yield "refused-boolean-2-in-array", gguf([entry("k", 9, array(7, 2, b"\1\2"))])
    yield "refused-duplicate-key", gguf([flag, flag])
    yield "refused-empty-key", gguf([entry("", 7, b"\1")])
    yield "refused-broken-utf8-key", gguf([entry(b"\xc3(", 7, b"\1")])
    yield "refused-long-tensor-name", gguf([], [tensor("n" * 257, [8])], bytes(32))
    yield "refused-empty-tensor-name", gguf([], [tensor("", [8])], bytes(32))
    yield "refused-broken-utf8-tensor-name", gguf([], [tensor(b"\xed\xa0\x80", [8])], bytes(32))
    yield "refused-duplicate-tensor", gguf([], [one, tensor("t", [8], 0, 32)], bytes(64))
    yield "refused-zero-extent", gguf([], [tensor("t", [8, 0])], bytes(32))
    yield "refused-rank-5", gguf([], [tensor("t", [1] * 5)], bytes(32))
    yield "refused-part-of-a-block", gguf([], [tensor("t", [33], 8)], bytes(64))
    yield "refused-block-across-rows", gguf([], [tensor("t", [16, 2], 8)], bytes(64))
    for kind in (12, 14):
        yield f"refused-part-of-a-block-{kind}", gguf([], [tensor("t", [255], kind)], bytes(256))
        yield f"refused-rows-of-blocks-and-a-part-{kind}", gguf([], [tensor("t", [288, 2], kind)], bytes(512))
        yield f"refused-blocks-cut-short-{kind}", gguf([], [tensor("t", [256, 2], kind)], bytes(256))
    yield "refused-scalar-block", gguf([], [tensor("t", [], 8)], bytes(64))
    for kind in (4, 5, 16, 23, 29, 31, 39):
        yield f"refused-tensor-type-{kind}", gguf([], [tensor("t", [256], kind)], bytes(512))
    yield "refused-elements-wrap", gguf([], [tensor("t", [2**32, 2**32])], bytes(32))
    yield "refused-bytes-wrap", gguf([], [tensor("t", [2**62 + 8])], bytes(32))
    yield "refused-padding-wraps", gguf([], [tensor("t", [U64_MAX], 24)], bytes(32))
    yield "refused-sum-wraps", gguf(
        [], [tensor("a", [2**63], 24), tensor("b", [2**63], 24, 2**63)], bytes(64)
    )
    yield "refused-unaligned-offset", gguf([], [tensor("t", [8], 0, 4)], bytes(64))
    yield "refused-overlap", gguf([], [tensor("a", [16]), tensor("b", [8], 0, 32)], bytes(64))
    yield "refused-overlap-with-padding", gguf([], [tensor("a", [9]), tensor("b", [8], 0, 32)], bytes(64))
    yield "refused-same-place", gguf([], [tensor("a", [8]), tensor("b", [8])], bytes(64))
    yield "refused-one-byte-short", gguf([], [one], bytes(32))[:-1]
    yield "refused-one-byte-long", gguf([], [one], bytes(32)) + b"\0"
    yield "refused-without-data", gguf([], [one])
    yield "refused-no-padding-before-data", gguf([], [one], alignment=1)
    yield "refused-bytes-behind-metadata", gguf([flag], alignment=1) + b"x"
    yield "refused-git-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n"
    yield "refused-zip", b"PK\3\4" + bytes(60)


# --- JAX ------------------------------------------------------------------------------------------------------


def sized(raw, leads):
    for lead, form in zip(leads, ("B", ">H", ">I")):
        if len(raw) < 2 ** (8 * struct.calcsize(form)):
            return bytes([lead]) + struct.pack(form, len(raw))
    raise ValueError("too long")


def binary(raw):
    return sized(raw, (0xC4, 0xC5, 0xC6)) + raw


def extension(kind, raw):
    return sized(raw, (0xC7, 0xC8, 0xC9)) + struct.pack("b", kind) + raw


def string(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return (bytes([0xA0 | len(raw)]) if len(raw) < 32 else sized(raw, (0xD9, 0xDA, 0xDB))) + raw


def unsigned(n):
    return bytes([n]) if n < 128 else b"\xcf" + struct.pack(">Q", n)


def sequence(*values):
    return bytes([0x90 | len(values)]) + b"".join(values)


def mapping(*pairs):
    return bytes([0x80 | len(pairs)]) + b"".join(string(key) + value for key, value in pairs)


def jax_array(shape=(1,), dtype="int8", data=b"a", kind=1):
    return extension(kind, sequence(sequence(*map(unsigned, shape)), string(dtype), binary(data)))


def record(path=("w",), payload=None):
    return sequence(sequence(*map(string, path)), binary(jax_array() if payload is None else payload))


def chunked(*chunks, shape=(2,), marker=b"\xc3"):
    extents = mapping(*((str(i), unsigned(n)) for i, n in enumerate(shape)))
    return mapping(("__msgpack_chunked_array__", marker), ("shape", extents), ("chunks", mapping(*chunks)))


def jax_files():
    step = record(("step",), jax_array((), "int32", u32(4800)))
    moments = record(("opt_state", "1", "0", "mu", "params", "w"))
    state = step + record(("params", "params", "model", "ttt_norm/scale"), jax_array((2, 2), "bfloat16", b"abcdefgh"))

    yield "valid-parameter", record()
    yield "valid-train-state", state + moments
    yield "valid-plain-step", record(("step",), b"\x01") + record()
    yield "valid-moments-first", moments + record()
    yield "valid-one-params-prefix", record(("params", "w"))
    yield "valid-empty-array", record(payload=jax_array((0, 3), "float32", b""))
    yield "valid-scalar-extension", record(payload=jax_array((), "float64", bytes(8), kind=3))
    yield "valid-string-payload", sequence(sequence(string("w")), string(jax_array()))
    yield "valid-chunks", record(payload=chunked(("0", jax_array()), ("1", jax_array())))
    yield "valid-chunks-in-another-order", record(payload=chunked(("1", jax_array()), ("0", jax_array())))
    yield "valid-16-bit-sizes", record(payload=jax_array((300,), "uint8", bytes(300)))
    yield "valid-32-bit-path", b"\x92\xdd\0\0\0\x01" + string("w") + binary(jax_array())
    for dtype, size in {"float16": 2, "float32": 4, "float64": 8, "int64": 8, "int16": 2, "bool": 1}.items():
        yield f"valid-{dtype}", record(payload=jax_array((2,), dtype, bytes(2 * size)))

    sample = state + moments
    for cut in (1, 2, 3, 8, 12, 20, 30, 31, 40, 60, 70, 80, len(state) + 5, len(sample) - 1):
        yield f"refused-cut-at-{cut}", sample[:cut]
    yield "refused-nothing", b""
    yield "refused-no-parameters", step
    yield "refused-triple", b"\x93\x91\xa1w\xc0\xc0"
    yield "refused-map", mapping(("w", jax_array()))
    yield "refused-deep-arrays", b"\x91" * 1000
    yield "refused-deep-skipped-value", b"\x92\x91" + string("step") + b"\x91" * 1000
    yield "refused-byte-behind", record() + b"\n"
    yield "refused-c1", b"\x92\x91" + string("w") + b"\xc1"
    yield "refused-nil-payload", sequence(sequence(string("w")), b"\xc0")
    yield "refused-number-payload", record(payload=b"\x01")
    yield "refused-byte-in-payload", record(payload=jax_array() + b"x")
    triple = sequence(sequence(unsigned(1)), string("int8"), binary(b"a"))
    yield "refused-byte-in-extension", record(payload=extension(1, triple + b"x"))
    yield "refused-complex", record(payload=extension(2, sequence(b"\x01", b"\x02")))
    yield "refused-extension-4", record(payload=jax_array(kind=4))
    yield "refused-object", record(payload=jax_array(dtype="object"))
    yield "refused-void", record(payload=jax_array(dtype="|V2"))
    triple = sequence(sequence(b"\xff"), string("int8"), binary(b"a"))
    yield "refused-negative-extent", record(payload=extension(1, triple))
    yield "refused-rank-9", record(payload=jax_array((1,) * 9))
    yield "refused-too-few-bytes", record(payload=jax_array((2,)))
    yield "refused-too-many-bytes", record(payload=jax_array((1,), data=b"ab"))
    yield "refused-elements-wrap", record(payload=jax_array((2**32, 2**32), data=b""))
    yield "refused-bytes-wrap", record(payload=jax_array((2**62,), "float32", b""))
    yield "refused-twice", record() + record()
    yield "refused-twice-by-slash", record(("a", "b")) + record(("a/b",))
    yield "refused-empty-path", sequence(sequence(), binary(jax_array()))
    yield "refused-empty-component", record(("",))
    yield "refused-broken-utf8", record((b"\xff",))
    yield "refused-long-name", record(("n" * 257,))
    yield "refused-number-in-path", sequence(sequence(b"\x01"), binary(jax_array()))
    for name, lie in {
        "bin8": b"\xc4\xff",
        "bin16": b"\xc5\xff\xff",
        "bin32": b"\xc6\xff\xff\xff\xff",
        "str32": b"\xdb\xff\xff\xff\xff",
        "array16": b"\xdc\xff\xff",
        "array32": b"\xdd\xff\xff\xff\xff",
        "map32": b"\xdf\xff\xff\xff\xff",
        "ext32": b"\xc9\xff\xff\xff\xff\x01",
    }.items():
        yield f"refused-{name}-lie-in-step", b"\x92\x91" + string("step") + lie + b"x"
        yield f"refused-{name}-lie-in-payload", b"\x92\x91" + string("w") + binary(lie + b"x")
    yield "refused-chunk-missing", record(payload=chunked(("0", jax_array()), shape=(2,)))
    yield "refused-chunk-0-2", record(payload=chunked(("0", jax_array()), ("2", jax_array())))
    yield "refused-chunk-01", record(payload=chunked(("0", jax_array()), ("01", jax_array())))
    yield "refused-no-chunks", record(payload=chunked(shape=(0,)))
    yield "refused-chunks-of-two-types", record(payload=chunked(("0", jax_array()), ("1", jax_array((1,), "uint8"))))
    yield "refused-chunk-marker-false", record(payload=chunked(("0", jax_array()), shape=(1,), marker=b"\xc2"))
    yield "refused-other-map", record(payload=mapping(("a", b"\x01")))


# --- safetensors ----------------------------------------------------------------------------------------------


def safetensors(header, data=b"", length=None):
    raw = (
        header
        if isinstance(header, bytes)
        else (header if isinstance(header, str) else json.dumps(header)).encode()
    )
    return u64(len(raw) if length is None else length) + raw + data


def info(dtype="U8", shape=(1,), offsets=(0, 1)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def safetensors_files():
    one = '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'

    yield "valid-empty", safetensors("{}")
    yield "valid-space-padding", safetensors("{}" + " " * 6)
    yield "valid-metadata", safetensors({"__metadata__": {"format": "pt", "": ""}})
    yield "valid-empty-metadata", safetensors({"__metadata__": {}})
    sizes = {
        "F64": 8,
        "F32": 4,
        "F16": 2,
        "BF16": 2,
        "I64": 8,
        "I32": 4,
        "I16": 2,
        "I8": 1,
        "U8": 1,
        "BOOL": 1,
    }
    for dtype, size in sizes.items():
        yield f"valid-{dtype.lower()}", safetensors(
            {"a": info(dtype, (2, 3), (0, 6 * size))}, bytes(6 * size)
        )
    yield "valid-scalar", safetensors({"a": info("F32", (), (0, 4))}, bytes(4))
    yield "valid-zero-size", safetensors({"a": info("F32", (0, 5), (0, 0))})
    yield "valid-zero-size-between", safetensors(
        {"z": info(), "a": info("U8", (0,), (0, 0)), "b": info("U8", (0,), (1, 1))}, b"d"
    )
    yield "valid-unordered", safetensors({"b": info("U8", (2,), (1, 3)), "a": info()}, bytes(3))
    yield "valid-unknown-fields", safetensors(
        {"a": info() | {"x": {"shape": [[{}]]}, "y": None, "z": 1.5}}, b"d"
    )
    yield "valid-escapes", safetensors(
        r'{"\u00fc\ud83d\ude00\"\\":{"dtype":"\u00558","shape":[1],"data_offsets":[0,1]}}', b"d"
    )
    yield "valid-rank-8", safetensors({"a": info("U8", [1] * 8)}, b"d")

    yield "refused-nothing", b""
    yield "refused-7-bytes", bytes(7)
    yield "refused-no-header", bytes(8)
    for name, number in HOSTILE.items():
        yield f"refused-header-length-{name}", safetensors("{}", length=number)
        if number > 1:
            yield f"refused-extent-{name}", safetensors({"a": info("U8", (number,))}, b"d")
            yield f"refused-begin-{name}", safetensors({"a": info("U8", (1,), (number, 1))}, b"d")
            yield f"refused-end-{name}", safetensors({"a": info("U8", (1,), (0, number))}, b"d")
            yield f"refused-extent-and-end-{name}", safetensors(
                {"a": info("U8", (number,), (0, number))}, b"d"
            )
    yield "refused-header-length-over-limit", safetensors("{}", length=100_000_001)
    for name, header in {
        "space-first": " {}",
        "list": "[]",
        "number": "1",
        "open": "{",
        "closed-twice": "{}}",
        "behind-a-nul": b"{}\0{}",
        "trailing-text": "{} x",
        "comment": "{/**/}",
        "trailing-comma": one[:-1] + ",}",
        "nan": '{"a":NaN}',
        "1e400": '{"a":{"x":1e400,' + one[6:],
        "huge-integer": '{"a":{"dtype":"U8","shape":[18446744073709551617],"data_offsets":[0,1]}}',
        "float-extent": '{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}',
        "negative-extent": '{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}',
        "minus-zero-offset": '{"a":{"dtype":"U8","shape":[1],"data_offsets":[-0,1]}}',
        "text-extent": '{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}',
        "nested-extent": '{"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}}',
        "object-shape": '{"a":{"dtype":"U8","shape":{"0":1},"data_offsets":[0,1]}}',
        "three-offsets": '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}',
        "one-offset": '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}',
        "no-dtype": '{"a":{"shape":[1],"data_offsets":[0,1]}}',
        "no-shape": '{"a":{"dtype":"U8","data_offsets":[0,1]}}',
        "no-offsets": '{"a":{"dtype":"U8","shape":[1]}}',
        "dtype-number": '{"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}}',
        "dtype-list": '{"a":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}}',
        "tensor-null": '{"a":null}',
        "tensor-list": '{"a":[]}',
        "tensor-text": '{"a":"U8"}',
        "metadata-null": '{"__metadata__":null}',
        "metadata-list": '{"__metadata__":[]}',
        "metadata-number": '{"__metadata__":{"a":1}}',
        "metadata-nested": '{"__metadata__":{"a":{}}}',
        "duplicate-tensor": one[:-1] + "," + one[1:],
        "duplicate-escaped": one[:-1] + r',"\u0061":' + one[5:],
        "duplicate-field": '{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}',
        "duplicate-metadata": '{"__metadata__":{"a":"","a":""}}',
        "empty-name": '{"":' + one[5:],
        "long-name": '{"' + "n" * 257 + '":' + one[5:],
        "broken-utf8": b'{"\xc3(":' + one[5:].encode(),
        "surrogate-bytes": b'{"\xed\xa0\x80":' + one[5:].encode(),
        "lone-surrogate": r'{"\ud800":' + one[5:],
        "control-character": '{"\n":' + one[5:],
        "deep-lists": '{"a":{"x":' + "[" * 500,
        "deep-objects": '{"x":' * 300,
        "depth-33": '{"a":{"x":' + "[" * 31 + "]" * 31 + "," + one[6:],
        "rank-9": json.dumps({"a": info("U8", [1] * 9)}),
        "lower-case-dtype": '{"a":{"dtype":"u8","shape":[1],"data_offsets":[0,1]}}',
        "block-dtype": '{"a":{"dtype":"Q8_0","shape":[32],"data_offsets":[0,34]}}',
        "unknown-dtype": '{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}',
        "hole": json.dumps({"a": info(), "b": info("U8", (1,), (2, 3))}),
        "hole-at-begin": json.dumps({"a": info("U8", (1,), (1, 2))}),
        "overlap": json.dumps({"a": info("U8", (2,), (0, 2)), "b": info("U8", (2,), (1, 3))}),
        "same-place": json.dumps({"a": info(), "b": info()}),
        "end-before-begin": json.dumps({"a": info("U8", (1,), (1, 0))}),
        "size-differs": json.dumps({"a": info("F32", (1,), (0, 1))}),
        "bytes-wrap": json.dumps({"a": info("F32", (2**62 + 1,), (0, 4))}),
        "elements-wrap": json.dumps({"a": info("U8", (2**32, 2**32), (0, 0))}),
        "elements-wrap-before-zero": json.dumps({"a": info("U8", (2**32, 2**32, 0), (0, 0))}),
        "sum-wraps": json.dumps(
            {"a": info("U8", (2**63,), (0, 2**63)), "b": info("U8", (2**63,), (2**63, 0))}
        ),
    }.items():
        yield f"refused-{name}", safetensors(header, b"d")
    yield "refused-data-too-short", safetensors(one)
    yield "refused-data-too-long", safetensors(one, b"dd")
    yield "refused-data-without-tensors", safetensors("{}", b"d")


# --- PyTorch: the pickle --------------------------------------------------------------------------------------


def unicode(s):
    raw = s.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(n):
    return b"\x8a\x08" + struct.pack("<q", n)


def call(module, name, *arguments):
    return f"c{module}\n{name}\n".encode() + pack(*arguments) + b"R"


def pack(*items):
    return b"(" + b"".join(items) + b"t"


def numbers(values):
    return pack(*map(integer, values))


def torch_storage(kind="FloatStorage", key="0", elements=6):
    return (
        pack(unicode("storage"), f"ctorch\n{kind}\n".encode(), unicode(key), unicode("cpu"), integer(elements))
        + b"Q"
    )


HOOKS = b"ccollections\nOrderedDict\n)R"


def torch_tensor(storage=torch_storage(), offset=0, shape=(2, 3), strides=(3, 1)):
    rebuilt = (storage, integer(offset), numbers(shape), numbers(strides), b"\x89", HOOKS)
    return call("torch._utils", "_rebuild_tensor_v2", *rebuilt)


def torch_parameter(tensor):
    return call("torch._utils", "_rebuild_parameter", tensor, b"\x88", HOOKS)


def dictionary(items):
    return b"}(" + b"".join(unicode(key) + value for key, value in items.items()) + b"u"


def pickled(value, protocol=2):
    return bytes([0x80, protocol]) + value + b"."


def pickle_files():
    state = dictionary({"a": torch_tensor()})
    bomb = b"(]q\0" + b"".join(b"]q%c(" % n + b"h%c" % (n - 1) * 10 + b"e" for n in range(1, 36)) + b"t"

    yield "valid-none", pickled(b"N")
    yield "valid-state-dict", pickled(state)
    yield "valid-ordered-dict-with-attributes", pickled(HOOKS + b"(" + state[2:] + dictionary({"_metadata": HOOKS}) + b"b")
    yield "valid-parameter", pickled(dictionary({"a": torch_parameter(torch_tensor())}))
    yield "valid-wrapped", pickled(dictionary({"epoch": b"K\3", "lr": b"G" + bytes(8), "state_dict": state}))
    framed = b"}\x94\x8c\1a\x94Ns"
    yield "valid-protocol-4", pickled(b"\x95" + u64(len(framed) + 1) + framed, 4)
    yield "valid-stack-global", pickled(b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R", 4)
    yield "valid-nested-references", pickled(bomb)
    yield "valid-holds-itself", pickled(b"]q\0h\0a")
    yield "valid-deep", pickled(b")" + b"\x85" * 2000)
    yield "valid-memo", pickled(b"(Nq\0r\1\0\0\0\x94h\0j\1\0\0\0h\2t")
    yield "valid-numbers", pickled(b"(J\xff\xff\xff\xffK\1M\1\2\x8a\0\x8a\1\xff\x88\x89Nt")
    yield "valid-lists", pickled(b"](K\1]eNa")

    yield "refused-nothing", b""
    yield "refused-protocol-1", pickled(b"N", 1)
    yield "refused-protocol-6", pickled(b"N", 6)
    yield "refused-no-stop", pickled(b"N")[:-1]
    yield "refused-behind-the-end", pickled(b"N") + b"N"
    yield "refused-two-values", pickled(b"NN")
    yield "refused-no-value", pickled(b"")
    yield "refused-open-mark", pickled(b"(N")
    for name, opcodes in {
        "inst": b"(ios\nsystem\n", "obj": b"(o", "newobj": b"))\x81", "newobj-ex": b")))\x92", "ext1": b"\x82\1",
        "persid": b"P0\n", "pop": b"N0", "dup": b"N2", "int": b"I1\n", "long": b"L1L\n", "string": b"S'a'\n",
        "binstring": b"T\1\0\0\0a", "binbytes": b"B\1\0\0\0a", "long4": b"\x8b\1\0\0\0\1", "put": b"Np0\n",
        "get": b"g0\n", "dict": b"(d", "list": b"(l", "set": b"\x8f", "frozenset": b"(\x91", "buffer": b"\x97",
        "second-proto": b"\x80\2N", "unknown": b"\xff",
    }.items():  # fmt: skip
        yield f"refused-opcode-{name}", pickled(opcodes)
    for module, name in (("posix", "system"), ("builtins", "exec"), ("torch", "load"), ("numpy", "dtype")):
        yield f"refused-global-{module}-{name}", pickled(call(module, name, unicode("id")))
        yield f"refused-stack-global-{module}-{name}", pickled(unicode(module) + unicode(name) + b"\x93", 4)
    yield "refused-global-without-end", pickled(b"cos")
    for name, number in HOSTILE.items():
        if number > 1:
            yield f"refused-text-length-{name}", pickled(b"X" + u32(min(number, 2**32 - 1)) + b"a")
            yield f"refused-frame-{name}", pickled(b"\x95" + u64(number) + b"N", 4)
            yield f"refused-memo-slot-{name}", pickled(b"Nr" + u32(min(number, 2**32 - 1)))
    yield "refused-long-of-9-bytes", pickled(b"\x8a\x09" + bytes(9))
    yield "refused-empty-memo-slot", pickled(b"Nq\1h\0")
    for opcode in b"tuesabRQ\x85\x86\x87\x93":
        yield f"refused-empty-stack-{opcode:02x}", pickled(bytes([opcode]))
    yield "refused-append-to-none", pickled(b"NNa")
    yield "refused-key-without-value", pickled(b"}(Nu")
    yield "refused-pop-through-mark", pickled(b"N(\x85")
    yield "refused-call-of-storage", pickled(b"ctorch\nFloatStorage\n)R")
    yield "refused-call-of-none", pickled(b"N)R")
    yield "refused-tensor-without-parts", pickled(call("torch._utils", "_rebuild_tensor_v2"))
    yield "refused-tensor-of-none", pickled(torch_tensor(b"N"))
    yield "refused-negative-offset", pickled(torch_tensor(offset=-1))
    yield "refused-negative-extent", pickled(torch_tensor(shape=(-2, 3)))
    yield "refused-strides-missing", pickled(torch_tensor(strides=(1,)))
    yield "refused-rank-9", pickled(torch_tensor(shape=(1,) * 9, strides=(1,) * 9))
    yield "refused-negative-storage", pickled(torch_tensor(torch_storage(elements=-1)))
    yield "refused-persistent-id-of-none", pickled(b"NQ")
    yield "refused-storage-of-other-class", pickled(
        pack(unicode("storage"), b"ccollections\nOrderedDict\n", unicode("0"), unicode("cpu"), integer(1)) + b"Q"
    )
    yield "refused-long-key", pickled(torch_storage(key="0" * 256))


# --- PyTorch: the whole file ----------------------------------------------------------------------------------


class Pipe(io.BytesIO):
    """Sizes and checksums then follow the bytes, as in torch's own files."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise OSError

    def tell(self):
        raise OSError


def archive(members, method=zipfile.ZIP_STORED, raw=None):
    raw = raw or io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as file:
        for name, content in members:
            file.writestr(zipfile.ZipInfo(name), content, method)
    return raw.getvalue()


def with_zip64_end(plain, count=None):
    """The archive with a ZIP64 end of its directory before the plain one."""
    position = plain.rindex(b"PK\5\6")
    entries, size, offset = struct.unpack_from("<HII", plain, position + 10)
    numbers = (entries if count is None else count,) * 2 + (size, offset)
    end = b"PK\6\6" + struct.pack("<QHHII", 44, 45, 45, 0, 0) + struct.pack("<QQQQ", *numbers)
    return plain[:position] + end + b"PK\6\7" + struct.pack("<IQI", 0, position, 1) + plain[position:]


def torch_file(pickle, storages=(bytes(24),), extra=()):
    members = [("m/data.pkl", pickle), ("m/byteorder", b"little")]
    members += [(f"m/data/{i}", storage) for i, storage in enumerate(storages)]
    return archive(members + list(extra))


def torch_files():
    def one(**parts):
        return pickled(dictionary({"a": torch_tensor(**parts)}))

    plain = torch_file(one())
    yield "valid-dense", plain
    yield "valid-transposed", torch_file(one(shape=(3, 2), strides=(1, 3)))
    yield "valid-slice", torch_file(one(offset=1, shape=(2, 2)))
    yield "valid-scalar", torch_file(one(offset=5, shape=(), strides=()))
    yield "valid-no-elements", torch_file(one(offset=6, shape=(0, 9)))
    yield "valid-parameter", torch_file(pickled(dictionary({"a": torch_parameter(torch_tensor())})))
    yield "valid-wrapped", torch_file(pickled(dictionary({"state_dict": dictionary({"a": torch_tensor()})})))
    yield "valid-two-names-of-one-storage", torch_file(
        pickled(dictionary({"a": torch_tensor(), "b": torch_tensor(offset=3, shape=(3,), strides=(1,))}))
    )
    yield "valid-integers-left-out", torch_file(
        pickled(dictionary({"a": torch_tensor(), "i": torch_tensor(torch_storage("IntStorage"))}))
    )
    yield "valid-sizes-behind-the-bytes", archive([("m/data.pkl", one()), ("m/data/0", bytes(24))], raw=Pipe())
    yield "valid-zip64-end", with_zip64_end(plain)
    yield "valid-without-byteorder", archive([("m/data.pkl", one()), ("m/data/0", bytes(24))])
    for kind, size in {"Double": 8, "Half": 2, "BFloat16": 2}.items():
        yield f"valid-{kind.lower()}", torch_file(
            one(storage=torch_storage(kind + "Storage")), (bytes(6 * size),)
        )

    yield "refused-nothing", b""
    yield "refused-empty-archive", archive([])
    for size in (1, 3, 30, len(plain) // 2, len(plain) - 23, len(plain) - 22, len(plain) - 1):
        yield f"refused-cut-at-{size}", plain[:size]
    yield "refused-compressed", archive(
        [("m/data.pkl", one()), ("m/data/0", bytes(24))], zipfile.ZIP_DEFLATED
    )
    for name, path in {"up": "m/../../x", "root": "/x", "backslash": "m\\x", "elsewhere": "n/x"}.items():
        yield f"refused-member-{name}", torch_file(one(), extra=[(path, b"x")])
    yield "refused-member-twice", (
        torch_file(one(), extra=[("m/data/1", bytes(24))]).replace(b"m/data/1", b"m/data/0")
    )
    yield "refused-big-endian", archive([("m/data.pkl", one()), ("m/data/0", bytes(24)), ("m/byteorder", b"big")])
    yield "refused-checksum", torch_file(one(), (b"\1" * 24,)).replace(b"\1" * 24, b"\2" * 24)
    yield "refused-no-pickle", archive([("m/data/0", bytes(24))])
    yield "refused-no-folder", archive([("data.pkl", one())])
    yield "refused-storage-missing", torch_file(one(), ())
    yield "refused-storage-short", torch_file(one(), (bytes(23),))
    yield "refused-storage-long", torch_file(one(), (bytes(25),))
    yield "refused-not-a-dict", torch_file(pickled(b"]"))
    yield "refused-empty-dict", torch_file(pickled(b"}"))
    yield "refused-number-for-a-tensor", torch_file(pickled(dictionary({"a": b"K\1"})))
    yield "refused-integer-parameter", torch_file(
        pickled(dictionary({"a": torch_parameter(torch_tensor(torch_storage("IntStorage")))}))
    )
    yield "refused-name-twice", torch_file(pickled(b"}(" + (unicode("a") + torch_tensor()) * 2 + b"u"))
    yield "refused-global", torch_file(pickled(call("posix", "system", unicode("id"))))
    yield "refused-expanded", torch_file(one(strides=(0, 1)))
    yield "refused-expanded-largest", torch_file(one(shape=(2**63 - 1,), strides=(0,)))
    yield "refused-overlapping", torch_file(one(strides=(1, 1)))
    yield "refused-outside", torch_file(one(offset=1))
    yield "refused-far-outside", torch_file(one(strides=(2**63 - 1, 1)))
    yield "refused-offset-wraps", torch_file(one(offset=2**63 - 1, strides=(2**63 - 1, 1)))
    yield "refused-elements-wrap-before-zero", torch_file(
        one(shape=(2**62, 2**62, 0), strides=(1, 1, 1))
    )
    position = plain.rindex(b"PK\5\6")
    for name, number in (("more", 4), ("fewer", 2), ("most", 2**16 - 1)):
        count = struct.pack("<H", number)
        yield f"refused-count-{name}", plain[: position + 8] + count * 2 + plain[position + 12 :]
    for name, number in HOSTILE.items():
        yield f"refused-zip64-count-{name}", with_zip64_end(plain, number)
    yield "refused-zip64-count-2e24", with_zip64_end(plain, 2**24)
    entry_at = plain.rindex(b"PK\1\2")  # of the storage
    for name, number in HOSTILE.items():
        if number > 1 and number < 2**32:
            yield f"refused-size-{name}", plain[: entry_at + 20] + u32(number) * 2 + plain[entry_at + 28 :]
            yield f"refused-header-at-{name}", plain[: entry_at + 42] + u32(number) + plain[entry_at + 46 :]


def completion_files():
    yield "accepted-text", b'{"model":"demo","prompt":"Once \\u00e9\\ud83d\\ude00","max_tokens":3}'
    # As completions these say nothing that is known; they are for the other two kinds.
    yield "accepted-chat", (
        b'{"messages":[{"role":"system","content":"A story."},{"role":"user","content":[{"type":"text",'
        b'"text":"Hi <|im_end|>"},{"type":"text","text":"there"}]},{"role":"assistant","content":null,'
        b'"tool_calls":[]}],"logprobs":null,"tools":[],"stream":true}')
    yield "accepted-score", b'{"prompt":"Once","completions":[" upon"," more"],"model":"demo"}'
    yield "accepted-ids", b'{"prompt":[1,2,3],"logprobs":2,"echo":true,"max_tokens":0}'
    yield "accepted-texts", b'{"prompt":["a","b"],"n":2,"best_of":3,"stop":["x","yy"],"seed":-7}'
    yield "accepted-id-lists", b'{"prompt":[[1],[2,3]],"stream":true,"stream_options":{"include_usage":true}}'
    yield "accepted-sampling", (
        b'{"temperature":0.5,"top_p":0.9,"top_k":5,"min_p":0.1,"typical_p":0.9,"repetition_penalty":1.1,'
        b'"presence_penalty":1,"frequency_penalty":-1,"logit_bias":{"5":-100,"7":1.5},"banned_tokens":[4]}'
    )
    yield "accepted-nulls", b'{"prompt":null,"stop":null,"seed":null,"suffix":null,"user":null,"unknown":{"a":[1]}}'
    yield "refused-empty", b""
    yield "refused-duplicate", b'{"n":1,"n":2}'
    yield "refused-nan", b'{"temperature":NaN}'
    yield "refused-infinite", b'{"temperature":1e400}'
    yield "refused-surrogate", b'{"prompt":"\\ud800"}'
    yield "refused-utf8", b'{"prompt":"\xff"}'
    yield "refused-huge", b'{"max_tokens":18446744073709551616}'
    yield "refused-id", b'{"prompt":[4096]}'
    yield "refused-deep", b'{"prompt":' + b"[" * 40 + b"]" * 40 + b"}"
    yield "refused-mixed", b'{"prompt":["a",[1],2]}'


# --- model.safetensors.index.json -------------------------------------------------------------------------


def shard_index_files():
    def of(files, **others):
        return json.dumps(others | {"weight_map": files}).encode()

    def named(file):
        return of({"a": file})

    yield "valid-one", named("model-00001-of-00001.safetensors")
    yield "valid-two", of({"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"})
    yield "valid-metadata", of({"a": "1.bin"}, metadata={"total_size": 10, "weight_map": {"x": [1]}})
    yield "valid-others", of({"a": "1.bin"}, list=[[{}], 1.5, None], last={"a": {}})
    yield "valid-dot-in-front", named(".hidden.safetensors")
    yield "valid-letters", named("\u00e9\u540d.safetensors")
    yield "valid-name-of-255-bytes", named("x" * 255)
    yield "valid-empty-tensor-name", of({"": "1.bin"})
    yield "refused-nothing", b""
    yield "refused-empty", b"{}"
    yield "refused-empty-map", of({})
    yield "refused-list", b"[]"
    yield "refused-number", b"7"
    yield "refused-map-is-a-list", b'{"weight_map":["a"]}'
    yield "refused-map-is-a-text", b'{"weight_map":"a"}'
    yield "refused-map-in-a-map", of({"a": {"b": "1.bin"}})
    yield "refused-list-for-a-file", of({"a": ["1.bin"]})
    yield "refused-number-for-a-file", of({"a": 1})
    yield "refused-tensor-twice", b'{"weight_map":{"a":"1.bin","a":"2.bin"}}'
    yield "refused-map-twice", b'{"weight_map":{"a":"1.bin"},"weight_map":{"b":"1.bin"}}'
    for name, file in {
        "nothing": "", "dot": ".", "up": "..", "above": "../1.bin", "root": "/etc/passwd", "folder": "a/1.bin",
        "backslash": "a\\1.bin", "nul": "1.bin\0", "dots": "a..b", "256-bytes": "x" * 256,
    }.items():
        yield f"refused-file-{name}", named(file)
    whole = of({"a": "1.bin"})
    for size in (1, len(whole) // 2, len(whole) - 1):
        yield f"refused-cut-at-{size}", whole[:size]
    yield "refused-behind-the-end", whole + b"x"
    yield "refused-deep", b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"
    yield "refused-utf8", named("1.bin").replace(b"1.bin", b"\xff")
    yield "refused-surrogate", named("1.bin").replace(b"1.bin", b"\\ud800")


# --- tokenizer.model --------------------------------------------------------------------------------------


def varint(n):
    n %= 2**64
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def message(field, raw):
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def fixed(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def piece(name, kind=1, score=0.0):
    return message(1, message(1, name.encode() if isinstance(name, str) else name) + fixed(2, score) + number(3, kind))


SPECIAL = [piece("<unk>", 2), piece("<s>", 3), piece("</s>", 3)]
LETTERS = [piece("a", score=-1), piece("b", score=-2), piece("ab", score=-0.5), piece("\u2581")]
BPE = number(3, 2)
PLAIN = number(3, 0) + number(4, 0)  # neither a space in front nor spaces taken away


def tokenizer_model(pieces=(*SPECIAL, *LETTERS), trainer=BPE, normalizer=PLAIN, more=b""):
    return b"".join(pieces) + message(2, trainer) + message(3, normalizer) + more


def charsmap(units, replacements=b"\0"):
    return struct.pack("<I", 4 * len(units)) + b"".join(map(u32, units)) + replacements


def tokenizer_model_files():
    words = [piece(name, score=-i) for i, name in enumerate(["\u2581the", "caf\u00e9", "\u2581\u2581", "aab"])]
    own = [piece("<sep>", 4), piece("USER", 4), piece("USERS", 4)]
    in_order = [piece(f"<0x{byte:02X}>", 6) for byte in range(256)]
    whole = tokenizer_model()

    yield "valid-bpe", whole
    yield "valid-unigram", tokenizer_model(trainer=number(3, 1))
    yield "valid-words", tokenizer_model([*SPECIAL, *LETTERS, *words, *own])
    yield "valid-space-in-front", tokenizer_model(normalizer=number(3, 1) + number(4, 1) + number(5, 1))
    yield "valid-spaces-kept-as-they-are", tokenizer_model(normalizer=PLAIN + number(5, 0))
    yield "valid-surface", tokenizer_model(trainer=BPE + message(44, b"??"))
    yield "valid-no-bos", tokenizer_model(trainer=BPE + number(41, -1) + number(43, -1))
    yield "valid-ids", tokenizer_model(
        [*LETTERS, *SPECIAL], BPE + number(40, 4) + number(41, 5) + number(42, 6)
    )
    yield "valid-unknown-fields", tokenizer_model(more=number(1000, 7) + message(7, b"xyz") + fixed(8, 1.0))
    yield "valid-charsmap-without-rules", tokenizer_model(normalizer=PLAIN + message(2, charsmap([0] * 256)))
    yield "valid-unused", tokenizer_model([*SPECIAL, *LETTERS, piece("c", 5)])
    yield "valid-one-piece", tokenizer_model(SPECIAL[:1], BPE + number(41, -1) + number(42, -1))

    yield "refused-nothing", b""
    for size in (1, len(whole) // 2, len(whole) - 1, len(whole) - len(message(3, PLAIN))):
        yield f"refused-cut-at-{size}", whole[:size]
    yield "refused-spec-twice", tokenizer_model(more=message(3, PLAIN))
    yield "refused-type-word", tokenizer_model(trainer=number(3, 3))
    yield "refused-type-0", tokenizer_model(trainer=number(3, 0))
    yield "refused-suffix", tokenizer_model(trainer=BPE + number(24, 1))
    yield "refused-denormalizer", tokenizer_model(more=message(5, message(2, b"x")))
    yield "refused-bytes-missing", tokenizer_model(trainer=BPE + number(35, 1))
    yield "refused-some-bytes", tokenizer_model([*SPECIAL, *LETTERS, *in_order[:60]], BPE + number(35, 1))
    yield "refused-byte-alone", tokenizer_model([*SPECIAL, *LETTERS, in_order[65]])
    yield "refused-byte-name", tokenizer_model([*SPECIAL, *LETTERS, piece("<0x41>")])
    yield "refused-two-unknown", tokenizer_model([*SPECIAL, *LETTERS, piece("?", 2)])
    yield "refused-none-unknown", tokenizer_model([*SPECIAL[1:], *LETTERS])
    yield "refused-short-control", tokenizer_model([*SPECIAL, *LETTERS, piece("c", 3)])
    for name, text in {"empty": "", "nul": "a\0", "257-bytes": "x" * 257, "twice": "a"}.items():
        yield f"refused-text-{name}", tokenizer_model([*SPECIAL, *LETTERS, piece(text)])
    yield "refused-text-utf8", tokenizer_model([*SPECIAL, *LETTERS, piece(b"\xff")])
    for kind in (0, 7, 2**31, 2**63):
        yield f"refused-kind-{kind}", tokenizer_model([*SPECIAL, *LETTERS, piece("c", kind)])
    for name, score in {"nan": float("nan"), "infinite": float("inf")}.items():
        yield f"refused-score-{name}", tokenizer_model([*SPECIAL, *LETTERS, piece("c", score=score)])
    for field, name in {40: "unk", 41: "bos", 42: "eos", 43: "pad"}.items():
        for n in (3, 7, 2**31 - 1, -2, 2**31):
            yield f"refused-{name}-{n}", tokenizer_model(trainer=BPE + number(field, n))
    for name, n in HOSTILE.items():
        if n > 1:
            yield f"refused-length-{name}", varint(1 << 3 | 2) + varint(n) + whole
    yield "refused-group", tokenizer_model(more=varint(9 << 3 | 3))
    yield "refused-field-0", tokenizer_model(more=varint(2) + varint(0))
    yield "refused-varint-of-11-bytes", tokenizer_model(more=varint(1000 << 3) + b"\x80" * 10 + b"\1")
    for name, blob in {
        "short": b"\1",
        "size-beyond": struct.pack("<I", 8) + bytes(4),
        "size-odd": struct.pack("<I", 3) + bytes(8),
        "size-most": b"\xff" * 8,
    }.items():
        yield f"refused-charsmap-{name}", tokenizer_model(normalizer=PLAIN + message(2, blob))


def write(name, files):
    folder = Path(__file__).parent / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    count = 0
    for count, (file_name, content) in enumerate(files, 1):
        assert len(content) < 2048, file_name
        assert not (folder / file_name).exists(), file_name
        (folder / file_name).write_bytes(content)
    print(f"{folder}: {count} files")


if __name__ == "__main__":
    write("completion", completion_files())
    write("gguf", gguf_files())
    write("jax", jax_files())
    write("safetensors", safetensors_files())
    write("pickle", pickle_files())
    write("shard_index", shard_index_files())
    write("tokenizer_model", tokenizer_model_files())
    write("torch", torch_files())
