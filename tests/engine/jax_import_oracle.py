#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Imports JAX checkpoints a second time, in Python, and compares the files that `ttt convert` makes of both.

    jax_import_oracle.py TTT [FOLDER...] [--type f32]

TTT is the program; each FOLDER holds checkpoints of the official JAX code (streaming_train_state,
streaming_params) and a config.json; without one: tests/golden/import/jax-*. Every checkpoint is read with the
package msgpack and written as a Hugging Face folder, by tables taken from a description of the two layouts
and not from the code in engine/ and weights/. Three files are made:

    from the checkpoint with config.json beside it, from the Hugging Face folder,
    from the checkpoint alone, whose tensors then tell the configuration.

The first and the last must be what the second is: the same names, shapes, types and bytes of tensors, the
same metadata. No key is left out (none names the file, its origin or a date), except those of NOT_IN_TENSORS
for the last. `gguf_python.py` compares such a file with the Hugging Face folder itself.

Prints one line per checkpoint; exit status 1 and one line per difference if there is any.
Needs: pip install gguf msgpack numpy
"""

import argparse
import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import msgpack
import numpy as np
from gguf import GGUFReader

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "import"
CHECKPOINTS = ("streaming_train_state", "streaming_params")

# dtype of JAX -> (how numpy holds it: moving bits about is all that is done, name in safetensors)
DTYPES = {
    "bfloat16": ("<u2", "BF16"),
    "float16": ("<f2", "F16"),
    "float32": ("<f4", "F32"),
    "float64": ("<f8", "F64"),
}

# JAX path -> (Hugging Face name, order of axes). JAX multiplies from the right, [in, out], and convolves with
# [tap, 1, channel]. Some components of a path have a slash in them, which shows no more once they are joined.
SAME, MATRIX, CONVOLUTION, COLUMN = None, (1, 0), (2, 1, 0), (0, 2, 1)
MODEL = {
    "model/wte/embedding": ("model.embed_tokens.weight", SAME),
    "model/ln_f/kernel": ("model.norm.weight", SAME),
    "lm_head/kernel": ("lm_head.weight", MATRIX),
}
LAYER = {
    "seq_norm/kernel": ("seq_norm.weight", SAME),
    "ffn_norm/kernel": ("ffn_norm.weight", SAME),
    "feed_forward/w1/kernel": ("mlp.gate_proj.weight", MATRIX),
    "feed_forward/w3/kernel": ("mlp.up_proj.weight", MATRIX),
    "feed_forward/w2/kernel": ("mlp.down_proj.weight", MATRIX),
    "conv/conv_norm/kernel": ("conv.norm.weight", SAME),
    "conv/conv1/kernel": ("conv.conv.weight", CONVOLUTION),
    "conv/conv1/bias": ("conv.conv.bias", SAME),
}
SEQUENCE_BLOCK = {
    "wq/kernel": ("q_proj.weight", MATRIX),
    "wk/kernel": ("k_proj.weight", MATRIX),
    "wv/kernel": ("v_proj.weight", MATRIX),
    "wo/kernel": ("o_proj.weight", MATRIX),
    "wg/kernel": ("g_proj.weight", MATRIX),
    "conv_q/kernel": ("conv_q.weight", CONVOLUTION),
    "conv_q/bias": ("conv_q.bias", SAME),
    "conv_k/kernel": ("conv_k.weight", CONVOLUTION),
    "conv_k/bias": ("conv_k.bias", SAME),
    "learnable_ttt_lr/kernel": ("learnable_ttt_lr_weight", COLUMN),
    "learnable_ttt_lr/bias": ("learnable_ttt_lr_bias", SAME),
    "learnable_token_idx": ("learnable_token_idx", SAME),
    "ttt_norm/scale": ("ttt_norm_weight", SAME),
    "ttt_norm/bias": ("ttt_norm_bias", SAME),
    "post_norm/scale": ("post_norm.weight", SAME),
    "post_norm/bias": ("post_norm.bias", SAME),
    "ttt_dense_0": ("W1", SAME),
    "ttt_bias_0": ("b1", SAME),
    "ttt_dense_1": ("W2", SAME),
    "ttt_bias_1": ("b2", SAME),
}

# Keys that a checkpoint without config.json cannot tell, and that are not compared then; with one, all are.
NOT_IN_TENSORS = {
    "ttt.context_length": "the sequence length of training, which is the size of no tensor",
    "tokenizer.ggml.bos_token_id": "an id of the tokenizer, which is not in a checkpoint",
    "tokenizer.ggml.eos_token_id": "the same",
}


def read_array(value):
    """(dtype, values) of what Flax writes for an array: [shape, dtype, bytes], in chunks if it is large."""
    if isinstance(value, dict) and value.get("__msgpack_chunked_array__"):
        shape = [value["shape"][str(i)] for i in range(len(value["shape"]))]
        chunks = [read_array(value["chunks"][str(i)]) for i in range(len(value["chunks"]))]
        return chunks[0][0], np.concatenate([values.reshape(-1) for _, values in chunks]).reshape(shape)
    if not isinstance(value, msgpack.ExtType) or value.code != 1:
        raise ValueError(f"not an array: {str(value)[:60]}")
    shape, dtype, raw = msgpack.unpackb(value.data)
    return dtype, np.frombuffer(raw, DTYPES[dtype][0]).reshape(shape)


def read_checkpoint(path):
    """Joined path -> (dtype, values) of every parameter; the optimizer's tensors are passed over."""
    prefix = ["params", "params"] if path.name == "streaming_train_state" else []
    parameters = {}
    with open(path, "rb") as file:
        for record_path, payload in msgpack.Unpacker(file, max_buffer_size=0):
            if record_path[: len(prefix)] == prefix:
                name = "/".join(record_path[len(prefix) :])
                parameters[name] = read_array(msgpack.unpackb(payload))
    return parameters


