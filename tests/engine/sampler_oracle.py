#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sampler in float64 numpy, from the definitions in engine/sampler.h and not from the code beside them.

Writes random settings with the set of tokens that the filters keep and the token that is drawn:
    python3 tests/engine/sampler_oracle.py > tests/engine/sampler_cases.txt

A case in which an fp32 implementation may rightly decide otherwise is left out. The margins: a logit goes
through at most 6 fp32 roundings of 2^-24 of the largest value on the way, taken twice over (adjust()); that
error over the temperature is the relative error of a weight, to which come 2^-22 of the exponent and 2^-18
for the exponential and the sums (relative_error()). Every comparison that decides something must be further
apart than its two sides can err. Equal logits of equal tokens are equal in fp32 too and stay in.
"""
import sys

import numpy as np

MASK = (1 << 64) - 1
KINDS = ("grid", "fine", "extreme", "equal")


class SplitMix64:
    def __init__(self, seed):
        self.state = seed

    def bits(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)


def make_logits(kind, seed, size):
    """Numbers that fp32 holds exactly; the test makes the same ones."""
    random = SplitMix64(seed)
    bits = np.array([random.bits() for _ in range(size)], dtype=np.uint64)
    if kind == "grid":  # 257 values in [-8, 8]: many ties
        return ((bits % np.uint64(257)).astype(np.int64) - 128) * 0.0625
    if kind == "fine":  # 24 bits in [-8, 8)
        return ((bits >> np.uint64(40)).astype(np.int64) - (1 << 23)) * 2.0**-20
    if kind == "extreme":
        values = np.array([-3e38, -1e4, -50.0, 0.0, 7.0, 7.5, 8.0, 1e4], dtype=np.float32).astype(np.float64)
        return values[(bits % np.uint64(8)).astype(np.int64)]
    return np.full(size, 1.25)


def make_history(seed, size, vocab):
    random = SplitMix64(seed)
    spread = min(vocab, 40)
    return [random.bits() % spread for _ in range(size)]


def philox_uniform(seed, prompt, choice, position):
    counter = [position & 0xFFFFFFFF, position >> 32, prompt, choice]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(p1 >> 32) ^ counter[1] ^ key[0], p1 & 0xFFFFFFFF,
                   (p0 >> 32) ^ counter[3] ^ key[1], p0 & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return (((counter[0] << 32) | counter[1]) >> 11) * 2.0**-53


class TooClose(Exception):
    pass


def apart(a, b, margin):
    if not abs(a - b) > margin:
        raise TooClose


def adjust(case, logits):
    """Logits after bias and penalties, the error of fp32 in each, and what makes """
    vocab = case["vocab"]
    history = make_history(case["history_seed"], case["history"], vocab)
    output = history[case["history"] - case["output"]:]
    last_n = case["repeat_last_n"]
    window = history if last_n < 0 else history[max(0, len(history) - last_n):]
    in_window, in_output = (np.bincount(np.array(ids, dtype=np.int64), minlength=vocab)
                            for ids in (window, output))
    bias = np.zeros(vocab)
    for token, value in case["bias"]:
        bias[token] = value
    repetition, presence, frequency = (case[n] for n in ("repetition", "presence", "frequency"))
    biased = logits + bias
    penalised = np.where(biased > 0, biased / repetition, biased * repetition)
    repeated = np.where(in_window > 0, penalised, biased)
    adjusted = repeated - presence * (in_output > 0) - frequency * in_output
    size = np.maximum.reduce([np.abs(logits), np.abs(biased), np.abs(repeated), np.abs(adjusted),
                              np.abs(frequency * in_output), np.abs(repeated - presence * (in_output > 0))])
    changed = (bias != 0) | ((in_window > 0) & (repetition != 1)) \
        | ((in_output > 0) & ((presence != 0) | (frequency != 0)))
    if np.any(in_window > 0) and repetition != 1:  # the sign decides what the penalty does
        near = (in_window > 0) & (bias != 0) & (biased != 0)
        if np.any(np.abs(biased[near]) <= 2.0**-22 * size[near]):
            raise TooClose
    limit = float(np.finfo(np.float32).max)
    adjusted = np.clip(adjusted, -limit, limit)
    inputs = np.stack([logits, bias, in_window > 0, in_output], axis=1)
    group = np.unique(inputs, axis=0, return_inverse=True)[1].reshape(-1)
    return adjusted, np.where(changed, 12 * 2.0**-24 * size, 0.0), group


def permitted_ids(case):
    vocab = case["vocab"]
    permitted = np.ones(vocab, dtype=bool)
    if case["allowed"]:
        permitted[:] = False
        permitted[case["allowed"]] = True
    exclusive = [token for token, value in case["bias"] if value == 100]
    if exclusive:
        others = np.ones(vocab, dtype=bool)
        others[exclusive] = False
        permitted[others] = False
    permitted[[token for token, value in case["bias"] if value == -100]] = False
    permitted[case["banned"]] = False
    if not permitted.any():
        return None  # check_sampling() refuses it
    with_step = permitted.copy()
    with_step[case["step_banned"]] = False
    return with_step if with_step.any() else permitted


def require_sure_cut(order, count, value, error, group):
    """The first `count` of `order`, by `value` ascending, stay the first under errors of that size. A tie at
    the cut goes by id: its tokens err alike."""
    kept, dropped = order[:count], order[count:]
    if len(dropped) == 0:
        return
    if group[kept[-1]] == group[dropped[0]]:
        tied = kept[-1]
        kept, dropped = kept[group[kept] != group[tied]], dropped[group[dropped] != group[tied]]
        if np.any(value[kept] + error[kept] >= value[tied] - error[tied]) \
                or np.any(value[dropped] - error[dropped] <= value[tied] + error[tied]):
            raise TooClose
    elif np.max(value[kept] + error[kept]) >= np.min(value[dropped] - error[dropped]):
        raise TooClose


def smallest_set(kept, value, error, group, probabilities, share, margin):
    """The first of `kept`, by value and id, whose probabilities reach `share`; by id."""
    order = kept[np.lexsort((kept, value[kept]))]
    cumulative = np.cumsum(probabilities[order])
    count = min(int(np.searchsorted(cumulative, share)) + 1 if share > 0 else 1, len(order))
    if share > 0:
        apart(cumulative[count - 1], share, margin)
    if count > 1:
        apart(cumulative[count - 2], share, margin)
    require_sure_cut(order, count, value, error, group)
    return np.sort(order[:count])


def solve(case):
    """(kept ids, drawn id, its probability); raises TooClose."""
    logits = make_logits(case["kind"], case["logits_seed"], case["vocab"])
    permitted = permitted_ids(case)
    if permitted is None:
        raise TooClose
    adjusted, error, group = adjust(case, logits)
    ids = np.nonzero(permitted)[0]

    by_logit = ids[np.lexsort((ids, -adjusted[ids]))]
    if case["temperature"] == 0:
        require_sure_cut(by_logit, 1, -adjusted, error, group)
        return [int(by_logit[0])], int(by_logit[0]), 1.0

    best = by_logit[0]
    exponents = np.minimum(adjusted - adjusted[best], 0.0) / case["temperature"]  # above 0: not permitted
    weights = np.exp(exponents)
    relative_error = (error + error[best]) / case["temperature"] + np.abs(exponents) * 2.0**-22 + 2.0**-18
    removed = []

    kept = ids
    if 0 < case["top_k"] < len(ids):
        require_sure_cut(by_logit, case["top_k"], -adjusted, error, group)
        kept = np.sort(by_logit[:case["top_k"]])
        removed.append("top_k")

    def renormalised():
        p = np.zeros_like(weights)
        p[kept] = weights[kept] / weights[kept].sum()
        return p, float((p[kept] * np.minimum(relative_error[kept], 1e6)).sum()) * 2 + 2.0**-20

    if case["typical_p"] < 1:
        p, margin = renormalised()
        log_p = exponents - np.log(weights[kept].sum())
        surprise_error = (error + error[best]) / case["temperature"] + np.abs(exponents) * 2.0**-22 + margin
        entropy = -float((p[kept] * np.where(p[kept] > 0, log_p[kept], 0.0)).sum())
        log_error = relative_error[kept] + margin
        entropy_error = 2 * float((p[kept] * (1 + np.abs(log_p[kept])) * log_error).sum())
        before = len(kept)
        kept = smallest_set(kept, np.abs(-log_p - entropy), surprise_error + entropy_error, group, p,
                            case["typical_p"], margin)
        if len(kept) < before:
            removed.append("typical_p")

    if case["top_p"] < 1:
        p, margin = renormalised()
        before = len(kept)
        kept = smallest_set(kept, -adjusted, error, group, p, case["top_p"], margin)
        if len(kept) < before:
            removed.append("top_p")

    if case["min_p"] > 0:
        p, _ = renormalised()
        largest = p[kept].max()
        top = kept[np.argmax(p[kept])]
        others = kept[group[kept] != group[top]]
        errors = np.expm1(np.minimum(relative_error[others] + relative_error[top], 50.0))
        if np.any(np.abs(p[others] / largest - case["min_p"]) <= case["min_p"] * errors):
            raise TooClose
        before = len(kept)
        kept = kept[p[kept] >= case["min_p"] * largest]
        if len(kept) < before:
            removed.append("min_p")

    p, margin = renormalised()
    u = philox_uniform(case["seed"], case["prompt"], case["choice"], case["position"])
    cumulative = np.cumsum(p[kept])
    drawn = int(np.searchsorted(cumulative, u, side="right"))
    for i in (drawn - 1, drawn):
        if 0 <= i < len(kept) - 1:
            apart(cumulative[i], u, margin)
    if drawn >= len(kept) or p[kept[drawn]] == 0:
        raise TooClose
    case["removed"] = removed
    return [int(i) for i in kept], int(kept[drawn]), float(p[kept[drawn]])


def f32(value):
    return float(np.float32(value))


def random_case(rng, large):
    vocab = 32000 if large else int(rng.choice([1, 2, 3, 7, 16, 17, 31, 48, 100, 255, 300]))
    some = lambda chance: rng.random() < chance
    history = int(rng.integers(0, 90)) if some(0.6) else 0
    ids = lambda most: sorted(set(int(i) for i in rng.integers(0, vocab, rng.integers(1, most + 1))))
    bias = []
    if some(0.3):
        for token in ids(6):
            bias.append((token, f32(rng.choice([-100, -20, -2.5, -0.75, 0, 0.3, 1.5, 4, 30]))))
        if some(0.15):
            bias = [(token, 100.0 if some(0.7) else value) for token, value in bias]
    kind = "fine" if large else str(rng.choice(KINDS, p=[0.4, 0.4, 0.1, 0.1]))
    counts = [40, 257, 1000, 20000] if large else [1, 2, 5, 20, 40, 200]
    penalised = history > 0 and some(0.7)
    return {
        "vocab": vocab, "kind": kind, "logits_seed": int(rng.integers(0, 1 << 32)),
        "temperature": f32(rng.choice([0, 0.05, 0.3, 0.7, 0.8, 1, 1.3, 2, 10, 100],
                                      p=[0.1, 0.05, 0.1, 0.15, 0.1, 0.2, 0.1, 0.1, 0.05, 0.05])),
        "top_k": int(rng.choice(counts)) if some(0.4) else 0,
        "typical_p": f32(rng.uniform(0.02, 1)) if some(0.35) else 1.0,
        "top_p": f32(rng.choice([0, 0.1, 0.5, 0.8, 0.9, 0.95, 0.999])) if some(0.45) else 1.0,
        "min_p": f32(rng.choice([0.001, 0.02, 0.05, 0.1, 0.5, 0.9, 1])) if some(0.4) else 0.0,
        "repetition": f32(rng.choice([0.5, 0.9, 1.1, 1.3, 2, 50])) if penalised and some(0.7) else 1.0,
        "repeat_last_n": int(rng.choice([-1, 0, 1, 5, 64])),
        "presence": f32(rng.uniform(-2, 2)) if penalised and some(0.6) else 0.0,
        "frequency": f32(rng.uniform(-2, 2)) if penalised and some(0.6) else 0.0,
        "seed": int(rng.integers(0, 1 << 63)),
        "prompt": int(rng.integers(0, 5)), "choice": int(rng.integers(0, 5)),
        "position": int(rng.integers(0, 1 << 34)),
        "history_seed": int(rng.integers(0, 1 << 32)), "history": history,
        "output": int(rng.integers(0, history + 1)),
        "bias": bias,
        "banned": ids(5) if some(0.2) else [],
        "allowed": ids(12) if some(0.15) else [],
        "step_banned": ids(4) if some(0.2) else [],
    }


def hash_of(ids):
    """FNV-1a over the ids as 32-bit words."""
    value = 0xCBF29CE484222325
    for token in ids:
        value = ((value ^ token) * 0x100000001B3) & MASK
    return value


FIELDS = ("vocab", "kind", "logits_seed", "temperature", "top_k", "typical_p", "top_p", "min_p", "repetition",
          "repeat_last_n", "presence", "frequency", "seed", "prompt", "choice", "position", "history_seed",
          "history", "output")


def main():
    rng = np.random.default_rng(20240704)
    lines, rejected, uses = [], 0, {}
    while len(lines) < 1300:
        case = random_case(rng, large=len(lines) % 40 == 39)
        try:
            kept, drawn, probability = solve(case)
        except TooClose:
            rejected += 1
            continue
        for name in case.get("removed", ["temperature 0"]):
            uses[name] = uses.get(name, 0) + 1
        listed = lambda ids: ",".join(str(i) for i in ids) or "-"
        text = [f"{case[f]:.9g}" if isinstance(case[f], float) else str(case[f]) for f in FIELDS]
        text += [",".join(f"{t}:{v:.9g}" for t, v in case["bias"]) or "-"]
        text += [listed(case[f]) for f in ("banned", "allowed", "step_banned")]
        text += [str(len(kept)), f"{hash_of(kept):x}", str(drawn), f"{probability:.6g}"]
        lines.append(" ".join(text))
    print("# From sampler_oracle.py, which names the fields: " + " ".join(FIELDS))
    print("# bias banned allowed step_banned;"
          " the number of kept ids, their hash, the drawn id, its probability")
    print("\n".join(lines))
    print(f"{len(lines)} cases, {rejected} left out; filters that removed something: {uses}", file=sys.stderr)


if __name__ == "__main__":
    main()
