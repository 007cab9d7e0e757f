#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a GGUF file of ours with the Python package "gguf" and compares it with what it was made from.

    gguf_python.py OURS.gguf SOURCE

SOURCE is the Hugging Face folder that was converted, or a JSON description of any file:
    {"metadata": {key: {"type": "UINT8" | ... | "STRING" | ["UINT8"], "value": ...}},
     "tensors": {name: {"type": "F32", "shape": [outermost, ..., innermost], "hex": "bytes"}}}
Prints what was compared; exit status 1 and one line per difference if there is any.
Needs: pip install gguf numpy (and sentencepiece for the token lists).
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType
from gguf.quants import dequantize, quantize

# GGUF name -> Hugging Face name; "N" stands for the layer. The axis of size 1 that a Hugging Face tensor may
# have in second place is dropped in GGUF for the names in SQUEEZED.
MODEL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER = {
    "attn_norm.weight": "seq_norm.weight",
    "attn_q.weight": "seq_modeling_block.q_proj.weight",
    "attn_k.weight": "seq_modeling_block.k_proj.weight",
    "attn_v.weight": "seq_modeling_block.v_proj.weight",
    "attn_output.weight": "seq_modeling_block.o_proj.weight",
    "ffn_norm.weight": "ffn_norm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "ttt_pre_conv_norm.weight": "conv.norm.weight",
    "ttt_pre_conv.weight": "conv.conv.weight",
    "ttt_pre_conv.bias": "conv.conv.bias",
    "ttt_gate.weight": "seq_modeling_block.g_proj.weight",
    "ttt_conv_q.weight": "seq_modeling_block.conv_q.weight",
    "ttt_conv_q.bias": "seq_modeling_block.conv_q.bias",
    "ttt_conv_k.weight": "seq_modeling_block.conv_k.weight",
    "ttt_conv_k.bias": "seq_modeling_block.conv_k.bias",
    "ttt_lr.weight": "seq_modeling_block.learnable_ttt_lr_weight",
    "ttt_lr.bias": "seq_modeling_block.learnable_ttt_lr_bias",
    "ttt_token_idx.weight": "seq_modeling_block.learnable_token_idx",
    "ttt_inner_1.weight": "seq_modeling_block.W1",
    "ttt_inner_1.bias": "seq_modeling_block.b1",
    "ttt_inner_2.weight": "seq_modeling_block.W2",
    "ttt_inner_2.bias": "seq_modeling_block.b2",
    "ttt_inner_norm.weight": "seq_modeling_block.ttt_norm_weight",
    "ttt_inner_norm.bias": "seq_modeling_block.ttt_norm_bias",
    "ttt_post_norm.weight": "seq_modeling_block.post_norm.weight",
    "ttt_post_norm.bias": "seq_modeling_block.post_norm.bias",
}
SQUEEZED = {
    "ttt_pre_conv.weight",
    "ttt_conv_q.weight",
    "ttt_conv_k.weight",
    "ttt_lr.weight",
    "ttt_lr.bias",
    "ttt_inner_1.bias",
    "ttt_inner_2.bias",
}

# GGUF key -> (config.json field, default where the field is absent; None: it must be there)
CONFIG = {
    "ttt.vocab_size": ("vocab_size", None),
    "ttt.block_count": ("num_hidden_layers", None),
    "ttt.embedding_length": ("hidden_size", None),
    "ttt.feed_forward_length": ("intermediate_size", None),
    "ttt.attention.head_count": ("num_attention_heads", None),
    "ttt.attention.layer_norm_rms_epsilon": ("rms_norm_eps", 1e-6),
    "ttt.rope.freq_base": ("rope_theta", 10000.0),
    "ttt.context_length": ("max_position_embeddings", 2048),
    "ttt.layer_type": ("ttt_layer_type", "linear"),
    "ttt.mini_batch_size": ("mini_batch_size", 16),
    "ttt.base_lr": ("ttt_base_lr", 1.0),
    "ttt.conv_kernel": ("conv_kernel", 4),
    "ttt.pre_conv": ("pre_conv", False),
    "ttt.share_qk": ("share_qk", False),
    "ttt.use_gate": ("use_gate", False),
    "ttt.tie_embeddings": ("tie_word_embeddings", True),
}

# Largest relative L2 error of a quantised matrix with bell-shaped values.
QUANTISED = {"Q6_K": 0.03, "Q5_K": 0.05, "Q4_K": 0.1}

differences = []


def differ(where, wanted, found):
    differences.append(f"{where}: wanted {wanted}, found {found}"[:400])


def hugging_face_name(name):
    if name in MODEL:
        return MODEL[name]
    prefix, _, rest = name.partition(".")
    layer, _, suffix = rest.partition(".")
    if prefix != "blk" or not layer.isdigit() or suffix not in LAYER:
        return None
    return f"model.layers.{layer}.{LAYER[suffix]}"


def read_safetensors(path):
    """All tensors of a file as float32 arrays: an own reader, because numpy has no bfloat16."""
    raw = path.read_bytes()
    length = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in info["data_offsets"])
        if info["dtype"] == "BF16":
            values = (np.frombuffer(raw[begin:end], "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw[begin:end], {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[info["dtype"]])
        tensors[name] = values.astype(np.float32).reshape(info["shape"])
    return tensors


def round_to(values, kind):
    if kind == "F16":
        return values.astype(np.float16).astype(np.float32)
    if kind == "BF16":
        bits = values.view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + (bits >> 16 & 1) >> 16) << 16).astype(np.uint32).view(np.float32)
    return values


