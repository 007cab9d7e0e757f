# SPDX-License-Identifier: Apache-2.0
"""Compares our tokenizer with the Python package sentencepiece, text by text.

Versions 0.1.97 and 0.2.3 agree with each other but for unigram segmentations of equal score, which they
round differently: such a difference is counted as a tie.

python_oracle.py compare ENCODE_LINES [--count N] [--seed N]   exit status 1 on any difference
python_oracle.py golden                                        writes golden_ids.txt beside this file
"""

import argparse
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import sentencepiece

import varied_text

HERE = pathlib.Path(__file__).parent
MODELS = ["demo", "unigram_nfkc", "bpe_bytes", "bpe_rules"]


def load(name):
    return sentencepiece.SentencePieceProcessor(model_file=str(HERE / f"{name}.model"))


def random_ids(processor, rng):
    """Ids as no encoder writes them: half characters, control pieces between bytes, unknown ones."""
    size = processor.get_piece_size()
    some_bytes = [i for i in range(size) if processor.is_byte(i)] or [0]
    special = [i for i in range(size) if processor.is_control(i) or processor.is_unknown(i)]
    space = processor.piece_to_id("▁")
    pick = [lambda: rng.randrange(size), lambda: rng.choice(some_bytes), lambda: rng.choice(special), lambda: space]
    weights = rng.choice([(6, 2, 1, 1), (1, 8, 1, 0), (1, 0, 2, 4), (8, 0, 0, 1)])
    ids = [rng.choices(pick, weights)[0]() for _ in range(rng.randrange(0, 24))]
    if some_bytes != [0] and rng.randrange(2):  # a character of several bytes, somewhere
        at = rng.randrange(len(ids) + 1)
        ids[at:at] = [some_bytes[b] for b in rng.choice(varied_text.EMOJI).encode()]
    return ids


def parse_oracle(name, processor, text):
    """Ids with control pieces recognised: leftmost, longest, and a space prefix at the text's begin only."""
    controls = {processor.id_to_piece(i).encode(): i for i in range(len(processor)) if processor.is_control(i)}
    ids, begin, i = [], 0, 0

    def stretch(part):
        if not part:
            return []
        if begin == 0 or name == "bpe_rules":  # bpe_rules has no prefix anyway
            return processor.encode(part)
        # Behind a piece that ends every merge, SentencePiece adds no space; then that piece is taken off.
        behind = processor.encode(b"<sep>" + part)
        sep = processor.piece_to_id("<sep>")
        return behind[behind.index(sep) + 1:]

    while i < len(text):
        found = max((c for c in controls if text.startswith(c, i)), key=len, default=None)
        if found is None:
            i += 1
            continue
        ids += stretch(text[begin:i]) + [controls[found]]
        begin = i = i + len(found)
    return ids + stretch(text[begin:])


def ask(program, model, requests):
    """Sends all requests, returns all answers."""
    with tempfile.TemporaryFile() as stdin:
        for kind, payload in requests:
            stdin.write(kind + struct.pack("=I", len(payload)) + payload)
        stdin.seek(0)
        out = subprocess.run([program, str(model)], stdin=stdin, stdout=subprocess.PIPE, check=True).stdout
    answers, at = [], 0
    while at < len(out):
        (size,) = struct.unpack_from("=I", out, at)
        answers.append(out[at + 4:at + 4 + size])
        at += 4 + size
    assert len(answers) == len(requests)
    return answers


def pack(ids):
    return struct.pack(f"={len(ids)}i", *ids)


def is_tie(processor, wanted, found):
    """Whether two unigram segmentations of the same text have the same score."""
    wanted, found = (struct.unpack(f"={len(x) // 4}i", x) for x in (wanted, found))
    score = lambda ids: sum(processor.get_score(i) for i in ids)
    same_text = processor.decode(list(wanted)) == processor.decode(list(found))
    return same_text and wanted.count(0) == found.count(0) and abs(score(wanted) - score(found)) < 1e-3


def compare(program, count, seed):
    bad = 0
    for name in MODELS:
        processor = load(name)
        rng = random.Random(seed)
        cases = []  # (what, request, wanted)
        for text in varied_text.texts(count, seed):
            ids = processor.encode(text)
            cases.append(("encode", (b"e", text), pack(ids)))
            cases.append(("round trip", (b"d", pack(ids)), processor.decode(ids).encode()))
        # One text of many stretches; unigram sums scores along a text, so there a cut may move near ties.
        if not name.startswith("unigram"):
            text = b" ".join(varied_text.texts(count, seed + 2))
            cases.append(("long text", (b"e", text), pack(processor.encode(text))))
        for _ in range(count):
            ids = random_ids(processor, rng)
            cases.append(("decode", (b"d", pack(ids)), processor.decode(ids).encode()))
        if name in ("bpe_bytes", "bpe_rules"):
            for text in varied_text.texts(count // 4, seed + 1):
                special = rng.choice([b"<s>", b"</s>", b"<ctl>", b"<ctl>x", b"<longer-control>", b"<pad>", b"<s></s>"])
                at = rng.randrange(len(text) + 1)
                text = text[:at] + special + text[at:]
                if b"<sep>" not in text:
                    cases.append(("parse", (b"p", text), pack(parse_oracle(name, processor, text))))
        answers = ask(program, HERE / f"{name}.model", [request for _, request, _ in cases])
        for what in ("encode", "long text", "round trip", "decode", "parse"):
            pairs = [(c, a) for c, a in zip(cases, answers) if c[0] == what]
            unequal = [(c, a) for c, a in pairs if c[2] != a]
            may_tie = what == "encode" and name.startswith("unigram")
            wrong = [(c, a) for c, a in unequal if not (may_tie and is_tie(processor, c[2], a))]
            bad += len(wrong)
            print(f"{name}: {what}: {len(pairs)} compared, {len(wrong)} different, {len(unequal) - len(wrong)} ties")
            for (_, request, wanted), answer in wrong[:3]:
                print(f"  {request}\n  wanted {wanted}\n  found  {answer}")
    return bad


def escape(data):
    return "".join(chr(b) if 0x20 < b < 0x7F and b != 0x5C else f"\\{b:02x}" for b in data)


def golden():
    """Lines of four fields: model, e (encode) or d (decode), escaped text, ids; for d the text is the result."""
    with open(HERE / "golden_ids.txt", "w", encoding="ascii") as out:
        for name in MODELS:
            processor = load(name)
            rng = random.Random(3)
            for text in varied_text.texts(90 if name == "demo" else 60, seed=5):
                if len(text) < 200:
                    print(name, "e", escape(text) or "-", ",".join(map(str, processor.encode(text))) or "-", file=out)
            for _ in range(30):
                ids = random_ids(processor, rng)
                text = processor.decode(ids).encode()
                print(name, "d", escape(text) or "-", ",".join(map(str, ids)) or "-", file=out)


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