def hugging_face_name(path):
    """The name, and the order of axes."""
    layer = re.fullmatch(r"model/h/(\d+)/(.+)", path)
    if not layer:
        return MODEL[path]
    number, rest = layer.groups()
    block, table, prefix = rest.removeprefix("seq_modeling_block/"), SEQUENCE_BLOCK, "seq_modeling_block."
    if block == rest:
        table, prefix = LAYER, ""
    name, axes = table[block]
    return f"model.layers.{number}.{prefix}{name}", axes


def to_hugging_face(parameters):
    tensors = {}
    for path, (dtype, values) in parameters.items():
        name, axes = hugging_face_name(path)
        tensors[name] = dtype, values if axes is SAME else values.transpose(axes)
    return tensors


def write_safetensors(path, tensors):
    """An own writer, because numpy has no bfloat16."""
    header, data = {}, bytearray()
    for name, (dtype, values) in sorted(tensors.items()):
        begin = len(data)
        data += values.tobytes()
        header[name] = {"dtype": DTYPES[dtype][1], "shape": values.shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def convert(ttt, kind, source, target, *flags):
    command = [ttt, "convert", source, target, "--type", kind, "--no-config", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"ttt convert ended with {done.returncode}: {done.stderr.strip()}")
    return GGUFReader(target)


def tensors_of(reader):
    """Name -> (what it is, bytes)"""
    return {
        t.name: (f"{t.tensor_type.name} {[int(n) for n in reversed(t.shape)]}", t.data.tobytes())
        for t in reader.tensors
    }


def metadata_of(reader, left_out=()):
    """The same of all keys of the file, without the fields of its header, which the package shows as keys."""
    return {
        key: (f"{[kind.name for kind in field.types]} {field.contents()}", b"")
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.") and key not in left_out
    }


def differences(imported, wanted):
    for name in sorted(imported.keys() | wanted.keys()):
        if name not in wanted:
            yield f"{name}: not there from Hugging Face"
        elif name not in imported:
            yield f"{name}: not there from JAX"
        elif imported[name][0] != wanted[name][0]:
            yield f"{name}: {imported[name][0]} from JAX, {wanted[name][0]} from Hugging Face"
        elif imported[name] != wanted[name]:
            yield f"{name}: {wanted[name][0]}, other bytes"


def compare(imported, wanted, left_out=()):
    """(what was equal, in words; the differences)"""
    tensors, keys = tensors_of(wanted), metadata_of(wanted, left_out)
    found = [*differences(tensors_of(imported), tensors)]
    found += differences(metadata_of(imported, left_out), keys)
    return f"{len(tensors)} tensors equal, {len(keys)} metadata keys equal", found


def check_checkpoint(ttt, kind, checkpoint, parameters):
    config = checkpoint.parent / "config.json"
    base_lr = str(json.loads(config.read_text())["ttt_base_lr"])
    with tempfile.TemporaryDirectory() as scratch:
        jax, hugging_face = Path(scratch, "jax"), Path(scratch, "hf")
        for folder in (jax, hugging_face):
            folder.mkdir()
            shutil.copy(config, folder)
        shutil.copy(checkpoint, jax)
        write_safetensors(hugging_face / "model.safetensors", to_hugging_face(parameters))
        wanted = convert(ttt, kind, hugging_face, Path(scratch, "hf.gguf"))
        imported = convert(ttt, kind, jax, Path(scratch, "jax.gguf"))
        alone = convert(ttt, kind, checkpoint, Path(scratch, "alone.gguf"), "--base-lr", base_lr)
        equal, found = compare(imported, wanted)
        equal_alone, found_alone = compare(alone, wanted, NOT_IN_TENSORS)
    found += [f"without config.json: {line}" for line in found_alone]
    return f"{equal}; without config.json {equal_alone}", found


def check(ttt, kind, checkpoint):
    """Prints what was compared; true if nothing differs."""
    name = f"{checkpoint.parent.name}/{checkpoint.name}"
    parameters = read_checkpoint(checkpoint)
    if not any(path.endswith("/ttt_dense_0") for path in parameters):
        print(f"{name}: self-attention, left out: it has no Hugging Face layout to compare with")
        return True
    try:
        equal, found = check_checkpoint(ttt, kind, checkpoint, parameters)
    except ValueError as error:
        equal, found = "", [str(error)]
    print("\n".join(f"{name}: {line}"[:400] for line in found or [equal]))
    return not found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("ttt")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--type", default="f32")
    args = parser.parse_args()
    folders = args.folders or sorted(GOLDEN.glob("jax-*"))
    checkpoints = []
    for folder in folders:
        found = [folder / name for name in CHECKPOINTS if (folder / name).exists()]
        if not found:
            sys.exit(f"{folder}: no checkpoint")
        checkpoints += found
    if not checkpoints:
        sys.exit(f"{GOLDEN}: no folder jax-*")
    results = [check(args.ttt, args.type, checkpoint) for checkpoint in checkpoints]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