def compare_tensor(tensor, source):
    name, kind = tensor.name, tensor.tensor_type.name
    expected = source
    if name.split(".", 2)[-1] in SQUEEZED:
        expected = expected.squeeze(1)
    shape = tuple(int(n) for n in reversed(tensor.shape))
    if shape != expected.shape:
        return differ(name, f"shape {expected.shape}", shape)
    values = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    if kind in ("F32", "F16", "BF16"):
        count = int((values != round_to(np.ascontiguousarray(expected), kind)).sum())
        if count:
            differ(name, f"the source's values as {kind}", f"{count} others")
        return None
    if kind in ("Q8_0", "Q4_0"):
        wanted = quantize(np.ascontiguousarray(expected), tensor.tensor_type)
        if tensor.data.tobytes() != wanted.tobytes():
            differ(name, f"the bytes that gguf makes of the source as {kind}", "others")
        return None
    error = np.linalg.norm(values - expected) / max(np.linalg.norm(expected), 1e-30)
    if not error <= QUANTISED.get(kind, 0.2):
        differ(name, f"a relative error below {QUANTISED.get(kind, 0.2)} for {kind}", error)
    return None


def value_of(reader, key):
    field = reader.get_field(key)
    return None if field is None else field.contents()


def compare_tokenizer(reader, tensors, folder):
    path = folder / "tokenizer.model"
    tensor = tensors.pop("tokenizer.sentencepiece", None)
    if not path.exists():
        return
    raw = b"" if tensor is None else tensor.data.tobytes()
    if raw != path.read_bytes():
        differ("tokenizer.sentencepiece", "the bytes of tokenizer.model", f"{len(raw)} other bytes")
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        print("token lists not compared: no package sentencepiece")
        return
    model = SentencePieceProcessor(model_file=str(path))
    size = model.get_piece_size()
    if value_of(reader, "tokenizer.ggml.tokens") != [model.id_to_piece(i) for i in range(size)]:
        differ("tokenizer.ggml.tokens", "the pieces of tokenizer.model", "others")
    if value_of(reader, "tokenizer.ggml.scores") != [np.float32(model.get_score(i)) for i in range(size)]:
        differ("tokenizer.ggml.scores", "the scores of tokenizer.model", "others")
    print(f"{size} tokens compared")


def compare_with_folder(reader, folder):
    config = json.loads((folder / "config.json").read_text())
    if value_of(reader, "general.architecture") != "ttt":
        differ("general.architecture", "ttt", value_of(reader, "general.architecture"))
    for key, (field, default) in CONFIG.items():
        wanted, found = config.get(field, default), value_of(reader, key)
        same = (
            found == wanted
            if not isinstance(wanted, float)
            else found is not None and np.float32(found) == np.float32(wanted)
        )
        if not same:
            differ(key, wanted, found)
    source = {}
    for path in sorted(folder.glob("model*.safetensors")):
        source |= read_safetensors(path)
    if config.get("tie_word_embeddings", True):
        source.pop("lm_head.weight", None)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    compare_tokenizer(reader, tensors, folder)
    for name, tensor in tensors.items():
        values = source.pop(hugging_face_name(name), None)
        if values is None:
            differ(name, "a tensor of the source", "none of this name")
        else:
            compare_tensor(tensor, values)
    for name in source:
        differ(name, "a tensor in the GGUF file", "none")
    print(f"{len(tensors)} tensors and {len(CONFIG) + 1} keys compared")


def same_value(found, wanted):
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same_value, found, wanted))
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def compare_with_description(reader, description):
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    for key, wanted in description["metadata"].items():
        field = fields.pop(key, None)
        if field is None:
            differ(key, "a value", "none")
            continue
        kind = wanted["type"]
        kinds = (
            [GGUFValueType[kind]] if isinstance(kind, str) else [GGUFValueType.ARRAY, GGUFValueType[kind[0]]]
        )
        if wanted["value"] == []:
            kinds = kinds[:1]  # the reader names no element type of an empty list
        found = field.contents()
        if field.types[: len(kinds)] != kinds or not same_value(found, wanted["value"]):
            differ(key, f"{kind} {wanted['value']}", f"{[t.name for t in field.types]} {found}")
    for key in fields:
        differ(key, "no such key", "one")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    for name, wanted in description["tensors"].items():
        tensor = tensors.pop(name, None)
        if tensor is None:
            differ(name, "a tensor", "none")
            continue
        found = (tensor.tensor_type, [int(n) for n in reversed(tensor.shape)], tensor.data.tobytes().hex())
        if found != (GGMLQuantizationType[wanted["type"]], wanted["shape"], wanted["hex"]):
            differ(name, (wanted["type"], wanted["shape"]), found[:2])
    for name in tensors:
        differ(name, "no such tensor", "one")
    print(f"{len(description['tensors'])} tensors and {len(description['metadata'])} keys compared")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reader = GGUFReader(sys.argv[1])
    source = Path(sys.argv[2])
    if source.is_dir():
        compare_with_folder(reader, source)
    else:
        compare_with_description(reader, json.loads(source.read_text()))
    print("\n".join(differences) or "equal")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
