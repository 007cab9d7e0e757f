#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times the official PyTorch code (github.com/test-time-training/ttt-lm-pytorch) on this machine's processor:
a prompt, then greedy decoding, in fp32 with random weights of an official size. For a comparison with
`ttt bench --random SIZE` in the same session.

usage: official_pytorch.py FOLDER_WITH_TTT_PY [--size 125m] [--layer linear|mlp] [--prompt 512] [--tokens 32]
                           [--threads 2] [--rounds 3]
Needs torch and transformers 4.40."""
import argparse
import json
import statistics
import sys
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--size", default="125m")
    parser.add_argument("--layer", choices=["linear", "mlp"], default="linear")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.folder)
    import torch
    from ttt import TTT_STANDARD_CONFIGS, TTTConfig, TTTForCausalLM

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = TTTConfig(**TTT_STANDARD_CONFIGS[arguments.size], ttt_layer_type=arguments.layer, use_cache=True,
                       pre_conv=True, use_gate=True, share_qk=True)
    model = TTTForCausalLM(config).float().eval()
    ids = torch.randint(3, config.vocab_size, (1, arguments.prompt))

    prompt_rates, token_rates = [], []
    for _ in range(arguments.rounds):
        with torch.no_grad():
            start = time.perf_counter()
            out = model(input_ids=ids, use_cache=True)
            prompt_rates.append(arguments.prompt / (time.perf_counter() - start))
            cache = out.cache_params
            token = out.logits[:, -1:].argmax(-1)
            start = time.perf_counter()
            for _ in range(arguments.tokens):
                out = model(input_ids=token, cache_params=cache, use_cache=True)
                cache = out.cache_params
                token = out.logits[:, -1:].argmax(-1)
            token_rates.append(arguments.tokens / (time.perf_counter() - start))

    def summary(rates):
        return {"mean": round(statistics.mean(rates), 2), "deviation": round(statistics.stdev(rates), 2), "all": rates}

    print(json.dumps({"torch": torch.__version__, "size": arguments.size, "layer": arguments.layer,
                      "threads": arguments.threads, "prompt": arguments.prompt,
                      "prompt_tokens_per_second": summary(prompt_rates),
                      "decoded_tokens_per_second": summary(token_rates)}))


if __name__ == "__main__":
    main()
