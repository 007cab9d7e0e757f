# SPDX-License-Identifier: Apache-2.0
"""Sets four copies of a model side by side: a model of four times the width that computes the same function, so that
what types with blocks of 256 weights cost can be seen on trained weights of a model that is narrower.

widen_model.py IN.gguf OUT.gguf

Every matrix becomes block diagonal, its weights as they are: copy r reads copy r alone, so nothing averages out but in
the head (tied to the embedding), which adds up the four copies' shares. Needs numpy and gguf.
"""

import argparse

import gguf
import numpy

COPIES = 4
PER_CHANNEL = (  # vectors and rows of taps, one for each channel or head
    "norm.weight", "norm.bias", "conv.weight", "conv.bias", "conv_q.weight", "conv_q.bias", "conv_k.weight", "conv_k.bias",
    "inner_1.weight", "inner_1.bias", "inner_2.weight", "inner_2.bias", "lr.bias",
)
LEFT_OUT = {"general.architecture", "general.size_label", "ttt.weights_hash"}
WIDER = {"ttt.embedding_length", "ttt.feed_forward_length", "ttt.attention.head_count"}


def widened(name, values):
    if name.endswith("token_idx.weight") or name.startswith("tokenizer."):
        return values
    if name == "token_embd.weight":
        return numpy.tile(values, (1, COPIES))
    if name == "output_norm.weight":
        return numpy.tile(values, COPIES) / COPIES
    if name.endswith(PER_CHANNEL):
        return numpy.tile(values, (COPIES,) + (1,) * (values.ndim - 1))
    return numpy.kron(numpy.eye(COPIES, dtype=values.dtype), values)


def copy_fields(reader, writer):
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in LEFT_OUT:
            continue
        value = field.contents()
        if name in WIDER:
            value *= COPIES
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, value)
        else:
            writer.add_key_value(name, value, field.types[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    arguments = parser.parse_args()
    reader = gguf.GGUFReader(arguments.source)
    if not reader.fields["ttt.tie_embeddings"].contents():
        parser.error("the head is not tied to the embedding")
    writer = gguf.GGUFWriter(arguments.target, "ttt")
    copy_fields(reader, writer)
    for tensor in reader.tensors:
        values = widened(tensor.name, numpy.array(tensor.data))
        writer.add_tensor(tensor.name, numpy.ascontiguousarray(values.astype(tensor.data.dtype)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
