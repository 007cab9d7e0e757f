# SPDX-License-Identifier: Apache-2.0
"""Trains the small models of this folder other than demo.model. Usage: train_models.py FOLDER

Needs the Python package sentencepiece; 0.2.3 writes the committed bytes. golden_ids.txt follows the models:
write it anew (python_oracle.py golden) when they change.
"""

import io
import os
import pathlib
import sys

import sentencepiece

import varied_text

COMMON = dict(num_threads=1, minloglevel=2, character_coverage=0.98)

MODELS = {
    # Full NFKC rules, whitespace removal, no byte fallback: the settings furthest from Llama's.
    "unigram_nfkc": dict(model_type="unigram", vocab_size=480,
                         normalization_rule_name="nmt_nfkc", user_defined_symbols=["USER", "USERS", "<sep>"],
                         control_symbols=["<ctl>", "<longer-control>"]),
    # Llama's settings with control and user-defined pieces, among them ones that begin one another.
    "bpe_bytes": dict(model_type="bpe", vocab_size=600, byte_fallback=True,
                      normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
                      allow_whitespace_only_pieces=True, user_defined_symbols=["USER", "USERS", "<sep>"],
                      control_symbols=["<ctl>", "<ctl>x", "<longer-control>"], unk_surface="?!"),
    # A few rules of its own (one that deletes, one of two characters), no space prefix, no byte fallback.
    "bpe_rules": dict(model_type="bpe", vocab_size=400, add_dummy_prefix=False,
                      remove_extra_whitespaces=False, user_defined_symbols=["USER"], pad_id=3),
}

RULES = [("é", "e"), ("e\u0301", "e"), ("\u00ad", ""), ("\u00a0", " "), ("ﬁ", "fi"), ("A", "a"), ("\u3000", "  ")]


def main():
    os.chdir(sys.argv[1])
    rules = pathlib.Path("rules.tsv")  # the model records this name
    points = lambda text: " ".join(f"{ord(c):X}" for c in text)
    rules.write_text("".join(f"{points(a)}\t{points(b)}\n" for a, b in RULES))
    MODELS["bpe_rules"]["normalization_rule_tsv"] = str(rules)
    for name, options in MODELS.items():
        out = io.BytesIO()
        lines = varied_text.plain_lines(4000, seed=7)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=out, **COMMON, **options)
        pathlib.Path(f"{name}.model").write_bytes(out.getvalue())
    rules.unlink()


if __name__ == "__main__":
    main()
