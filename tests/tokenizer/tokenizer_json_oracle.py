# SPDX-License-Identifier: Apache-2.0
"""Compares our tokenizer, given a tokenizer.json, with the Python package tokenizers given the same file.

The files are made from SentencePiece models as the transformers library makes them: every way to join two
pieces into a third is a merge, in the order of the third one's score.

tokenizer_json_oracle.py compare ENCODE_LINES [--count N] [--seed N]   exit status 1 on any difference
tokenizer_json_oracle.py golden          writes llama.json and llama_json_ids.txt beside this file
"""

import argparse
import io
import pathlib
import random
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

import python_oracle
import varied_text

HERE = pathlib.Path(__file__).parent
FORMS = ["prefix", "no prefix", "metaspace"]
SPECIAL = ["<unk>", "<s>", "</s>"]


def train(size):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=varied_text.plain_lines(3000, seed=11), model_writer=out, vocab_size=size, num_threads=1,
        minloglevel=2, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", split_digits=True,
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, character_coverage=0.98)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def from_sentencepiece(processor, form):
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for i, piece in enumerate(pieces):
        if processor.is_byte(i) or processor.is_control(i) or processor.is_unknown(i):
            continue
        cuts = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in vocab and piece[k:] in vocab]
        merges += [(processor.get_score(i), cut) for cut in sorted(cuts, key=lambda c: (vocab[c[0]], vocab[c[1]]))]
    merges.sort(key=lambda merge: -merge[0])
    model = models.BPE(vocab, [cut for _, cut in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    if form == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="never", split=False)
    else:
        prepend = [normalizers.Prepend("▁")] if form == "prefix" else []
        tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if form == "prefix" else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    return tokenizer


def texts(count, seed):
    """Of these the package would take special tokens as such, which a prompt of ours never does."""
    for raw in varied_text.texts(count, seed):
        text = raw.decode(errors="replace")
        if not any(special in text for special in SPECIAL):
            yield text


def compare(program, count, seed):
    bad = 0
    demo = sentencepiece.SentencePieceProcessor(model_file=str(HERE / "demo.model"))
    for name, processor in {"demo": demo, "trained": train(1000)}.items():
        for form in FORMS:
            tokenizer = from_sentencepiece(processor, form)
            rng = random.Random(seed)
            cases = []  # (what, request, wanted)
            for text in texts(count, seed):
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                cases.append(("encode", (b"e", text.encode()), python_oracle.pack(ids)))
                cases.append(("round trip", (b"d", python_oracle.pack(ids)), tokenizer.decode(ids).encode()))
            for _ in range(count // 4):
                ids = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randrange(12))]
                # An unknown piece has no text there. Bytes that are no characters spoil their neighbours there.
                ids = [i for i in ids if i != 0 and not processor.is_byte(i)]
                cases.append(("decode", (b"d", python_oracle.pack(ids)), tokenizer.decode(ids).encode()))
            with tempfile.NamedTemporaryFile(suffix=".json") as file:
                tokenizer.save(file.name, pretty=False)
                answers = python_oracle.ask(program, file.name, [request for _, request, _ in cases])
            for what in ("encode", "round trip", "decode"):
                pairs = [(c, a) for c, a in zip(cases, answers) if c[0] == what]
                wrong = [(c, a) for c, a in pairs if c[2] != a]
                bad += len(wrong)
                print(f"{name}, {form}: {what}: {len(pairs)} compared, {len(wrong)} different")
                for (_, request, wanted), answer in wrong[:3]:
                    print(f"  {request}\n  wanted {wanted}\n  found  {answer}")
    return bad


def golden():
    """Lines of two fields: escaped text, ids."""
    tokenizer = from_sentencepiece(train(420), "prefix")
    (HERE / "llama.json").write_text(tokenizer.to_str(pretty=False) + "\n", encoding="utf-8")
    with open(HERE / "llama_json_ids.txt", "w", encoding="ascii") as out:
        for text in texts(120, seed=6):
            raw = text.encode()
            if len(raw) < 200:
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                print(python_oracle.escape(raw) or "-", ",".join(map(str, ids)) or "-", file=out)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    comparison = commands.add_parser("compare")
    comparison.add_argument("program")
    comparison.add_argument("--count", type=int, default=10000)
    comparison.add_argument("--seed", type=int, default=1)
    commands.add_parser("golden")
    args = parser.parse_args()
    if args.command == "golden":
        golden()
    elif compare(args.program, args.count, args.seed):
        sys.exit(1)


if __name__ == "__main__":
    main()
