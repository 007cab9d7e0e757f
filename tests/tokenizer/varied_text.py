# SPDX-License-Identifier: Apache-2.0
"""Texts that a tokenizer may get wrong, the same for the same seed. Yields bytes: some are not UTF-8."""

import random

WORDS = """the of and to in a is that for it as was with be by on not he I this are or his from at which but
have an had they you were there been one all we her has would when will no more if out so said what up its
about into than them can only other new some could time these two may then do first any my now such like
our over man me even most made after also did many before must through back years where much your way well
down should because each just those people how too little state good very make world still own see men
work long get here between both life being under never day same another know while last might us great old
year off come since against go came right used take three It was late in evening whenever unbelievable
internationalization antidisestablishmentarianism Don't can't we'll o'clock e.g. Mr. Smith's""".split()

RANGES = [  # (first, last) of letters of many scripts, marks, symbols
    (0xC0, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x556), (0x5D0, 0x5EA), (0x620, 0x64A),
    (0x64B, 0x652), (0x900, 0x94D), (0xB85, 0xBB9), (0xE01, 0xE3A), (0x10A0, 0x10FF), (0x1100, 0x1112),
    (0x1161, 0x1175), (0x1E00, 0x1EFF), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3), (0x300, 0x36F), (0x2000, 0x206F), (0x2190, 0x22FF), (0x2460, 0x24FF),
    (0x2580, 0x259F), (0x3000, 0x303F), (0x3200, 0x33FF), (0xF900, 0xFAFF), (0xFB00, 0xFB06),
    (0xFB50, 0xFDFB), (0xFE00, 0xFE0F), (0xFF01, 0xFFEE), (0xE000, 0xE0FF), (0xFFF0, 0xFFFF),
    (0x10330, 0x1034A), (0x1D400, 0x1D7FF), (0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x20000, 0x20100),
    (0xE0020, 0xE007F), (0x10FFF0, 0x10FFFF),
]

EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "❤️", "👨🏿‍🚀", "🧑‍💻", "5️⃣", "😀", "🤷🏻‍♀️"]

CODE = ["for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}", "def f(x, *y):\n    return x if y else None\n",
        "SELECT * FROM t WHERE a != 'b' -- c", "<div class=\"x\">&nbsp;</div>", "http://a.b/c?d=e&f=%20#g",
        "x^2 + y_1 \\leq \\frac{1}{2}", "{\"k\": [1, 2.5e-3, null]}", "0xDEADBEEF 1_000_000 3.14159", "$#@!%^&*()"]

SPECIAL = ["</s>", "<s>", "<unk>", "<pad>", "<0x41>", "<0xFF>", "▁", "▁▁▁", "▁the", "<|im_start|>", "[INST]",
           "<ctl>", "<longer-control>", "USER", "USERS", "<sep>", "\ufffd", "\ufeff", "⁇", " ⁇ "]

SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u200b", "\u2028", "\x0b", "\x0c"]

BROKEN = [b"\xff", b"\xc3", b"\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
          b"\xe0\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe\xff", b"\xc3\x28", b"\xe2\x28\xa1", b"\xf0\x28\x8c\x28"]


def fragment(rng):
    kind = rng.randrange(16)
    if kind < 4:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 12))).encode()
    if kind == 4:
        first, last = rng.choice(RANGES)
        return "".join(chr(rng.randint(first, last)) for _ in range(rng.randrange(1, 20))).encode()
    if kind == 5:  # any code point but a surrogate
        points = [rng.randrange(0x110000) for _ in range(rng.randrange(1, 6))]
        return "".join(chr(p) for p in points if not 0xD800 <= p <= 0xDFFF).encode()
    if kind == 6:
        return "".join(rng.choice(EMOJI) for _ in range(rng.randrange(1, 5))).encode()
    if kind == 7:
        return rng.choice(CODE).encode()
    if kind == 8:
        return str(rng.choice([rng.random(), rng.randrange(10**rng.randrange(1, 20)), -1])).encode()
    if kind == 9:
        return rng.choice(SPECIAL).encode()
    if kind == 10:
        return "".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 5))).encode()
    if kind == 11:
        return rng.choice([" ", "a", "ab", "=", "\n", "0", "é", "中", "😀", "▁"]).encode() * rng.randrange(1, 300)
    if kind == 12:
        return bytes(rng.randrange(0x20) for _ in range(rng.randrange(1, 6)))
    if kind == 13:
        return b"".join(rng.choice(BROKEN) for _ in range(rng.randrange(1, 4)))
    if kind == 14:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 12)))
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCDE") for _ in range(rng.randrange(1, 30))).encode()


def texts(count, seed):
    """`count` texts, the first few fixed."""
    rng = random.Random(seed)
    fixed = [b"", b" ", b"  ", b"a", b" a", b"a ", b"  a  b  ", b"\0", b"a\0b", b"</s>", b"<s>hello</s>", b"\n", b"\xff"]
    yield from fixed[:count]
    for _ in range(max(0, count - len(fixed))):
        joint = rng.choice([b"", b" "])
        text = joint.join(fragment(rng) for _ in range(rng.randrange(1, 7)))
        yield rng.choice([b"", b"", b" ", b"   "]) + text + rng.choice([b"", b"", b"", b" ", b"  \n"])


def plain_lines(count, seed):
    """Lines to train on: words, code, numbers and a few other letters."""
    rng = random.Random(seed)
    for _ in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.randrange(3, 12))]
        words.insert(rng.randrange(3), rng.choice([*CODE, *SPECIAL[6:9], str(rng.random()), "café", "naïve", "你好", "да"]))
        yield " ".join(words).replace("\n", " ")
