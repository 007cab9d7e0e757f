# SPDX-License-Identifier: Apache-2.0
"""lm-evaluation-harness against a running `ttt serve`, told nothing but its address: every log-likelihood of a
LAMBADA-style and of a multiple-choice task is what `ttt run --batch` computes of the same ids.

usage: lm_eval_client.py TTT MODEL http://127.0.0.1:8080     (needs `pip install "lm-eval[api]"`; not part of the
                                                              test suite)
"""
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

import lm_eval

TTT, MODEL, URL = sys.argv[1:]
DOCUMENTS = 50
TOLERANCE = 1e-5
WHO = ["the old man", "a girl", "my brother", "the captain", "her mother", "the doctor"]
DID = ["opened", "found", "carried", "painted", "forgot", "sold"]
WHAT = ["the letter", "a lamp", "the caf\u00e9 door", "his hat", "the boat", "a box of tea"]
WHERE = ["in the garden", "by the river", "at night", "before the storm", "near the church", "in winter"]


def sentences(generator):
    parts = [generator.choice(words) for words in (WHO, DID, WHAT, WHERE)]
    return f"{parts[0].capitalize()} {parts[1]} {parts[2]} {parts[3]}."


def batch(lines, folder):
    """Records of `ttt run --batch`, in the order of the lines."""
    (folder / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = folder / "records.jsonl"
    subprocess.run([TTT, "run", MODEL, "--batch", folder / "batch.jsonl", "-o", output, "--force"], check=True,
                   capture_output=True)
    return sorted(map(json.loads, open(output, encoding="utf-8")), key=lambda record: record["line"])


def write_documents(folder):
    generator = random.Random(1)
    texts = [" ".join(sentences(generator) for _ in range(generator.randint(1, 6)))[:-1] for _ in range(DOCUMENTS)]
    pairs = [text.rsplit(" ", 1) for text in texts]
    # Every other document ends as the model itself would end it: a right answer.
    greedy = [{"prompt": ids_of(context, folder), "max_tokens": 8, "temperature": 0} for context, _ in pairs]
    for index, record in enumerate(batch(greedy, folder)):
        said = record["choices"][0]["text"].split(" ")
        if index % 2 == 0 and len(said) > 2 and said[0] == "":
            pairs[index][1] = said[1]
    with open(folder / "words.jsonl", "w", encoding="utf-8") as words:
        for context, word in pairs:
            print(json.dumps({"context": context, "word": word}), file=words)
    with open(folder / "choices.jsonl", "w", encoding="utf-8") as choices:
        for _ in range(DOCUMENTS):
            who, did = generator.choice(WHO), generator.choice(DID)
            row = {"question": f"{sentences(generator)} Then {who} {did}", "choices": generator.sample(WHAT, 4)}
            print(json.dumps({**row, "answer": generator.randrange(4)}), file=choices)


def tasks(folder):
    def task(name, file, **more):
        return {"task": name, "dataset_path": "json", "test_split": "test",
                "dataset_kwargs": {"data_files": {"test": str(folder / file)}}, **more}
    accuracy = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
    return [
        task("words", "words.jsonl", output_type="loglikelihood", doc_to_text="{{context}}",
             doc_to_target="{{' ' + word}}",
             metric_list=[accuracy, {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}]),
        task("choices", "choices.jsonl", output_type="multiple_choice", doc_to_text="{{question}}",
             doc_to_target="{{answer}}", doc_to_choice="{{choices}}", metric_list=[accuracy]),
    ]


def ids_of(text, folder, known={}):
    if text not in known:
        (folder / "text").write_text(text, encoding="utf-8")
        output = subprocess.run([TTT, "tokenize", MODEL, "--no-bos", "--ids", "-f", folder / "text"], check=True,
                                capture_output=True, text=True).stdout
        known[text] = [int(piece) for piece in output.strip().split(",")]
    return known[text]


def offline(pairs, folder):
    """(log-likelihood, greedy) of each continuation, as the harness cuts context and continuation."""
    cuts = [len(ids_of(context, folder)) for context, _ in pairs]
    lines = [{"prompt": ids_of(context + continuation, folder), "max_tokens": 0, "logprobs": 1, "echo": True}
             for context, continuation in pairs]
    scores = []
    for record, cut in zip(batch(lines, folder), cuts, strict=True):
        tokens = record["prompt_logprobs"][cut:]
        values = [token["logprob"] for token in tokens]
        greedy = all(token["logprob"] == max(top["logprob"] for top in token["top"]) for token in tokens)
        scores.append((sum(values), greedy))
    return scores


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_documents(folder)
    results = lm_eval.simple_evaluate("local-completions", f"base_url={URL}/v1/completions", tasks(folder),
                                      log_samples=True, bootstrap_iters=0)
    pairs, found, of_task = [], [], []
    for task, samples in results["samples"].items():
        for sample in samples:
            # One argument set for each request: (context, continuation).
            for arguments, responses in zip(sample["arguments"], sample["resps"], strict=True):
                pairs.append(tuple(arguments))
                found.append(tuple(responses[0]))
                of_task.append((task, sample["doc_id"]))
    wanted = offline(pairs, folder)
    worst = 0.0
    for pair, (value, greedy), (own, own_greedy) in zip(pairs, found, wanted, strict=True):
        worst = max(worst, abs(float(value) - own))
        assert math.isclose(float(value), own, rel_tol=0, abs_tol=TOLERANCE), (pair, value, own)
        assert str(greedy) == str(own_greedy), (pair, greedy, own_greedy)

    # The tasks' own figures, from the offline scores alone.
    words = [score for score, (task, _) in zip(wanted, of_task, strict=True) if task == "words"]
    assert len(words) == DOCUMENTS and len(wanted) == 5 * DOCUMENTS
    assert 0 < sum(greedy for _, greedy in words) < DOCUMENTS  # the task tells right from wrong
    figures = results["results"]
    perplexity = math.exp(-sum(score for score, _ in words) / DOCUMENTS)
    assert math.isclose(figures["words"]["perplexity,none"], perplexity, rel_tol=1e-5)
    assert math.isclose(figures["words"]["acc,none"], sum(greedy for _, greedy in words) / DOCUMENTS)
    rows = [json.loads(line) for line in open(folder / "choices.jsonl", encoding="utf-8")]
    right = 0
    for index, row in enumerate(rows):
        scores = [score for (score, _), place in zip(wanted, of_task, strict=True) if place == ("choices", index)]
        right += scores.index(max(scores)) == row["answer"]
    assert math.isclose(figures["choices"]["acc,none"], right / DOCUMENTS)
    print(f"{len(wanted)} log-likelihoods, largest difference {worst:.2e}; perplexity {perplexity:.4f}, "
          f"accuracy {figures['words']['acc,none']:.2f} and {figures['choices']['acc,none']:.2f}")
