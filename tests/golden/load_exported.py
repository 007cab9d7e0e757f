# SPDX-License-Identifier: Apache-2.0
"""Loads a folder that `ttt export` made with the official PyTorch code, and compares what it computes.

load_exported.py CODE FOLDER [--original FOLDER] [--logits FILE.safetensors]

CODE: a checkout of test-time-training/ttt-lm-pytorch (the folder that holds ttt.py)
--original  a Hugging Face folder that must hold the same tensors, bit for bit
--logits    token ids and logits, as `ttt eval logits` writes them: the official code computes the same within
            2e-5 of their rms

Needs torch, transformers (4.38 to 4.42, which the official code was written for) and safetensors.
"""

import argparse
import pathlib
import sys

import torch
from safetensors.torch import load_file

BOUND = 2e-5


def same_tensors(folder, original):
    exported = load_file(folder / "model.safetensors")
    wanted = {}
    for path in sorted(original.glob("*.safetensors")):
        if path.name != "golden.safetensors":
            wanted |= load_file(path)
    problems = [f"{name}: only in one of them" for name in sorted(exported.keys() ^ wanted.keys())]
    for name in sorted(exported.keys() & wanted.keys()):
        mine, other = exported[name], wanted[name]
        if mine.dtype != other.dtype or mine.shape != other.shape:
            problems.append(f"{name}: {mine.dtype} {list(mine.shape)}, wanted {other.dtype} {list(other.shape)}")
        elif mine.view(torch.uint8).ne(other.view(torch.uint8)).any():
            problems.append(f"{name}: other values")
    print(f"{len(wanted)} tensors compared, {len(problems)} problems")
    return problems


def same_logits(model, path):
    file = load_file(path)
    ids = file.get("token_ids", file.get("input_ids")).long()
    with torch.no_grad():
        logits = model(ids[None], use_cache=False).logits[0].double()
    wanted = file["logits"].double()
    error = ((logits - wanted).abs().max() / wanted.pow(2).mean().sqrt()).item()
    print(f"logits of {len(ids)} tokens: largest error {error:.2e} of the rms (bound {BOUND:.0e})")
    return [] if error <= BOUND else ["logits: beyond the bound"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("code", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--original", type=pathlib.Path)
    parser.add_argument("--logits", type=pathlib.Path)
    args = parser.parse_args()
    sys.path.insert(0, str(args.code))
    from ttt import TTTForCausalLM

    model, info = TTTForCausalLM.from_pretrained(args.folder, torch_dtype=torch.float32, output_loading_info=True)
    model.eval()
    problems = [f"{kind}: {names}" for kind, names in info.items() if names]
    print(f"loaded: {sum(p.numel() for p in model.parameters())} parameters, {len(problems)} problems")
    if args.original:
        problems += same_tensors(args.folder, args.original)
    if args.logits:
        problems += same_logits(model, args.logits)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
