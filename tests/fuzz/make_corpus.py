#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpus of the fuzz targets: small files, each named for what a reader must say of it.

Run without arguments; it replaces corpus/gguf and corpus/safetensors beside it. Files that a fuzzer found are
added here by their content, so that the corpus can always be made again.
"""

import json
import struct
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
    write("gguf", gguf_files())
    write("safetensors", safetensors_files())
