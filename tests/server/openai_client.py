# SPDX-License-Identifier: Apache-2.0
"""The openai package against a running `ttt serve`: whole and streamed, sync and async, errors.

usage: openai_client.py http://127.0.0.1:8080/v1      (needs `pip install openai`; not part of the test suite)
"""
import asyncio
import sys

import openai

url = sys.argv[1]
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model
request = {"model": model, "prompt": "It was late in the", "max_tokens": 24, "temperature": 0}

whole = client.completions.create(**request)
assert whole.choices[0].finish_reason in ("length", "stop")
assert whole.usage.completion_tokens <= 24

text = "".join(chunk.choices[0].text for chunk in client.completions.create(**request, stream=True))
assert text == whole.choices[0].text, (text, whole.choices[0].text)

chunks = list(client.completions.create(**request, stream=True, stream_options={"include_usage": True}))
assert chunks[-1].usage == whole.usage, (chunks[-1].usage, whole.usage)

scored = client.completions.create(**request, logprobs=3, echo=True)
log_probs = scored.choices[0].logprobs
assert len(log_probs.tokens) == len(log_probs.token_logprobs) == len(log_probs.text_offset)
assert log_probs.token_logprobs[0] is None

many = client.completions.create(model=model, prompt=["One", "Two"], n=2, max_tokens=4)
assert [choice.index for choice in many.choices] == [0, 1, 2, 3]

for wrong, error in (({"max_tokens": -1}, openai.BadRequestError), ({"model": "gpt-4"}, openai.NotFoundError)):
    try:
        client.completions.create(**{**request, **wrong})
    except error as refused:
        assert refused.body["param"] == next(iter(wrong)), refused.body
    else:
        raise AssertionError(f"{wrong} was accepted")


async def several():
    others = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    answers = await asyncio.gather(*(others.completions.create(**request) for _ in range(16)))
    assert all(answer.choices[0].text == whole.choices[0].text for answer in answers)
    stream = await others.completions.create(**request, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == whole.choices[0].text
    endless = await others.completions.create(**{**request, "max_tokens": 1_000_000}, stream=True)
    await anext(endless)
    await endless.close()


asyncio.run(several())
print(f"openai {openai.__version__}: all as it should be")
